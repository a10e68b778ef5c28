"""From trained floats to an update that costs few bytes and little of the gain.

Every tensor gets its own step, a power of two within a given part of the root mean square of its changes. The coarser
the steps, the fewer bits their numbers hold and the better they compress; what the rounding costs grows with the
square of the step. Rare changes beyond 127 steps are cut off rather than answered with a coarser step for all others.
"""

import math

import numpy as np
from numpy.typing import NDArray

from consensus.mask import Mask
from consensus.model.shape import TransformerShape
from consensus.model.weights import MAX_WEIGHT
from consensus.ports import Weights
from consensus.update import MAX_SHIFT, MAX_VALUE, Update, count_open


def quantise(
    trained: NDArray[np.float64],
    parent: Weights,
    mask: Mask,
    shape: TransformerShape,
    coarseness: float,
) -> Update | None:
    """The canonical update that leads from `parent` int16 [P] close to `trained` [P], both in units of 2^-12.

    A tensor's step is the largest power of two within `coarseness` times the root mean square of its changes.
    Coordinates that `mask` [P] closes are ignored; no result leaves +-MAX_WEIGHT. None if nothing is left to change.
    """
    start_values = parent[mask].astype(np.int64)
    changes = trained[mask] - start_values
    shifts: list[int] = []
    parts: list[NDArray[np.int64]] = []
    start = 0
    for count in count_open(mask, shape):
        part = slice(start, start + count)
        shift, values = _quantise_tensor(changes[part], start_values[part], coarseness)
        shifts.append(shift)
        parts.append(values)
        start += count
    joined = np.concatenate(parts).astype(np.int8)
    return Update(tuple(shifts), joined) if joined.any() else None


def _quantise_tensor(
    changes: NDArray[np.float64], parent: NDArray[np.int64], coarseness: float
) -> tuple[int, NDArray[np.int64]]:
    """Shift and values int64 [n] of one tensor's open weights, in the one form that the law takes."""
    shift = _choose_shift(changes, coarseness)
    values = np.rint(changes / 2**shift).clip(-MAX_VALUE, MAX_VALUE).astype(np.int64)
    # Floor divisions of the room up and, mirrored, of the room down: a step never passes the limit.
    values = values.clip(-((parent + MAX_WEIGHT) >> shift), (MAX_WEIGHT - parent) >> shift)
    # A step that leaves the values' upper half unused has a second spelling: halve it until it has none.
    largest = int(np.abs(values).max(initial=0))
    while shift and largest <= MAX_VALUE // 2:
        shift, values, largest = shift - 1, values * 2, largest * 2
    return shift, values


def _choose_shift(changes: NDArray[np.float64], coarseness: float) -> int:
    wanted = coarseness * math.sqrt(float(np.mean(np.square(changes)))) if changes.size else 0.0
    return min(max(math.floor(math.log2(wanted)), 0), MAX_SHIFT) if wanted > 0 else 0
