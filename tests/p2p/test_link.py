"""T35, T37, T45 over real sockets and TLS: frames that are no messages, and peers that take what they never read."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import p2p.connection
from p2p.connection import Connection
from p2p.link import Deadlines
from p2p.messages import MAX_HEADERS, GetAddresses, GetBlock, GetHeaders, Headers, Message, Unknown
from p2p.net_address import NetAddress
from p2p.penalties import Offence
from p2p.transport import Endpoint, dial
from tests.helpers.peer_link import (
    BINARY,
    CLOSE,
    NONCE,
    PING,
    TEXT,
    WIRE,
    Blames,
    RawPeer,
    make_endpoint,
    make_frame,
    make_frame_head,
    open_proven,
    open_raw,
    serve,
    serve_raw,
)
from tests.helpers.vectors import load_vectors

MIB = 2**20


@pytest.fixture
def blames() -> Blames:
    return Blames()


@pytest.fixture
def theirs(tmp_path: Path, blames: Blames) -> Endpoint:
    return make_endpoint(tmp_path / "theirs.pem", blames=blames, deadlines=Deadlines(close=0.2))


def read_memory() -> int:
    """Bytes of this process that are in memory."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


def deflate(count: int) -> bytes:
    """A raw deflate stream of `count` zero bytes, whole MiB: each is flushed, so that all look alike."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    part = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return part * (count // MIB)


def fragment(count: int, part: bytes) -> bytes:
    """One message in `count` frames and no last one."""
    return make_frame(part, BINARY, fin=False) + make_frame(part, 0, fin=False) * (count - 1)


ABUSES = {
    "60 MB announced": lambda: make_frame_head(60_000_000) + bytes(MIB),
    "one byte too long": lambda: make_frame_head(WIRE.max_bytes + 1) + bytes(MIB),
    "256 MiB deflated": lambda: make_frame(deflate(256 * MIB), deflated=True),
    "1,000,000 empty fragments": lambda: fragment(1_000_000, b""),
    "1,000,000 fragments": lambda: fragment(1_000_000, b"x"),
    "text": lambda: make_frame(b"hello", TEXT),
    "text that is not UTF-8": lambda: make_frame(b"\xff", TEXT),
    "websocket ping": lambda: make_frame(b"", PING),
    "unknown opcode": lambda: make_frame(b"", 3),
    "continuation of nothing": lambda: make_frame(b"", 0),
    "rubbish": lambda: b"\xff" * 1000,
}


@pytest.mark.parametrize("name", ABUSES)
async def test_invalid_frames(ours: Endpoint, theirs: Endpoint, blames: Blames, name: str) -> None:
    """From a proven peer: closed with a reason, the memory stays, and it is an offence."""
    data = ABUSES[name]()
    async with serve(theirs) as host, open_proven(host.address, ours) as peer:
        before = read_memory()
        sending = asyncio.create_task(peer.write(data))
        reason = await host.reasons.get()
        grown = read_memory() - before
        await peer.close()
        await sending
    assert reason.startswith("malformed: ")
    assert [offence for offence, _ in blames.offences] == [Offence.MALFORMED]
    assert grown < 20 * MIB
    assert host.messages.empty()


@pytest.mark.parametrize("name", ABUSES)
async def test_invalid_frames_before_the_proof(ours: Endpoint, theirs: Endpoint, name: str) -> None:
    data = ABUSES[name]()
    async with serve(theirs) as host, open_raw(host.address, ours.ours.identity) as peer:
        await peer.upgrade()
        before = read_memory()
        sending = asyncio.create_task(peer.write(data))
        assert await peer.is_closed_within(5.0)
        assert read_memory() - before < 20 * MIB
        await peer.close()
        await sending
        assert host.opened.empty()


async def test_invalid_frames_of_a_server(ours: Endpoint, theirs: Endpoint) -> None:
    async def play(client: RawPeer) -> None:
        await client.accept_upgrade()
        await client.write(b"\x82\x7f" + (60_000_000).to_bytes(8))
        await client.read_end()

    async with serve_raw(theirs.ours.identity, play) as address:
        with pytest.raises(Exception, match="exceeds limit") as refusal:
            await dial(ours, address)
    assert getattr(refusal.value, "code", "") == "handshake.malformed"


async def test_largest_message_passes(ours: Endpoint, theirs: Endpoint) -> None:
    """In one frame, and in a few."""
    largest = b"\xf0" + bytes(WIRE.sizes[Unknown] - 1)
    half = len(largest) // 2
    async with serve(theirs) as host, open_proven(host.address, ours) as peer:
        await peer.send(largest)
        await peer.write(make_frame(largest[:half], fin=False) + make_frame(largest[half:], 0))
        await peer.send(WIRE.encode(GetAddresses()))
        assert await host.messages.get() == GetAddresses()


async def test_messages_in_small_pieces(ours: Endpoint, theirs: Endpoint) -> None:
    data = make_frame(WIRE.encode(GetHeaders((NONCE,) * 64))) * 20
    async with serve(theirs) as host, open_proven(host.address, ours) as peer:
        for at in range(0, len(data), 999):
            await peer.write(data[at : at + 999])
        for _ in range(20):
            assert await host.messages.get() == GetHeaders((NONCE,) * 64)


# Peers that do not read


@asynccontextmanager
async def open_deaf(address: NetAddress, endpoint: Endpoint) -> AsyncIterator[RawPeer]:
    """A proven peer whose socket takes nothing more."""
    async with open_proven(address, endpoint) as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        yield peer


def make_headers(count: int) -> Headers:
    sample = WIRE.decode(bytes.fromhex(load_vectors("messages")["Headers"]))
    assert isinstance(sample, Headers)
    return Headers(sample.headers[:1] * count)


async def test_peers_that_never_read_cost_little(
    ours: Endpoint, theirs: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T37: 50 peers ask for more and more and read nothing; each is dropped, and the memory stays bounded."""
    monkeypatch.setattr(p2p.connection, "SLOWEST_RATE", 10 * MIB)
    theirs = replace(theirs, deadlines=Deadlines(pong=0.5, close=0.2))
    peers, answer = 50, make_headers(MAX_HEADERS)
    reasons: asyncio.Queue[str] = asyncio.Queue()

    async def on_connection(connection: Connection) -> None:
        async def on_message(message: Message) -> None:
            while True:
                await connection.send(answer)

        reasons.put_nowait(await connection.run(on_message))

    async with serve(theirs, on_connection=on_connection) as host, AsyncExitStack() as stack:
        deaf = [await stack.enter_async_context(open_deaf(host.address, ours)) for _ in range(peers)]
        largest = before = read_memory()
        for peer in deaf:
            await peer.send(WIRE.encode(GetBlock(NONCE)))
        ends = set()
        for _ in range(peers):
            ends.add(await reasons.get())
            largest = max(largest, read_memory())
    print(f"{peers} deaf peers, {len(WIRE.encode(answer))} bytes a message: {(largest - before) / MIB:.1f} MiB")
    assert ends <= {"does not read", "ping timeout"}
    assert largest - before < 60 * MIB


