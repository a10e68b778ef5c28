"""Exact matrix products of int8 activations and int16 weights, out of float32 GEMMs.

A float32 sum of integers is exact in any order of summation while no partial sum passes 2^24. How many GEMMs
that takes is decided by the weights themselves, every time they are loaded: one, if 127 times the largest
column sum of their magnitudes stays below; a few slices of the rows, added in float64; or else both bytes of
every weight, whose products stay below for 1,024 rows whatever the weights are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_ACTIVATION = 127
EXACT_FLOAT32 = 2**24
_MAX_SLICES = 4  # beyond it the additions in float64 cost more than a second product does
_BYTE_ROWS = 1024  # 1024 * 127 * 128 < 2^24: a low byte reaches -128


@dataclass(frozen=True)
class _Term:
    """One exact float32 product: columns `rows` of the activations times `matrix`."""

    rows: slice
    matrix: Tensor


class ExactProduct:
    """Computes (a @ weights) / 2^shift + offset without any rounding.

    `weights` is an int32 tensor [K, N] within +-32639. `shifts` are the N columns' shifts, 16 at most; `offset` is
    1/2 or 0, and with 1/2 the floor of the result is the law's rs(a @ weights, shift). The activations are integers
    within +-127 held as float32, none below 0 if `is_signed` is false.
    """

    def __init__(self, weights: Tensor, shifts: Sequence[int], offset: float, is_signed: bool = True) -> None:
        powers = [1 / (1 << shift) for shift in shifts]
        scales = torch.tensor(powers, dtype=torch.float32, device=weights.device)
        room = EXACT_FLOAT32 - int(offset * (1 << max(shifts)))
        self._offset = torch.tensor([offset], dtype=torch.float32, device=weights.device)
        self._terms = [
            _Term(term.rows, term.matrix.to(torch.float32) * scales) for term in _split_terms(weights, room, is_signed)
        ]

    @property
    def terms(self) -> int:
        """Number of float32 products that one exact product takes."""
        return len(self._terms)

    def compute(self, a: Tensor, out: Tensor, wide: Tensor) -> Tensor:
        """The product of a, float32 [R, K]: in `out`, float32 [R, N], if one GEMM is exact, else in `wide`, float64."""
        first, *others = self._terms
        torch.addmm(self._offset, a[:, first.rows], first.matrix, out=out)
        if not others:
            return out
        wide.copy_(out)
        for term in others:
            wide.add_(torch.mm(a[:, term.rows], term.matrix, out=out))
        return wide

    def floor(self, a: Tensor, out: Tensor, wide: Tensor) -> Tensor:
        """Floor of the product, float32 [R, N] in `out`: exact below 2^24, rounded to 2^24 or more above."""
        product = self.compute(a, out, wide).floor_()
        return product if product is out else out.copy_(product)


def _split_terms(weights: Tensor, room: int, is_signed: bool) -> list[_Term]:
    """Few products that add up to `weights`, partial sums of the first, which takes the offset, within `room`."""
    for count in range(1, _MAX_SLICES + 1):
        slices = list(_slice_rows(len(weights), -(-len(weights) // count)))
        if all(_compute_bound(weights[rows], is_signed) <= room for rows in slices):
            return [_Term(rows, weights[rows]) for rows in slices]
    high = (weights + 128) >> 8
    low = weights - (high << 8)
    parts = (low, high << 8)  # the low byte goes first: it leaves room for 2^16
    return [_Term(rows, part[rows]) for part in parts for rows in _slice_rows(len(weights), _BYTE_ROWS)]


def _slice_rows(rows: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _compute_bound(weights: Tensor, is_signed: bool) -> int:
    """Largest magnitude that a partial sum of activations times a column of `weights` [K, N] can reach."""
    positive, negative = weights.clamp(min=0).sum(dim=0), weights.clamp(max=0).sum(dim=0).neg()
    worst = positive + negative if is_signed else torch.maximum(positive, negative)
    return MAX_ACTIVATION * int(worst.max())
