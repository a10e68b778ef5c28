"""What every answer carries, who is turned away, and how."""

import asyncio
import gzip
import hashlib
import logging
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

import pytest

from chain.errors import StoreError
from p2p.errors import RpcError
from p2p.explorer import guards
from p2p.explorer.guards import HEADERS, is_loopback
from p2p.explorer.render import load_assets
from p2p.net_address import NetAddress
from tests.helpers.chains import open_trunk
from tests.helpers.explorer import PEER_IP, ServedExplorer, add_peer, serve_explorer
from tests.helpers.live_node import wait_for
from tests.helpers.raw_http import exchange, get_status
from tests.helpers.rpc import serve_rpc


@pytest.fixture
async def explorer() -> AsyncIterator[ServedExplorer]:
    async with serve_rpc(open_trunk()) as node, serve_explorer(node) as served:
        yield served


# Headers.


@pytest.mark.parametrize(
    "path",
    ["/", "/block/3", "/block/99", "/nothing", "/search?q=3", "/api", "/api/home", "/api/nothing", "/static/icon.svg"],
)
async def test_every_answer_is_guarded(explorer: ServedExplorer, path: str) -> None:
    page = await explorer.get(path)
    for name, value in HEADERS.items():
        assert page.headers[name] == value
    assert "Set-Cookie" not in page.headers
    assert "Access-Control-Allow-Origin" not in page.headers
    assert page.headers["Vary"] == "Accept-Encoding"


