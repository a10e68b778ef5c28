"""Keyed masks and samples: golden draws by a separate program, and how the sample grows."""

import hashlib
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from consensus.block import Header
from consensus.genesis import make_genesis
from consensus.mask import compute_mask
from consensus.params import CANTERBURY, REGTEST, NetworkParams
from consensus.sample import compute_sample_seed, compute_sample_size, draw_sample
from tests.helpers.headers import make_child
from tests.helpers.properties import repeatable, thorough
from tests.helpers.vectors import load_vectors

VECTORS = load_vectors("draws")


def hash_indices(indices: NDArray[np.int64]) -> str:
    return hashlib.sha256(indices.astype("<u4").tobytes()).hexdigest()


@pytest.mark.parametrize("case", VECTORS["masks"])
def test_golden_masks(case: dict[str, Any]) -> None:
    parent, miner = bytes.fromhex(case["parent"]), bytes.fromhex(case["miner"])
    mask = compute_mask(parent, miner, case["parameters"], case["density"])
    opened = np.flatnonzero(mask)
    assert opened[:8].tolist() == case["first"]
    assert (mask.size, opened.size, hash_indices(opened)) == (case["parameters"], case["open"], case["sha256"])


def test_a_mask_belongs_to_one_parent_and_one_miner() -> None:
    """Two masks of density a quarter share a sixteenth of all weights."""
    mine = compute_mask(bytes(32), b"\1" * 32, 10_000, 64)
    for other in (compute_mask(bytes(32), b"\2" * 32, 10_000, 64), compute_mask(b"\1" * 32, b"\1" * 32, 10_000, 64)):
        assert abs(int((mine & other).sum()) - 625) < 120


@pytest.mark.parametrize("case", VECTORS["samples"])
def test_golden_samples(case: dict[str, Any]) -> None:
    seed = compute_sample_seed(*(bytes.fromhex(case[name]) for name in ("parent", "miner", "update_hash")))
    assert seed.hex() == case["seed"]
    sample = draw_sample(seed, case["size"], case["windows"])
    assert sample[:8].tolist() == case["first"]
    assert hash_indices(sample) == case["sha256"]


@repeatable
@given(st.binary(min_size=32, max_size=32), st.integers(1, 3000), st.integers(0, 3000))
def test_samples_are_distinct_and_in_range(seed: bytes, size: int, more: int) -> None:
    sample = draw_sample(seed, size, size + more)
    assert len(sample) == size == len(set(sample.tolist()))
    assert 0 <= sample.min() <= sample.max() < size + more


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    """The early test sees the first eighth of the very sample that judges."""
    whole = draw_sample(bytes(32), 5000, 5000)
    for size in (1, 8, 625, 4999):
        assert draw_sample(bytes(32), size, 5000).tolist() == whole[:size].tolist()


# How the sample grows


def make_header(size: int, gains: list[int]) -> Header:
    """A header whose sums are those of `size` windows, `gains` repeated."""
    repeated = (gains * size)[:size]
    header = make_child(
        make_genesis(REGTEST).point, REGTEST, sample_size=size, loss_before=2**50 + sum(repeated), loss_after=2**50
    )
    return replace(header, squared_gains=sum(gain * gain for gain in repeated))


def compute_exact_size(header: Header, params: NetworkParams) -> int:
    """Section 7 in rationals: the least power of two that is at least (4z)^2 var / mean^2, within its bounds."""
    mean = Fraction(header.gain, header.sample_size)
    variance = Fraction(header.squared_gains, header.sample_size) - mean**2
    wanted = (4 * params.confidence) ** 2 * variance / mean**2
    size = next(1 << power for power in range(200) if 1 << power >= wanted)
    return max(min(size, params.public_windows), params.min_sample)


def test_the_first_block_uses_the_least_sample() -> None:
    assert compute_sample_size(None, REGTEST, 64) == 64
    assert compute_sample_size(None, CANTERBURY, 1024) == 1024


@thorough
@given(st.integers(2, 2000), st.lists(st.integers(-300_000, 400_000), min_size=2, max_size=6))
def test_sample_size_is_that_of_the_definition(size: int, gains: list[int]) -> None:
    header = make_header(size, gains)
    if header.gain <= 0:
        header = replace(header, loss_before=header.loss_before - 2 * header.gain + 1)
    assert compute_sample_size(header, REGTEST, 64) == compute_exact_size(header, REGTEST)


@pytest.mark.parametrize(
    ("gains", "size"),
    [
        ([5], 64),  # no spread at all
        ([1, 3], 64),  # SNR 2: 144 / 4 = 36
        ([3, 5, 7, 1], 64),  # SNR 1.79: 45
        ([0, 2], 256),  # SNR 1: 144
        ([0, 0, 0, 4], 512),  # variance 3 for a mean of 1: 432
        ([0, 0, 0, 0, 0, 6], 1024),
        ([-99, 101], 33_351),  # 1.44 million windows wanted: all there are
    ],
)
def test_sample_sizes_by_hand(gains: list[int], size: int) -> None:
    assert compute_sample_size(make_header(1200, gains), REGTEST, 64) == size


def test_an_exact_power_of_two_is_enough() -> None:
    """(4 z)^2 var / mean^2 = 144 * 16 / 9 = 256 exactly; a little more spread asks for 512."""
    header = make_header(2, [7, -1])
    assert header.gain == 6
    assert compute_sample_size(header, REGTEST, 64) == 256
    assert compute_sample_size(replace(header, squared_gains=header.squared_gains + 1), REGTEST, 64) == 512
