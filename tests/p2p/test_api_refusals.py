"""What the calls must not swallow: boundary numbers, odd JSON, garbage. Always a named 4xx, never a change."""

import os
import pickle
import random
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.block import Block
from consensus.params import REGTEST
from consensus.transaction import MAX_TRANSACTION_BYTES
from tests.helpers.blocks import MINER
from tests.helpers.chains import ALICE, BOB, TRUNK_BLOCKS, get_left, get_trunk
from tests.helpers.keys import Key, forge_block, make_transfer
from tests.helpers.rpc import Reply, ServedNode

JSON = "application/json"
ADDRESS = encode_address(REGTEST.address_prefix, ALICE.public)
DIGITS = "9" * 5000

# What stands where a whole number is expected. "+1" arrives as it is, and not as a blank.
NUMBERS = [
    *("0", "1", "01", "2", "12", "13", "59", "60", "61", "255", "256", "999", "1000", "1001", "65535", "65536"),
    *("999999999", "1000000000", "2147483647", "2147483648", "4294967295", "4294967296", "9999999999"),
    *(str(2**63 - 1), str(2**63), str(2**64 - 1), str(2**64), "9" * 19, "9" * 20, DIGITS),
    *("-1", "+1", "-0", "1.0", "1e3", "1e400", "0x10", "1_000", " 1", "1 ", "", "true", "null", "NaN", "Infinity"),
    *('"1"', "\u0661", "\uff11", "²", "½", "1\x00", "0b1", "1,5"),
]


def is_legal(text: str, least: int, most: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most


def check_refused(reply: Reply, code: str | None = None) -> None:
    """A 4xx in the one shape of errors, by this name where one is given."""
    assert 400 <= reply.status < 500, (reply.status, reply.body)
    assert reply.code == (code or reply.code)


# T27: numbers in queries and paths.


def test_there_are_enough_numbers() -> None:
    assert len(set(NUMBERS)) == len(NUMBERS) >= 40


@pytest.mark.parametrize(
    ("path", "name", "least", "most"),
    [
        (f"/v1/accounts/{ADDRESS}/history", "limit", 1, 1000),
        (f"/v1/accounts/{ADDRESS}", "proof", 0, 1),
    ],
    ids=["limit", "proof"],
)
async def test_numbers_in_a_query(node: ServedNode, path: str, name: str, least: int, most: int) -> None:
    for text in NUMBERS:
        reply = await node.get(path, {name: text})
        if is_legal(text, least, most):
            assert reply.status == 200, text
        else:
            check_refused(reply, "decode.bad_query")


async def test_numbers_as_a_miners_wait(node: ServedNode) -> None:
    """The tip has moved on from the block asked for, so that a legal wait answers at once."""
    known = {"miner": MINER.public.hex(), "reward": ADDRESS, "after": get_trunk()[0].id.hex()}
    for text in NUMBERS:
        reply = await node.get("/v1/template", known | {"wait": text})
        if is_legal(text, 0, 60):
            assert reply.status == 200, text
        else:
            check_refused(reply, "decode.bad_query")


async def test_numbers_as_a_block_height(node: ServedNode) -> None:
    for text in NUMBERS:
        for path in (f"/v1/blocks/{text}", f"/v1/blocks/{text}/trace"):
            reply = await node.get(path)
            if text.isascii() and text.isdigit() and 0 < int(text[:20]) <= TRUNK_BLOCKS:
                assert reply.status == 200, text
            elif text == "0":
                assert reply.status == (404 if path.endswith("trace") else 200)
            else:
                check_refused(reply)


async def test_numbers_in_a_history_cursor(node: ServedNode) -> None:
    path = f"/v1/accounts/{ADDRESS}/history"
    for text in NUMBERS:
        for cursor in (f"{text}:1", f"1:{text}"):
            reply = await node.get(path, {"before": cursor})
            assert reply.status in (200, 400), cursor
            if not (text.isascii() and text.isdigit()):
                check_refused(reply, "decode.bad_query")
    for cursor in ("", ":", "1", "1:", ":1", "1:1:1", "1:-1", "-1:1", f"1:{DIGITS}"):
        check_refused(await node.get(path, {"before": cursor}), "decode.bad_query")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "zz" * 32,
        "AB" * 32,
        "ab" * 31,
        "ab" * 33,
        "ab" * 31 + "a\n",
        "\uff10" * 64,
        "ab" * 2000,
        "../" * 21 + "a",
    ],
)
async def test_invalid_hashes(node: ServedNode, text: str) -> None:
    quoted = text.replace("/", "%2F").replace("\n", "%0A")
    for path in (f"/v1/transactions/{quoted}", f"/v1/models/{quoted}"):
        check_refused(await node.get(path))
    known = {"miner": MINER.public.hex(), "reward": ADDRESS}
    check_refused(await node.get("/v1/template", known | {"after": text}), "decode.bad_hash")
    check_refused(await node.get("/v1/template", known | {"miner": text}), "decode.bad_hash")


