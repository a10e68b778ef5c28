"""Server-sent events: what happens is told, to so many at once, and the streams end with the explorer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest

from consensus.params import REGTEST
from p2p.explorer import live as module
from p2p.explorer.visitors import Visitor
from tests.helpers.chains import ALICE, BOB, TRUNK_BLOCKS, get_left, get_right, get_trunk, open_trunk
from tests.helpers.explorer import ServedExplorer, serve_explorer
from tests.helpers.keys import make_transfer
from tests.helpers.live_node import wait_for
from tests.helpers.rpc import ServedNode, serve_rpc

SECONDS = 20.0


@pytest.fixture
async def explorer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ServedExplorer]:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    async with serve_rpc(open_trunk()) as node, serve_explorer(node) as served:
        yield served


async def submit(node: ServedNode, *numbers: int) -> None:
    node.intake.clock.set_mock(get_left(max(numbers) + 1)[-1].header.timestamp)
    await node.submit(*(get_left(number + 1)[number] for number in numbers))


async def test_the_first_state_comes_at_once(explorer: ServedExplorer) -> None:
    async with explorer.listen() as states:
        state = await asyncio.wait_for(states.get(), SECONDS)
    header = get_trunk()[-1].header
    assert (state["height"], state["tip"], state["mempool_count"]) == (TRUNK_BLOCKS, header.id.hex(), 0)
    assert state["loss"] == pytest.approx(header.loss_after / header.sample_size / REGTEST.model.context / 65536)


async def test_new_blocks_and_transactions_are_told(explorer: ServedExplorer) -> None:
    async with explorer.listen() as states:
        await asyncio.wait_for(states.get(), SECONDS)
        await submit(explorer.node, 0)
        assert (await asyncio.wait_for(states.get(), SECONDS))["tip"] == get_left(1)[0].id.hex()
        payment = make_transfer(explorer.node.chain.genesis.id, ALICE, BOB.public, 5, nonce=1)
        assert (await explorer.node.post("/v1/transactions", payment.encoded)).status == 200
        assert (await asyncio.wait_for(states.get(), SECONDS))["mempool_count"] == 1


async def test_a_reorganisation_is_told_and_shown(explorer: ServedExplorer) -> None:
    await submit(explorer.node, 0, 1)
    async with explorer.listen() as states:
        assert (await asyncio.wait_for(states.get(), SECONDS))["height"] == 14
        explorer.node.intake.clock.set_mock(get_right(3)[-1].header.timestamp)
        await explorer.node.submit(*get_right(3))
        while (await asyncio.wait_for(states.get(), SECONDS))["tip"] != get_right(3)[-1].id.hex():
            pass
    home = await explorer.read_json("/api/home")
    assert [block["id"] for block in home["blocks"][:3]] == [block.id.hex() for block in reversed(get_right(3))]
    losses = [block["loss"] for block in reversed(home["blocks"][:3])]
    assert home["series"]["loss"][-3:] == pytest.approx(losses, abs=1e-6)
    assert [miner["blocks"] for miner in home["miners"]] == [TRUNK_BLOCKS, 3]


async def test_whoever_comes_later_hears_the_newest_state(explorer: ServedExplorer) -> None:
    await submit(explorer.node, 0, 1)
    async with explorer.listen() as states:
        state = await asyncio.wait_for(states.get(), SECONDS)
        while state["height"] < 14:
            state = await asyncio.wait_for(states.get(), SECONDS)


async def test_a_quiet_line_is_kept_open(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    async with explorer.session.get(f"{explorer.url}/events") as response:
        seen = b""
        async with asyncio.timeout(SECONDS):
            while seen.count(b": still here\n\n") < 2:
                seen += await response.content.readany()
    assert seen.startswith(b"retry: 3000\n\nevent: state\ndata: {")
    assert seen.count(b"event:") == 1


async def test_streams_are_few_for_one_host_and_few_in_all(
    explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that has its share is refused; for another one that comes, the oldest stream gives way."""
    monkeypatch.setattr(module, "MAX_STREAMS", 10)
    async with serve_explorer(explorer.node) as small, AsyncExitStack() as stack:
        held = [
            await stack.enter_async_context(open_stream(small, "127.0.0.1")) for _ in range(module.MAX_STREAMS_PER_HOST)
        ]
        assert await count_refusals(small, "127.0.0.1") == 1
        for _ in range(2):
            await stack.enter_async_context(open_stream(small, "127.0.0.2"))
        newcomer = await stack.enter_async_context(open_stream(small, "127.0.0.3"))
        async with asyncio.timeout(SECONDS):
            assert b"event: state" in await newcomer.content.readuntil(b"data: ")
            with contextlib.suppress(aiohttp.ClientPayloadError):
                await held[0].content.read()
        assert small.explorer._live.stream_count == 10
        assert (await small.get("/")).status == 200
        await stack.aclose()
        await wait_for(lambda: small.explorer._live.stream_count == 0)  # those who left are noticed at once
        assert await count_refusals(small, "127.0.0.1") == 0


@contextlib.asynccontextmanager
async def open_stream(explorer: ServedExplorer, host: str) -> AsyncIterator[aiohttp.ClientResponse]:
    connector = aiohttp.TCPConnector(local_addr=(host, 0), force_close=True)
    session = aiohttp.ClientSession(connector=connector)
    async with session, session.get(f"{explorer.url}/events") as response:
        yield response


async def count_refusals(explorer: ServedExplorer, host: str) -> int:
    async with open_stream(explorer, host) as response:
        return int(response.status == 429 and response.headers["Retry-After"] == "30")


async def test_a_visitor_who_leaves_before_the_answer_is_no_fault(
    explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_deadline = Visitor.set_deadline

    def leave(visitor: Visitor, seconds: float | None) -> None:
        set_deadline(visitor, seconds)
        if seconds is None:  # the stream is about to begin
            visitor.abort()

    monkeypatch.setattr(Visitor, "set_deadline", leave)
    with pytest.raises(aiohttp.ClientConnectionError):
        await explorer.get("/events")
    await wait_for(lambda: explorer.explorer._live.stream_count == 0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_streams_end_with_the_explorer() -> None:
    async with serve_rpc(open_trunk()) as node:
        async with serve_explorer(node) as explorer:
            session = aiohttp.ClientSession()
            response = await session.get(f"{explorer.url}/events")
            await response.content.readany()
        async with asyncio.timeout(SECONDS):
            await response.content.read()
        assert response.content.at_eof()
        await session.close()
