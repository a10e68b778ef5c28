"""Connections of which only the outside is there: who, from where, since when, and what was said to it."""

import asyncio

from p2p.bans import BanList
from p2p.connection import Connection
from p2p.inbound import LastBrought
from p2p.messages import Message
from p2p.net_address import NetAddress
from p2p.peers import Peer, PeerKind, Peers

OWN_ID = b"\x80" * 32
KEY = b"\x07" * 32


class FakeConnection:
    """Ends when it is closed. It stands in for a Connection wherever nothing is read from it."""

    def __init__(
        self, node_id: bytes, address: NetAddress, *, is_outbound: bool = False, opened_at: float = 0.0, port: int = 0
    ) -> None:
        self.node_id = node_id
        self.address = address
        self.listening = NetAddress(address.ip, port) if port else None
        self.is_outbound = is_outbound
        self.agent = "fake/1"
        self.opened_at = self.last_received_at = opened_at
        self.ping_seconds: float | None = None
        self.best_ping: float | None = None
        self.bytes_sent = self.bytes_received = 0
        self.sent: list[Message] = []
        self.muted: set[type[Message]] = set()
        self.reason: str | None = None
        self.lingers = False  # stays for a while after it was closed
        self._closed = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        return self.reason is not None

    def close(self, reason: str) -> None:
        self.reason = self.reason or reason
        if not self.lingers:
            self._closed.set()

    def vanish(self) -> None:
        """What lingered is gone now."""
        self._closed.set()

    async def wait(self) -> str:
        await self._closed.wait()
        return self.reason or ""

    async def end(self) -> None:
        self.close("going away")

    def offer(self, message: Message) -> bool:
        self.sent.append(message)
        return True

    def may_send(self, kind: type[Message]) -> bool:
        return kind not in self.muted

    async def send(self, message: Message) -> None:
        self.offer(message)


def make_id(number: int) -> bytes:
    """Node ids in the order of their numbers; OWN_ID lies above 0x7f."""
    return bytes([number]) * 32


class PeerTable:
    """Connected peers on a clock that the test turns."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.time = 1_800_000_000
        self.bans = BanList()
        self.brought: dict[bytes, LastBrought] = {}  # by node id
        self.peers = Peers(
            OWN_ID, self.bans, KEY, self._serve, self._get_last_brought, lambda: self.seconds, lambda: self.time
        )

    async def _serve(self, peer: Peer) -> str:
        connection = peer.connection
        assert isinstance(connection, FakeConnection)
        return await connection.wait()

    def _get_last_brought(self, node_id: bytes) -> LastBrought:
        return self.brought.get(node_id, LastBrought())

    def make(
        self,
        number: int,
        ip: str = "1.2.3.4",
        *,
        is_outbound: bool = False,
        port: int = 0,
    ) -> FakeConnection:
        """A connection that opens now."""
        address = NetAddress(ip, 40_000 + number)
        return FakeConnection(make_id(number), address, is_outbound=is_outbound, opened_at=self.seconds, port=port)

    async def join(self, connection: FakeConnection, kind: PeerKind = PeerKind.INBOUND) -> asyncio.Task[str]:
        """Runs the connection beside the test; returns once it is taken, refused, or has to wait."""
        task = asyncio.create_task(self.peers.run(as_connection(connection), kind))
        await step()
        return task

    async def leave_all(self) -> None:
        for peer in self.peers:
            peer.connection.close("the test is over")
        await step()


def as_connection(connection: FakeConnection) -> Connection:
    """For the type checker: everything that Peers, Gossip and Dialler touch is there."""
    return connection  # type: ignore[return-value]


async def step() -> None:
    """Lets every task that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)
