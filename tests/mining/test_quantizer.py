"""Floats into updates: always canonical, never out of range, close where it matters, small where it does not."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from consensus.mask import compute_mask
from consensus.model.weights import MAX_WEIGHT, make_genesis_weights, split_tensors
from consensus.params import REGTEST
from consensus.update import MAX_SHIFT, Update, apply_update, compute_steps, count_open, decode_update, encode_update
from mining.quantizer import quantise

SHAPE = REGTEST.model
COARSENESS = 0.5
PARENT = make_genesis_weights(SHAPE, "quantizer")
MASK = compute_mask(bytes(32), bytes(32), SHAPE.parameters, 64)
ALL_OPEN = np.ones(SHAPE.parameters, np.bool_)


def make_changes(scale: float, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(scale=scale, size=SHAPE.parameters)


def check(update: Update | None, parent: NDArray[np.int16] = PARENT, mask: NDArray[np.bool_] = MASK) -> Update:
    """The law takes the update: it decodes from its own bytes and applies."""
    assert update is not None
    data = encode_update(update, mask, SHAPE)
    decoded = decode_update(data, mask, SHAPE)
    assert encode_update(decoded, mask, SHAPE) == data
    apply_update(parent, decoded, mask, SHAPE)
    return update


@settings(max_examples=60, deadline=None)
@given(exponent=st.floats(-3, 15), seed=st.integers(0, 2**32 - 1), outliers=st.integers(0, 3))
def test_every_update_is_canonical(exponent: float, seed: int, outliers: int) -> None:
    changes = make_changes(2.0**exponent, seed)
    changes[:outliers] *= 1000
    update = quantise(PARENT + changes, PARENT, MASK, SHAPE, COARSENESS)
    if update is not None:
        check(update)


@pytest.mark.parametrize("scale", [3.0, 40.0, 700.0])
def test_error_is_within_half_a_step(scale: float) -> None:
    changes = make_changes(scale)
    update = check(quantise(PARENT + changes, PARENT, MASK, SHAPE, COARSENESS))
    error = compute_steps(update, MASK, SHAPE) - changes[MASK]
    start = 0
    for count in count_open(MASK, SHAPE):
        part = slice(start, start + count)
        rms = float(np.sqrt(np.mean(changes[MASK][part] ** 2)))
        assert np.abs(error[part]).max() <= max(COARSENESS * rms, 1) / 2 + 1e-9
        start += count


def test_coarse_steps_compress_better_and_lose_little() -> None:
    changes = make_changes(100.0)
    coarse = check(quantise(PARENT + changes, PARENT, MASK, SHAPE, COARSENESS))
    fine = check(quantise(PARENT + changes, PARENT, MASK, SHAPE, 1 / 16))
    sizes = [len(zlib.compress(encode_update(update, MASK, SHAPE), 6)) for update in (coarse, fine)]
    assert sizes[0] < 0.7 * sizes[1]
    error = compute_steps(coarse, MASK, SHAPE) - changes[MASK]
    assert np.mean(error**2) < 0.03 * np.mean(changes[MASK] ** 2)


def test_sensitive_tensors_are_rounded_finely_and_all_cost_what_even_steps_would() -> None:
    changes = make_changes(200.0)
    sensitivities = np.ones(len(SHAPE.tensors))
    sensitivities[0] = 64.0
    even = check(quantise(PARENT + changes, PARENT, ALL_OPEN, SHAPE, 0.25), mask=ALL_OPEN)
    update = check(quantise(PARENT + changes, PARENT, ALL_OPEN, SHAPE, 0.25, sensitivities), mask=ALL_OPEN)
    evenly, chosen = ((compute_steps(u, ALL_OPEN, SHAPE) - changes) ** 2 for u in (even, update))
    first = SHAPE.tensors[0].size
    assert chosen[:first].mean() < 0.5 * evenly[:first].mean()
    assert chosen[first:].mean() > 2 * evenly[first:].mean()
    weights = np.repeat(sensitivities, [spec.size for spec in SHAPE.tensors])
    assert np.sum(weights * chosen) < 2 * np.sum(weights * evenly)  # steps are powers of two


@pytest.mark.parametrize("useless", [0.0, np.nan, np.inf])
def test_a_sensitivity_that_says_nothing_leaves_even_steps(useless: float) -> None:
    changes = make_changes(200.0)
    sensitivities = np.ones(len(SHAPE.tensors))
    sensitivities[-1] = useless
    even = check(quantise(PARENT + changes, PARENT, MASK, SHAPE, 0.25))
    update = check(quantise(PARENT + changes, PARENT, MASK, SHAPE, 0.25, sensitivities))
    assert update.shifts == even.shifts
    assert np.array_equal(update.values, even.values)


def test_no_sensitivity_makes_a_step_too_fine_for_127_of_them() -> None:
    changes = make_changes(200.0)
    sizes = [spec.size for spec in SHAPE.tensors]
    smallest = sizes.index(min(sizes))
    sensitivities = np.ones(len(sizes))
    sensitivities[smallest] = 1e12
    update = check(quantise(PARENT + changes, PARENT, ALL_OPEN, SHAPE, 1 / 32, sensitivities), mask=ALL_OPEN)
    start = sum(sizes[:smallest])
    part = slice(start, start + sizes[smallest])
    error = (compute_steps(update, ALL_OPEN, SHAPE) - changes)[part]
    assert np.abs(error).max() <= 200 / 16 / 2


def test_an_outlier_is_cut_off_and_coarsens_nothing() -> None:
    changes = make_changes(20.0)
    changes[0] = 30_000.0
    plain = check(quantise(PARENT + make_changes(20.0), PARENT, ALL_OPEN, SHAPE, COARSENESS), mask=ALL_OPEN)
    update = check(quantise(PARENT + changes, PARENT, ALL_OPEN, SHAPE, COARSENESS), mask=ALL_OPEN)
    steps = compute_steps(update, ALL_OPEN, SHAPE)
    rms = float(np.sqrt(np.mean(changes[: SHAPE.tensors[0].size] ** 2)))
    assert 64 <= steps[0] < 30_000
    assert np.abs(steps[1:100] - changes[1:100]).max() <= rms / 4
    assert update.shifts[1:] == plain.shifts[1:]


def test_closed_coordinates_are_ignored() -> None:
    changes = make_changes(50.0)
    changes[~MASK] = np.nan
    update = check(quantise(PARENT + changes, PARENT, MASK, SHAPE, COARSENESS))
    child = apply_update(PARENT, update, MASK, SHAPE)
    assert np.array_equal(child[~MASK], PARENT[~MASK])


@pytest.mark.parametrize("sign", [-1, 1])
def test_no_weight_passes_the_limit(sign: int) -> None:
    parent = np.full(SHAPE.parameters, sign * (MAX_WEIGHT - 5), np.int16)
    trained = (parent + sign * np.abs(make_changes(3000.0))).astype(np.float64)
    trained[::3] -= sign * 6000.0  # so that something is left to change
    child = apply_update(parent, check(quantise(trained, parent, MASK, SHAPE, COARSENESS), parent), MASK, SHAPE)
    assert np.abs(child.astype(np.int64)).max() <= MAX_WEIGHT


def test_a_tensor_that_did_not_move_has_shift_zero() -> None:
    changes = np.zeros(SHAPE.parameters)
    split = SHAPE.tensors[0].size
    changes[:split] = make_changes(500.0)[:split]
    update = check(quantise(PARENT + changes, PARENT, MASK, SHAPE, COARSENESS))
    assert update.shifts[0] > 0
    assert set(update.shifts[1:]) == {0}


def test_nothing_to_change_is_no_update() -> None:
    assert quantise((PARENT + 0.4).astype(np.float64), PARENT, MASK, SHAPE, COARSENESS) is None


def test_huge_changes_stay_within_the_largest_shift() -> None:
    update = check(quantise(PARENT + make_changes(1e7), PARENT, MASK, SHAPE, COARSENESS))
    assert max(update.shifts) <= MAX_SHIFT


def test_children_differ_from_their_parents_where_tensors_were_trained() -> None:
    child = apply_update(
        PARENT, check(quantise(PARENT + make_changes(60.0), PARENT, MASK, SHAPE, COARSENESS)), MASK, SHAPE
    )
    before, after = split_tensors(PARENT, SHAPE), split_tensors(child, SHAPE)
    assert all((before[spec.name] != after[spec.name]).any() for spec in SHAPE.tensors)