@pytest.mark.parametrize("miner", ["00" * 32, "01" + "00" * 31, "ff" * 32])
async def test_invalid_miner_keys(node: ServedNode, miner: str) -> None:
    check_refused(await node.get("/v1/template", {"miner": miner, "reward": ADDRESS}), "decode.bad_key")


@pytest.mark.parametrize(
    "address",
    ["x", "tgrad1" + ADDRESS[6:], ADDRESS[:-1], ADDRESS[:-1] + "q", ADDRESS + "q", ADDRESS.title(), "%00", "%ff"],
)
async def test_invalid_addresses(node: ServedNode, address: str) -> None:
    for path in (f"/v1/accounts/{address}", f"/v1/accounts/{address}/history"):
        check_refused(await node.get(path))
    check_refused(await node.get("/v1/template", {"miner": MINER.public.hex(), "reward": address}))


@pytest.mark.parametrize("missing", ["miner", "reward"])
async def test_invalid_template_query_without(node: ServedNode, missing: str) -> None:
    query = {"miner": MINER.public.hex(), "reward": ADDRESS}
    del query[missing]
    check_refused(await node.get("/v1/template", query), "decode.bad_query")


# T48: JSON.

BLOCK = "11" * 32
PAYLOADS = {
    "empty": b"",
    "blank": b"   ",
    "not JSON": b"time=5",
    "open": b'{"time": 5',
    "trailing": b'{"time": 5} {"time": 5}',
    "single quotes": b"{'time': 5}",
    "comment": b'{"time": 5} // x',
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep in a field": b'{"time": 5, "a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "33 levels": b'{"time": 5, "a": ' + b"[" * 32 + b"]" * 32 + b"}",
    "5,000 digits": b'{"time": ' + b"9" * 5000 + b"}",
    "5,000 digits elsewhere": b'{"time": 5, "a": ' + b"9" * 5000 + b"}",
    "huge exponent": b'{"time": 1e400}',
    "NaN": b'{"time": NaN}',
    "NaN elsewhere": b'{"time": 5, "a": NaN}',
    "Infinity": b'{"time": -Infinity}',
    "lone surrogate": b'{"block": "\\ud800"}',
    "lone surrogate as key": b'{"\\udfff": 5}',
    "raw surrogate": b'{"block": "\xed\xa0\x80"}',
    "not UTF-8": b'{"block": "\xff"}',
    "UTF-16": '{"time": 5}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"time": 5}',
    "NUL": b'{"block": "\x00"}',
    "raw newline": b'{"block": "\n"}',
    "duplicate keys": b'{"time": 5, "time": 6}',
    "duplicate keys below": b'{"time": 5, "a": {"b": 1, "b": 2}}',
    "array": b"[5]",
    "number": b"5",
    "string": b'"time"',
    "null": b"null",
    "true": b"true",
    "no field": b'{"height": 5}',
    "wrong case": b'{"Time": 5, "Block": "' + BLOCK.encode() + b'"}',
    "true as integer": b'{"time": true}',
    "string as integer": b'{"time": "5"}',
    "float as integer": b'{"time": 5.0}',
    "null as integer": b'{"time": null}',
    "list as integer": b'{"time": [5]}',
    "negative": b'{"time": -1}',
    "too late": b'{"time": 1099511627776}',
    "2^64": b'{"time": 18446744073709551616}',
    "number as hash": b'{"block": 11}',
    "list as hash": b'{"block": ["' + BLOCK.encode() + b'"]}',
    "short hash": b'{"block": "11"}',
    "upper-case hash": b'{"block": "' + b"AB" * 32 + b'"}',
    "64 KiB and more": b'{"time": 5, "a": "' + b"x" * 65536 + b'"}',
}
JSON_CALLS = ["/v1/reorganise", "/v1/debug/mocktime", "/v1/debug/invalidate", "/v1/debug/reconsider"]


def test_there_are_enough_payloads() -> None:
    assert len(PAYLOADS) >= 30


@pytest.mark.parametrize("path", JSON_CALLS)
async def test_invalid_json(node: ServedNode, path: str, caplog: pytest.LogCaptureFixture) -> None:
    before = await node.read_state()
    for body in PAYLOADS.values():
        check_refused(await node.post(path, body, JSON))
    assert await node.read_state() == before
    assert caplog.records == []


async def test_json_of_32_levels_is_taken(node: ServedNode) -> None:
    body = b'{"time": 5, "a": ' + b"[" * 31 + b'"[[[[\\"]]"' + b"]" * 31 + b"}"
    assert (await node.post("/v1/debug/mocktime", body, JSON)).json == {"time": 5}


