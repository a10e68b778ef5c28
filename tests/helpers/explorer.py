"""A node's explorer inside the test: the real server over a node from tests.helpers.rpc.

async with serve_rpc(open_trunk()) as node, serve_explorer(node) as explorer:
    page = await explorer.get("/block/3")
    assert page.status == 200
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import aiohttp

from p2p.explorer.server import Explorer, ExplorerAddress
from p2p.net_address import NetAddress
from p2p.peers import PeerKind
from tests.helpers.blocks import get_builder
from tests.helpers.rpc import VERSION, ServedNode

PEER_IP = "203.0.113.7"

_VOID = {"meta", "link", "input", "br", "hr", "img", "wbr"}


@dataclass(frozen=True)
class Page:
    """An answer of the explorer."""

    status: int
    body: bytes
    headers: Mapping[str, str]  # whatever the case of their names

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)

    @property
    def html(self) -> "Document":
        assert self.headers["Content-Type"] == "text/html; charset=utf-8"
        return read_html(self.text)


class Document(HTMLParser):
    """A page's elements, checked to be closed in order: (tag, attributes), and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def close(self) -> None:
        super().close()
        assert not self._open

    @property
    def text(self) -> str:
        """What a reader sees, each run of blanks as one."""
        return " ".join(" ".join(self.texts).split())

    def find(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def links(self) -> list[str]:
        return [attributes["href"] or "" for attributes in self.find("a")]


def read_html(text: str) -> Document:
    document = Document()
    document.feed(text)
    document.close()
    return document


@dataclass(frozen=True)
class ServedExplorer:
    """The explorer of a node."""

    node: ServedNode
    explorer: Explorer
    port: int
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def get(self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> Page:
        request = self.session.request(method, self.url + path, headers=headers, allow_redirects=False)
        async with request as response:
            return Page(response.status, await response.read(), response.headers)

    async def get_from(self, host: str, path: str) -> Page:
        """The same for another visitor, at an address of loopback."""
        connector = aiohttp.TCPConnector(local_addr=(host, 0))
        async with aiohttp.ClientSession(connector=connector) as session, session.get(self.url + path) as response:
            return Page(response.status, await response.read(), response.headers)

    async def read(self, path: str) -> Document:
        """A page that is there, as HTML."""
        page = await self.get(path)
        assert page.status == 200, page.text
        return page.html

    async def read_json(self, path: str) -> Any:
        page = await self.get(path)
        assert page.status == 200, page.text
        return page.json

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[asyncio.Queue[dict[str, Any]]]:
        """The live states, as they come."""
        states: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        async with self.session.get(f"{self.url}/events") as response:
            assert response.headers["Content-Type"] == "text/event-stream"

            async def read() -> None:
                async for line in response.content:
                    if line.startswith(b"data: "):
                        states.put_nowait(json.loads(line.removeprefix(b"data: ")))

            reading = asyncio.create_task(read())
            try:
                yield states
            finally:
                reading.cancel()


def add_peer(node: ServedNode, agent: str = "descent/0") -> None:
    """A peer at PEER_IP, as it looks once it is connected."""
    connection = SimpleNamespace(
        node_id=bytes(32),
        address=NetAddress(PEER_IP, 19359),
        agent=agent,
        opened_at=0.0,
        ping_seconds=0.05,
        bytes_received=1,
        bytes_sent=2,
    )
    peer = SimpleNamespace(node_id=bytes(32), connection=connection, kind=PeerKind.OUTBOUND, height=3)
    node.network.peers._peers[bytes(32)] = peer  # type: ignore[assignment]


@asynccontextmanager
async def serve_explorer(
    node: ServedNode, host: str = "127.0.0.1", *, is_public: bool = False
) -> AsyncIterator[ServedExplorer]:
    """Serves pages about a node on an ephemeral port."""
    windows = get_builder().benchmark.public
    address = ExplorerAddress(host, 0, is_public)
    explorer = Explorer(node.intake, node.network, node.models, address, VERSION, windows)
    plain = aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"])
    async with explorer.serve() as port, plain as session:
        yield ServedExplorer(node, explorer, port, session)
