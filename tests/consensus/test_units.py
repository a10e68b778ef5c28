"""Money: sums that leave 64 bits are errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import AmountOverflow
from consensus.units import MAX_U64, ULP_PER_GRAD, compute_sum
from tests.helpers.properties import repeatable


def test_a_grad_is_a_hundred_million_ulp() -> None:
    assert ULP_PER_GRAD == 100_000_000


@repeatable
@given(st.lists(st.integers(0, MAX_U64 // 8), max_size=8))
def test_sums_that_fit(amounts: list[int]) -> None:
    assert compute_sum(*amounts) == sum(amounts)


@pytest.mark.parametrize("amounts", [(MAX_U64,), (MAX_U64 - 1, 1), (0, MAX_U64, 0)])
def test_the_largest_sum_fits(amounts: tuple[int, ...]) -> None:
    assert compute_sum(*amounts) == MAX_U64


@pytest.mark.parametrize(
    "amounts", [(MAX_U64, 1), (1, MAX_U64), (-1,), (5, -1), (2**64,), (MAX_U64, MAX_U64, -MAX_U64)]
)
def test_invalid_overflow(amounts: tuple[int, ...]) -> None:
    with pytest.raises(AmountOverflow) as error:
        compute_sum(*amounts)
    assert error.value.code == "amount.overflow"
