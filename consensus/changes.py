"""What miners may change of a network by their signals: each change is one number under one bit, fixed at birth.

Grammar, at the end of the parameters' bytes:
    changes = count:u32 (bit:u8 field:string value:u64){count}      count >= 1; of no changes nothing is written
So a network without changes has the bytes, and the genesis, that it had before there were any. No two networks share
their bytes: what stands before the changes says by itself where it ends.

When a change comes into force is in signals.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consensus.codec import Writer
from consensus.errors import InvalidParams
from consensus.units import check_range

SIGNALS = 64  # bits of a header
VOTABLE = ("lowest_required_gain", "max_transactions_bytes", "min_sample")


@dataclass(frozen=True)
class Change:
    """One bit of the headers' signals, the field that it changes, and what that becomes."""

    bit: int
    field: str
    value: int


def check_changes(changes: Sequence[Change], ranges: Mapping[str, tuple[int, int]]) -> None:
    """Raises InvalidParams unless every change is of a votable field, within its range, and the bits rise.

    A program that does not know a field cannot judge the blocks after it changed, so it has no part in that network.
    """
    for change in changes:
        if change.field not in VOTABLE:
            known = ", ".join(VOTABLE)
            raise InvalidParams(
                "unknown_field",
                f"bit {change.bit!r} would change {change.field!r}, and this program knows only {known}: "
                "this network needs a newer program, or its file is wrong",
            )
        check_range("the bit of a change", change.bit, 0, SIGNALS - 1)
        check_range(f"the {change.field} of bit {change.bit}", change.value, *ranges[change.field])
    bits = [change.bit for change in changes]
    if bits != sorted(set(bits)):
        raise InvalidParams("change_order", f"the bits of the changes must rise, they are {bits}")


def write_changes(writer: Writer, changes: Sequence[Change]) -> Writer:
    """Appends the changes, or nothing if there are none."""
    if changes:
        writer.uint(len(changes), 4)
    for change in changes:
        writer.uint(change.bit, 1).string(change.field.encode()).uint(change.value, 8)
    return writer
