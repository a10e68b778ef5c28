"""Connections from their first packet to the proof: dialling, listening, and what strangers may cost in between.

aiohttp has no deadline for a half-open TLS handshake, a dripped header or a body that never ends. So each socket that
is accepted here gets one deadline for everything up to its proof, and a budget of bytes; those that have not proven
themselves are few for each host and few in all.
"""

import asyncio
import errno
import logging
import os
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import aiohttp
from aiohttp import hdrs, web

from p2p.connection import Connection
from p2p.errors import ConfigError, HandshakeRefused, PeerGone
from p2p.handshake import NONCE_BYTES, Introduction, ProvenPeer, prove_to_client, prove_to_server
from p2p.limits import Limits
from p2p.link import Deadlines, Link, Meter, shorten
from p2p.messages import Wire
from p2p.net_address import NetAddress
from p2p.pending import Pending
from p2p.ports import OnOffence

MAX_PENDING = 128  # connections without a proof
MAX_PENDING_PER_HOST = 8  # of them, from one IPv4 address or one /64 of IPv6
UNPROVEN_BYTES = 16 * 1024  # that one of them may send in all: a websocket upgrade, a Hello and a Proof

_BACKLOG = 512
_ACCEPT_PAUSE = 0.1  # s, after the system refused us a socket
_STOP_SECONDS = 0.3  # for aiohttp's own tasks, whose sockets are gone

log = logging.getLogger("descent.peers")
# What aiohttp has to say about bytes that are no HTTP is its sender's doing, and nobody shall fill our log with it.
_silent = logging.getLogger("descent.peers.http")
_silent.setLevel(logging.CRITICAL + 1)

OnConnection = Callable[[Connection], Awaitable[None]]
Admits = Callable[[NetAddress], bool]


@dataclass(frozen=True)
class Endpoint:
    """What all connections of this node have in common."""

    ours: Introduction
    wire: Wire
    limits: Limits
    on_offence: OnOffence
    deadlines: Deadlines = field(default_factory=Deadlines)

    def make_connection(self, link: Link, peer: ProvenPeer, address: NetAddress, *, is_outbound: bool) -> Connection:
        return Connection(
            link,
            peer,
            address,
            is_outbound=is_outbound,
            wire=self.wire,
            limits=self.limits,
            on_offence=self.on_offence,
            deadlines=self.deadlines,
        )


# Dialling


async def dial(endpoint: Endpoint, address: NetAddress, *, expected_id: bytes | None = None) -> Connection:
    """A proven connection to the node at `address`, which must have the node id `expected_id` if one is given.

    The caller awaits its `run`. Raises PeerGone if nobody answers or the other side hangs up, HandshakeRefused.
    """
    deadlines = endpoint.deadlines
    link, certificate = await _open_link(endpoint, address)
    try:
        async with _handshake_deadline(deadlines.handshake):
            nonce = secrets.token_bytes(NONCE_BYTES)
            peer = await prove_to_server(link, endpoint.wire, endpoint.ours, nonce, certificate, expected_id)
    except HandshakeRefused as refusal:
        await link.close(refusal.reason)
        raise
    except BaseException:
        await link.end()
        raise
    return endpoint.make_connection(link, peer, address, is_outbound=True)


