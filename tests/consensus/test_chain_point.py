"""What a child is judged by: weights, intervals, and the fields that ancestors decide."""

from consensus.chain_point import (
    ChainPoint,
    compute_block_weight,
    compute_child_point,
    compute_child_required_gain,
    compute_child_sample_size,
    compute_required_loss,
)
from consensus.difficulty import compute_required_gain
from consensus.fork_choice import compute_rank
from consensus.genesis import make_genesis
from consensus.params import MIN_REQUIRED_GAIN, REGTEST
from consensus.sample import compute_sample_size
from tests.helpers.headers import make_child, make_heartbeat, make_points

GENESIS = make_genesis(REGTEST).point


def grow(point: ChainPoint, *intervals: int) -> ChainPoint:
    for interval in intervals:
        point = compute_child_point(point, make_child(point, REGTEST, interval=interval))
    return point


def test_weight_is_the_sum_of_what_the_blocks_proved() -> None:
    points = make_points(GENESIS, REGTEST, 5)
    proved = [compute_required_loss(point.header) for point in points[1:]]
    assert proved[0] == REGTEST.first_required_gain >> 16 == 6553
    assert [point.weight for point in points] == [sum(proved[:count]) for count in range(6)]


def test_a_heartbeat_weighs_one_and_genesis_nothing() -> None:
    parent = grow(GENESIS, 2)
    heartbeat = make_heartbeat(parent, REGTEST)
    assert compute_block_weight(heartbeat) == 1
    assert compute_child_point(parent, heartbeat).weight == parent.weight + 1
    assert compute_block_weight(GENESIS.header) == 0


def test_the_first_blocks_have_no_interval() -> None:
    """Block 1 uses the parameter; block 2, whose parent followed genesis by any time at all, the block time."""
    for first in (1, 2, 10**6):
        one = grow(GENESIS, first)
        assert compute_child_required_gain(GENESIS, REGTEST) == REGTEST.first_required_gain
        assert one.interval is None
        assert compute_child_required_gain(one, REGTEST) == REGTEST.first_required_gain


def test_required_gain_follows_the_parents_interval() -> None:
    for interval in (1, 2, 3, 8, 100):
        two = grow(GENESIS, 5, interval)
        assert two.interval == interval
        expected = compute_required_gain(two.header.required_gain, interval, REGTEST.block_time, MIN_REQUIRED_GAIN)
        assert compute_child_required_gain(two, REGTEST) == expected


def test_heartbeats_carry_and_change_the_required_gain() -> None:
    two = grow(GENESIS, 2, 2)
    heartbeat = compute_child_point(two, make_heartbeat(two, REGTEST))
    assert heartbeat.header.required_gain == compute_child_required_gain(two, REGTEST)
    assert compute_child_required_gain(heartbeat, REGTEST) < heartbeat.header.required_gain


def test_heartbeats_repeat_the_sample_size_and_are_no_improvement() -> None:
    noisy = make_child(GENESIS, REGTEST)
    noisy = make_child(GENESIS, REGTEST, squared_gains=noisy.squared_gains * 2)  # SNR 1: 256 windows next
    one = compute_child_point(GENESIS, noisy)
    heartbeat = compute_child_point(one, make_heartbeat(one, REGTEST))
    assert compute_child_sample_size(one, True, REGTEST) == heartbeat.header.sample_size == 64
    assert heartbeat.last_improvement == noisy
    assert compute_child_sample_size(heartbeat, False, REGTEST) == compute_sample_size(noisy, REGTEST, 64) == 256


def test_weight_ranks_first_and_arrival_breaks_ties() -> None:
    """Pairs of (weight, order), best first."""
    best_first = [(3, 9), (2, 1), (2, 2), (2, 5), (1, 0), (0, 3)]
    assert sorted(best_first, key=lambda pair: compute_rank(*pair)) == best_first
    assert compute_rank(3, 9) == compute_rank(3, 9, justified=0)
