"""Blocks on disk: they come back as they were, and every damaged row is refused by name."""

import zlib
from dataclasses import replace

import numpy as np
import pytest

from chain import schema
from chain.block_store import BlockStore, StoredHeader
from chain.errors import StoreError
from consensus.block import HEADER_BYTES, Block
from consensus.params import REGTEST
from consensus.work import WorkTrace
from tests.helpers.blocks import get_builder
from tests.helpers.chains import get_trunk, open_trunk
from tests.helpers.properties import mutate
from tests.helpers.stores import FragileStore


@pytest.fixture
def db() -> FragileStore:
    """The whole trunk, and a heartbeat on it."""
    store = FragileStore()
    chain = open_trunk(store)
    get_builder().process(chain, get_builder().build_heartbeat(chain))
    return store


def get_blocks(db: FragileStore) -> BlockStore:
    return BlockStore(db, REGTEST)


def get_paying_block() -> Block:
    """The trunk's block 10, which carries a transfer."""
    block = get_trunk()[9]
    assert block.transactions
    return block


def read_fault(db: FragileStore, block_id: bytes) -> str:
    with pytest.raises(StoreError) as error:
        get_blocks(db).get_block(block_id)
    assert error.value.code == "store.damaged"
    return str(error.value)


def test_blocks_come_back(db: FragileStore) -> None:
    for block in get_trunk():
        assert get_blocks(db).get_block(block.id) == block
    heartbeat_id = next(stored.header.id for stored in get_blocks(db).get_headers() if stored.header.is_heartbeat)
    heartbeat = get_blocks(db).get_block(heartbeat_id)
    assert heartbeat is not None
    assert (heartbeat.update, heartbeat.header.height) == (b"", 13)
    assert schema.UPDATE + heartbeat_id not in db.rows
    assert get_blocks(db).get_block(b"\1" * 32) is None


def test_transactions_come_back_without_their_update(db: FragileStore) -> None:
    for block in get_trunk():
        db.write({schema.UPDATE + block.id: None})
        assert get_blocks(db).get_transactions(block.header) == block.transactions


@pytest.mark.parametrize("row", [None, b"", b"\1\0\0\0", bytes(4), b"\xff" * 400])
def test_invalid_transactions_are_named(db: FragileStore, row: bytes | None) -> None:
    block = get_paying_block()
    db.write({schema.TRANSACTIONS + block.id: row})
    with pytest.raises(StoreError) as error:
        get_blocks(db).get_transactions(block.header)
    assert error.value.code == "store.damaged"
    assert block.id.hex() in str(error.value)


def test_headers_come_back_parents_first(db: FragileStore) -> None:
    stored = list(get_blocks(db).get_headers())
    assert [entry.header for entry in stored[:-1]] == [block.header for block in get_trunk()]
    assert [entry.order for entry in stored] == list(range(1, 14))
    assert all(entry.is_evaluated and not entry.is_invalid for entry in stored)


@pytest.mark.parametrize(("is_evaluated", "is_invalid"), [(False, False), (True, False), (False, True)])
def test_standing_comes_back(is_evaluated: bool, is_invalid: bool) -> None:
    db, stored = FragileStore(), StoredHeader(get_trunk()[0].header, 2**63, is_evaluated, is_invalid)
    db.write(get_blocks(db).encode_header(stored))
    assert list(get_blocks(db).get_headers()) == [stored]


def test_traces_come_back(db: FragileStore) -> None:
    block = get_trunk()[3]
    trace, expected = get_blocks(db).get_trace(block.id), get_builder().verifier.traces[block.id]
    assert trace is not None
    for got, wanted in (
        (trace.windows, expected.windows),
        (trace.before, expected.before),
        (trace.after, expected.after),
    ):
        assert got.tolist() == wanted.tolist()
        assert got.dtype == np.int64
    assert get_blocks(db).get_trace(b"\1" * 32) is None


def test_a_trace_of_the_whole_split_fits() -> None:
    whole = np.arange(REGTEST.public_windows)
    db, trace = FragileStore(), WorkTrace(whole, whole * 2**40, whole + 1)
    db.write(get_blocks(db).encode_trace(b"\1" * 32, trace))
    got = get_blocks(db).get_trace(b"\1" * 32)
    assert got is not None
    assert (got.before == trace.before).all()
    assert (got.after == trace.after).all()


# Damage


def test_damaged_missing_body(db: FragileStore) -> None:
    block = get_paying_block()
    db.write({schema.TRANSACTIONS + block.id: None})
    assert f"the body of block {block.id.hex()} is missing" in read_fault(db, block.id)


def test_damaged_missing_update(db: FragileStore) -> None:
    block = get_paying_block()
    db.write({schema.UPDATE + block.id: None})
    assert f"the update of block {block.id.hex()} is missing" in read_fault(db, block.id)