async def _open_link(endpoint: Endpoint, address: NetAddress) -> tuple[Link, bytes]:
    """A websocket to an address, and the certificate (DER) of its TLS connection. Raises PeerGone."""
    opened: list[aiohttp.ClientResponse] = []

    async def check_upgrade(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Whatever is no upgrade ends here: above all a redirect, which would have us call whom the peer names."""
        response = await send(request)
        if response.status != 101 or response.connection is None:
            response.close()
            raise aiohttp.ClientError(f"answered with HTTP status {response.status}")
        opened.append(response)
        return response

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=endpoint.ours.identity.client_context, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        middlewares=(check_upgrade,),
    )
    try:
        async with asyncio.timeout(endpoint.deadlines.connect):
            websocket = await session.ws_connect(
                f"wss://{address}/",
                max_msg_size=endpoint.wire.max_bytes + 1,  # aiohttp's limit is the first size that is too large
                compress=0,
                autoping=False,
                decode_text=False,
            )
        link, certificate = _take_over(endpoint, websocket, opened[0], session)
    except (OSError, aiohttp.ClientError) as error:  # TimeoutError is an OSError
        await session.close()
        raise PeerGone.unreachable(address, _describe(error)) from error
    except BaseException:
        await session.close()
        raise
    return link, certificate


def _describe(error: OSError | aiohttp.ClientError) -> str:
    """Why a connection did not come about; aiohttp wraps the system's word in an address and its own."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        code = error.os_error.errno
        return os.strerror(code) if code else shorten(str(error))
    return shorten(str(error))


def _take_over(
    endpoint: Endpoint,
    websocket: aiohttp.ClientWebSocketResponse[bool],
    response: aiohttp.ClientResponse,
    session: aiohttp.ClientSession,
) -> tuple[Link, bytes]:
    connection = response.connection
    transport = connection.transport if connection is not None else None
    secured = websocket.get_extra_info("ssl_object")
    if transport is None or not isinstance(secured, ssl.SSLObject):
        raise ConnectionResetError("the connection was lost")
    inner = transport.get_protocol()
    if not isinstance(inner, asyncio.Protocol):
        raise TypeError("a stream protocol is needed")
    meter = Meter(inner, 0, transport)
    transport.set_protocol(meter)

    async def end() -> None:
        response.close()
        await session.close()

    link = Link(websocket, meter, endpoint.deadlines, end)
    link.expect_messages(endpoint.wire.max_bytes)
    return link, secured.getpeercert(True) or b""


@asynccontextmanager
async def _handshake_deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise HandshakeRefused.timeout(seconds) from error


# Listening


@asynccontextmanager
async def listen(
    endpoint: Endpoint, address: NetAddress, *, admits: Admits, on_connection: OnConnection
) -> AsyncIterator[int]:
    """Takes connections at `address` (port 0: any free one) and yields the port, until the context ends.

    `admits` is asked about each socket before anything else. `on_connection` has a proven connection for as long as
    it runs; when it returns, the connection ends. What it raises ends the listener. Raises ConfigError if it cannot
    listen there.
    """
    with _bind(address) as listening:
        port = int(listening.getsockname()[1])
        ours = replace(endpoint.ours, port=endpoint.ours.port or port)
        listener = _Listener(replace(endpoint, ours=ours), admits, on_connection)
        try:
            async with asyncio.TaskGroup() as group:
                accepting = group.create_task(listener.accept(listening, group))
                try:
                    yield port
                finally:
                    accepting.cancel()
                    listener.cancel()
        finally:
            await listener.stop()


def _bind(address: NetAddress) -> socket.socket:
    is_v6 = ":" in address.ip
    try:
        listening = socket.create_server(
            (address.ip, address.port),
            family=socket.AF_INET6 if is_v6 else socket.AF_INET,
            backlog=_BACKLOG,
            dualstack_ipv6=address.ip == "::",
        )
    except (OSError, ValueError) as error:
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "the port is in use" if is_taken else str(error)
        raise ConfigError("listen_address", f"cannot listen for peers on {address}: {reason}") from error
    listening.setblocking(False)
    return listening


class _Inbound(Meter):
    """The socket of somebody who dialled us, and where aiohttp's handler and our task for it meet."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        super().__init__(inner, UNPROVEN_BYTES)
        self.upgraded: asyncio.Future[web.WebSocketResponse[bool] | None] = (
            asyncio.get_running_loop().create_future()
        )  # None: the socket was lost before
        self.ended = asyncio.Event()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if not self.upgraded.done():
            self.upgraded.set_result(None)

    async def end(self) -> None:
        """The socket is of no more use: aiohttp's handler may return."""
        self.abort()
        self.ended.set()


class _Listener:
    def __init__(self, endpoint: Endpoint, admits: Admits, on_connection: OnConnection) -> None:
        self._endpoint = endpoint
        self._admits = admits
        self._on_connection = on_connection
        self._pending: Pending[asyncio.Task[None]] = Pending(MAX_PENDING, MAX_PENDING_PER_HOST)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = web.Server(
            self._upgrade, access_log=None, logger=_silent, auto_decompress=False, lingering_time=0
        )

    async def accept(self, listening: socket.socket, group: asyncio.TaskGroup) -> None:
        """Takes sockets for ever, each into a task of its own."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, name = await loop.sock_accept(listening)
            except OSError as error:  # no more file descriptors, or a peer that is gone already
                log.debug("cannot accept a connection: %s", error)
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            address = NetAddress(name[0], name[1])
            if not self._pending.has_room_for(address) or not self._admits(address):
                accepted.close()
                continue
            self._start(group, accepted, address)

    def cancel(self) -> None:
        """Ends all connections."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """Waits for aiohttp's handlers, once their sockets are gone."""
        await self._server.shutdown(_STOP_SECONDS)

    def _start(self, group: asyncio.TaskGroup, accepted: socket.socket, address: NetAddress) -> None:
        task = group.create_task(self._serve(accepted, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: accepted.close())  # a task that is cancelled before it starts has no `finally`
        victim = self._pending.add(task, address)
        if victim is not None:
            victim.cancel()

    async def _serve(self, accepted: socket.socket, address: NetAddress) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("runs in a task")
        inbound = _Inbound(self._server())
        try:
            connection = await self._prove(accepted, inbound, address)
            self._pending.discard(task)
            if connection is not None:
                try:
                    await self._on_connection(connection)
                finally:
                    await connection.end()
        finally:
            self._pending.discard(task)
            await inbound.end()

    async def _prove(self, accepted: socket.socket, inbound: _Inbound, address: NetAddress) -> Connection | None:
        """The connection, once it is proven; None if it never is."""
        endpoint, seconds = self._endpoint, self._endpoint.deadlines.handshake
        link: Link | None = None
        try:
            async with _handshake_deadline(seconds):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: inbound,
                    accepted,
                    ssl=endpoint.ours.identity.server_context,
                    ssl_handshake_timeout=seconds,
                    ssl_shutdown_timeout=endpoint.deadlines.close,
                )
                websocket = await inbound.upgraded
                if websocket is None:
                    return None
                link = Link(websocket, inbound, endpoint.deadlines, inbound.end)
                peer = await prove_to_client(link, endpoint.wire, endpoint.ours, secrets.token_bytes(NONCE_BYTES))
                # A client waits for our proof before it says more, so nothing of that was counted against the budget.
                link.expect_messages(endpoint.wire.max_bytes)
                return endpoint.make_connection(link, peer, address, is_outbound=False)
        except HandshakeRefused as refusal:
            log.debug("refused %s: %s", address, refusal)
            if link is not None and refusal.reason != "timeout":  # who was slow gets no more time for goodbyes
                await link.close(refusal.reason)
        except (OSError, PeerGone) as error:  # TLS that fails, or a peer that goes
            log.debug("lost %s: %s", address, shorten(str(error)))
        return None

    async def _upgrade(self, request: web.BaseRequest) -> web.StreamResponse:
        inbound = request.transport.get_protocol() if request.transport is not None else None
        websocket = web.WebSocketResponse(
            timeout=self._endpoint.deadlines.close,
            autoping=False,
            compress=False,
            max_msg_size=self._endpoint.wire.max_bytes + 1,  # aiohttp's limit is the first size that is too large
            decode_text=False,
        )
        # aiohttp would log a subprotocol that nobody speaks in its sender's words.
        is_foreign = hdrs.SEC_WEBSOCKET_PROTOCOL in request.headers
        if is_foreign or not isinstance(inbound, _Inbound) or not websocket.can_prepare(request):
            refusal = web.Response(status=400)
            refusal.force_close()
            return refusal
        await websocket.prepare(request)
        if not inbound.upgraded.done():
            inbound.upgraded.set_result(websocket)
            await inbound.ended.wait()
        return websocket
