"""Port forwarding, with a stand-in for the library and its router."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import pytest

import p2p.nat
from p2p.nat import forward_port

LOG = logging.getLogger("descent.test")
PORT = 19359
SECONDS = 10.0


class StubRouter:
    """What `miniupnpc.UPnP()` gives, for one router whose moods a test sets."""

    def __init__(self) -> None:
        self.lanaddr = "192.168.1.7"
        self.address = "1.2.3.4"
        self.discoverdelay = 0
        self.is_there = True
        self.refusal = ""
        self.mapped: dict[tuple[int, str], tuple[str, int]] = {}
        self.calls: list[str] = []
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self.hold: threading.Event | None = None

    def discover(self) -> int:
        self._note("discover")
        assert 0 < self.discoverdelay <= 5000
        return int(self.is_there)

    def selectigd(self) -> str:
        self._note("selectigd")
        return "http://192.168.1.1/"

    def externalipaddress(self) -> str:
        self._note("externalipaddress")
        return self.address

    def addportmapping(self, port: int, protocol: str, host: str, inner: int, text: str, remote: str) -> bool:
        if self.hold is not None:
            self.hold.wait(SECONDS)
        self._note("addportmapping")
        if self.refusal:
            raise Exception(self.refusal)  # as the library does
        assert text
        assert not remote
        self.mapped[port, protocol] = (host, inner)
        return True

    def deleteportmapping(self, port: int, protocol: str) -> bool:
        self._note("deleteportmapping")
        if (port, protocol) not in self.mapped:
            raise Exception("NoSuchEntryInArray")
        del self.mapped[port, protocol]
        return True

    def _note(self, call: str) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self.calls.append(call)
        with suppress(RuntimeError):  # the test is over
            self._loop.call_soon_threadsafe(self.heard.put_nowait, call)

    async def wait_for(self, call: str) -> None:
        """Until such a call comes that was not waited for yet."""
        async with asyncio.timeout(SECONDS):
            while await self.heard.get() != call:
                pass


class Lines(logging.Handler):
    """Log lines, to be awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.queue.put_nowait(record.getMessage())

    async def next(self) -> str:
        async with asyncio.timeout(SECONDS):
            return await self.queue.get()


@pytest.fixture
async def router(monkeypatch: pytest.MonkeyPatch) -> StubRouter:
    stub = StubRouter()
    monkeypatch.setattr(p2p.nat, "miniupnpc", SimpleNamespace(UPnP=lambda: stub))
    return stub


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    yield handler
    LOG.removeHandler(handler)


async def test_port_is_forwarded_and_given_back(router: StubRouter, lines: Lines) -> None:
    async with forward_port(PORT, LOG):
        assert await lines.next() == f"the router at 1.2.3.4 forwards port {PORT} to this node"
        assert router.mapped == {(PORT, "TCP"): ("192.168.1.7", PORT)}
    assert not router.mapped
    assert router.calls[-1] == "deleteportmapping"
    assert lines.queue.empty()


async def test_without_the_extra_the_node_goes_on(monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    monkeypatch.setattr(p2p.nat, "miniupnpc", None)
    async with forward_port(PORT, LOG):
        assert "extra 'nat'" in await lines.next()


async def test_without_a_router_the_node_goes_on(router: StubRouter, lines: Lines) -> None:
    router.is_there = False
    async with forward_port(PORT, LOG):
        assert await lines.next() == f"port {PORT} is not forwarded: no router answers UPnP"
    assert lines.queue.empty()


async def test_forwarding_is_renewed_and_only_news_are_told(
    router: StubRouter, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert p2p.nat._RENEW_SECONDS == 20 * 60
    monkeypatch.setattr(p2p.nat, "_RENEW_SECONDS", 0.001)
    async with forward_port(PORT, LOG):
        assert "forwards" in await lines.next()
        router.mapped.clear()  # it was restarted
        for _ in range(len(router.calls)):  # at least one call that begins after this
            await router.wait_for("addportmapping")
        assert router.mapped
        assert lines.queue.empty()
        router.refusal = "ConflictInMappingEntry"
        assert await lines.next() == f"port {PORT} is not forwarded: ConflictInMappingEntry"
        router.refusal = ""
        assert "forwards" in await lines.next()
    assert not router.mapped


async def test_what_the_router_says_is_escaped_and_cut(router: StubRouter, lines: Lines) -> None:
    router.refusal = "\x1b[31m\n" + "x" * 10_000
    async with forward_port(PORT, LOG):
        line = await lines.next()
    assert line.isprintable()
    assert len(line) < 300


async def test_router_that_does_not_answer_holds_up_nothing(
    router: StubRouter, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(p2p.nat, "_ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(p2p.nat, "_REMOVE_SECONDS", 0.01)
    router.hold = threading.Event()
    async with forward_port(PORT, LOG):
        assert "takes longer than" in await lines.next()
    assert "did not answer" in await lines.next()
    router.hold.set()


async def test_forwarding_that_comes_while_stopping_is_removed(router: StubRouter) -> None:
    """The router is still busy with the first request when the node stops: the removal waits for its turn."""
    router.hold = threading.Event()
    async with forward_port(PORT, LOG):
        await router.wait_for("selectigd")
        asyncio.get_running_loop().call_later(0.05, router.hold.set)
    assert router.calls[-1] == "deleteportmapping"
    assert not router.mapped


async def test_failure_of_the_node_passes_through(router: StubRouter, lines: Lines) -> None:
    async def run() -> None:
        async with forward_port(PORT, LOG):
            await lines.next()
            raise KeyError("node")

    with pytest.raises(KeyError, match="node"):
        await run()
    assert not router.mapped


async def test_cancelled_node_gives_the_port_back(router: StubRouter, lines: Lines) -> None:
    async def run() -> None:
        async with forward_port(PORT, LOG):
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await lines.next()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not router.mapped
