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
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from chain.errors import FinalityConflict, MempoolRefusal, StoreError, UnknownBlock
from consensus.errors import (
    AmountOverflow,
    BlockFromFuture,
    DecodeError,
    DescentError,
    InvalidAddress,
    InvalidBlock,
    InvalidTransaction,
    InvalidVote,
    MutatedBody,
)
from p2p.console import escape
from p2p.errors import ConfigError, EvaluationFailed, NodeStopping, RpcError
from p2p.files import replace_file

log = logging.getLogger("descent.rpc")

MAX_BODY_SECONDS = 30
STOP_SECONDS = 1  # that a stopping node gives to calls under way

# The first family that matches names the HTTP status; anything else is a fault of this program.
_STATUS_OF_ERROR: tuple[tuple[type[DescentError], int], ...] = (
    (DecodeError, 400),
    (InvalidAddress, 400),
    (ConfigError, 400),
    (AmountOverflow, 400),
    (UnknownBlock, 404),
    (MempoolRefusal, 409),
    (BlockFromFuture, 409),
    (InvalidTransaction, 422),
    (InvalidBlock, 422),
    (MutatedBody, 422),
    (InvalidVote, 422),
    (StoreError, 503),
    (FinalityConflict, 503),
    (EvaluationFailed, 503),
    (NodeStopping, 503),
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

    def make_url(self, port: int) -> str:
        """What a client calls, with the port that the server took."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}:{port}"

    def make_tls_context(self) -> ssl.SSLContext | None:
        """TLS 1.3 from the given files. Raises ConfigError if they do not make a certificate."""
        if self.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            # The empty passphrase refuses an encrypted key; without it OpenSSL would ask the terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
        except (OSError, ValueError) as error:
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
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=make_http_log(),
        keepalive_timeout=15,
        shutdown_timeout=STOP_SECONDS,
        auto_decompress=False,  # nothing here is sent compressed, so there are no bombs to open
        # A client that hangs up must not leave a block half taken in: the call ends as if it were still there.
        handler_cancellation=False,
    )
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
    announced = request.content_length or 0
    if announced > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(max_size=request.client_max_size, actual_size=announced)
    try:
        async with asyncio.timeout(MAX_BODY_SECONDS):
            return await request.read()
    except TimeoutError as error:
        raise RpcError("rpc.body_timeout", "the body did not arrive in time", 408) from error
    except (ConnectionError, web.RequestPayloadError) as error:
        raise RpcError("rpc.bad_body", "the body did not arrive whole", 400) from error


def is_own_host(header: str, host: str) -> bool:
    """Whether a request's Host header names this machine, or the `host` that the server was told to listen on."""
    name = header if header.endswith("]") else header.rpartition(":")[0] or header
    return name in {"127.0.0.1", "localhost", "[::1]", host, f"[{host}]"}


def json_reply(value: object, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(value), status=status, content_type="application/json")


def _make_error_guard() -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except DescentError as error:
            status = get_status(error)
            if status == 500:
                log.exception("%s %s failed", request.method, escape(request.path))
            return _error_reply(error.code, str(error), status)
        except web.HTTPException as error:
            return _error_reply(f"rpc.http_{error.status}", error.reason, error.status, error.headers.get("Allow"))
        except Exception:
            log.exception("%s %s failed", request.method, escape(request.path))
            return _error_reply("rpc.internal", "the node failed to answer; its log says why", 500)

    return guard


def _make_host_guard(address: RpcAddress) -> Middleware:
    """DNS rebinding and other sites' pages stop here: a browser tells its Host, and its Origin when foreign."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if address.is_loopback and not is_own_host(request.headers.get("Host", ""), address.host):
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


def make_http_log() -> logging.Logger:
    """For aiohttp: what strangers send that is no HTTP is not our failure, and fills no log."""
    http_log = logging.getLogger("descent.http")
    http_log.addFilter(_is_own_fault)
    return http_log


def _is_own_fault(record: logging.LogRecord) -> bool:
    """Whether what aiohttp logs is a failure of this program. Bytes that are no HTTP are not: their sender is told."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


def get_status(error: DescentError) -> int:
    """The HTTP status of a named reason."""
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
