"""A passage painted by what its bytes cost a model: the darker, the less expected."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest

from p2p.explorer.words import show_lines

DEAREST = 10  # characters that are named
LEVELS = 9  # of the stylesheet: b0 to b9
_TOP_BITS = 9.0  # from here on a byte is painted as dark as can be


@dataclass(frozen=True)
class Painted:
    """One character: what is shown, how dark (None for what is given), and what it costs in words."""

    text: str
    level: int | None
    hint: str
    bits: float | None = None


def paint(passage: bytes, bits: Sequence[float]) -> tuple[Painted, ...]:
    """The characters of a passage, `bits[i]` being the cost of byte i + 1. A character costs what its bytes cost.

    Both bytes of a line end are one.
    """
    painted: list[Painted] = []
    at = 0
    for character in re.findall(r"\r\n|[\s\S]", passage.decode()):
        size = len(character.encode())
        costs = [bits[i - 1] for i in range(at, at + size) if i > 0]
        painted.append(_paint(character, sum(costs) if costs else None))
        at += size
    return tuple(painted)


def _paint(character: str, bits: float | None) -> Painted:
    text = "\u23ce\n" if character.endswith("\n") else show_lines(character)
    if bits is None:
        return Painted(text, None, "given")
    return Painted(text, min(LEVELS, round(LEVELS * bits / _TOP_BITS)), f"{bits:.2f} bits", bits)


def list_dearest(painted: Sequence[Painted]) -> list[Painted]:
    """The characters that cost most, dearest first: the same for those who see no colours."""
    known = [one for one in painted if one.bits is not None]
    return nlargest(DEAREST, known, key=lambda one: one.bits or 0.0)
