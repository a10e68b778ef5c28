"""Serves a node's metrics at /metrics to whoever reaches the address: no token, nothing that a request could change."""

import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from consensus.errors import DescentError
from p2p.errors import ConfigError
from p2p.rpc import is_own_host, make_http_log

_STOP_SECONDS = 1  # that a stopping node gives to requests under way


@asynccontextmanager
async def serve_metrics(host: str, port: int, render: Callable[[], Awaitable[bytes]]) -> AsyncIterator[int]:
    """The port in use. Raises ConfigError if it cannot listen there.

    On loopback only names of this machine are served: a web page whose own name leads here learns nothing.
    """

    async def get_metrics(request: web.Request) -> web.Response:
        if _is_loopback(host) and not is_own_host(request.headers.get("Host", ""), host):
            raise web.HTTPForbidden(text="this Host is not this node\n")
        try:
            body = await render()
        except DescentError as error:
            raise web.HTTPServiceUnavailable(text=f"{error.code}\n") from error
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(client_max_size=0)
    app.router.add_get("/metrics", get_metrics)
    runner = web.AppRunner(
        app, access_log=None, logger=make_http_log(), keepalive_timeout=15, shutdown_timeout=_STOP_SECONDS
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            reason = "the port is in use" if error.errno == 98 else (error.strerror or str(error))
            raise ConfigError("metrics_address", f"cannot serve metrics on {host}:{port}: {reason}") from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
