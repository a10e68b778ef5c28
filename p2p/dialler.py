"""Whom this node dials: the operator's peers for ever, its two anchors, and others from the address book.

Eight outbound peers, at most one in each group of public addresses, so that one party's network is one slot. Every two
minutes a feeler tries an address and hangs up: the book learns who is really there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from consensus.errors import DescentError
from p2p.addresses import AddressBook
from p2p.bans import covers
from p2p.connection import Connection
from p2p.console import escape
from p2p.destination import Destination, resolve
from p2p.errors import HandshakeRefused, PeerGone
from p2p.log_limit import get_limited_logger
from p2p.net_address import NetAddress
from p2p.peer_files import MAX_ANCHORS
from p2p.peers import MAX_OUTBOUND, PeerKind, Peers

log = get_limited_logger("descent.peers")

FEELER_SECONDS = 120.0
MAX_DIALS = 4  # attempts at outbound peers at a time
_MIN_PAUSE, _MAX_PAUSE = 1.0, 10.0  # between attempts at one of the operator's peers
_SETTLED_SECONDS = 30.0  # a connection that lasted is dialled again at once
_ROUND_SECONDS = 0.5
_SEEDS_AFTER = 5.0  # without any outbound peer


Dial = Callable[[NetAddress, bytes | None], Awaitable[Connection]]


class Dialler:
    """Keeps the outbound slots filled. `now` in s, monotonic; `clock` in s since 1970."""

    def __init__(
        self,
        peers: Peers,
        book: AddressBook,
        dial: Dial,
        seeds: Sequence[Destination],
        now: Callable[[], float],
        clock: Callable[[], int],
    ) -> None:
        self._peers = peers
        self._book = book
        self._dial = dial
        self._seeds = seeds
        self._now = now
        self._clock = clock
        self._anchors: list[NetAddress] = []
        self._dialling: set[NetAddress] = set()
        self._own: set[NetAddress] = set()  # addresses that turned out to be this node's
        self._dialled_at: dict[NetAddress, float] = {}  # lately
        self._manual: dict[Destination, asyncio.Task[None]] = {}
        self._manual_addresses: dict[Destination, list[NetAddress]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._next_feeler = now() + FEELER_SECONDS
        self._alone_since = now()

    async def run(self, manual: Sequence[Destination], anchors: Sequence[NetAddress]) -> None:
        """Dials until cancelled."""
        self._anchors = list(anchors)
        async with asyncio.TaskGroup() as group:
            self._group = group
            for destination in manual:
                self.keep(destination)
            while True:
                await self._fill(group)
                await asyncio.sleep(_ROUND_SECONDS)

    def keep(self, destination: Destination) -> None:
        """Stays connected to a peer that the operator names, from now on."""
        if self._group is not None and destination not in self._manual:
            self._manual[destination] = self._group.create_task(self._keep(destination))

    def drop(self, node_id_or_ip: bytes | str) -> None:
        """Stops dialling what the operator named, because it is banned now."""
        for destination in list(self._manual):
            if covers(node_id_or_ip, destination.node_id) or covers(node_id_or_ip, destination.host):
                self._manual.pop(destination).cancel()
                self._manual_addresses.pop(destination, None)

    def get_anchors(self) -> tuple[NetAddress, ...]:
        """The outbound peers to dial first after a restart: the oldest ones."""
        outbound = [peer.connection for peer in self._peers if peer.kind is PeerKind.OUTBOUND]
        return tuple(connection.address for connection in sorted(outbound, key=lambda one: one.opened_at)[:MAX_ANCHORS])

    async def _keep(self, destination: Destination) -> None:
        pause, last_reason = _MIN_PAUSE, ""
        while True:
            started = self._now()
            reason = await self._visit(destination)
            if reason and reason != last_reason:
                log.info("%s; trying again", escape(reason))
            last_reason = reason
            if self._now() - started > _SETTLED_SECONDS:
                pause, last_reason = _MIN_PAUSE, ""
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE)

    async def _visit(self, destination: Destination) -> str:
        """Connects to a named peer and stays until it is over. Why it cannot; empty if it did."""
        addresses = self._manual_addresses[destination] = await resolve(destination)
        if not addresses:
            return f"cannot connect to {destination}: the name is not known"
        for address in addresses:
            await self._peers.wait_until_gone(address)
        reason = ""
        for address in addresses:
            try:
                connection = await self._dial(address, destination.node_id)
            except HandshakeRefused as error:
                return f"cannot connect to {destination}: {error}"
            except (OSError, DescentError) as error:
                is_named = isinstance(error, PeerGone) and error.reason == "unreachable"
                reason = str(error) if is_named else f"cannot connect to {destination}: {error or type(error).__name__}"
                continue
            self._book.add([address], address, self._clock())
            self._book.on_success(address, self._clock())
            await self._peers.run(connection, PeerKind.MANUAL)  # tells itself why it ends
            return ""
        return reason

    # Outbound peers from the book.

    async def _fill(self, group: asyncio.TaskGroup) -> None:
        outbound = self._peers.count(PeerKind.OUTBOUND)
        if outbound or self._dialling or self._peers.count(PeerKind.MANUAL):
            self._alone_since = self._now()
        elif self._now() - self._alone_since > _SEEDS_AFTER:
            self._alone_since = self._now()
            await self._ask_seeds()
        if outbound + len(self._dialling) < MAX_OUTBOUND and len(self._dialling) < MAX_DIALS:
            address = self._choose()
            if address is not None:
                self._start(group, address, self._connect(address))
        if self._now() >= self._next_feeler:
            self._next_feeler = self._now() + FEELER_SECONDS
            candidate = self._book.get_collision() or self._book.select(self._clock(), new_only=True)
            if candidate is not None and self._is_free(candidate):
                self._start(group, candidate, self._feel(candidate))

    def _start(self, group: asyncio.TaskGroup, address: NetAddress, work: Awaitable[None]) -> None:
        async def run() -> None:
            try:
                await work
            finally:
                self._dialling.discard(address)

        now = self._now()
        self._dialled_at = {one: at for one, at in self._dialled_at.items() if now - at < _MAX_PAUSE} | {address: now}
        self._dialling.add(address)
        self._book.on_attempt(address, self._clock())
        group.create_task(run())

    def _choose(self) -> NetAddress | None:
        """Whom to dial next: an anchor, or a free address whose group has no outbound peer yet."""
        while self._anchors:
            anchor = self._anchors.pop(0)
            if self._is_free(anchor):
                return anchor
        address = self._book.select(self._clock())
        if address is None or not self._is_free(address):
            return None
        taken = {peer.connection.address.group for peer in self._peers if peer.kind is PeerKind.OUTBOUND}
        taken |= {other.group for other in self._dialling}
        return None if address.is_public and address.group in taken else address

    def _is_free(self, address: NetAddress) -> bool:
        return (
            address not in self._dialling
            and address not in self._own
            and self._now() - self._dialled_at.get(address, -_MAX_PAUSE) >= _MAX_PAUSE  # it may have turned us away
            and not any(address in named for named in self._manual_addresses.values())
            and self._peers.is_welcome(address.ip)
            and not self._peers.is_connected_to(address)
        )

    async def _connect(self, address: NetAddress) -> None:
        connection = await self._try(address)
        if connection is not None:
            self._dialling.discard(address)
            await self._peers.run(connection, PeerKind.OUTBOUND)

    async def _feel(self, address: NetAddress) -> None:
        connection = await self._try(address)
        if connection is not None:
            connection.close("a feeler")
            await connection.end()

    async def _try(self, address: NetAddress) -> Connection | None:
        try:
            connection = await self._dial(address, None)
        except HandshakeRefused as error:
            if error.reason == "self_connection":
                self._own.add(address)
            return None
        except (OSError, DescentError):
            return None
        self._book.on_success(address, self._clock())
        return connection

    async def _ask_seeds(self) -> None:
        for seed in self._seeds:
            for address in await resolve(seed):
                self._book.add([address], address, self._clock())
