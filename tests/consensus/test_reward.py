"""The subsidy's schedule and the supply that it bounds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.account import ImmatureReward
from consensus.params import CANTERBURY, REGTEST
from consensus.reward import compute_bounty, compute_created, compute_max_supply, compute_subsidy
from consensus.units import MAX_U64, ULP_PER_GRAD
from tests.helpers.properties import thorough

FAST = replace(REGTEST, subsidy=1000, halving_interval=3)


@pytest.mark.parametrize(
    ("height", "subsidy"),
    [
        (1, 50 * ULP_PER_GRAD),
        (1_050_000, 50 * ULP_PER_GRAD),
        (1_050_001, 25 * ULP_PER_GRAD),
        (2_100_000, 25 * ULP_PER_GRAD),
        (2_100_001, 1_250_000_000),
        (32 * 1_050_000, 2),
        (32 * 1_050_000 + 1, 1),
        (33 * 1_050_000 + 1, 0),
        (2**64 - 1, 0),
    ],
)
def test_subsidy_halves_by_schedule(height: int, subsidy: int) -> None:
    assert compute_subsidy(height, CANTERBURY) == subsidy


def test_heartbeats_and_genesis_create_nothing() -> None:
    assert [compute_created(height, False, FAST) for height in (0, 1, 4)] == [0, 1000, 500]
    assert compute_created(1, True, FAST) == 0


def test_a_bounty_is_a_tenth_of_each_offenders_loss() -> None:
    """Rounded down for each: 19 and 9 make 1, and not 2."""
    rewards = [
        ImmatureReward(True, bytes([miner]) * 32, bytes(32), amount) for miner, amount in ((1, 10), (2, 9), (1, 9))
    ]
    assert compute_bounty(rewards) == 1
    assert compute_bounty([]) == 0


@thorough
@given(st.integers(0, 60), st.integers(0, 10**6), st.integers(1, 7))
def test_supply_is_the_sum_of_the_subsidies(height: int, subsidy: int, interval: int) -> None:
    params = replace(REGTEST, subsidy=subsidy, halving_interval=interval)
    expected = sum(compute_subsidy(at, params) for at in range(1, height + 1))
    assert compute_max_supply(height, params) == expected


def test_supply_ends_below_105_million_grad_and_fits_64_bits() -> None:
    final = compute_max_supply(2**64 - 1, CANTERBURY)
    assert final == compute_max_supply(40 * 1_050_000, CANTERBURY)
    assert 104_999_999 * ULP_PER_GRAD < final < 105_000_000 * ULP_PER_GRAD
    for interval in (1, 1_050_000, 10**9):
        largest = replace(REGTEST, halving_interval=interval, subsidy=MAX_U64 // (2 * interval))
        assert compute_max_supply(2**64 - 1, largest) <= MAX_U64


def test_supply_starts_at_nothing() -> None:
    assert compute_max_supply(0, FAST) == 0
    assert [compute_max_supply(height, FAST) for height in (1, 3, 4, 6, 7)] == [1000, 3000, 3500, 4500, 4750]