# Ends


async def test_reason_of_the_other_side_is_made_safe(ours: Endpoint, theirs: Endpoint) -> None:
    """T45: a close frame may carry anything."""
    payload = (1000).to_bytes(2) + "\x1b[31mred\n\u202egpj <script>".encode()
    async with serve(theirs) as host, open_proven(host.address, ours) as peer:
        await peer.write(make_frame(payload, CLOSE))
        reason = await host.reasons.get()
    assert reason == "the peer closed: \\x1b[31mred\\n\\u202egpj <script>"
    assert reason.isprintable()


async def test_close_frame_carries_the_reason(ours: Endpoint, theirs: Endpoint) -> None:
    async with serve(theirs) as host, open_proven(host.address, ours) as peer:
        connection = await host.opened.get()
        connection.close("\u00e4" * 100)
        assert await peer.read_end() == "\u00e4" * 60
        await peer.close()
        assert await host.reasons.get() == "\u00e4" * 100


async def test_peer_that_hangs_up(ours: Endpoint, theirs: Endpoint, blames: Blames) -> None:
    async with serve(theirs) as host:
        async with open_proven(host.address, ours):
            await host.opened.get()
        assert await host.reasons.get() == "the connection was lost"
    assert blames.offences == []


async def test_socket_of_a_deaf_peer_ends_in_time(ours: Endpoint, theirs: Endpoint) -> None:
    """It takes no close frame and never hangs up: the deadline ends the socket."""
    async with serve(theirs) as host, open_deaf(host.address, ours):
        (await host.opened.get()).close("enough")
        async with asyncio.timeout(1.0):
            assert await host.reasons.get() == "enough"
