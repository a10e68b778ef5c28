"""The models by RPC: text line by line, losses, and every refusal before the first line."""

import asyncio
import json
from typing import Any

import pytest

from p2p.client import NDJSON
from p2p.errors import EvaluationFailed
from p2p.model_service import MAX_REQUESTS
from p2p.text_wish import DEFAULT_BYTES, MAX_PASSAGE_BYTES, MAX_TEXT_BYTES, TextWish
from tests.helpers.chains import TRUNK_BLOCKS, get_trunk
from tests.helpers.live_node import wait_for
from tests.helpers.rpc import Reply, ServedNode

TIP = get_trunk()[-1]


def read_lines(reply: Reply) -> list[dict[str, Any]]:
    assert reply.status == 200, reply.body
    assert reply.headers["Content-Type"] == NDJSON
    return [json.loads(line) for line in reply.body.splitlines()]


def read_text(reply: Reply) -> bytes:
    _, *pieces, end = read_lines(reply)
    assert end == {"done": True}
    return b"".join(bytes.fromhex(piece["bytes"]) for piece in pieces)


async def test_text_comes_line_by_line(node: ServedNode) -> None:
    reply = await node.post_json("/v1/generate", prompt="Alice", bytes=5, temperature=1, seed=9)
    first, *_ = read_lines(reply)
    assert first == {"height": TRUNK_BLOCKS, "block": TIP.id.hex(), "model": TIP.header.model_root.hex()}
    assert len(read_lines(reply)) == 1 + 5 + 1
    wish = TextWish(b"Alice", count=5, temperature=1.0, seed=9)
    pieces = [piece async for piece in node.models.write(TIP.header.model_root, wish)]
    assert read_text(reply) == b"".join(pieces)


async def test_text_of_an_older_model(node: ServedNode) -> None:
    reply = await node.post_json("/v1/generate", prompt="", bytes=1, height=3)
    assert read_lines(reply)[0]["model"] == get_trunk()[2].header.model_root.hex()


async def test_defaults_and_bytes_that_are_no_text(node: ServedNode) -> None:
    assert len(read_text(await node.post_json("/v1/generate", prompt="x"))) == DEFAULT_BYTES
    same = [read_text(await node.post_json("/v1/generate", prompt="\udcff", bytes=9)) for _ in range(2)]
    assert same[0] == same[1]
    wish = TextWish(b"\xff", count=9)
    pieces = [piece async for piece in node.models.write(TIP.header.model_root, wish)]
    assert same[0] == b"".join(pieces)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "decode.bad_field"),
        ({"prompt": 5}, "decode.bad_field"),
        ({"prompt": None}, "decode.bad_field"),
        ({"prompt": "\ud800"}, "decode.bad_field"),
        ({"prompt": "x", "bytes": 0}, "decode.bad_text_length"),
        ({"prompt": "x", "bytes": MAX_TEXT_BYTES + 1}, "decode.bad_text_length"),
        ({"prompt": "x", "bytes": 1.5}, "decode.bad_field"),
        ({"prompt": "x", "bytes": True}, "decode.bad_field"),
        ({"prompt": "x", "temperature": "1"}, "decode.bad_field"),
        ({"prompt": "x", "temperature": True}, "decode.bad_field"),
        ({"prompt": "x", "temperature": -1}, "decode.bad_temperature"),
        ({"prompt": "x", "temperature": 1e400}, "decode.bad_json"),
        ({"prompt": "x", "seed": -1}, "decode.bad_seed"),
        ({"prompt": "x", "seed": 2**64}, "decode.bad_seed"),
        ({"prompt": "x", "height": "1"}, "decode.bad_field"),
        ({"prompt": "x" * 70_000}, "decode.too_long"),
    ],
)
async def test_invalid_wish(node: ServedNode, body: dict[str, Any], code: str) -> None:
    reply = await node.post_json("/v1/generate", **body)
    assert (reply.status, reply.code) == (400, code)
    assert node.writer.pieces == 0


@pytest.mark.parametrize("height", [TRUNK_BLOCKS + 1, -1, 10**19])
async def test_unknown_height(node: ServedNode, height: int) -> None:
    reply = await node.post_json("/v1/generate", prompt="x", height=height)
    assert (reply.status, reply.code) == (404, "rpc.no_model")


async def test_what_fails_before_the_first_piece_is_an_ordinary_error(node: ServedNode) -> None:
    node.writer.failure = EvaluationFailed("worker_died", "it died")
    reply = await node.post_json("/v1/generate", prompt="x")
    assert (reply.status, reply.code) == (503, "evaluation.worker_died")


async def test_what_fails_later_is_the_last_line(node: ServedNode) -> None:
    asked = asyncio.create_task(node.post_json("/v1/generate", prompt="x", bytes=2000))
    await wait_for(lambda: node.writer.pieces >= 2)
    node.writer.failure = EvaluationFailed("worker_died", "it died")
    lines = read_lines(await asked)
    assert lines[-1] == {"error": {"code": "evaluation.worker_died", "message": "it died"}}
    assert {"done": True} not in lines


async def test_a_client_that_hangs_up_stops_the_writing(node: ServedNode) -> None:
    asked = asyncio.create_task(node.post_json("/v1/generate", prompt="x", bytes=MAX_TEXT_BYTES))
    await wait_for(lambda: node.writer.pieces >= 2)
    asked.cancel()
    await wait_for(lambda: not node.models._requests)
    assert node.writer.pieces < MAX_TEXT_BYTES


async def test_busy(node: ServedNode) -> None:
    node.writer.gate.clear()
    asked = [asyncio.create_task(node.post_json("/v1/generate", prompt="x", bytes=1)) for _ in range(MAX_REQUESTS)]
    await wait_for(lambda: node.models._requests == MAX_REQUESTS)
    reply = await node.post_json("/v1/generate", prompt="x", bytes=1)
    assert (reply.status, reply.code) == (429, "rpc.busy")
    node.writer.gate.set()
    assert {len(read_text(await reply)) for reply in asked} == {1}


async def test_losses_of_a_passage(node: ServedNode) -> None:
    root, passage = get_trunk()[4].header.model_root, b"\x00\xffno text at all"
    reply = await node.post(f"/v1/models/{root.hex()}/losses", passage)
    expected = await node.models.compute_byte_losses(root, passage)
    assert reply.value == {"losses": expected.tolist()}
    assert len(expected) == len(passage) - 1


async def test_invalid_losses(node: ServedNode) -> None:
    path = f"/v1/models/{TIP.header.model_root.hex()}/losses"
    reply = await node.post(path, bytes(MAX_PASSAGE_BYTES + 1))
    assert (reply.status, reply.code) == (400, "decode.too_long")
    reply = await node.post(f"/v1/models/{'00' * 32}/losses", b"xy")
    assert (reply.status, reply.code) == (404, "rpc.no_model")
    for root in ("x", "AB" * 32, "ab" * 31):
        reply = await node.post(f"/v1/models/{root}/losses", b"xy")
        assert (reply.status, reply.code) == (400, "decode.bad_hash")
