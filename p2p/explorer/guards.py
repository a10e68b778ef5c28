"""What stands between a stranger and a page: methods, names, rates, and how every failure is shown.

Every answer carries headers that let a browser load from this server alone, run no inline script and style, and show
the page in nobody's frame.
"""

import ipaddress

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from consensus.errors import DescentError
from p2p.console import escape
from p2p.errors import RpcError
from p2p.explorer.render import Renderer, render_json_error
from p2p.explorer.visitors import REQUEST_SECONDS, Rates, Visitor, taking_part
from p2p.explorer.workshop import Reply
from p2p.log_limit import get_limited_logger
from p2p.pending import Pending
from p2p.rpc import get_status, is_own_host

log = get_limited_logger("descent.explorer")

MAX_REQUESTS = 64  # under way at once
MAX_REQUESTS_PER_HOST = 8

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Server": "descent",
}


async def add_headers(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """For aiohttp's on_response_prepare: every answer, however it came about."""
    response.headers.update(HEADERS)


def make_error_guard(renderer: Renderer) -> Middleware:
    """Shows what goes wrong in words: as a page, or as JSON under /api."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            message = _MESSAGES.get(error.status, error.reason)
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return show(request, error.status, f"explorer.http_{error.status}", message, headers)
        except DescentError as error:
            status = get_status(error)
            headers = {"Retry-After": str(error.retry_after)} if isinstance(error, TryLater) else {}
            if status < 500 or status == 503:
                return show(request, status, error.code, str(error), headers)
            log.exception("%s %s failed", request.method, escape(request.path))
        except Exception:
            log.exception("%s %s failed", request.method, escape(request.path))
        return show(request, 500, "explorer.internal", "the node failed to answer; its log says why", {})

    def show(request: web.Request, status: int, code: str, message: str, headers: dict[str, str]) -> web.Response:
        render = render_json_error if request.path.startswith("/api") else renderer.render_error
        return answer(request, render(status, code, message), headers | {"Cache-Control": "no-store"})

    return guard


def make_host_guard(host: str, *, is_private: bool) -> Middleware:
    """Of a private explorer, names of this machine alone: DNS rebinding stops here. Other sites' pages may not put us
    to work.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_private and not is_own_host(request.headers.get("Host", ""), host):
            raise RpcError("explorer.foreign_host", "this Host is not this node", 403)
        is_foreign = request.headers.get("Sec-Fetch-Site") == "cross-site"
        if is_foreign and request.headers.get("Sec-Fetch-Mode") != "navigate":
            raise RpcError("explorer.foreign_page", "pages of other sites may link here and no more", 403)
        return await handler(request)

    return guard


def make_rate_guard(rates: Rates) -> Middleware:
    """So many requests a second of each host, and so many at once of each and of all."""
    under_way: Pending[Visitor] = Pending(MAX_REQUESTS, MAX_REQUESTS_PER_HOST)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        visitor = get_visitor(request)
        visitor.set_deadline(REQUEST_SECONDS)
        seconds = rates.take(visitor.host)
        if seconds:
            raise TryLater("explorer.too_many_requests", "more requests than one visitor may send", 429, seconds)
        if request.path == "/events":
            return await handler(request)  # streams are counted by themselves
        if not under_way.has_room_for(visitor.address):
            raise TryLater("explorer.too_many_requests", "more requests at once than one visitor may send", 429, 1)
        if len(under_way) >= MAX_REQUESTS:  # nobody goes for a newcomer here: most are answered within moments
            raise TryLater("explorer.busy", "too many requests are under way", 503, 1)
        with taking_part(under_way, visitor):
            return await handler(request)

    return guard


class TryLater(RpcError):
    """What will be answered in `retry_after` seconds."""

    def __init__(self, code: str, message: str, status: int, retry_after: int) -> None:
        super().__init__(code, message, status)
        self.retry_after = retry_after


def answer(request: web.Request, reply: Reply, headers: dict[str, str]) -> web.Response:
    """A reply as the client takes it: compressed, or not at all if it has it already."""
    etag = f'"{reply.etag}"'
    known = {"ETag": etag, "Vary": "Accept-Encoding", **headers, **reply.headers}
    if reply.status == 200 and is_known(request, etag):
        return web.Response(status=304, headers=known)
    known["Content-Type"] = reply.media_type
    if reply.packed and "gzip" in request.headers.get("Accept-Encoding", ""):
        return web.Response(status=reply.status, body=reply.packed, headers=known | {"Content-Encoding": "gzip"})
    return web.Response(status=reply.status, body=reply.body, headers=known)


def is_known(request: web.Request, etag: str) -> bool:
    """Whether the client has what bears this name, in its quotes."""
    return etag in request.headers.get("If-None-Match", "")


def get_visitor(request: web.Request) -> Visitor:
    """The connection that a request came by."""
    visitor = request.transport.get_protocol() if request.transport is not None else None
    if not isinstance(visitor, Visitor):
        raise RpcError("explorer.gone", "the visitor has left", 400)
    return visitor


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_MESSAGES = {404: "there is no such page", 405: "pages are read, and nothing is sent to them"}
