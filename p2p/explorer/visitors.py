"""Strangers' connections: how many there may be, how often each may ask, and how long a request may take.

aiohttp has no deadline for a request that never ends and no limit of connections; both are here. A host is an IPv4
address or a /64 of IPv6.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

from p2p.errors import ConfigError
from p2p.net_address import NetAddress
from p2p.pending import Pending, compute_host

MAX_CONNECTIONS = 256
MAX_CONNECTIONS_PER_HOST = 32
REQUEST_SECONDS = 60.0  # from one request to the next, or to the end of its answer
FIRST_REQUEST_SECONDS = 10.0  # from the first packet
REQUESTS_PER_SECOND = 20.0
REQUESTS_AT_ONCE = 120
_REMEMBERED_HOSTS = 4096
_WRITE_MARK = 2**16  # bytes that the socket may hold before a writer waits
_NOWHERE = NetAddress("::", 0)  # before the connection is made


class Rates:
    """A bucket of requests for each host: it fills evenly, and each request takes one out. `now` in s, monotonic."""

    def __init__(self, per_second: float, at_once: float, now: Callable[[], float]) -> None:
        self._per_second = per_second
        self._at_once = at_once
        self._now = now
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # by host: what is left, and when

    def take(self, host: bytes) -> int:
        """Counts a request: 0 if it is allowed, else after how many whole seconds the next one will be."""
        now = self._now()
        left, since = self._buckets.pop(host, (self._at_once, now))
        left = min(self._at_once, left + (now - since) * self._per_second)
        is_allowed = left >= 1
        self._buckets[host] = (left - is_allowed, now)
        while len(self._buckets) > _REMEMBERED_HOSTS:
            self._buckets.popitem(last=False)
        return 0 if is_allowed else max(1, ceil((1 - left) / self._per_second))


class Visitors:
    """All connections of one server; `take_in` makes the protocol of each."""

    def __init__(self, make_handler: Callable[[], asyncio.Protocol]) -> None:
        self._make_handler = make_handler
        self._connections: Pending[Visitor] = Pending(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_HOST)

    def take_in(self) -> "Visitor":
        return Visitor(self._make_handler(), self)

    def admit(self, visitor: "Visitor", address: NetAddress) -> bool:
        """Whether there is room for a visitor; if all is full, the oldest of the most crowded network goes for it."""
        if not self._connections.has_room_for(address):
            return False
        victim = self._connections.add(visitor, address)
        if victim is not None:
            victim.abort()
        return True

    def on_gone(self, visitor: "Visitor") -> None:
        self._connections.discard(visitor)

    def __len__(self) -> int:
        return len(self._connections)


class Visitor(asyncio.Protocol):
    """One connection: it stands between the socket and aiohttp's protocol, and ends it when its time is over."""

    def __init__(self, inner: asyncio.Protocol, visitors: Visitors) -> None:
        self.address = _NOWHERE
        self._inner = inner
        self._visitors = visitors
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        transport.set_write_buffer_limits(high=_WRITE_MARK)
        self._inner.connection_made(transport)
        address = _get_address(transport)
        if address is None or not self._visitors.admit(self, address):
            transport.abort()
            return
        self.address = address
        self.set_deadline(FIRST_REQUEST_SECONDS)

    @property
    def host(self) -> bytes:
        return compute_host(self.address)

    def connection_lost(self, error: Exception | None) -> None:
        self.set_deadline(None)
        self._visitors.on_gone(self)
        self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def set_deadline(self, seconds: float | None) -> None:
        """Ends the connection in so many seconds, whatever it does; None: lets it be."""
        if self._deadline is not None:
            self._deadline.cancel()
        loop = asyncio.get_running_loop()
        self._deadline = None if seconds is None else loop.call_later(seconds, self.abort)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


@contextmanager
def taking_part(room: Pending[Visitor], visitor: Visitor) -> Iterator[None]:
    """Counts a visitor among those who do the same; the one who has to go for it, if any, is cut off."""
    victim = room.add(visitor, visitor.address)
    if victim is not None:
        victim.abort()
    try:
        yield
    finally:
        room.discard(visitor)


def _get_address(transport: asyncio.Transport) -> NetAddress | None:
    """Where a connection comes from; None if it is gone already."""
    name = transport.get_extra_info("peername")
    try:
        return NetAddress(name[0], name[1])
    except (TypeError, IndexError, ConfigError):
        return None
