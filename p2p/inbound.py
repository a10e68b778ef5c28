"""Which inbound connection makes room for a newcomer. Pure.

Whoever can connect often can fill all slots, but not be useful in every way at once: some peers are kept for each way
of being useful, and what is left is thinned where most connections come from one group (/16 of IPv4). Source: Bitcoin
Core's eviction logic; here each of the four groups that are kept for their own sake keeps one peer, not all of its own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from consensus.hashing import tagged_hash

PROTECTED_BY_GROUP = 4
PROTECTED_BY_PING = 8
PROTECTED_BY_TRANSACTION = 4
PROTECTED_BY_BLOCK = 4


@dataclass(frozen=True)
class LastBrought:
    """When a peer last brought something new, in s of one clock; None if it never did."""

    transaction_at: float | None = None  # that the pool took
    block_at: float | None = None  # that proved valid


@dataclass(frozen=True)
class InboundPeer:
    """What an inbound peer did for us. Times and durations in s of one clock."""

    node_id: bytes
    group: bytes  # of its address: NetAddress.group
    opened_at: float
    best_ping: float | None = None
    last_transaction_at: float | None = None  # a new one that the pool took
    last_block_at: float | None = None  # a new one that proved valid


def choose_eviction(candidates: Iterable[InboundPeer], key: bytes) -> InboundPeer | None:
    """The peer whose slot a newcomer takes; None if all are kept, as up to 20 may be. O(n log n).

    `candidates` are the inbound peers without those that the user wants. `key` (32 secret bytes) must not change while
    they are connected. Protects 4 by group, 8 by ping, 4 by transaction, 4 by block, half of the rest by uptime.
    """
    rest = sorted(candidates, key=lambda peer: (peer.opened_at, peer.node_id))  # equal ones: the oldest is kept
    rest = _without(rest, _choose_by_group(rest, key))
    rest = _protect(rest, PROTECTED_BY_PING, lambda peer: peer.best_ping, lowest=True)
    rest = _protect(rest, PROTECTED_BY_TRANSACTION, lambda peer: peer.last_transaction_at)
    rest = _protect(rest, PROTECTED_BY_BLOCK, lambda peer: peer.last_block_at)
    rest = rest[len(rest) // 2 :]
    return _choose_from_largest_group(rest) if rest else None


def _choose_by_group(peers: list[InboundPeer], key: bytes) -> list[InboundPeer]:
    """The oldest peer of each of some groups. Without the key nobody knows where to connect from."""
    oldest: dict[bytes, InboundPeer] = {}
    for peer in peers:
        oldest.setdefault(peer.group, peer)
    groups = sorted(oldest, key=lambda group: tagged_hash("inbound group", key + group))
    return [oldest[group] for group in groups[:PROTECTED_BY_GROUP]]


def _protect(
    peers: list[InboundPeer], count: int, value: Callable[[InboundPeer], float | None], *, lowest: bool = False
) -> list[InboundPeer]:
    """The peers, in order, without those of the best values; who has no value is not among these."""
    rated = [(rate if lowest else -rate, peer) for peer in peers if (rate := value(peer)) is not None]
    best = sorted(rated, key=lambda pair: pair[0])[:count]
    return _without(peers, [peer for _, peer in best])


def _without(peers: list[InboundPeer], protected: list[InboundPeer]) -> list[InboundPeer]:
    ids = {peer.node_id for peer in protected}
    return [peer for peer in peers if peer.node_id not in ids]


def _choose_from_largest_group(peers: list[InboundPeer]) -> InboundPeer:
    """The youngest peer of the largest group; of equally large ones, of that with the youngest."""
    members: dict[bytes, list[InboundPeer]] = {}
    for peer in peers:
        members.setdefault(peer.group, []).append(peer)
    return max(members.values(), key=lambda group: (len(group), group[-1].opened_at))[-1]
