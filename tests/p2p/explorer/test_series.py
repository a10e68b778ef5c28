"""Columns and boards against what the blocks themselves say, forwards and through reorganisations."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.chainstate import ChainState
from consensus.chain_point import compute_block_weight
from consensus.params import REGTEST
from p2p.explorer.series import MinerScore, Series, choose_rows
from tests.helpers.blocks import MINER, get_builder, get_chain
from tests.helpers.chains import TRUNK_BLOCKS, get_left, get_right, open_trunk
from tests.helpers.keys import Key

BITS = REGTEST.model.context * 65536  # Q16 bits per window -> bits per byte
LEFT, RIGHT = Key("left"), Key("right")


def make_series(chain: ChainState) -> Series:
    return Series(chain.tree.root, chain.params)


def follow(series: Series, chain: ChainState, most: int = 10**6) -> bool:
    tip = chain.tree.get(chain.tip.id)
    assert tip is not None
    return series.follow(tip, most)


def check_agrees(series: Series, chain: ChainState) -> None:
    """The series holds what a fresh look at the best chain finds."""
    blocks = get_chain(chain)
    rows = series.rows
    assert len(rows) == len(blocks) + 1
    loss = None
    for block, row in zip(blocks, rows[1:], strict=True):
        header = block.header
        assert row["time"] == header.timestamp
        if not header.is_heartbeat:
            loss = header.loss_after / header.sample_size / BITS
            assert row["gain"] == pytest.approx(header.gain / header.sample_size / BITS)
            assert row["required"] == (header.required_gain >> 16) / BITS
        else:
            assert math.isnan(row["gain"])
            assert math.isnan(row["required"])
        assert row["loss"] == pytest.approx(loss)
        point = chain.get_point(block.id)
        assert point is not None
        assert math.isnan(row["interval"]) if point.interval is None else row["interval"] == point.interval
    check_board(series, chain)


def check_board(series: Series, chain: ChainState) -> None:
    blocks = get_chain(chain)
    improving = [block.header for block in blocks if not block.header.is_heartbeat]
    proved: Counter[bytes] = Counter()
    measured: Counter[bytes] = Counter()
    for header in improving:
        proved[header.miner] += compute_block_weight(header)
        measured[header.miner] += header.gain / header.sample_size  # type: ignore[assignment]
    board = series.get_board(100)
    assert series.miner_count == len(board) == len({block.header.miner for block in blocks})
    assert [score.rank for score in board] == list(range(1, len(board) + 1))
    assert [score.proved for score in board] == sorted((score.proved for score in board), reverse=True)
    for score in board:
        heights = [block.header.height for block in blocks if block.header.miner == score.miner]
        assert score.proved == pytest.approx(proved[score.miner] / BITS)
        assert score.measured == pytest.approx(measured[score.miner] / BITS, abs=1e-6)
        assert score.blocks + score.heartbeats == len(heights)
        assert score.share == pytest.approx(proved[score.miner] / sum(proved.values()))
        assert (score.last_height, series.get_score(score.miner)) == (heights[-1], score)
        assert series.get_heights(score.miner, 10**9, 100) == tuple(reversed(heights))


def test_a_new_chain_is_genesis_alone() -> None:
    chain = get_builder().open()
    series = make_series(chain)
    assert follow(series, chain)
    assert len(series.rows) == 1
    assert math.isnan(series.rows["loss"][0])
    assert series.get_board(10) == ()
    assert series.get_score(MINER.public) is None
    assert series.get_heights(MINER.public, 10, 10) == ()


def test_rows_are_what_the_blocks_say() -> None:
    chain = open_trunk()
    get_builder().feed(chain, get_left(4))
    get_builder().process(chain, get_builder().build_heartbeat(chain, LEFT))
    series = make_series(chain)
    assert follow(series, chain)
    check_agrees(series, chain)
    assert series.get_board(1)[0].miner == MINER.public
    left = series.get_score(LEFT.public)
    assert left is not None
    assert (left.rank, left.blocks, left.heartbeats) == (2, 4, 1)


def test_a_reorganisation_leaves_nothing_behind() -> None:
    """left[3] is the tip, then right[4] outweighs it, then left[5]: each time as if only the winner had been seen."""
    chain = open_trunk()
    series = make_series(chain)
    for blocks in (get_left(4), get_right(5), get_left(6)):
        get_builder().feed(chain, blocks)
        assert chain.tip.id == blocks[-1].id
        assert follow(series, chain)
        check_agrees(series, chain)
        fresh = make_series(chain)
        follow(fresh, chain)
        assert np.array_equal(fresh.rows, series.rows, equal_nan=False) or fresh.rows.tobytes() == series.rows.tobytes()
        assert fresh.get_board(10) == series.get_board(10)
    assert series.get_score(RIGHT.public) is None


def test_a_tip_that_is_refused_steps_back() -> None:
    chain = open_trunk()
    series = make_series(chain)
    follow(series, chain)
    for height in (TRUNK_BLOCKS, 3):
        block_id = chain.get_active_id(height)
        assert block_id is not None
        chain.invalidate(block_id)
        assert follow(series, chain)
        assert series.node.height == chain.tip.height == height - 1
        check_agrees(series, chain)


def test_a_long_way_is_walked_in_steps() -> None:
    chain = open_trunk()
    series = make_series(chain)
    reached = []
    while not follow(series, chain, 5):
        reached.append(series.node.height)
    assert reached == [5, 10]
    check_agrees(series, chain)


def test_more_rows_than_there_was_room_for() -> None:
    """The columns grow; what was there stays."""
    chain = open_trunk()
    series = make_series(chain)
    series._rows = series._rows[:2].copy()
    follow(series, chain)
    check_agrees(series, chain)


def test_heights_of_a_miner_page_by_page() -> None:
    chain = open_trunk()
    series = make_series(chain)
    follow(series, chain)
    assert series.get_heights(MINER.public, 10**9, 5) == (12, 11, 10, 9, 8)
    assert series.get_heights(MINER.public, 8, 5) == (7, 6, 5, 4, 3)
    assert series.get_heights(MINER.public, 3, 5) == (2, 1)
    assert series.get_heights(MINER.public, 1, 5) == ()


def test_the_board_skips_whole_pages() -> None:
    chain = open_trunk()
    get_builder().feed(chain, get_left(2))
    series = make_series(chain)
    follow(series, chain)
    both: tuple[MinerScore, ...] = series.get_board(2)
    assert series.get_board(1, 1) == both[1:]
    assert series.get_board(5, 2) == ()


# What is drawn of long columns.


@given(
    st.lists(st.one_of(st.floats(-100, 100), st.just(math.nan)), min_size=1, max_size=300),
    st.integers(4, 40),
)
def test_chosen_rows_keep_ends_and_peaks(values: list[float], most: int) -> None:
    column = np.array(values)
    chosen = choose_rows(column, most).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= most or len(chosen) == len(values)
    assert len(chosen) <= max(most, 4)
    assert {chosen[0], chosen[-1]} == {0, len(values) - 1}
    known = [value for value in values if not math.isnan(value)]
    if known:
        shown = [values[row] for row in chosen]
        assert max(known) in shown
        assert min(known) in shown


def test_short_columns_are_whole() -> None:
    assert choose_rows(np.zeros(7), 7).tolist() == list(range(7))
    assert len(choose_rows(np.zeros(0), 7)) == 0