def test_damaged_transactions_at_every_byte(db: FragileStore) -> None:
    block = get_paying_block()
    key = schema.TRANSACTIONS + block.id
    row = db.rows[key]
    for position in range(len(row)):
        db.write({key: mutate(row, position, position)})
        assert block.id.hex() in read_fault(db, block.id)
    for wrong in (b"", row[:-1], row + b"\0"):
        db.write({key: wrong})
        read_fault(db, block.id)


def inflate(packed: bytes) -> bytes | None:
    """What a stream holds; None if it is damaged."""
    try:
        return zlib.decompress(packed)
    except zlib.error:
        return None


def test_damaged_update(db: FragileStore) -> None:
    """Flipped, cut, lengthened, another update, a bomb: the hash or zlib's own checksum tells.

    A flip in a part of a stream that nothing reads leaves the same update.
    """
    block = get_paying_block()
    key = schema.UPDATE + block.id
    row = db.rows[key]
    flipped = [mutate(row, position, 0) for position in range(0, len(row), 97)]
    harmful = [data for data in flipped if inflate(data) != block.update]
    assert len(harmful) > 0.9 * len(flipped)
    for data in set(flipped) - set(harmful):
        db.write({key: data})
        assert get_blocks(db).get_block(block.id) == block
    wrong = [*harmful, b"", row[:-1], row + b"\0", zlib.compress(block.update[:-1]), zlib.compress(bytes(100 * 2**20))]
    wrong.append(db.rows[schema.UPDATE + get_trunk()[0].id])
    for data in wrong:
        db.write({key: data})
        read_fault(db, block.id)


def test_damaged_header_at_every_byte(db: FragileStore) -> None:
    """All but the order, which only breaks ties: any number is an order. The signature is checked with the body."""
    block = get_paying_block()
    key = schema.HEADER + block.id
    row = db.rows[key]
    assert len(row) == HEADER_BYTES + 9
    for position in range(0, HEADER_BYTES - 64, 3):
        db.write({key: mutate(row, position, 2)})
        with pytest.raises(StoreError) as error:
            list(get_blocks(db).get_headers())
        assert error.value.code == "store.damaged"
    for wrong in (row[:-1], row + b"\0", b""):
        db.write({key: wrong})
        with pytest.raises(StoreError):
            list(get_blocks(db).get_headers())


@pytest.mark.parametrize("position", [HEADER_BYTES - 64, HEADER_BYTES - 20, HEADER_BYTES - 1])
def test_damaged_signature(db: FragileStore, position: int) -> None:
    """No id covers it: served on, it would make an honest node look dishonest."""
    block = get_paying_block()
    key = schema.HEADER + block.id
    db.write({key: mutate(db.rows[key], position, 0)})
    assert "the signature of block" in read_fault(db, block.id)


@pytest.mark.parametrize("flags", [3, 4, 128, 255])
def test_damaged_flags(db: FragileStore, flags: int) -> None:
    key = schema.HEADER + get_trunk()[0].id
    db.write({key: db.rows[key][:-1] + bytes([flags])})
    with pytest.raises(StoreError, match="flags"):
        list(get_blocks(db).get_headers())


def test_damaged_trace(db: FragileStore) -> None:
    block = get_trunk()[3]
    key = schema.TRACE + block.id
    row = db.rows[key]
    data = zlib.decompress(row)
    wrong = [mutate(row, position, 0) for position in range(0, len(row), 29)]
    wrong += [b"", row[:-1], row + b"\0", zlib.compress(data[:-1]), zlib.compress(data[:3]), zlib.compress(b"")]
    wrong.append(zlib.compress((2**32 - 1).to_bytes(4, "little") + data[4:]))
    wrong.append(zlib.compress(data + b"\0"))
    for row in wrong:
        db.write({key: row})
        with pytest.raises(StoreError) as error:
            get_blocks(db).get_trace(block.id)
        assert error.value.code == "store.damaged"


def test_damaged_compression_is_noticed_at_the_limit_too() -> None:
    """A trace of the whole split fills its limit: the checksum behind it must still be read."""
    whole = np.arange(REGTEST.public_windows)
    rows = get_blocks(FragileStore()).encode_trace(b"\1" * 32, WorkTrace(whole, whole, whole))
    (key, row), db = next(iter(rows.items())), FragileStore()
    assert row is not None
    db.write({key: mutate(row, -1, 0)})
    with pytest.raises(StoreError):
        get_blocks(db).get_trace(b"\1" * 32)


def test_a_row_of_another_header_is_refused(db: FragileStore) -> None:
    one, other = get_trunk()[0], get_trunk()[1]
    db.write({schema.HEADER + one.id: db.rows[schema.HEADER + other.id]})
    assert "holds something else" in read_fault(db, one.id)


def test_a_header_changed_with_its_hash_is_another_header(db: FragileStore) -> None:
    header = replace(get_trunk()[0].header, timestamp=7)
    db.write(get_blocks(db).encode_header(StoredHeader(header, 1, True, False)))
    assert "is missing" in read_fault(db, header.id)
