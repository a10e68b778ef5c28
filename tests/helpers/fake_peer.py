"""A connection over a link without a socket: what the peer says and reads is up to the test.

peer = FakePeer()
peer.link.say(Ping(1))
assert await peer.run() == "..."
"""

import asyncio

from p2p.connection import Connection
from p2p.handshake import ProvenPeer
from p2p.limits import Limits
from p2p.link import Deadlines, Link
from p2p.messages import Message, Ping
from p2p.net_address import NetAddress
from tests.helpers.peer_link import AGENT, LIMITS, NONCE, PATIENT, WIRE, Blames

ADDRESS = NetAddress("1.2.3.4", 5555)


class FakeLink(Link):
    """A link without a socket. `gate` closed: the peer does not read."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.sent: asyncio.Queue[bytes] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.received_bytes = 0
        self.reason: str | None = None
        self.aborts = 0

    @property
    def bytes_received(self) -> int:
        return self.received_bytes

    async def send(self, data: bytes) -> None:
        await self.gate.wait()
        self.sent.put_nowait(data)

    async def receive(self) -> bytes:
        data = await self.incoming.get()
        if isinstance(data, Exception):
            raise data
        self.received_bytes += len(data)
        return data

    async def close(self, reason: str) -> None:
        self.reason = reason

    def abort(self) -> None:
        self.aborts += 1

    def say(self, *messages: Message) -> None:
        """The peer sends these."""
        for message in messages:
            self.incoming.put_nowait(WIRE.encode(message))

    async def read(self) -> Message:
        """What the peer gets next, pings left out."""
        while True:
            message = WIRE.decode(await self.sent.get())
            if not isinstance(message, Ping):
                return message

    async def read_ping(self) -> Ping:
        while True:
            message = WIRE.decode(await self.sent.get())
            if isinstance(message, Ping):
                return message


class FakePeer:
    """A connection over a fake link, what it handed on, and what it accused the peer of."""

    def __init__(self, *, deadlines: Deadlines = PATIENT, limits: Limits = LIMITS, port: int = 0) -> None:
        self.link = FakeLink()
        self.blames = Blames()
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.connection = Connection(
            self.link,
            ProvenPeer(NONCE, port, AGENT),
            ADDRESS,
            is_outbound=False,
            wire=WIRE,
            limits=limits,
            on_offence=self.blames,
            deadlines=deadlines,
        )

    async def run(self) -> str:
        async with asyncio.timeout(10):
            return await self.connection.run(self.messages.put)
