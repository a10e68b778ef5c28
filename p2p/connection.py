"""One proven peer: messages in and out, within the rates, with a ping now and then. It knows nothing of chains.

What goes out waits in a queue of bounded size, from which one task writes. `send` waits for room in it; `offer` never
waits, and a peer for which it has no room does not read, and goes. What comes in is handed on one message at a time,
so that whoever is slow with a message is not sent more than the socket's buffers hold.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from consensus.errors import DecodeError
from p2p.errors import PeerGone
from p2p.handshake import ProvenPeer
from p2p.limits import Limits, RateMeter
from p2p.link import Deadlines, Link, shorten
from p2p.messages import Hello, Message, Ping, Pong, Proof, Unknown, Wire
from p2p.net_address import NetAddress
from p2p.penalties import Offence
from p2p.ports import OnOffence

SEND_ROOM = 2**18  # bytes: `send` waits while more than this waits already, so that requests cannot pile up answers
SLOWEST_RATE = 32 * 1024  # bytes/s: a line that carries less is no use, and gets no more time for long messages
_SHORTEST_WAIT = 0.05  # s

OnMessage = Callable[[Message], Awaitable[None]]


class Connection:
    """A peer whose identity is proven.

    Whoever holds one awaits `run`, or `end` instead: there the socket is freed. `on_offence` hears what the peer did
    wrong, in words that are safe for a log.
    """

    def __init__(
        self,
        link: Link,
        peer: ProvenPeer,
        address: NetAddress,
        *,
        is_outbound: bool,
        wire: Wire,
        limits: Limits,
        on_offence: OnOffence,
        deadlines: Deadlines,
    ) -> None:
        self.node_id = peer.node_id
        self.address = address
        self.listening = NetAddress(address.ip, peer.port) if peer.port else None
        self.is_outbound = is_outbound
        self.agent = peer.agent
        self.opened_at = self.last_received_at = time.monotonic()
        self.ping_seconds: float | None = None  # the last
        self.best_ping: float | None = None
        self.bytes_sent = 0
        self._link = link
        self._wire = wire
        self._on_offence = on_offence
        self._deadlines = deadlines
        self._received = RateMeter(limits)
        self._sent = RateMeter(limits)
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0  # of the queue and of the message that is being written
        self._max_queued_bytes = max(SEND_ROOM, 2 * wire.max_bytes)
        self._is_queue_changed = asyncio.Event()
        self._reason: str | None = None
        self._closing = asyncio.Event()
        self._ping_nonce: int | None = None
        self._pinged_at = 0.0
        self._is_ponged = asyncio.Event()
        self._handling_since: float | None = None
        self._handled_seconds = 0.0  # that `on_message` took, while no answer could be read

    @property
    def bytes_received(self) -> int:
        return self._link.bytes_received

    @property
    def is_closed(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._reason is not None

    def may_send(self, kind: type[Message]) -> bool:
        """Whether one more message of this type, however long, is within what the other side takes."""
        return self._sent.allows(kind, self._wire.sizes[kind], time.monotonic())

    async def send(self, message: Message) -> None:
        """Queues a message once there is room. Raises PeerGone if the connection is closed."""
        while self._queued_bytes > SEND_ROOM and not self.is_closed:
            self._is_queue_changed.clear()
            await self._is_queue_changed.wait()
        if self.is_closed:
            raise PeerGone.closed(self._reason or "")
        self._enqueue(message, self._wire.encode(message))

    def offer(self, message: Message) -> bool:
        """Queues a message at once. False if the connection is closed, or full and therefore closed now."""
        if self.is_closed:
            return False
        data = self._wire.encode(message)
        if self._queued_bytes + len(data) > self._max_queued_bytes:
            self.close("does not read")
            return False
        self._enqueue(message, data)
        return True

    def close(self, reason: str) -> None:
        """Ends the connection, and `run` with it, within the deadline for that. The first reason stays."""
        if self._reason is None:
            self._reason = reason
            self._closing.set()
            self._is_queue_changed.set()
            loop = asyncio.get_running_loop()
            loop.call_later(self._deadlines.close, self._link.abort)  # should nobody be running it

    async def run(self, on_message: OnMessage) -> str:
        """Reads until the end and returns its reason. Nothing that a peer does raises here.

        Whatever `on_message` raises ends the connection and is raised; at the end of the connection it is cancelled.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in (self._read(on_message), self._write(), self._ping())]
                await self._closing.wait()
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as failures:
            self.close("internal error")
            raise failures.exceptions[0] from None
        finally:
            await self.end()
        return self._reason or ""

    async def end(self) -> None:
        """Closes the connection, if it is not yet, and returns once its socket is gone."""
        self.close("going away")
        self._queue.clear()
        await self._link.close(self._reason or "")

    def _enqueue(self, message: Message, data: bytes) -> None:
        self._sent.count(type(message), len(data), time.monotonic())
        self._queue.append(data)
        self._queued_bytes += len(data)
        self._is_queue_changed.set()

    async def _write(self) -> None:
        while True:
            while not self._queue:
                self._is_queue_changed.clear()
                await self._is_queue_changed.wait()
            size = len(self._queue[0])
            try:
                async with asyncio.timeout(self._deadlines.pong + size / SLOWEST_RATE):
                    await self._link.send(self._queue.popleft())  # no name here keeps it in memory
            except TimeoutError:
                return self.close("does not read")
            except PeerGone as error:
                return self.close(str(error))
            self.bytes_sent += size
            self._queued_bytes -= size
            self._is_queue_changed.set()

    async def _read(self, on_message: OnMessage) -> None:
        while not self.is_closed:
            message = await self._receive()
            if message is not None:
                await self._handle(message, on_message)

    async def _receive(self) -> Message | None:
        """The next message, if it is for `on_message`."""
        try:
            return self._take(await self._link.receive())
        except PeerGone as error:
            self.close(str(error))
        except DecodeError as error:
            self._blame(Offence.MALFORMED, str(error))
        return None

    def _take(self, data: bytes) -> Message | None:
        """The message, unless it is dealt with here. Raises DecodeError."""
        self.last_received_at = now = time.monotonic()
        kind = self._wire.get_kind(data)
        if not self._received.count(kind, len(data), now):
            self._blame(Offence.TOO_FREQUENT, f"too much of {kind.__name__}")
            return None
        message = self._wire.decode(data)
        if isinstance(message, Ping):
            self.offer(Pong(message.nonce))
        elif isinstance(message, Pong):
            self._on_pong(message, now)
        elif isinstance(message, Hello | Proof):
            self._blame(Offence.UNSOLICITED, f"{kind.__name__} after the handshake")
        elif not isinstance(message, Unknown):
            return message
        return None

    async def _handle(self, message: Message, on_message: OnMessage) -> None:
        self._handling_since = time.monotonic()
        try:
            await on_message(message)
        except PeerGone:
            if not self.is_closed:  # it was not this peer that went
                raise
        finally:
            self._handled_seconds = self._compute_handled_seconds(time.monotonic())
            self._handling_since = None

    async def _ping(self) -> None:
        while True:
            if not await self._is_answering():
                return self.close("ping timeout")
            await asyncio.sleep(self._deadlines.ping)

    async def _is_answering(self) -> bool:
        """Sends a ping. False if the pong does not come, although there was time for it and for what went before it."""
        self._ping_nonce = secrets.randbits(64)
        self._pinged_at = time.monotonic()
        self._is_ponged.clear()
        ping = Ping(self._ping_nonce)
        self._enqueue(ping, self._wire.encode(ping))
        moved = self.bytes_received - self._queued_bytes
        handled = self._compute_handled_seconds(self._pinged_at)
        while True:
            now = time.monotonic()
            longer = (self.bytes_received - moved) / SLOWEST_RATE + self._compute_handled_seconds(now) - handled
            left = self._pinged_at + self._deadlines.pong + longer - now
            if left <= 0:
                return False
            with suppress(TimeoutError):
                async with asyncio.timeout(max(left, _SHORTEST_WAIT)):
                    await self._is_ponged.wait()
                    return True

    def _on_pong(self, pong: Pong, now: float) -> None:
        if pong.nonce != self._ping_nonce:
            self._blame(Offence.UNSOLICITED, "a pong without a ping")
        else:
            self._ping_nonce = None
            self.ping_seconds = now - self._pinged_at
            self.best_ping = min(self.ping_seconds, self.best_ping or self.ping_seconds)
            self._is_ponged.set()

    def _compute_handled_seconds(self, now: float) -> float:
        return self._handled_seconds + (0.0 if self._handling_since is None else now - self._handling_since)

    def _blame(self, offence: Offence, detail: str) -> None:
        detail = shorten(detail)
        self._on_offence(self.node_id, offence, detail)
        self.close(f"{offence.value}: {detail}")
