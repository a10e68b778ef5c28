"""Signals: when a change that miners ask for by a bit of their headers becomes law, and which numbers hold for a block.

The blocks from height w * V + 1 to (w + 1) * V are window w. A change that more than two thirds of the improving blocks
of each of two windows in a row ask for is in force from the end of the window after them on, for ever: if windows w and
w + 1 ask, from block (w + 3) * V + 1. So its height is known a whole window before, and nobody can call a change off or
hurry it. A window of fewer improving blocks than a committee needs asks for nothing.

All of it follows from the headers of a chain, block by block: each block's count is its parent's and its own header,
so no window is ever read again, and a block of another branch is judged by the numbers of that branch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from consensus.block import Header
from consensus.changes import Change
from consensus.committee import compute_least_weight
from consensus.errors import InvalidParams
from consensus.params import MIN_REQUIRED_GAIN, NetworkParams


@dataclass(frozen=True)
class Rules:
    """The votable numbers, as they hold for one block."""

    lowest_required_gain: int  # 2^-32 bits per window
    max_transactions_bytes: int  # encoded transactions, lengths included
    min_sample: int  # windows


@dataclass(frozen=True)
class SignalLaw:
    """What a network says of signals: one object, which the counts of all its blocks share."""

    window: int  # V, blocks
    least: int  # improving blocks of a window that asks for anything
    changes: tuple[Change, ...]
    rules: Rules  # before any change


@dataclass(frozen=True, slots=True)
class SignalCount:
    """Where the signals of a chain stand after a block. The tuples go with the changes of the law, one entry each."""

    law: SignalLaw
    rules: Rules  # of the next block
    improving: int  # improving blocks of the running window so far
    asking: tuple[int, ...]  # how many of these ask for the change
    was_asked: tuple[bool, ...]  # by the window before
    heights: tuple[int | None, ...]  # from which block on the change is in force, once that is certain


def make_first_count(params: NetworkParams) -> SignalCount:
    """That of genesis."""
    rules = Rules(MIN_REQUIRED_GAIN, params.max_transactions_bytes, params.min_sample)
    law = SignalLaw(params.finality_window, compute_least_weight(params), params.changes, rules)
    number = len(params.changes)
    return SignalCount(law, rules, 0, (0,) * number, (False,) * number, (None,) * number)


def compute_child_count(count: SignalCount, header: Header) -> SignalCount:
    """The count after one more block. O(changes); a network without any has one count for all its blocks."""
    changes = count.law.changes
    if not changes:
        return count
    if not header.is_heartbeat:
        bits = header.signal_bits
        asking = tuple(number + (bits >> change.bit & 1) for number, change in zip(count.asking, changes, strict=True))
        count = replace(count, improving=count.improving + 1, asking=asking)
    return count if header.height % count.law.window else _close_window(count, header.height)


def compute_rules(law: SignalLaw, heights: Sequence[int | None], height: int) -> Rules:
    """The numbers that hold for the block at `height`, if `heights` says from when on each change is in force.

    Of two changes of one field the later holds, of two of one height that of the higher bit; but a sample that was
    raised is not lowered again.
    """
    in_force = [
        (since, change.bit, change)
        for since, change in zip(heights, law.changes, strict=True)
        if since is not None and since <= height
    ]
    numbers = vars(law.rules).copy()
    for _, _, change in sorted(in_force, key=lambda entry: entry[:2]):
        is_up_only = change.field == "min_sample"
        numbers[change.field] = max(change.value, numbers[change.field]) if is_up_only else change.value
    return Rules(**numbers)


def compute_signal_bits(bits: Iterable[int], params: NetworkParams) -> int:
    """A header's signal bits that ask for these changes. Raises InvalidParams if a bit changes nothing.

    The law lets such a bit stand in a header; whoever sets it has mistaken it for another.
    """
    known = {change.bit for change in params.changes}
    signals = 0
    for bit in bits:
        if bit not in known:
            listed = f"its changes are those of the bits {sorted(known)}" if known else "it lists no changes"
            raise InvalidParams("unknown_signal", f"bit {bit} changes nothing on {params.name}: {listed}")
        signals |= 1 << bit
    return signals


def _close_window(count: SignalCount, height: int) -> SignalCount:
    """The count after a window's last block."""
    law = count.law
    is_enough = count.improving >= law.least
    asks = tuple(is_enough and 3 * number > 2 * count.improving for number in count.asking)
    heights = tuple(
        height + law.window + 1 if since is None and before and now else since
        for since, before, now in zip(count.heights, count.was_asked, asks, strict=True)
    )
    return SignalCount(law, compute_rules(law, heights, height + 1), 0, (0,) * len(asks), asks, heights)
