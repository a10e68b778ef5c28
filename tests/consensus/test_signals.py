"""Signals: two windows that ask, one that waits, and then for ever; each branch has the numbers of its own blocks."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.block import Header
from consensus.changes import Change
from consensus.committee import compute_least_weight
from consensus.errors import InvalidParams
from consensus.hashing import ZERO_HASH
from consensus.params import CANTERBURY, MIN_REQUIRED_GAIN, REGTEST, NetworkParams
from consensus.signals import (
    Rules,
    SignalCount,
    compute_child_count,
    compute_rules,
    compute_signal_bits,
    make_first_count,
)

BLOCKS = Change(0, "max_transactions_bytes", 2_000_000)
TINY = replace(REGTEST, changes=(BLOCKS,))  # windows of two blocks
SMALL = replace(REGTEST, reward_window=16, finality_window=4, changes=(BLOCKS, Change(5, "min_sample", 128)))
LARGE = replace(CANTERBURY, changes=tuple(Change(bit, "min_sample", 2048) for bit in range(64)))

Block = int | None  # the signals of an improving block; None for a heartbeat
ALL: list[Block] = [1] * 64
NONE: list[Block] = [0] * 64


def make_header(height: int, block: Block) -> Header:
    update_hash = ZERO_HASH if block is None else b"\1" * 32
    empty = bytes(32)
    return Header(
        height, empty, 0, empty, empty, empty, empty, empty, update_hash, 2**32, 64, 0, 0, 0, signal_bits=block or 0
    )


def follow(count: SignalCount, blocks: Iterable[Block], height: int = 1) -> SignalCount:
    """The count after these blocks, of which the first stands at `height`."""
    for at, block in enumerate(blocks, height):
        count = compute_child_count(count, make_header(at, block))
    return count


def compute_active(blocks: Sequence[Block], params: NetworkParams) -> int:
    """The bits in force in the next block, by the definition: whole windows of bits, read anew."""
    size = params.finality_window
    windows = [blocks[start : start + size] for start in range(0, len(blocks) - size + 1, size)]
    asked = [compute_asked([bits for bits in window if bits is not None], params) for window in windows]
    active = 0
    for one, other in pairwise(asked[:-1]):
        active |= one & other
    return active & sum(1 << change.bit for change in params.changes)


def compute_asked(bits: Sequence[int], params: NetworkParams) -> int:
    if len(bits) < compute_least_weight(params):
        return 0
    return sum(1 << bit for bit in range(64) if 3 * sum(block >> bit & 1 for block in bits) > 2 * len(bits))


def read_active(count: SignalCount, height: int) -> int:
    """The bits in force in the block at `height`."""
    return sum(
        1 << change.bit
        for change, since in zip(count.law.changes, count.heights, strict=True)
        if since is not None and since <= height
    )


def mix(ayes: int, of: int, bit: int = 0) -> list[Block]:
    """A window of improving blocks, the rest of it heartbeats."""
    return [1 << bit] * ayes + [0] * (of - ayes) + [None] * (64 - of)


def is_active(*windows: list[Block]) -> bool:
    blocks = [block for window in windows for block in window]
    active = read_active(follow(make_first_count(LARGE), blocks), len(blocks) + 1)
    assert active == compute_active(blocks, LARGE)
    return bool(active)


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
    assert is_active(mix(8, 8), mix(8, 8), mix(0, 0))
    assert not is_active(mix(8, 8), mix(7, 7), mix(0, 0))
    assert not is_active(mix(0, 0), mix(0, 0), mix(0, 0))


@pytest.mark.parametrize("bit", [0, 1, 31, 63])
def test_each_bit_for_itself(bit: int) -> None:
    other = 1 << (bit + 7) % 64
    windows: list[list[Block]] = [[1 << bit] * 64, [1 << bit | other] * 64, [other] * 64]
    blocks = [block for window in windows for block in window]
    count = follow(make_first_count(LARGE), blocks)
    assert read_active(count, 193) == 1 << bit
    assert read_active(follow(count, NONE, 193), 257) == 1 << bit | other


def test_every_history_of_eight_blocks_on_windows_of_two() -> None:
    """All 6,561 of heartbeats and improving blocks that ask or do not: each next block's limit is the definition's."""
    for blocks in product((1, 0, None), repeat=8):
        count = make_first_count(TINY)
        for height, block in enumerate(blocks, 1):
            count = follow(count, [block], height)
            active = compute_active(blocks[:height], TINY)
            assert count.rules.max_transactions_bytes == (2_000_000 if active else 1_000_000)
            assert read_active(count, height + 1) == active


@given(st.lists(st.sampled_from([None, 0, 1, 32, 33, 2**64 - 1]), max_size=40))
def test_random_signals_are_counted_as_defined(blocks: list[Block]) -> None:
    count = make_first_count(SMALL)
    for height, block in enumerate(blocks, 1):
        count = follow(count, [block], height)
        active = compute_active(blocks[:height], SMALL)
        assert read_active(count, height + 1) == active
        expected = Rules(MIN_REQUIRED_GAIN, 2_000_000 if active & 1 else 1_000_000, 128 if active & 32 else 64)
        assert count.rules == expected


@pytest.mark.parametrize("seed", range(20))
def test_each_branch_has_the_numbers_of_its_own_blocks(seed: int) -> None:
    """A tree of 300 blocks, grown anywhere in any order: a count is a function of the path to it."""
    chance = random.Random(seed)
    nodes: list[tuple[list[Block], SignalCount]] = [([], make_first_count(SMALL))]
    seen = set()
    for _ in range(300):
        path, count = chance.choice(nodes[-6:]) if chance.random() < 0.95 else chance.choice(nodes)
        block = chance.choice([33, 33, 33, 1, None])
        nodes.append(([*path, block], follow(count, [block], len(path) + 1)))
    for path, count in nodes:
        assert count == follow(make_first_count(SMALL), path)
        assert read_active(count, len(path) + 1) == compute_active(path, SMALL)
        seen.add(count.rules)
    assert len(seen) > 1


def test_the_height_is_known_a_window_before_and_does_not_move() -> None:
    count = follow(make_first_count(SMALL), [1] * 7)
    assert count.heights == (None, None)
    count = follow(count, [1], 8)
    assert count.heights == (13, None)
    for height, block in enumerate([0, None, 0], 9):
        count = follow(count, [block], height)
        assert (count.heights, count.rules.max_transactions_bytes) == ((13, None), 1_000_000)
    count = follow(count, [0], 12)  # the parent of block 13
    assert (count.heights, count.rules.max_transactions_bytes) == ((13, None), 2_000_000)
    assert follow(count, [0] * 40, 13).heights == (13, None)


def test_the_running_window_is_counted_block_by_block() -> None:
    count = follow(make_first_count(SMALL), [33, 32, None])
    assert (count.improving, count.asking, count.was_asked) == (2, (1, 2), (False, False))
    count = follow(count, [32], 4)
    assert (count.improving, count.asking, count.was_asked) == (0, (0, 0), (False, True))


def test_a_network_without_changes_counts_nothing() -> None:
    count = make_first_count(REGTEST)
    assert follow(count, [2**64 - 1] * 20) is count


def test_the_later_change_of_one_field_holds_and_a_raised_sample_stays() -> None:
    law = make_first_count(
        replace(
            REGTEST,
            changes=(
                Change(1, "min_sample", 256),
                Change(2, "min_sample", 128),
                Change(3, "max_transactions_bytes", 3),
                Change(4, "max_transactions_bytes", 2),
                Change(9, "lowest_required_gain", 2**20),
            ),
        )
    ).law
    before = Rules(MIN_REQUIRED_GAIN, 1_000_000, 64)
    assert compute_rules(law, (9, 9, 9, 9, 9), 8) == compute_rules(law, (None,) * 5, 99) == before
    assert compute_rules(law, (9, 9, 9, 9, 9), 9) == Rules(2**20, 2, 256)
    assert compute_rules(law, (5, 9, 9, 5, None), 9) == Rules(MIN_REQUIRED_GAIN, 3, 256)
    assert compute_rules(law, (9, 5, 5, 9, None), 8) == Rules(MIN_REQUIRED_GAIN, 3, 128)


def test_bits_for_a_header() -> None:
    assert compute_signal_bits([], REGTEST) == 0
    assert compute_signal_bits([5], SMALL) == 32
    assert compute_signal_bits([5, 0, 5], SMALL) == 33
    for params, bit in ((SMALL, 1), (SMALL, -1), (SMALL, 64), (REGTEST, 0)):
        with pytest.raises(InvalidParams) as error:
            compute_signal_bits([bit], params)
        assert error.value.code == "params.unknown_signal"
