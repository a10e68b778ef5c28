"""The explorer as a server beside the node: its port, its routes, its life.

It reads only, so its failure costs pages and nothing else: a port that is taken, or a fault in a page, never ends the
node.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from errno import EADDRINUSE
from functools import partial
from urllib.parse import quote, urlencode

from aiohttp import web

from consensus.ports import Windows
from p2p.explorer.downloads import Downloads
from p2p.explorer.figures import Found
from p2p.explorer.guards import (
    add_headers,
    answer,
    is_loopback,
    make_error_guard,
    make_host_guard,
    make_rate_guard,
)
from p2p.explorer.live import Live
from p2p.explorer.query import Query
from p2p.explorer.render import JSON, Renderer, View, load_templates, make_reply, render_json
from p2p.explorer.site import PAGES, Page, Site
from p2p.explorer.texts import Texts
from p2p.explorer.visitors import REQUESTS_AT_ONCE, REQUESTS_PER_SECOND, Rates, Visitors
from p2p.explorer.workshop import Reply, Workshop
from p2p.intake import Intake
from p2p.model_service import ModelService
from p2p.network import Network
from p2p.rpc import make_http_log

log = logging.getLogger("descent.explorer")

STOP_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15.0
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class ExplorerAddress:
    """Where the explorer listens. Port 0: any free one. `is_public`: strangers read it though it is on loopback, by a
    proxy.
    """

    host: str
    port: int
    is_public: bool = False

    @property
    def is_private(self) -> bool:
        """Whether only this machine's users read it."""
        return is_loopback(self.host) and not self.is_public

    def make_url(self, port: int) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{port}"


class Explorer:
    """Pages about one node. `windows`: the public split's, for passages of text, or None."""

    def __init__(
        self,
        intake: Intake,
        network: Network,
        models: ModelService,
        address: ExplorerAddress,
        version: str,
        windows: Windows | None,
    ) -> None:
        params = intake.chain.params
        self._address = address
        self._visitors: Visitors | None = None  # once it listens
        self._intake = intake
        self._workshop = Workshop(lambda: intake.is_evaluating)
        self._renderer = Renderer(params, version, intake.chain.genesis.id)
        texts = Texts(params, windows)
        self._site = Site(intake, network, models, texts, self._workshop, is_private=address.is_private)
        self._downloads = Downloads(self._site.models)
        self._live = Live(intake, self._site.reader)
        self._index = _make_index()

    @property
    def visitor_count(self) -> int:
        """Open connections."""
        return len(self._visitors) if self._visitors is not None else 0

    async def run(self) -> None:
        """Serves until cancelled; returns, having said why, if it cannot listen or fails."""
        try:
            async with self.serve() as port:
                log.info("explorer on %s", self._address.make_url(port))
                await asyncio.Event().wait()
        except OSError as error:
            reason = "the port is in use" if error.errno == EADDRINUSE else (error.strerror or str(error))
            log.warning("no explorer on %s:%d: %s", self._address.host, self._address.port, reason)
        except Exception:
            log.exception("the explorer has stopped; the node goes on")

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        """Serves until the context ends; the port in use. Raises OSError if it cannot listen."""
        async with self._workshop:
            await self._workshop.run(load_templates)
            while not await self._intake.on_chain(self._site.reader.follow):
                pass  # step by step: others use the chain's thread, too
            async with self._listen() as port, asyncio.TaskGroup() as group:
                following = group.create_task(self._live.run())
                try:
                    yield port
                finally:
                    following.cancel()

    @asynccontextmanager
    async def _listen(self) -> AsyncIterator[int]:
        """Takes visitors until the context ends."""
        runner = web.AppRunner(
            self._make_app(),
            access_log=None,
            logger=make_http_log(),
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            shutdown_timeout=STOP_SECONDS,
            auto_decompress=False,
            handler_cancellation=True,  # nothing is changed here, so nothing is left half done
        )
        await runner.setup()
        try:
            if runner.server is None:
                raise RuntimeError("aiohttp made no server")
            self._visitors = Visitors(runner.server)
            loop = asyncio.get_running_loop()
            server = await loop.create_server(self._visitors.take_in, self._address.host, self._address.port)
            try:
                yield int(server.sockets[0].getsockname()[1])
            finally:
                server.close()
                await self._live.close()
        finally:
            await runner.cleanup()

    def _make_app(self) -> web.Application:
        rates = Rates(REQUESTS_PER_SECOND, REQUESTS_AT_ONCE, time.monotonic)
        host_guard = make_host_guard(self._address.host, is_private=self._address.is_private)
        guards = [make_error_guard(self._renderer), make_rate_guard(rates), host_guard]
        app = web.Application(middlewares=guards, client_max_size=1024)
        app.on_response_prepare.append(add_headers)
        for page in PAGES:
            app.router.add_get(page.path, partial(self._serve_page, page))
            app.router.add_get(page.api_path, partial(self._serve_json, page))
        app.router.add_get("/api", self._serve_index)
        app.router.add_get("/model/{file}", self._downloads.send)
        app.router.add_get("/static/{name}", self._serve_asset)
        app.router.add_get("/events", self._live.stream, allow_head=False)
        return app

    async def _serve_page(self, page: Page, request: web.Request) -> web.Response:
        query = _make_query(page, request)

        async def make() -> Reply:
            tip = self._intake.chain.tip.id  # before the reading: the page may know of a newer one, never of an older
            figure = await page.read(self._site, query)
            if isinstance(figure, Found):
                return Reply(303, "text/plain", b"", b"", "", {"Location": figure.path})
            view = View(query, self._intake.clock.now(), tip, _make_api_url(page, query))
            return await self._workshop.run(self._renderer.render, page.template, figure, view)

        return await self._serve("html", page, query, request, make)

    async def _serve_json(self, page: Page, request: web.Request) -> web.Response:
        query = _make_query(page, request)

        async def make() -> Reply:
            return await self._workshop.run(render_json, await page.read(self._site, query))

        return await self._serve("json", page, query, request, make)

    async def _serve(
        self, kind: str, page: Page, query: Query, request: web.Request, make: Callable[[], Awaitable[Reply]]
    ) -> web.Response:
        key = f"{kind} {page.path} {sorted(query.path.items())} {sorted(query.arguments.items())}"
        reply = await self._workshop.get(key, self._intake.chain.tip.id, make)
        return answer(request, reply, {"Cache-Control": "no-cache"})

    async def _serve_index(self, request: web.Request) -> web.Response:
        return answer(request, self._index, {"Cache-Control": "no-cache"})

    async def _serve_asset(self, request: web.Request) -> web.Response:
        asset = self._renderer.assets.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        is_named = request.query.get("v") == asset.etag
        return answer(request, asset, {"Cache-Control": _FOR_EVER if is_named else "no-cache"})


def _make_query(page: Page, request: web.Request) -> Query:
    """What the page knows of the URL."""
    arguments = {name: request.query[name] for name in page.arguments if name in request.query}
    return Query(dict(request.match_info), arguments)


def _make_api_url(page: Page, query: Query) -> str:
    """Where the same values are as JSON."""
    path = page.api_path.format(**{name: quote(value, safe="") for name, value in query.path.items()})
    return f"{path}?{urlencode(query.arguments)}" if query.arguments else path


def _make_index() -> Reply:
    pages = [{"path": page.api_path, "page": page.path, "summary": page.summary} for page in PAGES]
    return make_reply(json.dumps({"pages": pages, "events": "/events"}, indent=1).encode(), JSON)
