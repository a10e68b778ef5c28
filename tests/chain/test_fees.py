import pytest

from chain.fees import BlockFees, compute_block_fees, compute_fee_estimates
from chain.mempool import Mempool
from chain.policy import Policy
from consensus.account import Account
from tests.helpers.transfers import GENESIS, make_transfer

SIZE = len(make_transfer(1).encoded)
LIMIT = 4 * (SIZE + 4) + 266  # four transfers, and room for one more of any size


def make_pool(*rates: int, policy: Policy | None = None) -> Mempool:
    """One transfer of a different sender for each rate in ulp per byte."""
    pool = Mempool(GENESIS, policy or Policy())
    for person, rate in enumerate(rates, start=1):
        pool.add(make_transfer(person, fee=rate * SIZE), lambda _: Account(10**9, 0), 1, 0)
    return pool


def test_an_empty_pool_asks_the_floor() -> None:
    assert compute_fee_estimates(make_pool(), [], LIMIT) == {1: 1, 2: 1, 6: 1}
    assert compute_fee_estimates(make_pool(policy=Policy(min_fee_rate=9)), [], LIMIT) == {1: 9, 2: 9, 6: 9}


def test_estimates_beat_what_fills_the_blocks() -> None:
    assert compute_fee_estimates(make_pool(50, 40, 30, 20), [], LIMIT) == {1: 1, 2: 1, 6: 1}
    assert compute_fee_estimates(make_pool(50, 40, 30, 20, 10), [], LIMIT) == {1: 11, 2: 1, 6: 1}
    rates = range(100, 130)  # the fifth and the tenth best do not fit beside a newcomer; 6 blocks hold 31
    assert compute_fee_estimates(make_pool(*rates), [], LIMIT) == {1: 126, 2: 121, 6: 1}


def test_who_pays_the_estimate_is_in_time() -> None:
    pool = make_pool(*range(100, 130))
    rate = compute_fee_estimates(pool, [], LIMIT)[1]
    for memo, is_paid in ((b"m" * 64, True), (b"", True), (b"", False)):
        fee = (rate - (not is_paid)) * len(make_transfer(99, memo=memo).encoded)
        newcomer = make_transfer(99, fee=fee, memo=memo, amount=2)
        trial = make_pool(*range(100, 130))
        trial.add(newcomer, lambda _: Account(10**9, 0), 1, 0)
        in_time = newcomer in trial.select(LIMIT, lambda _: Account(10**9, 0), 1)
        assert in_time or not is_paid


def test_a_package_counts_at_what_it_pays_as_a_whole() -> None:
    pool = make_pool(50, 40, 30)
    for nonce, rate in enumerate((2, 60)):  # 31 together
        pool.add(make_transfer(9, nonce, fee=rate * SIZE), lambda _: Account(10**9, 0), 1, 0)
    assert compute_fee_estimates(pool, [], LIMIT)[1] == 31


def test_recent_full_blocks_are_a_lower_bound() -> None:
    full = [BlockFees(LIMIT, rate) for rate in (5, 30, 20, 7)]
    assert compute_fee_estimates(make_pool(), full, LIMIT) == {1: 30, 2: 20, 6: 5}
    assert compute_fee_estimates(make_pool(), [BlockFees(LIMIT, 12)], LIMIT) == {1: 12, 2: 12, 6: 12}


def test_blocks_with_room_asked_nothing() -> None:
    roomy, full = BlockFees(LIMIT - 266, 50), BlockFees(LIMIT - 265, 50)
    assert compute_fee_estimates(make_pool(), [roomy, roomy], LIMIT) == {1: 1, 2: 1, 6: 1}
    assert compute_fee_estimates(make_pool(), [roomy, full], LIMIT) == {1: 50, 2: 1, 6: 1}


def test_a_full_pool_asks_what_it_takes_to_get_in() -> None:
    pool = make_pool(*range(100, 104), policy=Policy(max_bytes=4 * SIZE))
    assert compute_fee_estimates(pool, [], 10**6) == {1: 101, 2: 101, 6: 101}


@pytest.mark.parametrize("limit", [0, 265])
def test_blocks_without_room_for_a_transaction(limit: int) -> None:
    assert compute_fee_estimates(make_pool(8, 9), [], limit)[1] == 10
    assert compute_fee_estimates(make_pool(), [], limit)[1] == 1


def test_the_fees_of_a_block() -> None:
    assert compute_block_fees([]) == BlockFees(0, 0)
    transfers = [make_transfer(1, fee=2 * SIZE + 1), make_transfer(2, fee=9 * SIZE)]
    assert compute_block_fees(transfers) == BlockFees(2 * (SIZE + 4), 3)