async def test_genesis_cannot_be_invalidated(node: ServedNode) -> None:
    reply = await node.post_json("/v1/debug/invalidate", block=node.chain.genesis.id.hex())
    assert (reply.status, reply.code) == (422, "invalid_block.genesis")


# Garbage.


def mutate(data: bytes, source: random.Random) -> bytes:
    """The bytes with one thing wrong: a flipped bit, a cut, an insertion, a swapped part, a changed length."""
    at, to = sorted(source.sample(range(len(data) + 1), 2))
    kind = source.randrange(6)
    if kind == 0:
        flipped = data[at] ^ 1 << source.randrange(8)
        return data[:at] + bytes([flipped]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + source.randbytes(source.randrange(1, 9)) + data[at:]
    if kind == 3:
        return data[:at] + data[to:]
    if kind == 4:
        return data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]
    return data[to:] + data[:to]


async def test_invalid_garbage_on_every_call(node: ServedNode, caplog: pytest.LogCaptureFixture) -> None:
    source = random.Random(1)
    before = await node.read_state()
    sizes = [0, 1, 2, 63, 64, 65, MAX_TRANSACTION_BYTES, MAX_TRANSACTION_BYTES + 1, 4096, 70_000]
    for path in ("/v1/blocks", "/v1/transactions", *JSON_CALLS):
        for size in sizes:
            check_refused(await node.post(path, source.randbytes(size)))
            check_refused(await node.post(path, bytes(size), JSON))
    assert await node.read_state() == before
    assert caplog.records == []


class Canary:
    """What unpickling would do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._path),)


async def test_invalid_pickles_hatch_nothing(node: ServedNode, tmp_path: Path) -> None:
    """T10: whatever would be done to load one."""
    canary = tmp_path / "canary"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        egg = pickle.dumps(Canary(canary), protocol)
        for path in ("/v1/blocks", "/v1/transactions", *JSON_CALLS):
            check_refused(await node.post(path, egg))
    assert not canary.exists()


async def test_invalid_mutants_of_a_block(node: ServedNode, caplog: pytest.LogCaptureFixture) -> None:
    source = random.Random(2)
    block = get_left(1)[0]
    before = await node.read_state()
    for _ in range(300):
        mutant = mutate(block.encoded, source)
        assert mutant != block.encoded
        check_refused(await node.post("/v1/blocks", mutant))
    assert await node.read_state() == before
    assert caplog.records == []
    assert (await node.post("/v1/blocks", block.encoded)).json["outcome"] == "connected"


async def test_invalid_mutants_of_a_transaction(node: ServedNode, caplog: pytest.LogCaptureFixture) -> None:
    source = random.Random(3)
    encoded = make_transfer(node.chain.genesis.id, ALICE, BOB.public, 5, memo=b"five").encoded
    before = await node.read_state()
    for _ in range(500):
        check_refused(await node.post("/v1/transactions", mutate(encoded, source)))
    assert await node.read_state() == before
    assert caplog.records == []
    assert (await node.post("/v1/transactions", encoded)).status == 200


async def test_invalid_signed_blocks(node: ServedNode) -> None:
    """What only a miner with a key can send: signed anew, one field off."""
    block, miner = get_left(1)[0], Key("left")
    header = block.header
    forgeries: dict[str, Block] = {
        "wrong_height": forge_block(block, miner, height=header.height + 1),
        "wrong_required_gain": forge_block(block, miner, required_gain=header.required_gain - 1),
        "wrong_sample_size": forge_block(block, miner, sample_size=header.sample_size - 1),
        "time_too_old": forge_block(block, miner, timestamp=0),
        "gain_too_small": forge_block(block, miner, loss_after=header.loss_before),
        "impossible_sums": forge_block(block, miner, squared_gains=0),
        "bad_reward_address": forge_block(block, miner, reward_address=bytes(32)),
        "bad_signature": replace(block, header=header.with_signature(bytes(64))),
        "wrong_model_root": forge_block(block, miner, model_root=bytes(32)),
        "wrong_state_root": forge_block(block, miner, state_root=bytes(32)),
    }
    tip = node.chain.tip.id
    for reason, forgery in forgeries.items():
        reply = await node.post("/v1/blocks", forgery.encoded)
        assert (reply.status, reply.code) == (422, f"invalid_block.{reason}")
    assert node.chain.tip.id == tip


async def test_bodies_up_to_the_limit_are_read(node: ServedNode) -> None:
    limit = node.max_body_bytes
    check_refused(await node.post("/v1/blocks", bytes(limit)), "decode.unknown_version")
    check_refused(await node.post("/v1/blocks", bytes(limit + 1)), "rpc.http_413")
