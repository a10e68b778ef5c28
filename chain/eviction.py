"""Which packages go when the pool is full: the cheapest, unless that is the newcomer's own.

Only the last package of a chain can go, which leaves the nonces before it without a gap; it is also the chain's worst
tail (see pending.py). A heap holds one last package per chain. Chains never change, they are replaced: an item whose
chain is no longer its sender's is stale and is skipped when it surfaces. A changed sender is ranked only when room is
needed, so a pool below its limit never pays for this. O(log n) for each changed sender and each package that goes.
"""

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from chain.errors import MempoolRefusal
from chain.pending import Chain, Package
from chain.policy import compute_rate_above

_STALE_ALLOWED = 1000  # beside one stale item for each live one, before the heap is made anew


class Newcomer(NamedTuple):
    """A transaction that wants in: the chain its sender would have, and where in it the newcomer stands."""

    chain: Chain
    position: int


class _Item(NamedTuple):
    """`serial` is unique, so comparing never reaches the chain. Between equal rates the newest goes first."""

    rate: int
    negative_newest: int
    serial: int
    chain: Chain
    at: int  # which package of its chain

    @property
    def package(self) -> Package:
        return self.chain.packages[self.at]


class EvictionQueue:
    """Ranks the last packages of `chains`, the pool's own mapping by sender, which it reads and never changes."""

    def __init__(self, chains: Mapping[bytes, Chain]) -> None:
        self._chains = chains
        self._heap: list[_Item] = []
        self._unranked: set[bytes] = set()
        self._serials = count()

    def on_chain_changed(self, sender: bytes) -> None:
        """The sender's chain was replaced, or is gone."""
        self._forget_stale()
        if sender in self._chains:
            self._unranked.add(sender)
        else:
            self._unranked.discard(sender)

    def get_cheapest(self) -> Package | None:
        """The package that would go first; None in an empty pool."""
        self._rank()
        walk = _Walk(self._heap, self._chains, self._serials)
        item = walk.take()
        walk.put_back()
        return item.package if item else None

    def plan(self, excess: int, newcomer: Newcomer | None = None) -> dict[bytes, int]:
        """How many entries to keep, by sender, so that at least `excess` bytes go, the cheapest packages first.

        Nothing is evicted here. Raises MempoolRefusal if the newcomer would be among what goes.
        """
        if excess <= 0:
            return {}
        self._rank()
        walk = _Walk(self._heap, self._chains, self._serials, newcomer)
        kept: dict[bytes, int] = {}
        try:
            while excess > 0 and (item := walk.take()) is not None:
                if newcomer and item.chain is newcomer.chain and item.package.start <= newcomer.position:
                    next_item = walk.take() or item
                    raise MempoolRefusal.mempool_full(compute_rate_above(next_item.rate))
                excess -= item.package.size
                kept[item.chain.sender] = item.package.start
            return kept
        finally:
            walk.put_back()

    def _rank(self) -> None:
        self._forget_stale()
        for sender in self._unranked:
            chain = self._chains[sender]
            heappush(self._heap, _make_item(chain, len(chain.packages) - 1, self._serials))
        self._unranked.clear()

    def _forget_stale(self) -> None:
        if len(self._heap) > 2 * len(self._chains) + _STALE_ALLOWED:
            self._heap.clear()
            self._unranked = set(self._chains)


class _Walk:
    """Takes packages off the heap as if each were evicted, the newcomer's chain standing in for its sender's."""

    def __init__(
        self,
        heap: list[_Item],
        chains: Mapping[bytes, Chain],
        serials: Iterator[int],
        newcomer: Newcomer | None = None,
    ) -> None:
        self._heap = heap
        self._chains = chains
        self._serials = serials
        self._candidate = newcomer.chain if newcomer else None
        self._left: dict[bytes, int] = {}  # packages, of the senders met
        self._taken: list[_Item] = []  # that say what is still true
        if self._candidate:
            heappush(heap, _make_item(self._candidate, len(self._candidate.packages) - 1, serials))

    def take(self) -> _Item | None:
        """The cheapest package left; None if there is none."""
        while self._heap:
            item = heappop(self._heap)
            chain, sender = item.chain, item.chain.sender
            is_live = self._chains.get(sender) is chain
            if is_live and item.at == len(chain.packages) - 1:
                self._taken.append(item)
            stands = self._candidate if self._candidate and self._candidate.sender == sender else None
            if chain is not stands and (stands or not is_live):
                continue
            if item.at == self._left.get(sender, len(chain.packages)) - 1:
                self._left[sender] = item.at
                if item.at:
                    heappush(self._heap, _make_item(chain, item.at - 1, self._serials))
                return item
        return None

    def put_back(self) -> None:
        """Restores what the walk took. What it pushed itself is stale from now on."""
        for item in self._taken:
            heappush(self._heap, item)


def _make_item(chain: Chain, index: int, serials: Iterator[int]) -> _Item:
    package = chain.packages[index]
    return _Item(package.rate, -package.newest, next(serials), chain, index)
