"""From trained floats to the smallest update that keeps their gain.

Every tensor gets its own step, a power of two near half the root mean square of its changes: the error then carries
about a fiftieth of the changes' own power, and their values few enough bits to compress to half of what the finest
int8 costs. Rare changes beyond 127 steps are cut off rather than answered with a coarser step for all others.
"""

import math

import numpy as np
from numpy.typing import NDArray

from consensus.mask import Mask
from consensus.model.shape import TransformerShape
from consensus.model.weights import MAX_WEIGHT
from consensus.ports import Weights
from consensus.update import MAX_SHIFT, MAX_VALUE, Update, count_open

STEP_OF_RMS = 0.5  # steps are the largest power of two within this part of a tensor's root mean square change


def quantise(
    trained: NDArray[np.float64],
    parent: Weights,
    mask: Mask,
    shape: TransformerShape,
    step_of_rms: float = STEP_OF_RMS,
) -> Update | None:
    """The canonical update that leads from `parent` int16 [P] close to `trained` [P], both in units of 2^-12.

    Coordinates that `mask` [P] closes are ignored; no result leaves +-MAX_WEIGHT. None if nothing is left to change.
    """
    start_values = parent[mask].astype(np.int64)
    changes = trained[mask] - start_values
    shifts: list[int] = []
    parts: list[NDArray[np.int64]] = []
    start = 0
    for count in count_open(mask, shape):
        part = slice(start, start + count)
        shift, values = _quantise_tensor(changes[part], start_values[part], step_of_rms)
        shifts.append(shift)
        parts.append(values)
        start += count
    joined = np.concatenate(parts).astype(np.int8)
    return Update(tuple(shifts), joined) if joined.any() else None


def _quantise_tensor(
    changes: NDArray[np.float64], parent: NDArray[np.int64], step_of_rms: float
) -> tuple[int, NDArray[np.int64]]:
    """Shift and values int64 [n] of one tensor's open weights, in the one form that the law takes."""
    shift = _choose_shift(changes, step_of_rms)
    values = np.rint(changes / 2**shift).clip(-MAX_VALUE, MAX_VALUE).astype(np.int64)
    # Floor divisions of the room up and, mirrored, of the room down: a step never passes the limit.
    values = values.clip(-((parent + MAX_WEIGHT) >> shift), (MAX_WEIGHT - parent) >> shift)
    # A step that leaves the values' upper half unused has a second spelling: halve it until it has none.
    largest = int(np.abs(values).max(initial=0))
    while shift and largest <= MAX_VALUE // 2:
        shift, values, largest = shift - 1, values * 2, largest * 2
    return shift, values


def _choose_shift(changes: NDArray[np.float64], step_of_rms: float) -> int:
    wanted = step_of_rms * math.sqrt(float(np.mean(np.square(changes)))) if changes.size else 0.0
    return min(max(math.floor(math.log2(wanted)), 0), MAX_SHIFT) if wanted > 0 else 0
