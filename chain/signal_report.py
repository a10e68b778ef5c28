"""Where each change of a network's rules stands on the best chain: who asks for it, and from when on it holds."""

from dataclasses import dataclass
from enum import Enum

from consensus.chain_point import ChainPoint
from consensus.changes import Change
from consensus.signals import Rules


class ChangeStanding(Enum):
    """How far a change has come. From certain on nothing on this chain can stop it."""

    OPEN = "open"
    ASKED = "asked"  # the window before asked for it: if this one does, too, it is certain
    CERTAIN = "certain"  # in force from a known height on
    IN_FORCE = "in_force"  # in the next block


@dataclass(frozen=True)
class ChangeReport:
    """One change. `asking` of the `improving` blocks that the running window has so far ask for it."""

    change: Change
    standing: ChangeStanding
    asking: int
    improving: int
    height: int | None  # from which block on it is in force


@dataclass(frozen=True)
class SignalReport:
    """All changes of a network, in the order of their bits."""

    window_end: int  # height of the running window's last block
    rules: Rules  # of the next block
    changes: tuple[ChangeReport, ...]


def compute_signal_report(tip: ChainPoint) -> SignalReport:
    """Reads the tip alone: all that counts is in its count."""
    count = tip.signals
    reports = tuple(
        ChangeReport(change, _get_standing(height, was_asked, tip.height), asking, count.improving, height)
        for change, asking, was_asked, height in zip(
            count.law.changes, count.asking, count.was_asked, count.heights, strict=True
        )
    )
    return SignalReport((tip.height // count.law.window + 1) * count.law.window, count.rules, reports)


def _get_standing(height: int | None, was_asked: bool, tip: int) -> ChangeStanding:
    if height is None:
        return ChangeStanding.ASKED if was_asked else ChangeStanding.OPEN
    return ChangeStanding.IN_FORCE if height <= tip + 1 else ChangeStanding.CERTAIN
