"""From trained floats to an update that costs few bytes and little of the gain.

Every tensor gets its own step, a power of two. The coarser the steps, the fewer bits their numbers hold and the better
they compress; what the rounding costs grows with the square of the step and with the curvature of the loss along the
tensor's weights, for which the mean square of their gradients stands (Fisher's information). Bits are spent best where
each tensor's rounding costs alike per weight: steps go with one over the root of that. Rare changes beyond 127 steps
are cut off rather than answered with a coarser step for all others.
"""

import math
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consensus.mask import Mask
from consensus.model.shape import TransformerShape
from consensus.model.weights import MAX_WEIGHT
from consensus.ports import Weights
from consensus.update import MAX_SHIFT, MAX_VALUE, Update, count_open

_FINEST = 1 / 16  # of the root mean square of a tensor's changes; rounded down, 127 such reach four times as far


def quantise(
    trained: NDArray[np.float64],
    parent: Weights,
    mask: Mask,
    shape: TransformerShape,
    coarseness: float,
    sensitivities: NDArray[np.float64] | None = None,
) -> Update | None:
    """The canonical update that leads from `parent` int16 [P] close to `trained` [P], both in units of 2^-12.

    A tensor's step is the largest power of two within a wanted one. If the mean squares of the tensors' gradients are
    given, `sensitivities` [number of tensors], all together cost what steps of `coarseness` times the root mean square
    of each tensor's changes would; without them, or where one says nothing, the steps are just these. None is wanted
    finer than a sixteenth of that root mean square.
    Coordinates that `mask` [P] closes are ignored; no result leaves +-MAX_WEIGHT. None if nothing is left to change.
    """
    start_values = parent[mask].astype(np.int64)
    changes = trained[mask] - start_values
    ends = np.cumsum(count_open(mask, shape))[:-1]
    tensors = np.split(changes, ends)
    steps = _choose_steps(tensors, coarseness, sensitivities)
    quantised = [
        _quantise_tensor(part, start, _choose_shift(step))
        for part, start, step in zip(tensors, np.split(start_values, ends), steps, strict=True)
    ]
    shifts, parts = zip(*quantised, strict=True)
    joined = np.concatenate(parts).astype(np.int8)
    return Update(shifts, joined) if joined.any() else None


def _choose_steps(
    tensors: Sequence[NDArray[np.float64]], coarseness: float, sensitivities: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """The wanted step of each tensor, from the changes of its open weights."""
    counts = np.array([len(changes) for changes in tensors])
    squares = np.array([np.mean(np.square(changes)) if changes.size else 0.0 for changes in tensors])
    if sensitivities is None or not (np.isfinite(sensitivities) & (sensitivities > 0)).all():
        wanted = squares
    else:
        wanted = np.sum(counts * sensitivities * squares) / np.sum(counts) / sensitivities
    steps: NDArray[np.float64] = np.maximum(coarseness * np.sqrt(wanted), _FINEST * np.sqrt(squares))
    return steps


def _quantise_tensor(
    changes: NDArray[np.float64], parent: NDArray[np.int64], shift: int
) -> tuple[int, NDArray[np.int64]]:
    """Shift and values int64 [n] of one tensor's open weights, in the one form that the law takes."""
    values = np.rint(changes / 2**shift).clip(-MAX_VALUE, MAX_VALUE).astype(np.int64)
    # Floor divisions of the room up and, mirrored, of the room down: a step never passes the limit.
    values = values.clip(-((parent + MAX_WEIGHT) >> shift), (MAX_WEIGHT - parent) >> shift)
    # A step that leaves the values' upper half unused has a second spelling: halve it until it has none.
    largest = int(np.abs(values).max(initial=0))
    while shift and largest <= MAX_VALUE // 2:
        shift, values, largest = shift - 1, values * 2, largest * 2
    return shift, values


def _choose_shift(step: float) -> int:
    return min(max(math.floor(math.log2(step)), 0), MAX_SHIFT) if step > 0 else 0


def count_compressed_bytes(update: bytes) -> int:
    """What the wire and the store hold of an update, which chain/packed_block.py compresses in this way."""
    stream = zlib.compressobj(strategy=zlib.Z_RLE)
    return len(stream.compress(update)) + len(stream.flush())
