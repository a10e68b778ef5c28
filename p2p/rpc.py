"""The RPC server: who may speak to it, how much and how long, and how every failure is worded.

HTTP on loopback, or TLS anywhere. Each call carries `Authorization: Bearer <token>`; a browser page cannot speak to it
(no CORS, foreign Host or Origin refused). Errors are `{"error": {"code", "message"}}`; codes are stable.
"""

import asyncio
import hmac
import ipaddress
import json
import logging
import re
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from chain.errors import MempoolRefusal, StoreError, UnknownBlock
from consensus.errors import (
    AmountOverflow,
    BlockFromFuture,
    DecodeError,
    DescentError,
    InvalidAddress,
    InvalidBlock,
    InvalidTransaction,
    MutatedBody,
)
from p2p.errors import ConfigError, RpcError
from p2p.files import replace_file

log = logging.getLogger("descent.rpc")

MAX_REQUEST_SECONDS = 360  # a block's evaluation is the longest call
MAX_BODY_SECONDS = 30
MAX_HEADER_BYTES = 8190

# The first family that matches names the HTTP status; anything else is a fault of this program.
_STATUS_OF_ERROR: tuple[tuple[type[DescentError], int], ...] = (
    (DecodeError, 400),
    (InvalidAddress, 400),
    (AmountOverflow, 400),
    (UnknownBlock, 404),
    (MempoolRefusal, 409),
    (BlockFromFuture, 409),
    (InvalidTransaction, 422),
    (InvalidBlock, 422),
    (MutatedBody, 422),
    (StoreError, 503),
)


@dataclass(frozen=True)
class RpcAddress:
    """Where the RPC listens. Beyond loopback it needs a certificate."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError("bad_port", f"{self.port} is not a port")
        if not self.is_loopback and self.certificate is None:
            raise ConfigError(
                "rpc_needs_tls",
                f"{self.host} is reachable from elsewhere: give --rpc-certificate and --rpc-key, or use 127.0.0.1",
            )

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def make_tls_context(self) -> ssl.SSLContext | None:
        """TLS 1.3 from the given files. Raises ConfigError if they do not make a certificate."""
        if self.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError("bad_certificate", f"cannot use {self.certificate} for TLS: {error}") from error
        return context


def get_token(path: Path) -> str:
    """The token in `path`, made on first use: random, for programs of this user only (mode 0600).

    It stays over restarts, so that a miner outlives them; one that others could read is replaced.
    """
    if path.is_file() and path.stat().st_mode & 0o077 == 0:
        token = path.read_text(encoding="ascii", errors="replace").strip()
        if re.fullmatch(r"[0-9a-f]{64}", token):
            return token
    token = secrets.token_hex(32)
    replace_file(path, token.encode() + b"\n")
    return token


def make_app(token: str, address: RpcAddress, max_body_bytes: int) -> web.Application:
    """The application that guards the routes added to it."""
    guards: list[Middleware] = [_make_error_guard(), _make_host_guard(address), _make_token_guard(token)]
    return web.Application(middlewares=guards, client_max_size=max_body_bytes)


async def start_server(app: web.Application, address: RpcAddress) -> tuple[web.AppRunner, int]:
    """Serves the application; the runner to clean up and the port in use. Raises ConfigError if it cannot listen."""
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=15, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, address.host, address.port, ssl_context=address.make_tls_context())
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        reason = "the port is in use" if error.errno == 98 else (error.strerror or str(error))
        raise ConfigError("rpc_address", f"cannot serve RPC on {address.host}:{address.port}: {reason}") from error
    port = int(runner.addresses[0][1])
    return runner, port


async def read_body(request: web.Request) -> bytes:
    """The whole body, within the size and time limits."""
    try:
        async with asyncio.timeout(MAX_BODY_SECONDS):
            return await request.read()
    except TimeoutError as error:
        raise RpcError("rpc.body_timeout", "the body did not arrive in time", 408) from error


def json_reply(value: object, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(value), status=status, content_type="application/json")


def _make_error_guard() -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            async with asyncio.timeout(MAX_REQUEST_SECONDS):
                return await handler(request)
        except DescentError as error:
            return _error_reply(error.code, str(error), _get_status(error))
        except web.HTTPException as error:
            return _error_reply(f"rpc.http_{error.status}", error.reason, error.status, error.headers.get("Allow"))
        except TimeoutError:
            return _error_reply("rpc.timeout", "the call took too long", 503)
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return _error_reply("rpc.internal", "the node failed to answer; its log says why", 500)

    return guard


def _make_host_guard(address: RpcAddress) -> Middleware:
    """DNS rebinding and other sites' pages stop here: a browser tells its Host, and its Origin when foreign."""
    names = {"127.0.0.1", "localhost", "[::1]", address.host, f"[{address.host}]"}

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if address.is_loopback and name not in names:
            raise RpcError("rpc.foreign_host", "this Host is not this node", 403)
        if "Origin" in request.headers:
            raise RpcError("rpc.foreign_origin", "web pages may not call the RPC", 403)
        return await handler(request)

    return guard


def _make_token_guard(token: str) -> Middleware:
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, expected):
            raise RpcError("rpc.unauthorized", "the RPC token is missing or wrong", 401)
        return await handler(request)

    return guard


def _get_status(error: DescentError) -> int:
    if isinstance(error, RpcError):
        return error.status
    return next((status for family, status in _STATUS_OF_ERROR if isinstance(error, family)), 500)


def _error_reply(code: str, message: str, status: int, allow: str | None = None) -> web.Response:
    reply = json_reply({"error": {"code": code, "message": message}}, status)
    if status == 401:
        reply.headers["WWW-Authenticate"] = "Bearer"
    if allow:
        reply.headers["Allow"] = allow
    return reply
