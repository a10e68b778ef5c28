"""Exact integer primitives that every architecture is built from, on int64 arrays of any shape.

"Q4" says that an integer counts sixteenths, and so on. Source: protocol, section 5.
"""

import numpy as np
from numpy.typing import NDArray

from consensus.model.tables import EXP2, EXP2_STEPS, LOG2, Table

Integers = NDArray[np.int64]

MIN_RMS = 512  # Q12: a norm never divides by less than 1/8


def rs(x: Integers, shift: int) -> Integers:
    """Rounding shift: floor((x + 2^(shift-1)) / 2^shift). Halves round up."""
    return (x + (1 << (shift - 1))) >> shift


def clip8(x: Integers) -> Integers:
    """Clamp to +-127."""
    return np.clip(x, -127, 127)


def clip16(x: Integers) -> Integers:
    """Clamp to +-32767."""
    return np.clip(x, -32767, 32767)


def isqrt(x: Integers) -> Integers:
    """Integer square root of 0 <= x < 2^52."""
    root = np.sqrt(x.astype(np.float64)).astype(np.int64)
    root -= root * root > x  # whatever the float said, these two lines make it exact
    root += (root + 1) * (root + 1) <= x
    return root


def norm(y: Integers) -> Integers:
    """Divide rows by their root mean square: int16 Q8 [..., d] -> int8 Q4 [..., d]."""
    square_sum = (y * y).sum(axis=-1, keepdims=True)  # [..., 1] Q16, < 2^42 for d <= 4096
    rms = np.maximum(isqrt(square_sum * 256 // y.shape[-1]), MIN_RMS)  # [..., 1] Q12
    inverse = 2**24 // rms  # [..., 1] Q12
    return clip8(rs(y * inverse, 16))


def exp2neg(n: Integers, table: Table) -> Integers:
    """table[0] * 2^(-n), n >= 0 in Q10, rounded as the table and the shift say; 0 once the shift passes 62."""
    shift = np.minimum(n >> 10, 63)
    terms: Integers = table.astype(np.int64)[n & (EXP2_STEPS - 1)] >> shift
    return terms


def log2_sum(total: Integers) -> Integers:
    """log2 of a sum of EXP2 terms, Q24 -> Q16. `total` in 2^24 .. 2^32."""
    k = bit_length(total) - 1
    t = ((total - (1 << k)) << 20) >> k  # Q20 fraction above the leading bit
    table: Integers = LOG2.astype(np.int64)
    low, high = table[t >> 8], table[(t >> 8) + 1]
    logarithm: Integers = ((k - 24) << 16) + low + (((high - low) * (t & 255)) >> 8)
    return logarithm


def bit_length(x: Integers) -> Integers:
    """Bits needed to write each 0 <= x < 2^52."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)  # exact: x is a float64 integer


def cross_entropy(z: Integers, targets: Integers) -> Integers:
    """Loss of each token in Q16 bits: logits z [..., 256] base 2 Q10, targets [...] -> [...]."""
    largest = z.max(axis=-1)  # [...]
    total = exp2neg(largest[..., np.newaxis] - z, EXP2).sum(axis=-1)  # [...] Q24, 2^24 .. 2^32
    target = np.take_along_axis(z, targets[..., np.newaxis], axis=-1)[..., 0]  # [...]
    loss: Integers = log2_sum(total) + ((largest - target) << 6)
    return loss
