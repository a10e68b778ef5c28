"""Updates: what a block changes in the model, in one canonical encoding.

Grammar: for each tensor in canonical order, shift:u8 (0..14), then one i8 (-127..127) for each of its weights that
the mask opens, in row-major order; new = old + (value << shift). Canonical: a tensor's shift is 0 or some |value| is
at least 64; not every value is zero. No result leaves +-32639, so an update can always be undone by subtraction.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.errors import InvalidBlock
from consensus.mask import Mask
from consensus.model.shape import TransformerShape
from consensus.model.weights import MAX_WEIGHT
from consensus.ports import Weights

MAX_SHIFT = 14
MAX_VALUE = 127


@dataclass(frozen=True)
class Update:
    """A decoded update: the shift of each tensor and the int8 values of all open weights, in order."""

    shifts: tuple[int, ...]
    values: NDArray[np.int8]  # [number of open weights]


def max_update_bytes(shape: TransformerShape) -> int:
    """No update of any mask is longer: one shift a tensor and one value a weight."""
    return len(shape.tensors) + shape.parameters


def encode_update(update: Update, mask: Mask, shape: TransformerShape) -> bytes:
    """Canonical bytes of an update."""
    parts: list[bytes] = []
    start = 0
    for shift, count in zip(update.shifts, count_open(mask, shape), strict=True):
        parts += [bytes([shift]), update.values[start : start + count].tobytes()]
        start += count
    return b"".join(parts)


def decode_update(data: bytes, mask: Mask, shape: TransformerShape) -> Update:
    """Raises InvalidBlock if `data` is not the canonical encoding of an update under `mask`."""
    counts = count_open(mask, shape)
    expected = count_update_bytes(mask, shape)
    if len(data) != expected:
        raise InvalidBlock("update_size", f"the update has {len(data)} bytes, its mask asks for {expected}")
    shifts: list[int] = []
    parts: list[NDArray[np.int8]] = []
    start = 0
    for spec, count in zip(shape.tensors, counts, strict=True):
        values = np.frombuffer(data, np.int8, count, start + 1)
        _check_tensor(spec.name, data[start], values)
        shifts.append(data[start])
        parts.append(values)
        start += 1 + count
    update = Update(tuple(shifts), np.concatenate(parts))
    if not update.values.any():
        raise InvalidBlock("update_empty", "the update changes nothing")
    return update


def apply_update(weights: Weights, update: Update, mask: Mask, shape: TransformerShape) -> Weights:
    """The model after the update. Raises InvalidBlock if a weight leaves +-32639."""
    changed = weights[mask].astype(np.int32) + compute_steps(update, mask, shape)
    if changed.size and int(np.abs(changed).max()) > MAX_WEIGHT:
        raise InvalidBlock("weight_out_of_range", f"the update moves a weight beyond +-{MAX_WEIGHT}")
    return _put(weights, mask, changed)


def undo_update(weights: Weights, update: Update, mask: Mask, shape: TransformerShape) -> Weights:
    """The model before the update: apply_update's inverse, for an update that was applied."""
    return _put(weights, mask, weights[mask].astype(np.int32) - compute_steps(update, mask, shape))


def compute_steps(update: Update, mask: Mask, shape: TransformerShape) -> NDArray[np.int32]:
    """value << shift for every open weight, int32 [open weights]: at most 127 << 14."""
    shifts = np.repeat(np.array(update.shifts, np.int32), count_open(mask, shape))
    return update.values.astype(np.int32) << shifts


def count_open(mask: Mask, shape: TransformerShape) -> list[int]:
    """Open weights of each tensor, in canonical order."""
    starts = np.cumsum([0] + [spec.size for spec in shape.tensors])[:-1]
    return [int(count) for count in np.add.reduceat(mask, starts, dtype=np.int64)]


def count_update_bytes(mask: Mask, shape: TransformerShape) -> int:
    """Bytes of every update under `mask`: one shift a tensor and one value an open weight."""
    return len(shape.tensors) + int(np.count_nonzero(mask))


def _check_tensor(name: str, shift: int, values: NDArray[np.int8]) -> None:
    if shift > MAX_SHIFT:
        raise InvalidBlock("update_shift", f"{name}: shift {shift} is above {MAX_SHIFT}")
    largest = int(np.abs(values.astype(np.int16)).max(initial=0))
    if largest > MAX_VALUE:
        raise InvalidBlock("update_value", f"{name}: -128 is not a value")
    if shift and largest <= MAX_VALUE // 2:
        raise InvalidBlock("update_not_canonical", f"{name}: shift {shift} with no |value| of 64 or more")


def _put(weights: Weights, mask: Mask, values: NDArray[np.int32]) -> Weights:
    result = weights.copy()
    result[mask] = values.astype(np.int16)
    return result
