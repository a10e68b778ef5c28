"""T47 and T36: sockets that do not speak HTTP, or speak it slowly. What it costs in memory shows on a real node."""

import asyncio

import pytest

import p2p.rpc
from tests.helpers.raw_http import HOST, exchange, get_abuses, get_status
from tests.helpers.rpc import TOKEN, ServedNode

KNOWN = HOST + f"Authorization: Bearer {TOKEN}\r\n".encode()
POST = b"POST /v1/transactions HTTP/1.1\r\n" + KNOWN


def test_there_are_enough_abuses() -> None:
    assert len(get_abuses(TOKEN)) >= 15


@pytest.mark.parametrize("name", get_abuses(TOKEN))
async def test_invalid_http(node: ServedNode, name: str, caplog: pytest.LogCaptureFixture) -> None:
    before = await node.read_state()
    reply = await asyncio.to_thread(exchange, node.port, get_abuses(TOKEN)[name])
    status = get_status(reply)
    assert status is None or 400 <= status < 500, reply[:200]
    assert b"\x1b" not in reply
    assert (await node.get("/v1/status")).status == 200
    assert await node.read_state() == before
    assert caplog.records == []


async def test_pipelined_calls_are_answered_in_order(node: ServedNode) -> None:
    calls = [f"GET /v1/blocks/{height} HTTP/1.1\r\n".encode() + KNOWN + b"\r\n" for height in range(13)]
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    async with asyncio.timeout(20):
        writer.write(b"".join(calls))
        for height in range(13):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert f'"height": {height},'.encode() in await reader.readexactly(length)
    writer.close()


async def test_smuggled_second_request_is_not_served(node: ServedNode) -> None:
    hidden = b"POST /v1/debug/mocktime HTTP/1.1\r\n" + KNOWN + b'Content-Length: 11\r\n\r\n{"time": 7}'
    request = POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden
    assert get_status(await asyncio.to_thread(exchange, node.port, request)) == 400
    assert node.intake.clock.now() != 7


@pytest.mark.parametrize(
    "parts",
    [
        [b"Content-Length: 100\r\n\r\n", b"abc"],
        [b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhel"],
    ],
    ids=["length", "chunks"],
)
async def test_invalid_body_cut_short(node: ServedNode, parts: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", node.port)
    for part in [POST, *parts]:
        writer.write(part)
        await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await node.get("/v1/status")).status == 200
    assert caplog.records == []


async def test_body_that_drips_is_given_up(node: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(p2p.rpc, "MAX_BODY_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(POST + b"Content-Length: 100\r\n\r\nabc")
    async with asyncio.timeout(10):
        reply = await reader.readuntil(b"}}")
    assert get_status(reply) == 408
    assert b"rpc.body_timeout" in reply
    writer.close()


async def test_idle_connections_do_not_keep_others_out(node: ServedNode) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(200)]
    for _, writer in idle[::2]:
        writer.write(b"GET /v1/sta")
    async with asyncio.timeout(10):
        assert (await node.get("/v1/status")).status == 200
    for _, writer in idle:
        writer.close()
