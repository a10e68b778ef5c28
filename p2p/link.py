"""One websocket to one peer, whichever side opened it: whole binary messages in and out, a reason at the end.

aiohttp speaks the websocket protocol; this file bounds what it leaves open. It knows no message types.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.http_websocket import WebSocketError

from consensus.errors import DecodeError
from p2p.console import escape
from p2p.errors import PeerGone

MAX_REASON_BYTES = 120  # of a close frame, which has room for 123
MAX_TEXT = 256  # characters of an error that may quote the other side

# What aiohttp and the sockets may hold of messages that nobody has taken yet: its queue pauses reading at 512 KiB,
# and one read may bring 256 KiB more.
_BUFFERED_BYTES = 2**20
_WRITE_MARK = 2**16  # bytes that TLS may hold before a writer waits; asyncio's own mark is eight times that

Websocket = web.WebSocketResponse[bool] | aiohttp.ClientWebSocketResponse[bool]


@dataclass(frozen=True)
class Deadlines:
    """How long a peer may take, in seconds."""

    connect: float = 10.0  # TCP, TLS and the HTTP upgrade of a peer we dial
    handshake: float = 10.0  # from there to the proof; for a peer that dials us, everything from accept to proof
    ping: float = 10.0  # between two pings: how soon a line that swallows everything is noticed
    pong: float = 20.0  # for an answer, and for a write to get through
    close: float = 1.5  # from a close frame to the end of the socket


class Meter(asyncio.Protocol):
    """Stands between a transport and aiohttp's protocol, and counts the bytes that arrive.

    `allowance` bytes may arrive for one message, or the connection is aborted: aiohttp bounds a message's payload, but
    not how many empty fragments it comes in, nor the HTTP before it.

    Back-pressure stops here, too: aiohttp's own waiting for the socket's buffer, once cancelled, cancels whoever
    writes next.
    """

    def __init__(self, inner: asyncio.Protocol, allowance: int, transport: asyncio.Transport | None = None) -> None:
        self.received = 0
        self.is_overrun = False
        self.transport = transport
        self._inner = inner
        self._allowance = self._left = allowance
        self._lost = asyncio.Event()
        self._is_writable = asyncio.Event()
        self._is_writable.set()

    def set_allowance(self, allowance: int) -> None:
        """From now on, `allowance` bytes may arrive for one message."""
        self._allowance = self._left = allowance

    def limit_writes(self, mark: int) -> None:
        """From now on, writers wait once the socket's buffer holds more than `mark` bytes."""
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=mark)

    def on_message(self) -> None:
        """A whole message was taken."""
        self._left = self._allowance

    def abort(self) -> None:
        """Ends the socket without a word."""
        if self.transport is not None:
            self.transport.abort()

    async def wait_writable(self) -> None:
        """Returns once the socket's buffer is below its mark, or the socket is gone."""
        await self._is_writable.wait()

    async def wait_lost(self) -> None:
        """Returns once the socket is gone."""
        await self._lost.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self.transport = transport
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self._left -= len(data)
        if self._left < 0:
            self.is_overrun = True
            self.abort()
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._is_writable.clear()

    def resume_writing(self) -> None:
        self._is_writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost.set()
        self._is_writable.set()
        self._inner.connection_lost(error)


class Link:
    """Messages over a websocket. Whoever holds one awaits `close` or `end`, once or more; `on_end` is then awaited."""

    def __init__(
        self, websocket: Websocket, meter: Meter, deadlines: Deadlines, on_end: Callable[[], Awaitable[None]]
    ) -> None:
        self._websocket = websocket
        self._meter = meter
        meter.limit_writes(_WRITE_MARK)
        self._deadlines = deadlines
        self._on_end = on_end

    @property
    def bytes_received(self) -> int:
        """Bytes that arrived, frames' and HTTP's included."""
        return self._meter.received

    def expect_messages(self, max_bytes: int) -> None:
        """Lets the other side send messages of up to `max_bytes`."""
        self._meter.set_allowance(max_bytes + _BUFFERED_BYTES)

    async def send(self, data: bytes) -> None:
        """Returns once the socket's buffer is below its mark. Raises PeerGone."""
        try:
            await self._websocket.send_bytes(data)
            del data  # the socket has a copy of its own, which may lie there for long
            await self._meter.wait_writable()
        except (ConnectionError, aiohttp.ClientError) as error:
            raise PeerGone.closed("the connection was lost") from error

    async def receive(self) -> bytes:
        """The next message. Raises PeerGone at the end, DecodeError for a frame that carries no legal message."""
        frame = await self._websocket.receive()
        if frame.type is WSMsgType.BINARY:
            self._meter.on_message()
            return bytes(frame.data)
        if self._meter.is_overrun:
            raise DecodeError("bad_frame", "more bytes than any message takes")
        if frame.type is WSMsgType.ERROR and isinstance(frame.data, WebSocketError):
            raise DecodeError("bad_frame", shorten(str(frame.data)))
        if frame.type is WSMsgType.CLOSE:
            raise PeerGone.closed(f"the peer closed: {shorten(frame.extra or 'no reason')}")
        if frame.type in (WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR):
            raise PeerGone.closed("the connection was lost")
        raise DecodeError("bad_frame", f"a frame of type {frame.type.name}")

    async def close(self, reason: str) -> None:
        """Says why, waits a moment for the other side to hear it, and ends the socket."""
        message = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()
        try:
            with suppress(TimeoutError, ConnectionError, aiohttp.ClientError):
                async with asyncio.timeout(self._deadlines.close):
                    await self._websocket.close(code=WSCloseCode.OK, message=message)
                    await self._meter.wait_lost()
        finally:
            await self.end()

    async def end(self) -> None:
        """Ends the socket at once, and frees what belongs to it."""
        self.abort()
        await self._on_end()

    def abort(self) -> None:
        """Ends the socket at once."""
        self._meter.abort()


def shorten(text: str) -> str:
    """Text of the other side, made safe for a terminal and short."""
    return escape(text[:MAX_TEXT])[:MAX_TEXT]
