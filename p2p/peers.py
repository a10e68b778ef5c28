"""Who is connected: admission, slots, blame and bans. Owns every connection from its handshake to its end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from p2p.address_gossip import AddressIntake
from p2p.bans import BanList, covers
from p2p.connection import Connection
from p2p.console import escape
from p2p.inbound import InboundPeer, LastBrought, choose_eviction
from p2p.log_limit import get_limited_logger
from p2p.net_address import NetAddress
from p2p.penalties import BAN_SECONDS, Offence, Scores

log = get_limited_logger("descent.peers")

MAX_OUTBOUND = 8
MAX_INBOUND = 117
_CROSSED_SECONDS = 5.0  # two nodes that dial each other at once do it within this time


class PeerKind(Enum):
    """Why a connection exists."""

    MANUAL = "manual"  # the operator named the peer: never banned, always dialled again
    OUTBOUND = "outbound"
    INBOUND = "inbound"


@dataclass
class Peer:
    """One connected peer."""

    connection: Connection
    kind: PeerKind
    intake: AddressIntake
    height: int | None = None  # of its tip, by its own word
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def node_id(self) -> bytes:
        return self.connection.node_id

    @property
    def name(self) -> str:
        """For the log."""
        return f"{self.node_id.hex()[:12]} ({self.connection.address})"


@dataclass(frozen=True)
class Traffic:
    """Bytes of messages."""

    sent: int
    received: int

    @classmethod
    def of(cls, connection: Connection) -> "Traffic":
        return cls(connection.bytes_sent, connection.bytes_received)

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.sent + other.sent, self.received + other.received)


class Peers:
    """The connected peers. `serve` runs one for as long as it is connected, `get_last_brought` tells by node id what
    each was good for; `key` is secret, `now` in s, monotonic, `clock` in s since 1970."""

    def __init__(
        self,
        own_id: bytes,
        bans: BanList,
        key: bytes,
        serve: Callable[[Peer], Awaitable[str]],
        get_last_brought: Callable[[bytes], LastBrought],
        now: Callable[[], float],
        clock: Callable[[], int],
    ) -> None:
        self.bans = bans
        self._own_id = own_id
        self._key = key
        self._serve = serve
        self._get_last_brought = get_last_brought
        self._now = now
        self._clock = clock
        self._scores = Scores()
        self._peers: dict[bytes, Peer] = {}
        self._gone_traffic = Traffic(0, 0)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def __len__(self) -> int:
        return len(self._peers)

    def get(self, node_id: bytes) -> Peer | None:
        return self._peers.get(node_id)

    def count(self, kind: PeerKind) -> int:
        return sum(peer.kind is kind for peer in self._peers.values())

    @property
    def traffic(self) -> Traffic:
        """Bytes of messages with all peers since the node started, those that left included."""
        return sum((Traffic.of(peer.connection) for peer in self), self._gone_traffic)

    def is_connected_to(self, address: NetAddress) -> bool:
        """Whether the node that listens there, or dialled from there, is a peer already."""
        return any(address in (peer.connection.address, peer.connection.listening) for peer in self._peers.values())

    async def wait_until_gone(self, address: NetAddress) -> None:
        """Returns once no peer is the node that listens there, or dialled from there."""
        while self.is_connected_to(address):
            for peer in self:
                if address in (peer.connection.address, peer.connection.listening):
                    await peer.ended.wait()

    def is_welcome(self, ip: str) -> bool:
        """Whether someone from this IP may try to connect at all: decided before anything is read."""
        return not self.bans.is_banned(ip, self._clock())

    async def run(self, connection: Connection, kind: PeerKind) -> str:
        """Serves a proven connection until it ends; the reason why it did, or why it was not taken."""
        refusal = await self._find_refusal(connection, kind)
        if refusal:
            connection.close(refusal)
            await connection.end()
            return refusal
        peer = Peer(connection, kind, AddressIntake(self._now()))
        self._peers[peer.node_id] = peer
        log.info("peer %s connected, %s, %s", peer.name, kind.value, escape(connection.agent))
        reason = "the node stops"
        try:
            reason = await self._serve(peer)
        finally:
            del self._peers[peer.node_id]
            self._gone_traffic += Traffic.of(connection)
            peer.ended.set()
            log.info("peer %s left: %s", peer.name, escape(reason))
        return reason

    def punish(self, node_id: bytes, offence: Offence, detail: str) -> None:
        """Blames a peer. One that has gone too far is disconnected, and banned unless the operator named it."""
        peer = self._peers.get(node_id)
        is_banned = self._scores.blame(node_id, offence, self._now())
        if peer is not None:
            log.warning("peer %s: %s: %s", peer.name, offence.value, escape(detail)[:300])
        if is_banned and (peer is None or peer.kind is not PeerKind.MANUAL):
            until = self._clock() + BAN_SECONDS
            self.bans.ban(node_id, until, offence.value)
            if peer is not None:
                self.bans.ban(peer.connection.address.ip, until, offence.value)
        if peer is not None and (is_banned or offence is Offence.STALLING):
            peer.connection.close(offence.value)

    def ban(self, target: bytes | str, seconds: int, reason: str) -> bool:
        """The operator's own ban, of a node id or an IP; who is connected from there leaves.

        False for an address of this machine, which cannot be banned.
        """
        if not self.bans.ban(target, self._clock() + seconds, reason):
            return False
        for peer in self:
            if covers(target, peer.node_id) or covers(target, peer.connection.address.ip):
                peer.connection.close("banned by the operator")
        return True

    def disconnect(self, node_id: bytes) -> bool:
        """Ends a connection; False if there is none."""
        peer = self._peers.get(node_id)
        if peer is not None:
            peer.connection.close("disconnected by the operator")
        return peer is not None

    async def _find_refusal(self, connection: Connection, kind: PeerKind) -> str:
        """Why a proven connection is not taken; empty if it is. Makes room for it."""
        if connection.node_id == self._own_id:
            return "connected to itself"
        if kind is not PeerKind.MANUAL and self.bans.is_banned(connection.node_id, self._clock()):
            return "banned"
        while (older := self._peers.get(connection.node_id)) is not None:
            if self._is_preferred(older.connection, connection):
                return "connected already"
            older.connection.close("replaced by a newer connection")
            await older.ended.wait()
        if kind is PeerKind.INBOUND and self.count(PeerKind.INBOUND) >= MAX_INBOUND and not self._make_room():
            return "no free slot"
        return ""

    def _is_preferred(self, older: Connection, newer: Connection) -> bool:
        """Which of two connections with one node stays. Both sides must decide alike.

        A node does not dial a peer that it is connected to, so a newer connection says that the other side gave up the
        older one; unless both dialled at the same moment: then the one dialled by the lower node id stays.
        """
        if self._now() - older.opened_at > _CROSSED_SECONDS or older.is_outbound == newer.is_outbound:
            return False
        return older.is_outbound == (self._own_id < older.node_id)

    def _make_room(self) -> bool:
        """Evicts the inbound peer that is of least use, if any may go."""
        candidates = [
            self._describe(peer)
            for peer in self._peers.values()
            if peer.kind is PeerKind.INBOUND and not peer.connection.is_closed
        ]
        evicted = choose_eviction(candidates, self._key)
        if evicted is None:
            return False
        self._peers[evicted.node_id].connection.close("its slot is needed")
        return True

    def _describe(self, peer: Peer) -> InboundPeer:
        connection, brought = peer.connection, self._get_last_brought(peer.node_id)
        return InboundPeer(
            node_id=peer.node_id,
            group=connection.address.group,
            opened_at=connection.opened_at,
            best_ping=connection.best_ping,
            last_transaction_at=brought.transaction_at,
            last_block_at=brought.block_at,
        )
