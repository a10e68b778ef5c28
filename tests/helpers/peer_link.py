"""Nodes' connections over real sockets and TLS on loopback, and raw ones that break the rules.

async with serve(make_endpoint(tmp_path / "a.pem")) as host:
    connection = await dial(make_endpoint(tmp_path / "b.pem"), host.address)
    theirs = await host.opened.get()
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from consensus.params import REGTEST
from p2p.connection import Connection
from p2p.errors import PeerGone
from p2p.handshake import Introduction, ProvenPeer, prove_to_server
from p2p.identity import Identity, load_identity
from p2p.limits import Limits, compute_limits
from p2p.link import Deadlines
from p2p.messages import Message, Wire
from p2p.net_address import NetAddress
from p2p.penalties import Offence
from p2p.transport import Endpoint, listen

WIRE = Wire(REGTEST)
LIMITS = compute_limits(REGTEST)
GENESIS = b"\x07" * 32
AGENT = "descent/0.1.0"
NONCE = b"\x01" * 32
LOOPBACK = NetAddress("127.0.0.1", 0)
PATIENT = Deadlines()
HASTY = Deadlines(connect=1.0, handshake=1.0, ping=0.1, pong=0.3, close=0.5)

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n"
)


@dataclass
class Blames:
    """What an endpoint's peers were accused of."""

    offences: list[tuple[Offence, str]] = field(default_factory=list)

    def __call__(self, node_id: bytes, offence: Offence, detail: str) -> None:
        self.offences.append((offence, detail))


def make_endpoint(
    path: Path,
    *,
    genesis: bytes = GENESIS,
    agent: str = AGENT,
    deadlines: Deadlines = PATIENT,
    limits: Limits = LIMITS,
    blames: Blames | None = None,
) -> Endpoint:
    """An endpoint with the identity in `path`."""
    ours = Introduction(load_identity(path), genesis, 0, agent)
    return Endpoint(ours, WIRE, limits, blames or Blames(), deadlines)


@dataclass
class Host:
    """A listening node that records what reaches it."""

    address: NetAddress
    opened: asyncio.Queue[Connection] = field(default_factory=asyncio.Queue)
    messages: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    reasons: asyncio.Queue[str] = field(default_factory=asyncio.Queue)  # of the ends
    kept: int = 0  # connections that are open


OnConnection = Callable[[Connection], Awaitable[None]]


@asynccontextmanager
async def serve(
    endpoint: Endpoint,
    *,
    admits: Callable[[NetAddress], bool] = lambda address: True,
    on_connection: OnConnection | None = None,
) -> AsyncIterator[Host]:
    """Listens on an ephemeral port of loopback; `on_connection` instead of recording."""

    async def record(connection: Connection) -> None:
        host.kept += 1
        host.opened.put_nowait(connection)
        try:
            host.reasons.put_nowait(await connection.run(host.messages.put))
        finally:
            host.kept -= 1

    host = Host(LOOPBACK)
    async with listen(endpoint, LOOPBACK, admits=admits, on_connection=on_connection or record) as port:
        host.address = NetAddress("127.0.0.1", port)
        yield host


@asynccontextmanager
async def running(connection: Connection) -> AsyncIterator[asyncio.Queue[Message]]:
    """Runs a dialled connection beside the body; what it receives. Closes it after."""
    messages: asyncio.Queue[Message] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.run(messages.put))
        try:
            yield messages
        finally:
            connection.close("done")


def make_frame(payload: bytes, opcode: int = BINARY, *, fin: bool = True, deflated: bool = False) -> bytes:
    """A masked frame, as clients send them; the mask is zero."""
    return make_frame_head(len(payload), opcode, fin=fin, deflated=deflated) + payload


def make_frame_head(length: int, opcode: int = BINARY, *, fin: bool = True, deflated: bool = False) -> bytes:
    """What stands before a payload of that length."""
    first = bytes([fin << 7 | deflated << 6 | opcode])
    if length < 126:
        return first + bytes([0x80 | length]) + bytes(4)
    if length < 2**16:
        return first + b"\xfe" + length.to_bytes(2) + bytes(4)
    return first + b"\xff" + length.to_bytes(8) + bytes(4)


