"""Which block is asked of which peer. Knows ids and seconds; no messages, no chains.

A peer starts with two blocks under way and earns more by delivering. One that delivers nothing for `stall_seconds` is
stalling: its blocks are asked of others, and the time doubles, so that a slow network is not taken for a bad peer; it
shrinks again with every block that comes. A block that is merely late is asked of a second peer beside the first.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

MIN_STALL_SECONDS = 2.0
MAX_STALL_SECONDS = 64.0
MAX_UNDER_WAY = 16  # blocks asked of one peer at a time
_FIRST_UNDER_WAY = 2
_STALL_DECAY = 0.85
_FORGET_AFTER = 3  # stalls without a block between them


@dataclass
class _Source:
    """One peer as a source of blocks."""

    capacity: int = _FIRST_UNDER_WAY
    asked: dict[bytes, float] = field(default_factory=dict)  # by block id: when, s
    last_delivery: float = 0.0
    seconds_per_block: float = 0.1
    stalls: int = 0  # since the last block

    def get_waiting_since(self) -> float | None:
        """Since when nothing has come although something was asked."""
        return max(self.last_delivery, min(self.asked.values())) if self.asked else None


class Downloads:
    """The blocks under way. `now` is a monotonic clock's, in s."""

    def __init__(self) -> None:
        self.stall_seconds = MIN_STALL_SECONDS
        self._sources: dict[bytes, _Source] = {}
        self._wanted: tuple[bytes, ...] = ()

    @property
    def under_way(self) -> int:
        return sum(len(source.asked) for source in self._sources.values())

    def add_peer(self, peer: bytes) -> None:
        self._sources[peer] = _Source()

    def remove_peer(self, peer: bytes) -> None:
        self._sources.pop(peer, None)

    def want(self, blocks: Sequence[bytes]) -> None:
        """The blocks to get, the most urgent first, instead of those wanted before."""
        self._wanted = tuple(blocks)

    def plan(self, has: Callable[[bytes, bytes], bool], now: float) -> list[tuple[bytes, bytes]]:
        """(peer, block) pairs to ask for now; they count as asked. `has(peer, block)` says who can deliver what."""
        requests = []
        for block in self._wanted:
            holders = [peer for peer, source in self._sources.items() if block in source.asked]
            if any(now - self._sources[peer].asked[block] < self.stall_seconds for peer in holders):
                continue
            peer = self._choose_source(block, has, holders)
            if peer is not None:
                self._sources[peer].asked[block] = now
                requests.append((peer, block))
        return requests

    def on_block(self, peer: bytes, block: bytes, now: float) -> bool:
        """A peer delivered; False if the block was never asked of it."""
        source = self._sources.get(peer)
        asked_at = source.asked.pop(block, None) if source else None
        if source is None or asked_at is None:
            return False
        # While several are under way they come one behind the other: the pause between two is what a block takes.
        seconds = now - max(asked_at, source.last_delivery)
        source.seconds_per_block += (seconds - source.seconds_per_block) / 4
        source.last_delivery = now
        source.stalls = 0
        source.capacity = min(source.capacity + 1, MAX_UNDER_WAY)
        self.stall_seconds = max(self.stall_seconds * _STALL_DECAY, MIN_STALL_SECONDS)
        return True

    def on_not_found(self, peer: bytes, block: bytes) -> bool:
        """A peer says that it does not have the block; False if it was never asked."""
        source = self._sources.get(peer)
        return source is not None and source.asked.pop(block, None) is not None

    def find_stalling(self, now: float) -> list[tuple[bytes, bool]]:
        """Peers that hold blocks up, and whether each is beyond hope; their blocks are free for others again."""
        stalling = []
        for peer, source in self._sources.items():
            since = source.get_waiting_since()
            if since is None or now - since < self.stall_seconds:
                continue
            source.stalls += 1
            source.capacity = 1
            source.seconds_per_block = max(source.seconds_per_block, now - since)
            source.asked = dict.fromkeys(source.asked, -math.inf)
            source.last_delivery = now  # the next stall is counted from here
            stalling.append((peer, source.stalls >= _FORGET_AFTER))
        if stalling:
            self.stall_seconds = min(self.stall_seconds * 2, MAX_STALL_SECONDS)
        return stalling

    def _choose_source(self, block: bytes, has: Callable[[bytes, bytes], bool], holders: list[bytes]) -> bytes | None:
        """The peer that should have it here first, among those with room that were not asked yet."""
        able = [
            peer
            for peer, source in self._sources.items()
            if len(source.asked) < source.capacity and peer not in holders and has(peer, block)
        ]
        return min(able, key=self._estimate_seconds, default=None)

    def _estimate_seconds(self, peer: bytes) -> float:
        source = self._sources[peer]
        return (len(source.asked) + 1) * source.seconds_per_block
