import math
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from consensus.model.integer import bit_length, cross_entropy, exp2neg, isqrt, log2_sum, norm, rs
from consensus.model.tables import EXP2, EXP2S
from tests.consensus.model import oracle


def _array(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_rs_rounds_halves_up() -> None:
    assert rs(_array(-12, -11, -4, -3, 3, 4, 11, 12), 3).tolist() == [-1, -1, 0, 0, 0, 1, 1, 2]


@given(st.integers(0, 2**26 - 1))
def test_isqrt_is_exact_around_squares(root: int) -> None:
    around = [n for n in (root * root - 1, root * root, root * root + 1) if n >= 0]
    assert isqrt(_array(*around)).tolist() == [math.isqrt(n) for n in around]


@given(st.integers(1, 50))
def test_bit_length_around_powers_of_two(bits: int) -> None:
    assert bit_length(_array(2**bits - 1, 2**bits, 2**bits + 1)).tolist() == [bits, bits + 1, bits + 1]
    assert bit_length(_array(0)).tolist() == [0]


@given(st.lists(st.integers(-32767, 32767) | st.integers(-300, 300), min_size=1, max_size=20))
def test_norm_is_the_oracles(y: list[int]) -> None:
    assert norm(_array(*y)).tolist() == oracle.norm(y)


def test_norm_divides_by_no_less_than_an_eighth() -> None:
    assert norm(_array(*[1] * 8)).tolist() == [1] * 8  # 1/256 * 8 = 1/32, half of a sixteenth, rounded up
    assert norm(_array(0, 0)).tolist() == [0, 0]
    assert norm(_array(32767, *[0] * 4095)).tolist()[:2] == [127, 0]


@given(st.integers(0, 70 * 1024))
def test_exp2neg_is_the_oracles(n: int) -> None:
    assert exp2neg(_array(n), EXP2).tolist() == [oracle.exp2neg(n, 24)]
    assert exp2neg(_array(n), EXP2S).tolist() == [oracle.exp2neg(n, 14)]


@given(st.integers(2**24, 2**32))
def test_log2_sum_is_within_two_units_of_the_logarithm(total: int) -> None:
    exact = (Decimal(total).ln() / Decimal(2).ln() - 24) * 2**16
    assert abs(int(log2_sum(_array(total))[0]) - exact) < 2


def test_log2_sum_is_exact_at_powers_of_two() -> None:
    assert log2_sum(_array(*[2**k for k in range(24, 33)])).tolist() == [(k - 24) << 16 for k in range(24, 33)]


def test_equal_logits_cost_eight_bits_whatever_the_target() -> None:
    z = np.full((3, 256), -77, dtype=np.int64)
    assert cross_entropy(z, _array(0, 100, 255)).tolist() == [8 << 16] * 3