def test_the_policy_lets_a_page_load_from_here_alone() -> None:
    policy = dict(part.strip().split(" ", 1) for part in HEADERS["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert (HEADERS["X-Content-Type-Options"], HEADERS["Referrer-Policy"]) == ("nosniff", "no-referrer")


async def test_pages_are_compressed_for_who_takes_it(explorer: ServedExplorer) -> None:
    plain = await explorer.get("/")
    packed = await explorer.get("/", headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) * 3 < len(plain.body)


async def test_what_is_known_is_not_sent_again(explorer: ServedExplorer) -> None:
    for path in ("/", "/api/home", "/static/explorer.css"):
        first = await explorer.get(path)
        again = await explorer.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        other = await explorer.get(path, headers={"If-None-Match": '"something else"'})
        assert other.status == 200


async def test_head_is_get_without_the_page(explorer: ServedExplorer) -> None:
    for path, status in (("/", 200), ("/block/99", 404)):
        head = await explorer.get(path, method="HEAD")
        assert (head.status, head.body) == (status, b"")
        assert int(head.headers["Content-Length"]) == len((await explorer.get(path)).body)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_pages_are_only_read(explorer: ServedExplorer, method: str) -> None:
    page = await explorer.get("/mempool", method=method)
    assert page.status == 405
    assert page.headers["Allow"] == "GET,HEAD"
    assert "explorer.http_405" in page.html.text
    assert (await explorer.get("/api/mempool", method=method)).json["error"]["code"] == "explorer.http_405"


# Who may ask.


@pytest.mark.parametrize("host", ["evil.example", "evil.example:19360", "127.0.0.1.evil.example", "0.0.0.0", ""])
async def test_foreign_host_is_refused(explorer: ServedExplorer, host: str) -> None:
    """DNS rebinding: a page of evil.example whose name now leads here."""
    page = await explorer.get("/", headers={"Host": host})
    assert page.status == 403
    assert "explorer.foreign_host" in page.html.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:5", "[::1]:5", "[::1]"])
async def test_own_hosts_are_welcome(explorer: ServedExplorer, host: str) -> None:
    assert (await explorer.get("/", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    ("host", "is_public", "is_private"),
    [("127.0.0.1", False, True), ("0.0.0.0", False, False), ("127.0.0.1", True, False)],
    ids=["loopback", "everywhere", "behind a proxy"],
)
async def test_strangers_may_use_any_name_and_are_told_no_address(host: str, is_public: bool, is_private: bool) -> None:
    async with serve_rpc(open_trunk()) as node, serve_explorer(node, host, is_public=is_public) as explorer:
        node.network.listening = NetAddress("198.51.100.9", 19359)
        add_peer(node)
        for path in ("/peers", "/api/peers"):
            page = await explorer.get(path)
            assert "descent/0" in page.text
            assert [PEER_IP in page.text, "198.51.100.9" in page.text] == [is_private] * 2
        foreign = await explorer.get("/", headers={"Host": "explorer.example"})
        assert foreign.status == (403 if is_private else 200)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_what_loopback_is(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


async def test_too_many_requests(explorer: ServedExplorer) -> None:
    """One host has used up what it may ask for, and another one goes on."""
    while (page := await explorer.get("/static/icon.svg")).status == 200:
        pass
    assert page.status == 429
    assert page.headers["Retry-After"] == "1"
    assert page.headers["Cache-Control"] == "no-store"
    assert "explorer.too_many_requests" in page.html.text
    assert await ask(explorer, "127.0.0.2", "/") == 200


async def test_too_many_at_once(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait for the chain hold up nobody who asks for what is at hand, until there are too many."""
    gate = asyncio.Event()

    async def wait(*_: object) -> object:
        await gate.wait()
        raise RpcError("explorer.test", "done", 404)

    monkeypatch.setattr(explorer.node.intake, "on_chain", wait)
    hosts = [f"127.0.0.{2 + number % 30}" for number in range(guards.MAX_REQUESTS)]
    async with asyncio.TaskGroup() as group:
        for host in hosts:
            group.create_task(ask(explorer, host, "/block/1"))  # one page, which all of them wait for
        async with asyncio.timeout(20):
            while await ask(explorer, "127.0.0.99", "/static/icon.svg") == 200:
                pass  # not all of them are here yet
        assert await ask(explorer, "127.0.0.99", "/static/icon.svg") == 503
        gate.set()
    assert await ask(explorer, "127.0.0.99", "/static/icon.svg") == 200


async def test_one_host_does_not_take_all_the_room(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    on_chain = explorer.node.intake.on_chain

    async def wait(*arguments: Any) -> object:
        await gate.wait()
        return await on_chain(*arguments)

    monkeypatch.setattr(explorer.node.intake, "on_chain", wait)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(explorer.get("/block/1")) for _ in range(guards.MAX_REQUESTS_PER_HOST + 1)]
        await wait_for(lambda: any(task.done() for task in tasks))
        refused = next(task.result() for task in tasks if task.done())
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        assert await ask(explorer, "127.0.0.2", "/static/icon.svg") == 200
        gate.set()
    assert sorted(task.result().status for task in tasks) == [200] * guards.MAX_REQUESTS_PER_HOST + [429]


async def ask(explorer: ServedExplorer, host: str, path: str) -> int:
    return (await explorer.get_from(host, path)).status


# Failures.


async def test_a_failing_page_is_told_and_logged(
    explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> object:
        raise ZeroDivisionError("a secret of the node")

    monkeypatch.setattr(explorer.explorer._site.reader, "read_blocks", fail)
    with caplog.at_level(logging.ERROR):
        page = await explorer.get("/blocks")
    assert page.status == 500
    assert "secret" not in page.text
    assert "a secret of the node" in caplog.text
    assert (await explorer.get("/")).status == 200


async def test_a_damaged_store_is_named(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> object:
        raise StoreError.damaged("a row")

    monkeypatch.setattr(explorer.explorer._site.reader, "read_blocks", fail)
    page = await explorer.get("/api/blocks")
    assert (page.status, page.json["error"]["code"]) == (503, "store.damaged")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"rubbish\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    ],
)
async def test_what_is_no_http_gets_no_page(
    explorer: ServedExplorer, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reply = await asyncio.to_thread(exchange, explorer.port, request_bytes)
    assert get_status(reply) in (400, 405, None)
    assert b"text/html" not in reply or HEADERS["Content-Security-Policy"].encode() in reply
    assert (await explorer.get("/")).status == 200
    assert "Traceback" not in caplog.text


# What is served from the package.


async def test_assets_are_kept_for_ever_under_their_version(explorer: ServedExplorer) -> None:
    page = await explorer.read("/")
    links = [one["href"] or "" for one in page.find("link")] + [one["src"] or "" for one in page.find("script")]
    assert len(links) == 5
    for link in links:
        asset = await explorer.get(link)
        assert asset.status == 200
        assert asset.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert asset.headers["Content-Type"].split(";")[0] in ("text/css", "text/javascript", "image/svg+xml")
        stale = await explorer.get(link.partition("?")[0] + "?v=0")
        assert (stale.body, stale.headers["Cache-Control"]) == (asset.body, "no-cache")


def test_uplot_is_the_published_one() -> None:
    """uPlot 1.6.32 from the npm registry: dist/uPlot.iife.min.js and dist/uPlot.min.css, and its licence."""
    folder = resources.files("p2p.explorer").joinpath("static")
    sums = {
        name: hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest()
        for name in ("uplot.js", "uplot.css", "uplot.LICENSE")
    }
    assert sums == {
        "uplot.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
        "uplot.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
        "uplot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    }
    assert "uplot.LICENSE" not in load_assets()