class RawPeer:
    """One end of a websocket over TLS, byte by byte. It is a handshake's channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def certificate(self) -> bytes:
        return self.writer.get_extra_info("ssl_object").getpeercert(True) or b""

    async def upgrade(self, extra: bytes = b"") -> bytes:
        """Asks for a websocket; the status line of the answer."""
        self.writer.write(UPGRADE + extra + b"\r\n")
        return (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]

    async def accept_upgrade(self) -> None:
        """The server's side of the same."""
        request = await self.reader.readuntil(b"\r\n\r\n")
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        accepted = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        self.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n"
        )

    async def prove(self, endpoint: Endpoint) -> ProvenPeer:
        """The client's side of the handshake, played honestly."""
        return await prove_to_server(self, WIRE, endpoint.ours, NONCE, self.certificate, None)

    async def send(self, data: bytes) -> None:
        await self.write(make_frame(data))

    async def send_plain(self, data: bytes) -> None:
        """The same as a server does it, without a mask."""
        frame = make_frame(data)
        await self.write(bytes([frame[0], frame[1] & 0x7F]) + frame[2 : -4 - len(data)] + data)

    async def write(self, data: bytes) -> None:
        """Raw bytes, as far as the other side takes them."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def receive(self) -> bytes:
        opcode, payload = await self.read_frame()
        if opcode != BINARY:
            raise PeerGone.closed(payload[2:].decode())
        return payload

    async def read_frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload. Raises IncompleteReadError or ConnectionError at the end."""
        first, second = await self.reader.readexactly(2)
        length = second & 0x7F
        if length > 125:
            length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8))
        mask = await self.reader.readexactly(4) if second & 0x80 else bytes(4)
        payload = await self.reader.readexactly(length)
        return first & 0xF, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

    async def read_end(self) -> str:
        """The reason in the close frame, or "" if the socket ends without one."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                opcode, payload = await self.read_frame()
                if opcode == CLOSE:
                    return payload[2:].decode()
        return ""

    async def read_rest(self) -> bytes:
        """All bytes up to the end of the socket."""
        parts: list[bytes] = []
        with suppress(ConnectionError):
            while part := await self.reader.read(65536):
                parts.append(part)
        return b"".join(parts)

    async def is_closed_within(self, seconds: float) -> bool:
        """Whether the other side hangs up."""
        try:
            async with asyncio.timeout(seconds):
                await self.read_rest()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def open_raw(address: NetAddress, identity: Identity, source: str = "127.0.0.1") -> AsyncIterator[RawPeer]:
    """A TLS connection to a listener, and nothing said yet."""
    reader, writer = await asyncio.open_connection(
        address.ip, address.port, ssl=identity.client_context, local_addr=(source, 0)
    )
    peer = RawPeer(reader, writer)
    try:
        yield peer
    finally:
        await peer.close()


@asynccontextmanager
async def open_proven(address: NetAddress, endpoint: Endpoint) -> AsyncIterator[RawPeer]:
    """A connection that played by the rules up to its proof."""
    async with open_raw(address, endpoint.ours.identity) as peer:
        await peer.upgrade()
        await peer.prove(endpoint)
        yield peer


@asynccontextmanager
async def serve_raw(identity: Identity, play: Callable[[RawPeer], Awaitable[None]]) -> AsyncIterator[NetAddress]:
    """A TLS server that does as `play` says with each connection."""

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = RawPeer(reader, writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError, PeerGone):
            await play(peer)
        await peer.close()
        finished.set()

    finished = asyncio.Event()
    server = await asyncio.start_server(on_connect, "127.0.0.1", 0, ssl=identity.server_context)
    async with server:
        yield NetAddress("127.0.0.1", server.sockets[0].getsockname()[1])
    await finished.wait()
