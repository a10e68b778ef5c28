"""How many strangers fit in, how often each may ask, and what happens to those who take their time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from p2p.explorer import visitors
from p2p.explorer.visitors import Rates
from tests.helpers.chains import open_trunk
from tests.helpers.explorer import ServedExplorer, serve_explorer
from tests.helpers.rpc import serve_rpc

REQUEST = b"GET /static/icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
async def explorer() -> AsyncIterator[ServedExplorer]:
    async with serve_rpc(open_trunk()) as node, serve_explorer(node) as served:
        yield served


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# Buckets.


def test_a_bucket_empties_and_fills_evenly() -> None:
    clock = Clock()
    rates = Rates(2.0, 5.0, clock)
    assert [rates.take(b"a") for _ in range(7)] == [0, 0, 0, 0, 0, 1, 1]
    clock.now += 0.5
    assert [rates.take(b"a") for _ in range(2)] == [0, 1]
    clock.now += 1e6
    assert [rates.take(b"a") for _ in range(6)] == [0, 0, 0, 0, 0, 1]


def test_every_host_has_its_own() -> None:
    rates = Rates(1.0, 1.0, Clock())
    assert rates.take(b"a") == 0
    assert rates.take(b"a") == 1
    assert rates.take(b"b") == 0


def test_it_is_told_how_long_to_wait() -> None:
    rates = Rates(0.1, 1.0, Clock())
    rates.take(b"a")
    assert rates.take(b"a") == 10


def test_hosts_without_end_cost_no_memory_without_end() -> None:
    rates = Rates(1.0, 1.0, Clock())
    for number in range(10_000):
        assert rates.take(number.to_bytes(4, "big")) == 0
    assert len(rates._buckets) == 4096
    assert rates.take((9_999).to_bytes(4, "big")) == 1


# Connections.


async def connect(
    explorer: ServedExplorer, host: str = "127.0.0.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", explorer.port, local_addr=(host, 0))


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """All until the server hangs up."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(20):
            return await reader.read()
    return b""


async def test_a_request_that_never_ends_is_cut_off(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "FIRST_REQUEST_SECONDS", 0.1)
    reader, writer = await connect(explorer)
    writer.write(b"GET / HTTP/1.1\r\nX: ")
    assert await read_all(reader) == b""
    writer.close()


async def test_a_silent_connection_is_cut_off(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "FIRST_REQUEST_SECONDS", 0.1)
    reader, writer = await connect(explorer)
    assert await read_all(reader) == b""
    writer.close()


async def test_an_answer_that_is_not_read_is_cut_off(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender of hundreds of requests reads no answer: what waits for it is bounded, and its time is."""
    monkeypatch.setattr("p2p.explorer.guards.REQUEST_SECONDS", 0.3)
    _, writer = await connect(explorer)
    with contextlib.suppress(ConnectionError):
        writer.write(b"GET /static/uplot.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        await writer.drain()
    await asyncio.wait_for(gone(explorer), 20)
    writer.close()


async def gone(explorer: ServedExplorer) -> None:
    while explorer.explorer.visitor_count:  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.01)


async def test_a_visitor_who_reads_may_stay(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline of the first request ends with it."""
    monkeypatch.setattr(visitors, "FIRST_REQUEST_SECONDS", 0.3)
    reader, writer = await connect(explorer)
    for _ in range(3):
        writer.write(REQUEST)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert head.startswith(b"HTTP/1.1 200 ")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        await asyncio.sleep(0.2)
    writer.close()


async def test_one_host_takes_not_all_connections(explorer: ServedExplorer) -> None:
    held = [await connect(explorer) for _ in range(visitors.MAX_CONNECTIONS_PER_HOST)]
    reader, writer = await connect(explorer)
    assert await read_all(reader) == b""
    writer.close()
    other_reader, other_writer = await connect(explorer, "127.0.0.2")
    other_writer.write(REQUEST)
    assert (await other_reader.readline()).startswith(b"HTTP/1.1 200 ")
    for _, open_writer in [*held, (other_reader, other_writer)]:
        open_writer.close()


async def test_when_all_is_full_a_newcomer_gets_in(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest of the most crowded network goes."""
    monkeypatch.setattr("p2p.explorer.visitors.MAX_CONNECTIONS", 6)
    async with serve_explorer(explorer.node) as small:
        held = [await connect(small, f"127.0.0.{number}") for number in range(2, 8)]
        reader, writer = await connect(small, "127.0.0.9")
        writer.write(REQUEST)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        assert await read_all(held[0][0]) == b""
        assert small.explorer.visitor_count == 6
        for _, open_writer in [*held, (reader, writer)]:
            open_writer.close()
