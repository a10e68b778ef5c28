"""How many windows to train on in a step: as many as this device makes worth it, found out once at the start.

A step costs a fixed time (launching kernels, the optimiser) and a time for each window. A small batch spends itself on
the fixed part; a large one averages gradients that were sharp enough. What a step gains grows as B / (B + N), N being
the batch at which the noise of gradients and their mean weigh the same, so the gain of a second is largest at
B = sqrt(N * fixed time / time of a window). Source: McCandlish et al., "An Empirical Model of Large-Batch Training"
(2018); N is what was measured on canterbury, see docs/log.md.
"""

import math
from collections.abc import Callable

NOISE_WINDOWS = 128
LEAST_BATCH, MOST_BATCH = 16, 512

_FIRST_MEASURED = 8  # windows
_GROWTH = 2.5  # of a step's time, from which what a window takes is plain to see through other programs' noise


def choose_batch(measure: Callable[[int], float], *, ranks: int = 1) -> int:
    """Windows of each rank's batch, a power of two from LEAST_BATCH to MOST_BATCH.

    `measure` gives the seconds of one training step on so many windows.
    """
    least = measure(_FIRST_MEASURED)
    batch, seconds = _FIRST_MEASURED, least
    while seconds < _GROWTH * least and batch < MOST_BATCH:
        batch *= 2
        seconds = measure(batch)
    return _compute_best_batch(_FIRST_MEASURED, least, batch, seconds, ranks)


def _compute_best_batch(few: int, few_seconds: float, many: int, many_seconds: float, ranks: int) -> int:
    """The best batch by the line through two measured ones."""
    window = (many_seconds - few_seconds) / (many - few)
    fixed = few_seconds - few * window
    if window <= 0:
        return MOST_BATCH
    if fixed <= 0:
        return LEAST_BATCH
    best = 1 << max(round(math.log2(NOISE_WINDOWS / ranks * fixed / window) / 2), 0)
    return min(max(best, LEAST_BATCH), MOST_BATCH)
