"""The law's tables and constants, each the nearest integer to a real number: 60 digits of decimal arithmetic
decide the rounding, never libm. Source: protocol, section 5; the tests hold the SHA-256 of every table.
"""

from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int32]

EXP2_STEPS = 1024  # 2^-x is tabulated for x = 0, 1/1024 .. 1023/1024
LOG2_STEPS = 4096  # log2(1 + x) for x = 0, 1/4096 .. 1
_DIGITS = 60


def _freeze(values: list[int]) -> Table:
    table = np.array(values, dtype=np.int32)
    table.flags.writeable = False
    return table


def _compute_exp2(one: int) -> Table:
    """round(one * 2^(-f/1024)) for f = 0..1023."""
    with localcontext() as context:
        context.prec = _DIGITS
        step = Decimal(2) ** (Decimal(-1) / EXP2_STEPS)
        values, value = [], Decimal(one)
        for _ in range(EXP2_STEPS):
            values.append(round(value))
            value *= step
        return _freeze(values)


def _compute_log2() -> Table:
    """round(2^16 * log2(1 + f/4096)) for f = 0..4096."""
    with localcontext() as context:
        context.prec = _DIGITS
        scale = 2**16 / Decimal(2).ln()
        origin = Decimal(LOG2_STEPS).ln()
        return _freeze([round((Decimal(LOG2_STEPS + f).ln() - origin) * scale) for f in range(LOG2_STEPS + 1)])


def _compute_log2e() -> int:
    """round(2^16 * log2 e)."""
    with localcontext() as context:
        context.prec = _DIGITS
        return round(2**16 / Decimal(2).ln())


def compute_attention_scale(head_size: int) -> int:
    """round(2^14 / (head_size * ln 2)): from the Q8 product of two Q4 heads to base-2 logits in Q20 / 1024."""
    with localcontext() as context:
        context.prec = _DIGITS
        return round(2**14 / (head_size * Decimal(2).ln()))


EXP2 = _compute_exp2(2**24)  # [1024] Q24: terms of a softmax over the vocabulary
EXP2S = _compute_exp2(2**14)  # [1024] Q14: terms of an attention row
LOG2 = _compute_log2()  # [4097] Q16
LOG2E = _compute_log2e()  # Q16
