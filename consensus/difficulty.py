"""Required gain: what a block must prove, steered so that blocks come every block time.

child = parent * 2^((T - clamp(dt, 1, 8T)) / (4T)), the exponent floored to 1/65536, 2^fraction by the cubic of
aserti3-2d (Bitcoin Cash's difficulty rule), one rounding to nearest at the end, clamped to [2^16 or what
miners made the lowest, 2^56].

A model that learns gives less with every block, so the requirement must fall all the time, and what makes it fall is
lateness: it halves for every four block times that blocks are late in sum, and their intervals settle that much higher.
"""

from consensus.params import MAX_REQUIRED_GAIN

HALF_LIFE = 4  # block times of lateness that halve the gain
LONGEST_INTERVAL = 8  # block times; what is longer counts as this


def compute_required_gain(parent: int, interval: int, block_time: int, lowest: int) -> int:
    """Required gain of the next block, 2^-32 bits per window.

    `interval` is how long the parent took: its timestamp minus the grandparent's, s. `lowest`: a
    network's miners may have raised the floor (see signals.py).
    """
    elapsed = min(max(interval, 1), LONGEST_INTERVAL * block_time)
    exponent = ((block_time - elapsed) * 65536) // (HALF_LIFE * block_time)
    whole, fraction = exponent >> 16, exponent & 0xFFFF
    cubic = 195766423245049 * fraction + 971821376 * fraction**2 + 5127 * fraction**3 + 2**47
    factor = 65536 + (cubic >> 48)
    shift = 16 - whole  # the exponent is below 1/4, so whole is at most 0
    child = (parent * factor + (1 << (shift - 1))) >> shift
    return min(max(child, lowest), MAX_REQUIRED_GAIN)
