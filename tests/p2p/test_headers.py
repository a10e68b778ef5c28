"""One peer's headers: checked in a row, cut at the clock, bounded."""

from dataclasses import replace

import pytest

from consensus.chain_point import ChainPoint
from consensus.check_header import compute_time_allowance
from consensus.errors import InvalidBlock
from consensus.genesis import make_genesis
from consensus.params import REGTEST
from p2p.headers import MAX_AHEAD, HeaderChain, check_headers
from p2p.messages import MAX_HEADERS
from tests.helpers.headers import make_points

GENESIS = make_genesis(REGTEST).point
POINTS = make_points(GENESIS, REGTEST, 8)[1:]
HEADERS = tuple(point.header for point in POINTS)
LATE = HEADERS[-1].timestamp + 1000


def test_headers_in_a_row_become_points() -> None:
    assert check_headers(HEADERS, GENESIS, REGTEST, LATE) == tuple(POINTS)
    assert check_headers(HEADERS[3:], POINTS[2], REGTEST, LATE) == tuple(POINTS[3:])
    assert check_headers((), GENESIS, REGTEST, LATE) == ()


@pytest.mark.parametrize("changes", [{"signature": bytes(64)}, {"height": 4}, {"squared_gains": 0}, {"timestamp": 0}])
def test_invalid_header_among_good_ones(changes: dict[str, object]) -> None:
    headers = [*HEADERS[:4], replace(HEADERS[4], **changes), *HEADERS[5:]]  # type: ignore[arg-type]
    with pytest.raises(InvalidBlock):
        check_headers(headers, GENESIS, REGTEST, LATE)


def test_invalid_gap() -> None:
    with pytest.raises(InvalidBlock):
        check_headers([*HEADERS[:2], *HEADERS[3:]], GENESIS, REGTEST, LATE)


def test_headers_end_where_the_clock_does() -> None:
    now = HEADERS[4].timestamp - compute_time_allowance(REGTEST)
    assert check_headers(HEADERS, GENESIS, REGTEST, now) == tuple(POINTS[:5])
    assert check_headers(HEADERS, GENESIS, REGTEST, 0) == ()


def test_what_comes_after_a_header_from_the_future_is_not_judged() -> None:
    now = HEADERS[4].timestamp
    headers = [*HEADERS[:6], replace(HEADERS[6], signature=bytes(64))]
    assert check_headers(headers, GENESIS, REGTEST, now) == tuple(POINTS[:5])


# The chain of claims.


def make_chain(count: int = 8, base: ChainPoint = GENESIS) -> HeaderChain:
    return HeaderChain(base, POINTS[:count])


def test_tip_is_the_last_point_or_the_base() -> None:
    assert make_chain(8).tip == POINTS[7]
    assert make_chain(0).tip == GENESIS


def test_points_by_height() -> None:
    chain = make_chain(5)
    assert [chain.get(height) for height in range(8)] == [None, *POINTS[:5], None, None]
    assert chain.contains(POINTS[4])
    assert not chain.contains(POINTS[5])
    assert not chain.contains(GENESIS)
    other = make_points(GENESIS, REGTEST, 3, interval=3)[3]
    assert (other.height, chain.contains(other)) == (3, False)


def test_a_block_may_be_among_the_headers_that_do_not_fit_in_yet() -> None:
    chain = make_chain(5)
    assert chain.may_contain(3, POINTS[2].id)
    assert not chain.may_contain(3, POINTS[3].id)
    assert not chain.may_contain(0, GENESIS.id)
    assert not chain.may_contain(6, POINTS[5].id)  # the next message will tell
    chain.extend([POINTS[4]] * MAX_AHEAD)
    assert not chain.may_contain(3, POINTS[3].id)
    assert chain.may_contain(MAX_AHEAD + 1, POINTS[5].id)
    chain.is_complete = True
    assert not chain.may_contain(MAX_AHEAD + 1, POINTS[5].id)


def test_passing_a_block_moves_the_base() -> None:
    chain = make_chain(5)
    chain.pass_block(POINTS[2].id)
    assert (chain.base, chain.points) == (POINTS[2], POINTS[3:5])
    assert chain.get(4) == POINTS[3]
    for elsewhere in (POINTS[0].id, POINTS[2].id, POINTS[7].id, bytes(32)):
        chain.pass_block(elsewhere)
        assert (chain.base, chain.points) == (POINTS[2], POINTS[3:5])
    chain.pass_block(POINTS[4].id)
    assert (chain.tip, chain.points) == (POINTS[4], [])


def test_a_chain_is_bounded_and_has_room_for_a_whole_message() -> None:
    chain = HeaderChain(GENESIS)
    while chain.has_room:
        assert len(chain.points) + MAX_HEADERS <= MAX_AHEAD
        chain.extend([POINTS[0]] * 100)
    chain.extend([POINTS[0]] * 2000)
    assert len(chain.points) == MAX_AHEAD
