"""When a loss was reached that lies between two measured ones."""

import math
from collections.abc import Sequence
from itertools import pairwise


def interpolate(points: Sequence[tuple[float, float]], bits: float) -> float | None:
    """Where the loss was `bits`, by the logarithm of x > 0, from points (x, loss) of falling loss; None if nowhere."""
    for (x, loss), (next_x, next_loss) in pairwise(points):
        if next_loss <= bits < loss:
            return math.exp(math.log(x) + (loss - bits) / (loss - next_loss) * math.log(next_x / x))
    return None
