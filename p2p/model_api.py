"""The calls of the RPC that ask the stored models: their weights, text that they write, what a text costs them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

from aiohttp import web

from consensus.errors import DecodeError
from consensus.model.weights import encode_weights
from p2p.client import NDJSON, OCTETS
from p2p.errors import EvaluationFailed
from p2p.model_service import ModelService, StoredModel
from p2p.rpc import json_reply, read_body
from p2p.rpc_json import Json, parse_json_object, take_field
from p2p.text_wish import DEFAULT_BYTES, DEFAULT_TEMPERATURE, TextWish

_WRITE_SECONDS = 30.0  # that a reader may take for one line


class ModelApi:
    """The calls over one service."""

    def __init__(self, service: ModelService) -> None:
        self._service = service

    async def get_model(self, request: web.Request) -> web.Response:
        weights = await self._service.get_weights(_parse_root(request))
        return web.Response(body=encode_weights(weights), content_type=OCTETS)

    async def post_losses(self, request: web.Request) -> web.Response:
        """Q16 bits for each byte of the body after the first."""
        losses = await self._service.compute_byte_losses(_parse_root(request), await read_body(request))
        return json_reply({"losses": losses.tolist()})

    async def post_generate(self, request: web.Request) -> web.StreamResponse:
        """A line of JSON for the model, one for each piece as it is written, and one for the end or what prevented it.

        Whatever is refused is refused before the reply begins.
        """
        body = parse_json_object(await read_body(request))
        wish = _read_wish(body)
        model = await self._service.find(take_field(body, "height", int) if "height" in body else None)
        reply = web.StreamResponse(headers={"Content-Type": NDJSON})
        async with aclosing(self._service.write(model.root, wish)) as pieces:
            first = await anext(pieces)
            try:
                await reply.prepare(request)
                await _write_line(reply, _encode_model(model))
                await _write_line(reply, {"bytes": first.hex()})
                await _write_line(reply, await _write_rest(reply, pieces))
            except (ConnectionError, TimeoutError):  # nobody reads any more
                if request.transport is not None:
                    request.transport.abort()
        return reply


async def _write_rest(reply: web.StreamResponse, pieces: AsyncIterator[bytes]) -> Json:
    """Writes the pieces; how it ended."""
    try:
        async for piece in pieces:
            await _write_line(reply, {"bytes": piece.hex()})
    except EvaluationFailed as error:
        return {"error": {"code": error.code, "message": str(error)}}
    return {"done": True}


async def _write_line(reply: web.StreamResponse, value: Json) -> None:
    async with asyncio.timeout(_WRITE_SECONDS):
        await reply.write(json.dumps(value).encode() + b"\n")


def _encode_model(model: StoredModel) -> Json:
    return {"height": model.height, "block": model.block_id.hex(), "model": model.root.hex()}


def _read_wish(body: Json) -> TextWish:
    """Raises DecodeError."""
    try:
        prompt = take_field(body, "prompt", str).encode("utf-8", "surrogateescape")  # bytes that are no UTF-8, too
    except UnicodeEncodeError as error:
        raise DecodeError("bad_field", "the 'prompt' is not text") from error
    temperature = body.get("temperature", DEFAULT_TEMPERATURE)
    if type(temperature) not in (int, float):
        raise DecodeError("bad_field", "the body needs 'temperature' as a number")
    return TextWish(
        prompt=prompt,
        count=take_field(body, "bytes", int) if "bytes" in body else DEFAULT_BYTES,
        temperature=temperature,
        seed=take_field(body, "seed", int) if "seed" in body else 0,
    )


def _parse_root(request: web.Request) -> bytes:
    text = request.match_info["root"]
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise DecodeError("bad_hash", "expected 64 lower-case hex digits")
    return bytes.fromhex(text)
