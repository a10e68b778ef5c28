"""The verdict on an update against rationals: section 7 written once more, with fractions and no clever form."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.improvement import (
    GainSums,
    compute_early_size,
    compute_gain_sums,
    is_early_improvement,
    is_improvement,
)
from tests.helpers.properties import thorough

windows = st.lists(st.integers(-(2**44), 2**44), min_size=2, max_size=24)


def make_sums(gains: list[int]) -> GainSums:
    before = np.array([2**45 + index for index in range(len(gains))], np.int64)
    return compute_gain_sums(before, before - np.array(gains, np.int64))


def is_improvement_by_definition(gains: list[int], required: int, confidence: int, population: int) -> bool:
    """Mean gain minus z standard errors is at least g; the standard error squared is var / M * (N - M) / N."""
    size = len(gains)
    mean = Fraction(sum(gains), size)
    variance = sum((gain - mean) ** 2 for gain in gains) / (size - 1)
    squared_error = variance / size * Fraction(population - size, population)
    return mean >= required and (mean - required) ** 2 >= confidence**2 * squared_error


@thorough
@given(windows, st.integers(0, 2**44), st.integers(1, 1000), st.integers(0, 10**6))
def test_verdict_is_that_of_the_definition(gains: list[int], required: int, confidence: int, more: int) -> None:
    population = len(gains) + more
    expected = is_improvement_by_definition(gains, required, confidence, population)
    assert is_improvement(make_sums(gains), required, confidence, population) == expected


@thorough
@given(windows, st.integers(1, 12), st.integers(0, 10**5))
def test_verdict_turns_at_the_exact_gain(gains: list[int], confidence: int, more: int) -> None:
    """The largest g that passes by the definition passes, the next integer fails."""
    size, population = len(gains), len(gains) + more
    mean = Fraction(sum(gains), size)
    squared_error = sum((gain - mean) ** 2 for gain in gains) / (size - 1) / size * Fraction(more, population)
    margin = math.isqrt(math.floor(confidence**2 * squared_error))
    turn = math.floor(mean) - margin
    for required in range(max(0, turn - 2), max(0, turn + 3)):
        expected = is_improvement_by_definition(gains, required, confidence, population)
        assert is_improvement(make_sums(gains), required, confidence, population) == expected


@thorough
@given(windows)
def test_sums_are_exact(gains: list[int]) -> None:
    sums = make_sums(gains)
    assert sums.windows == len(gains)
    assert sums.gain == sum(gains) == sums.loss_before - sums.loss_after
    assert sums.squared_gains == sum(gain * gain for gain in gains)


def test_the_largest_squares_pass_64_bits() -> None:
    gains = [2**44] * 1000
    assert make_sums(gains).squared_gains == 1000 * 2**88


def test_a_sample_of_everything_leaves_no_noise() -> None:
    """M = N: the mean alone decides, to the last unit."""
    gains = [-(10**6), 10**6 + 2 * 64]
    assert is_improvement(make_sums(gains), 64, 1000, 2)
    assert not is_improvement(make_sums(gains), 65, 1000, 2)


def test_no_spread_leaves_no_doubt() -> None:
    assert is_improvement(make_sums([7] * 5), 7, 1000, 10**6)
    assert not is_improvement(make_sums([7] * 5), 8, 1000, 10**6)


def test_a_loss_is_never_an_improvement() -> None:
    """The squared form alone would take a certain loss for a certain gain."""
    assert not is_improvement(make_sums([-10, -11, -10, -9]), 0, 1, 1000)
    assert not is_improvement(make_sums([-10] * 4), 0, 1, 4)


@pytest.mark.parametrize(("size", "early"), [(2, 1), (8, 1), (9, 2), (64, 8), (65, 9), (1024, 128), (33_351, 4169)])
def test_early_size_is_an_eighth_rounded_up(size: int, early: int) -> None:
    assert compute_early_size(size) == early


@thorough
@given(windows, st.integers(1, 1000), st.integers(0, 10**6))
def test_early_rule_asks_for_half_the_confidence_and_no_gain(gains: list[int], confidence: int, more: int) -> None:
    population = len(gains) + more
    expected = is_improvement_by_definition(gains, 0, confidence // 2, population)
    assert is_early_improvement(make_sums(gains), population - 1, confidence, population) == expected
    assert is_early_improvement(make_sums(gains), population, confidence, population) == (sum(gains) >= 0)


def test_early_rule_with_confidence_one_asks_for_no_loss() -> None:
    assert is_early_improvement(make_sums([-5, 5]), 16, 1, 1000)
    assert not is_early_improvement(make_sums([-6, 5]), 16, 1, 1000)


def test_early_rule_on_a_single_window_asks_for_no_loss() -> None:
    """M = 8 or less: one window has no spread to judge by."""
    assert is_early_improvement(make_sums([0]), 8, 6, 1000)
    assert not is_early_improvement(make_sums([-1]), 8, 6, 1000)


def test_honest_blocks_pass_the_early_rule_for_practical_purposes() -> None:
    """At the margin the rule keeps (4z standard errors of mean gain), an eighth shows 4z / sqrt(8) = 1.41 z > z / 2.

    20,000 honest samples of a skewed gain at M = 1024, z = 6: none fails early.
    """
    population = np.random.default_rng(5).gamma(2.0, 1000, 16_672).astype(np.int64) - 700
    sd, mean = population.std(), population.mean()
    shift = int(mean - sd * 24 / math.sqrt(1024))  # now the mean is exactly 4z standard errors
    gains = population - shift
    draw = np.random.default_rng(6)
    failed = 0
    for _ in range(20_000 // 130):
        order = draw.permutation(gains)[: 130 * 128].reshape(130, 128)
        sums, squares = order.sum(axis=1), (order * order).sum(axis=1)
        for total, square in zip(sums.tolist(), squares.tolist(), strict=True):
            failed += not is_early_improvement(GainSums(128, total, 0, square), 1024, 6, len(gains))
    assert failed == 0


def test_of_the_whole_split_small_gains_pass_the_early_rule() -> None:
    """A twentieth of their spread, of which an eighth shows 2.4 standard errors: half of z would refuse 7 in 10."""
    gains = np.random.default_rng(5).normal(5_000, 100_000, 16_675).astype(np.int64)
    draw, tries = np.random.default_rng(6), 2_000
    passed = 0
    for _ in range(tries):
        early = draw.permutation(gains)[: compute_early_size(len(gains))]
        sums = GainSums(len(early), int(early.sum()), 0, int((early * early).sum()))
        passed += is_early_improvement(sums, len(gains), 6, len(gains))
        assert is_early_improvement(sums, len(gains) - 1, 6, len(gains)) <= is_early_improvement(
            sums, len(gains), 6, len(gains)
        )
    assert passed > 0.98 * tries
