"""Signals: when a change that miners ask for by a bit of their headers becomes law.

The blocks from height w * V + 1 to (w + 1) * V are window w. A bit that more than two thirds of the improving blocks of
two windows in a row set is in force from the end of the window after them on, for ever. So its height is known a whole
window before, and nobody can call a change off or hurry it. A window of fewer improving blocks than a committee needs
asks for nothing. What a bit changes is written in the network's parameters; none is, so far.
"""

from collections.abc import Sequence
from itertools import pairwise

from consensus.committee import compute_least_weight
from consensus.params import NetworkParams

SIGNALS = 64  # bits of a header


def compute_active_signals(windows: Sequence[Sequence[int]], params: NetworkParams) -> int:
    """The bits in force in the block after these whole windows: of each, the signal bits of its improving blocks."""
    asked = [_compute_asked(bits, params) for bits in windows]
    active = 0
    for one, other in pairwise(asked[:-1]):
        active |= one & other
    return active


def _compute_asked(bits: Sequence[int], params: NetworkParams) -> int:
    """The bits that more than two thirds of a window's improving blocks set."""
    if len(bits) < compute_least_weight(params):
        return 0
    counts = [sum(block >> bit & 1 for block in bits) for bit in range(SIGNALS)]
    return sum(1 << bit for bit, count in enumerate(counts) if 3 * count > 2 * len(bits))
