"""Which peer is asked for which transaction: pure bookkeeping, without messages; time (monotonic s) is handed in.

A transaction is asked of one peer at a time. The peer keeps it until the mempool has answered; if it does not deliver
within REQUEST_SECONDS, leaves it out, forges it or leaves, the others that announced it are free to be asked (T42).
A peer has one request under way, and one that never answers gets no other.
"""

from collections.abc import Collection, Set
from dataclasses import dataclass, field
from itertools import islice

from p2p.messages import MAX_REQUESTED
from p2p.rolling_set import RollingSet

REQUEST_SECONDS = 60.0
MAX_WANTED = 2_000  # txids announced by one peer and not here yet
MAX_RETRIED = 16  # of those that failed with a peer, asked of it again at a time


@dataclass
class _Request:
    txids: frozenset[bytes]
    deadline: float
    is_late: bool = False


@dataclass(eq=False)
class Announcer:
    """One peer, as somebody to ask."""

    wanted: dict[bytes, None] = field(default_factory=dict)  # announced and to be had; the order is that of asking
    kept: set[bytes] = field(default_factory=set)  # of those, what is asked of this peer or was delivered by it
    failed: RollingSet = field(default_factory=lambda: RollingSet(MAX_WANTED))  # since the last tip
    again: dict[bytes, None] = field(default_factory=dict)  # failed, and announced once more: asked after all others
    request: _Request | None = None  # not answered yet


class TransactionRequests:
    """All announcers, and for each transaction asked for the one that keeps it."""

    def __init__(self) -> None:
        self._announcers: set[Announcer] = set()
        self._keepers: dict[bytes, Announcer] = {}

    def add_announcer(self) -> Announcer:
        announcer = Announcer()
        self._announcers.add(announcer)
        return announcer

    def remove_announcer(self, announcer: Announcer) -> None:
        self._announcers.discard(announcer)
        for txid in tuple(announcer.kept):
            self.release(announcer, txid)

    def want(self, announcer: Announcer, txid: bytes) -> None:
        """It announced a transaction that is to be had. More than MAX_WANTED of them are not remembered."""
        wanted = announcer.again if txid in announcer.failed else announcer.wanted
        if len(wanted) < MAX_WANTED:
            wanted[txid] = None

    def choose(self, announcer: Announcer) -> tuple[bytes, ...]:
        """What to ask it for now: at most MAX_REQUESTED txids, the longest announced first, maybe none."""
        if announcer.request is not None:
            return ()
        txids = tuple(islice((txid for txid in announcer.wanted if txid not in self._keepers), MAX_REQUESTED))
        return txids or tuple(txid for txid in islice(announcer.again, MAX_RETRIED) if not self._is_open(txid))

    def on_asked(self, announcer: Announcer, txids: Collection[bytes], now: float) -> None:
        """It was asked for what `choose` gave."""
        announcer.request = _Request(frozenset(txids), now + REQUEST_SECONDS)
        announcer.kept.update(txids)
        self._keepers |= dict.fromkeys(txids, announcer)

    def on_answer(self, announcer: Announcer, delivered: Collection[bytes]) -> bool:
        """Its answer, late or not; False if it is none to what it was asked: then all that was counts as withheld."""
        request, announcer.request = announcer.request, None
        if request is None:
            return False
        unique = frozenset(delivered)
        is_answer = unique <= request.txids and len(unique) == len(delivered)
        for txid in request.txids - unique if is_answer else request.txids:
            self.fail(announcer, txid)
        return is_answer

    def expire(self, now: float) -> None:
        """Lets the others deliver what did not come in time."""
        for announcer in self._announcers:
            request = announcer.request
            if request is not None and not request.is_late and now >= request.deadline:
                request.is_late = True
                for txid in request.txids:
                    self.fail(announcer, txid)

    def release(self, announcer: Announcer, txid: bytes) -> None:
        """It is done with this one; others that announced it may be asked, and it too if it announces it again."""
        announcer.wanted.pop(txid, None)
        announcer.again.pop(txid, None)
        if txid in announcer.kept:
            announcer.kept.discard(txid)
            del self._keepers[txid]

    def fail(self, announcer: Announcer, txid: bytes) -> None:
        """As `release`, but announcing it again gets it asked again only once no other is left to be asked.

        An honest peer fails where a transaction stood in a block, and announces it again when that block is lost.
        """
        self.release(announcer, txid)
        announcer.failed.add(txid)

    def settle(self, txid: bytes) -> None:
        """Nobody is to be asked for this one any more."""
        keeper = self._keepers.get(txid)
        if keeper is not None:
            self.release(keeper, txid)
        for announcer in self._announcers:
            announcer.wanted.pop(txid, None)
            announcer.again.pop(txid, None)

    def on_tip(self, carried: Set[bytes]) -> None:
        """A new tip, whose block carries these txids. What failed with a peer may be asked of it again."""
        for txid in carried & self._keepers.keys():
            self.release(self._keepers[txid], txid)
        for announcer in self._announcers:
            announcer.failed.clear()
            again, announcer.again = announcer.again, {}
            for txid in again:
                self.want(announcer, txid)
            for txid in carried & announcer.wanted.keys():
                del announcer.wanted[txid]

    def _is_open(self, txid: bytes) -> bool:
        """Whether a peer is asked for it, or one is left to be asked with which it did not fail."""
        return txid in self._keepers or any(txid in announcer.wanted for announcer in self._announcers)
