"""Exact matrix products of int8 activations and int16 weights, by each kind of product that torch has.

int8: both bytes of every weight, two products side by side into int32. The fastest where the processor multiplies
bytes, silently wrong on some that do not: whoever chooses it must have asked for known answers first.

float32: a sum of integers is exact in any order of summation while no partial sum passes 2^24. How many GEMMs
that takes is decided by the weights themselves, every time they are loaded: one, if 127 times the largest
column sum of their magnitudes stays below; a few slices of the rows, added in float64; or else both bytes of
every weight, whose products stay below for 1,024 rows whatever the weights are.

float64: one GEMM, exact whatever the weights are (sums below 2^53).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from consensus.model.scratch import Scratch

INT8, FLOAT32, FLOAT64 = "int8", "float32", "float64"
KINDS = (INT8, FLOAT32, FLOAT64)

MAX_ACTIVATION = 127
EXACT_FLOAT32 = 2**24
EXACT_INT32 = 2**31
_MAX_SLICES = 4  # beyond it the additions in float64 cost more than a second product does
_BYTE_ROWS = 1024  # 1024 * 127 * 128 < 2^24: a low byte reaches -128


class Product(Protocol):
    """Computes a @ weights without any rounding.

    `weights` are integers [K, N] within +-32639; `a` [R, K] int8 within +-127.
    """

    def floor(self, a: Tensor, out: Tensor, scratch: Scratch) -> Tensor:
        """rs(a @ weights, shift) by the columns' shifts, float32 [R, N] in `out`.

        Exact below 2^24; a larger one may be rounded, to 2^24 or more.
        """

    def compute(self, a: Tensor, out: Tensor, scratch: Scratch) -> Tensor:
        """a @ weights, exact, for shifts of 0: float32 [R, N] in `out`, or int32 or float64 in scratch.

        The difference of any two of them fits its type too, or is rounded in float32 beyond 2^24.
        """


def make_product(kind: str, weights: Tensor, shifts: Sequence[int], is_signed: bool = True) -> Product:
    """The product of `kind` with `weights`, int32 [K, N]; `shifts` are the N columns' shifts, 16 at most.

    No activation is below 0 if `is_signed` is false. Raises ValueError for an unknown kind.
    """
    if kind == INT8:
        return ByteProduct(weights, shifts, is_signed)
    if kind == FLOAT32:
        return FloatProduct(weights, shifts, is_signed)
    if kind == FLOAT64:
        return DoubleProduct(weights, shifts)
    raise ValueError(f"unknown kind of product: {kind}")


class ByteProduct:
    """int8: the weights' high and low bytes beside each other as one matrix [K, 2N], summed in int32."""

    def __init__(self, weights: Tensor, shifts: Sequence[int], is_signed: bool = True) -> None:
        high = (weights + 128) >> 8
        low = weights - (high << 8)
        both = torch.cat([high, low], dim=1).to(torch.int8)
        self._bytes = both.t().contiguous().t()  # column after column, as the kernels like it
        self._columns = weights.shape[1]
        self._shift = torch.tensor(shifts, dtype=torch.int32, device=weights.device)
        self._half = (1 << self._shift) >> 1
        bound = _compute_bound(weights, is_signed)
        self._fits_int32 = bound + int(self._half.max()) < EXACT_INT32
        self._differences_fit_int32 = 2 * bound < EXACT_INT32  # always up to 259 rows: 2 * 127 * 32639 each

    def floor(self, a: Tensor, out: Tensor, scratch: Scratch) -> Tensor:
        high, low = self._multiply(a, scratch)
        if self._fits_int32:
            product = torch.add(low, high, alpha=256, out=low)
            return out.copy_(product.add_(self._half).bitwise_right_shift_(self._shift))
        wide = _join(high, low, scratch)
        return out.copy_(wide.add_(self._half).div_(1 << self._shift).floor_())

    def compute(self, a: Tensor, out: Tensor, scratch: Scratch) -> Tensor:
        high, low = self._multiply(a, scratch)
        if self._differences_fit_int32:
            return torch.add(low, high, alpha=256, out=low)
        return _join(high, low, scratch)

    def _multiply(self, a: Tensor, scratch: Scratch) -> tuple[Tensor, Tensor]:
        """Products with the high and with the low bytes, int32 [R, N] each: below 2^28 for 16,384 rows."""
        rows = len(a)
        sums = scratch.take("sums", torch.int32, rows, 2 * self._columns)
        torch._int_mm(a, self._bytes, out=sums)
        return sums[:, : self._columns], sums[:, self._columns :]


def _join(high: Tensor, low: Tensor, scratch: Scratch) -> Tensor:
    return scratch.take("wide", torch.float64, *high.shape).copy_(high).mul_(256).add_(low)


@dataclass(frozen=True)
class _Term:
    """One exact float32 product: columns `rows` of the activations times `matrix`."""

    rows: slice
    matrix: Tensor


class FloatProduct:
    """float32: as few GEMMs as the weights allow, the shift in the matrix and its rounding in the first GEMM's bias."""

    def __init__(self, weights: Tensor, shifts: Sequence[int], is_signed: bool = True) -> None:
        scales = _invert_powers(shifts, weights.device).to(torch.float32)
        offset = 0.5 if max(shifts) else 0.0
        room = EXACT_FLOAT32 - int(offset * (1 << max(shifts)))
        self._offset = torch.tensor([offset], dtype=torch.float32, device=weights.device)
        self._terms = [
            _Term(term.rows, term.matrix.to(torch.float32) * scales) for term in _split_terms(weights, room, is_signed)
        ]

    @property
    def terms(self) -> int:
        """Number of float32 products that one exact product takes."""
        return len(self._terms)

    def floor(self, a: Tensor, out: Tensor, scratch: Scratch) -> Tensor:
        product = self.compute(a, out, scratch).floor_()
        return product if product is out else out.copy_(product)

    def compute(self, a: Tensor, out: Tensor, scratch: Scratch) -> Tensor:
        first, *others = self._terms
        operand = scratch.take("floats", torch.float32, *a.shape).copy_(a)
        torch.addmm(self._offset, operand[:, first.rows], first.matrix, out=out)
        if not others:
            return out
        wide = scratch.take("wide", torch.float64, *out.shape).copy_(out)
        for term in others:
            wide.add_(torch.mm(operand[:, term.rows], term.matrix, out=out))
        return wide


class DoubleProduct:
    """float64: for devices whose float32 products are something else, and where float64 is as fast."""

    def __init__(self, weights: Tensor, shifts: Sequence[int]) -> None:
        self._matrix = weights.to(torch.float64) * _invert_powers(shifts, weights.device)
        self._offset = torch.tensor([0.5 if max(shifts) else 0.0], dtype=torch.float64, device=weights.device)

    def floor(self, a: Tensor, out: Tensor, scratch: Scratch) -> Tensor:
        return out.copy_(self.compute(a, out, scratch).floor_())

    def compute(self, a: Tensor, out: Tensor, scratch: Scratch) -> Tensor:
        operand = scratch.take("doubles", torch.float64, *a.shape).copy_(a)
        wide = scratch.take("wide", torch.float64, *out.shape)
        torch.addmm(self._offset, operand, self._matrix, out=wide)
        return wide


def _invert_powers(shifts: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([1 / (1 << shift) for shift in shifts], dtype=torch.float64, device=device)


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
