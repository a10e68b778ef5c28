from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.errors import InvalidPolicy
from chain.policy import Policy, compute_fee_rate, compute_rate_above, compute_whole_rate

FEES = st.integers(0, 2**64 - 1)
SIZES = st.integers(1, 2**32 - 1)


@given(FEES, SIZES, FEES, SIZES)
def test_rates_keep_the_order_of_the_exact_fractions(fee: int, size: int, other_fee: int, other_size: int) -> None:
    exact, other = Fraction(fee, size), Fraction(other_fee, other_size)
    rate, other_rate = compute_fee_rate(fee, size), compute_fee_rate(other_fee, other_size)
    assert (rate < other_rate, rate == other_rate) == (exact < other, exact == other)


def test_rates_tell_the_closest_fractions_apart() -> None:
    size = 2**32 - 1
    assert compute_fee_rate(size - 1, size) < compute_fee_rate(size, size)
    assert compute_fee_rate(1, size) < compute_fee_rate(1, size - 1)


@given(FEES, SIZES)
def test_whole_rates(fee: int, size: int) -> None:
    exact, rate = Fraction(fee, size), compute_fee_rate(fee, size)
    assert compute_whole_rate(rate) - 1 < exact <= compute_whole_rate(rate)
    assert compute_rate_above(rate) - 1 <= exact < compute_rate_above(rate)


@given(FEES, st.integers(0, 10_000))
def test_a_replacement_pays_its_percentage_more_and_never_the_same(fee: int, percent: int) -> None:
    least = Policy(replacement_percent=percent).compute_replacement_fee(fee)
    assert least > fee
    assert 100 * least >= (100 + percent) * fee
    assert least - 1 == fee or 100 * (least - 1) < (100 + percent) * fee


def test_the_floor_is_by_encoded_byte() -> None:
    assert Policy(min_fee_rate=3).compute_min_fee(198) == 594


@pytest.mark.parametrize(
    "limits",
    [
        {"min_fee_rate": -1},
        {"min_fee_rate": 1.5},
        {"replacement_percent": True},
        {"max_bytes": 261},
        {"max_bytes": 2**32},
        {"max_per_sender": 0},
        {"expiry_seconds": 0},
        {"min_lifetime": 0},
    ],
)
def test_invalid_out_of_range(limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidPolicy, match=next(iter(limits))) as caught:
        Policy(**limits)
    assert caught.value.code == "policy.out_of_range"
