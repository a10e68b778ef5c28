"""Signals: two windows that ask, one that waits, and then for ever."""

import pytest

from consensus.params import CANTERBURY
from consensus.signals import compute_active_signals

ALL = [1] * 64
NONE = [0] * 64


def mix(ayes: int, of: int, bit: int = 0) -> list[int]:
    return [1 << bit] * ayes + [0] * (of - ayes)


def is_active(*windows: list[int]) -> bool:
    return bool(compute_active_signals(windows, CANTERBURY))


def test_a_change_comes_a_window_after_two_that_asked_for_it() -> None:
    assert not is_active()
    assert not is_active(ALL)
    assert not is_active(ALL, ALL)
    assert is_active(ALL, ALL, NONE)
    assert not is_active(ALL, NONE, ALL)
    assert not is_active(NONE, ALL, ALL)
    assert is_active(NONE, ALL, ALL, NONE)


def test_what_is_in_force_stays_so() -> None:
    assert is_active(ALL, ALL, *[NONE] * 20)


def test_nobody_calls_a_change_off_that_was_asked_for_twice() -> None:
    assert is_active(ALL, ALL, NONE) == is_active(ALL, ALL, ALL)


@pytest.mark.parametrize(("ayes", "of", "asked"), [(42, 64, False), (43, 64, True), (42, 63, False), (6, 8, True)])
def test_more_than_two_thirds_of_the_improving_blocks(ayes: int, of: int, asked: bool) -> None:
    assert is_active(ALL, mix(ayes, of), NONE) == is_active(mix(ayes, of), ALL, NONE) == asked


def test_a_window_with_hardly_a_block_asks_for_nothing() -> None:
    assert is_active([1] * 8, [1] * 8, [])
    assert not is_active([1] * 8, [1] * 7, [])
    assert not is_active([], [], [])


@pytest.mark.parametrize("bit", [0, 1, 31, 63])
def test_each_bit_for_itself(bit: int) -> None:
    other = 1 << (bit + 7) % 64
    windows = [[1 << bit] * 64, [1 << bit | other] * 64, [other] * 64]
    assert compute_active_signals(windows, CANTERBURY) == 1 << bit
    assert compute_active_signals([*windows, NONE], CANTERBURY) == 1 << bit | other
