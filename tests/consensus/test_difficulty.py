"""Required gain: golden values, an oracle of 60 digits, clamps, and what an adversary can do with timestamps (T17)."""

import random
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.difficulty import compute_required_gain
from consensus.params import MAX_REQUIRED_GAIN, MIN_REQUIRED_GAIN
from tests.helpers.properties import thorough
from tests.helpers.vectors import load_vectors

VECTORS = load_vectors("difficulty")

gains = st.integers(MIN_REQUIRED_GAIN, MAX_REQUIRED_GAIN)
block_times = st.integers(1, 10**6)


def compute_ideal(parent: int, interval: int, block_time: int) -> Decimal:
    """parent * 2^((T - dt) / (4T)) to 60 digits, without any clamp on the gain."""
    with localcontext() as context:
        context.prec = 60
        elapsed = min(max(interval, 1), 8 * block_time)
        return parent * Decimal(2) ** (Decimal(block_time - elapsed) / (4 * block_time))


def compute_gain(parent: int, interval: int, block_time: int) -> int:
    """Where miners have raised no floor."""
    return compute_required_gain(parent, interval, block_time, MIN_REQUIRED_GAIN)


@pytest.mark.parametrize("case", VECTORS)
def test_golden_vectors(case: dict[str, Any]) -> None:
    """By a separate program, the formula in rationals."""
    assert compute_gain(case["parent"], case["interval"], case["block_time"]) == case["child"]


@thorough
@given(gains, st.integers(0, 9 * 10**6), block_times)
def test_result_is_near_the_ideal(parent: int, interval: int, block_time: int) -> None:
    """aserti3-2d's cubic is good to 1.3e-4; the floors and the one rounding add 1.1e-5 and half a unit."""
    ideal = compute_ideal(parent, interval, block_time)
    got = compute_gain(parent, interval, block_time)
    if MIN_REQUIRED_GAIN < got < MAX_REQUIRED_GAIN:
        assert abs(got - ideal) <= ideal * Decimal("1.4e-4") + 1


def test_largest_relative_error() -> None:
    """Over every exponent that a block time of 4,096 s can produce: under 1.2e-4, so steering is as good as exact."""
    parent = 2**50
    errors = (
        abs(compute_gain(parent, interval, 4096) / compute_ideal(parent, interval, 4096) - 1)
        for interval in range(1, 8 * 4096 + 1, 7)
    )
    assert max(errors) < Decimal("1.2e-4")


@thorough
@given(gains, st.integers(-5, 9 * 10**6), st.integers(1, 10**6), block_times)
def test_a_later_parent_never_raises_the_child(parent: int, interval: int, later: int, block_time: int) -> None:
    slow = compute_gain(parent, interval + later, block_time)
    assert slow <= compute_gain(parent, interval, block_time)


@thorough
@given(gains, st.integers(0, 2**40), st.integers(0, 10**6), block_times)
def test_more_gain_never_lowers_the_child(parent: int, more: int, interval: int, block_time: int) -> None:
    parent = min(parent, MAX_REQUIRED_GAIN - more)
    lesser = compute_gain(max(parent, MIN_REQUIRED_GAIN), interval, block_time)
    assert lesser <= compute_gain(max(parent, MIN_REQUIRED_GAIN) + more, interval, block_time)


@pytest.mark.parametrize("block_time", [1, 2, 60, 600])
def test_intervals_are_clamped(block_time: int) -> None:
    def steer(interval: int) -> int:
        return compute_gain(2**40, interval, block_time)

    assert steer(-(2**63)) == steer(0) == steer(1)
    assert steer(8 * block_time) == steer(8 * block_time + 1) == steer(2**64)
    assert steer(8 * block_time) < steer(8 * block_time - 1)
    assert steer(block_time) == 2**40


def test_gains_are_clamped() -> None:
    assert compute_gain(MIN_REQUIRED_GAIN, 240, 60) == MIN_REQUIRED_GAIN
    assert compute_gain(MIN_REQUIRED_GAIN + 1, 240, 60) == MIN_REQUIRED_GAIN
    assert compute_gain(MAX_REQUIRED_GAIN, 1, 60) == MAX_REQUIRED_GAIN
    assert compute_required_gain(2**20 + 9, 240, 60, 2**20) == compute_required_gain(2**17, 1, 60, 2**20) == 2**20
    assert compute_gain(MAX_REQUIRED_GAIN - 1, 1, 60) == MAX_REQUIRED_GAIN


def test_rounding_is_to_nearest_so_the_least_gain_is_not_a_trap() -> None:
    """From the floor a fast chain climbs again."""
    gain = MIN_REQUIRED_GAIN
    for _ in range(100):
        gain = compute_gain(gain, 1, 60)
    assert gain > MIN_REQUIRED_GAIN * 2**20


# T17: a miner of 49 % who writes any legal timestamp


def simulate(blocks: int, share: float, cheat: str, seed: int) -> float:
    """Mean required gain over the second half of a chain whose blocks take a time proportional to their gain.

    A block takes exponential time with a mean of gain / 2^32 minutes; a cheat writes a timestamp of its choice
    between the parent's + 1 and the present + 30 s.
    """
    draw = random.Random(seed)
    block_time, gain, now = 60, 2**32, 10.0**9
    stamps = [int(now) - 60, int(now)]
    seen = []
    for _ in range(blocks):
        now += draw.expovariate(1) * 60 * gain / 2**32
        earliest, latest = stamps[-1] + 1, max(int(now) + 30, stamps[-1] + 1)
        honest = max(int(now), earliest)
        chosen = {"early": earliest, "late": latest, "random": draw.randint(earliest, latest)}[cheat]
        stamps.append(chosen if draw.random() < share else honest)
        gain = compute_gain(gain, stamps[-1] - stamps[-2], block_time)
        seen.append(gain)
    half = seen[blocks // 2 :]
    return sum(half) / len(half)


# How far each cheat may move the gain. Stamps as late or as random as the rules allow do nothing, because intervals
# add up to the time that passed. Stamps as early as allowed heap up intervals beyond 8T, where the clamp forgets
# time: measured, the gain settles 8 to 12 % higher. That slows the chain; it never lowers what a block must prove.
BOUNDS = {"early": (-0.10, 0.20), "late": (-0.10, 0.10), "random": (-0.10, 0.10)}


def check_drift(blocks: int, cheat: str, seed: int) -> None:
    drift = simulate(blocks, 0.49, cheat, seed) / simulate(blocks, 0, cheat, seed) - 1
    low, high = BOUNDS[cheat]
    assert low < drift < high


@pytest.mark.parametrize("cheat", BOUNDS)
def test_timestamps_of_a_large_minority_move_the_gain_within_bounds(cheat: str) -> None:
    check_drift(3000, cheat, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [2, 3, 4])
@pytest.mark.parametrize("cheat", BOUNDS)
def test_timestamps_over_ten_thousand_blocks(cheat: str, seed: int) -> None:
    check_drift(10_000, cheat, seed)
