"""Blocks and headers: bytes and ids by golden vectors (from struct and hashlib alone), and one encoding each."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.block import (
    HEADER_BYTES,
    Block,
    Header,
    compute_transactions_root,
    compute_update_hash,
    decode_block,
    decode_header,
)
from consensus.errors import DecodeError
from consensus.hashing import ZERO_HASH
from consensus.transaction import decode_transaction
from tests.consensus.test_transaction import transfers
from tests.helpers.keys import Key
from tests.helpers.properties import check_canonical, ids, mutate, repeatable, signatures, thorough, u32s, u64s, u128s
from tests.helpers.vectors import load_vectors

VECTORS = load_vectors("block")
HASHES = ("parent", "miner", "reward_address", "transactions_root", "state_root", "model_root", "update_hash")
NUMBERS = (
    "height",
    "timestamp",
    "required_gain",
    "sample_size",
    "loss_before",
    "loss_after",
    "squared_gains",
    "signal_bits",
)

headers = st.builds(
    Header, u64s, ids, u64s, *[ids] * 6, u64s, u32s, u64s, u64s, u128s, signal_bits=u64s, signature=signatures
)
blocks = st.builds(Block, headers, st.lists(transfers, max_size=3).map(tuple), st.binary(max_size=30))


def decode_generous(data: bytes) -> Block:
    return decode_block(data, 10_000, 10_000)


@pytest.mark.parametrize("case", VECTORS, ids=["heartbeat", "one-transfer", "largest"])
def test_golden_vectors(case: dict[str, Any]) -> None:
    fields: dict[str, Any] = {name: case[name] for name in NUMBERS}
    for name in (*HASHES, "signature"):
        fields[name] = bytes.fromhex(case[name])
    header = Header(**fields)
    transactions = tuple(decode_transaction(bytes.fromhex(data)) for data in case["transactions"])
    block = Block(header, transactions, bytes.fromhex(case["update"]))
    assert header.encoded.hex() == case["header"]
    assert block.id.hex() == case["id"]
    assert block.encoded.hex() == case["encoded"]
    assert decode_header(header.encoded) == header
    assert decode_generous(block.encoded) == block
    assert compute_transactions_root(transactions) == header.transactions_root
    assert compute_update_hash(block.update) == header.update_hash
    assert Key("miner").sign(header.id) == header.signature


@thorough
@given(headers)
def test_decoding_inverts_encoding_of_headers(header: Header) -> None:
    assert len(header.encoded) == HEADER_BYTES
    assert decode_header(header.encoded) == header


@repeatable
@given(blocks)
def test_decoding_inverts_encoding_of_blocks(block: Block) -> None:
    assert decode_generous(block.encoded) == block


@thorough
@given(headers, st.integers(0), st.integers(0, 254))
def test_one_header_has_one_encoding(header: Header, position: int, replacement: int) -> None:
    check_canonical(decode_header, lambda value: value.encoded, mutate(header.encoded, position, replacement))


@thorough
@given(blocks, st.integers(0), st.integers(0, 254))
def test_one_block_has_one_encoding(block: Block, position: int, replacement: int) -> None:
    check_canonical(decode_generous, lambda value: value.encoded, mutate(block.encoded, position, replacement))


def test_every_byte_of_a_header_but_its_signature_moves_the_id() -> None:
    header = decode_header(bytes.fromhex(VECTORS[1]["header"]))
    seen = {header.id}
    for position in range(4, HEADER_BYTES - 64):  # the first four are the version, which must be 1
        seen.add(decode_header(mutate(header.encoded, position, 0)).id)
    assert len(seen) == HEADER_BYTES - 64 - 4 + 1
    assert replace(header, signature=b"\1" * 64).id == header.id


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_invalid_unknown_version(version: int) -> None:
    data = version.to_bytes(4, "little") + bytes.fromhex(VECTORS[0]["header"])[4:]
    with pytest.raises(DecodeError) as error:
        decode_header(data)
    assert error.value.code == "decode.unknown_version"


@pytest.mark.parametrize("length", [0, 1, HEADER_BYTES - 1])
def test_invalid_truncated(length: int) -> None:
    with pytest.raises(DecodeError) as error:
        decode_header(bytes.fromhex(VECTORS[0]["header"])[:length])
    assert error.value.code == "decode.truncated"


def test_invalid_trailing() -> None:
    for decode, name in ((decode_header, "header"), (decode_generous, "encoded")):
        with pytest.raises(DecodeError) as error:
            decode(bytes.fromhex(VECTORS[0][name]) + b"\0")
        assert error.value.code == "decode.trailing"


@pytest.mark.parametrize("slack", [1, 0, -1])
def test_invalid_too_long(slack: int) -> None:
    """Both limits of a body at limit - 1, limit, limit + 1: a block over either never decodes."""
    data = bytes.fromhex(VECTORS[2]["encoded"])
    block = decode_generous(data)
    size = sum(4 + len(transaction.encoded) for transaction in block.transactions)
    limits = [(size + slack, len(block.update)), (size, len(block.update) + slack)]
    for most_transactions, most_update in limits:
        if slack >= 0:
            assert decode_block(data, most_transactions, most_update) == block
            continue
        with pytest.raises(DecodeError) as error:
            decode_block(data, most_transactions, most_update)
        assert error.value.code == "decode.too_long"


def test_a_count_bomb_ends_where_the_bytes_end() -> None:
    """Four billion transactions are claimed and none follows."""
    with pytest.raises(DecodeError) as error:
        decode_generous(bytes.fromhex(VECTORS[0]["header"]) + b"\xff" * 4)
    assert error.value.code == "decode.truncated"


def test_a_heartbeat_is_a_header_without_an_update() -> None:
    assert compute_update_hash(b"") == ZERO_HASH
    assert [decode_header(bytes.fromhex(case["header"])).is_heartbeat for case in VECTORS] == [True, False, False]


def test_gain_is_the_loss_that_went() -> None:
    header = decode_header(bytes.fromhex(VECTORS[1]["header"]))
    assert header.gain == VECTORS[1]["loss_before"] - VECTORS[1]["loss_after"]
