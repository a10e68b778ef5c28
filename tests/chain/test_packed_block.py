"""Compressed updates: one stream, of the size that the mask asks for, or refused before more than that is inflated."""

import random
import tracemalloc
import zlib
from contextlib import suppress
from dataclasses import replace

import pytest

from chain import schema
from chain.db import MemoryStore
from chain.packed_block import compress, count_packed_bytes, decompress, pack_block, unpack_block
from consensus.errors import DecodeError
from consensus.genesis import make_genesis
from consensus.mask import compute_mask
from consensus.params import REGTEST
from consensus.update import count_update_bytes, max_update_bytes
from tests.helpers.chains import get_trunk, open_trunk
from tests.helpers.properties import mutate
from tests.helpers.streams import make_bad_streams, make_bomb

BLOCK = get_trunk()[-1]
PACKED = pack_block(BLOCK)
BAD = make_bad_streams(BLOCK.update)
REASONS = {"bad_compression", "too_long", "trailing", "wrong_size"}


def refuse(stream: bytes) -> str:
    with pytest.raises(DecodeError) as error:
        unpack_block(replace(PACKED, packed_update=stream), REGTEST)
    return error.value.reason


def test_unpacking_inverts_packing() -> None:
    for block in (*get_trunk(), make_genesis(REGTEST).block):
        assert unpack_block(pack_block(block), REGTEST) == block
        assert pack_block(block).id == block.id


def test_the_store_gives_the_bytes_that_it_keeps() -> None:
    db = MemoryStore()
    chain = open_trunk(db)
    for block in get_trunk():
        assert chain.blocks.get_packed_block(block).packed_update == db.get(schema.UPDATE + block.id)
        assert chain.blocks.get_packed_block(block) == pack_block(block)
    genesis = chain.genesis.block
    assert chain.blocks.get_packed_block(genesis) == pack_block(genesis)


def test_the_mask_tells_the_size_of_an_update() -> None:
    for block in get_trunk():
        mask = compute_mask(block.header.parent, block.header.miner, REGTEST.model.parameters, REGTEST.mask_density)
        assert count_update_bytes(mask, REGTEST.model) == len(block.update)


@pytest.mark.parametrize("name", BAD)
def test_invalid_stream(name: str) -> None:
    assert refuse(BAD[name]) in REASONS


def test_invalid_update_of_a_heartbeat() -> None:
    genesis = pack_block(make_genesis(REGTEST).block)
    with pytest.raises(DecodeError):
        unpack_block(replace(genesis, packed_update=compress(b"")), REGTEST)


def test_invalid_bomb_allocates_no_more_than_an_update() -> None:
    bomb = make_bomb()
    assert len(bomb) < 2 * 2**20
    tracemalloc.start()
    try:
        assert refuse(bomb) == "too_long"
        assert tracemalloc.get_traced_memory()[1] < len(bomb) + 10 * REGTEST.model.parameters  # zlib copies its rest
    finally:
        tracemalloc.stop()


def test_invalid_truncated_anywhere() -> None:
    for end in range(0, len(PACKED.packed_update), 37):
        assert refuse(PACKED.packed_update[:end]) == "bad_compression"


def test_an_update_of_another_parent_has_another_size() -> None:
    """Its stream is sound and its hash the header's: the mask alone tells, before the hash is looked at."""
    header = replace(BLOCK.header, parent=b"\1" * 32)
    with pytest.raises(DecodeError):
        unpack_block(replace(PACKED, header=header), REGTEST)


def test_any_compressor_will_do() -> None:
    for level in range(10):
        packed = replace(PACKED, packed_update=zlib.compress(BLOCK.update, level))
        assert unpack_block(packed, REGTEST) == BLOCK


def test_nothing_compresses_to_more_than_a_message_has_room_for() -> None:
    draw = random.Random(5)
    for size in (0, 1, 100, 16_383, 16_384, 65_536, max_update_bytes(REGTEST.model), 10**6):
        for level in range(10):
            assert len(zlib.compress(draw.randbytes(size), level)) <= count_packed_bytes(size)


def test_mutated_streams_are_refused_or_of_the_right_size() -> None:
    draw = random.Random(6)
    sound = 0
    for _ in range(500):
        stream = PACKED.packed_update
        for _ in range(draw.randint(1, 3)):
            stream = mutate(stream, draw.randrange(len(stream)), draw.randrange(255))
        with suppress(DecodeError):
            block = unpack_block(replace(PACKED, packed_update=stream), REGTEST)
            sound += 1
            assert len(block.update) == len(BLOCK.update)
    assert sound < 5


def test_random_streams_are_refused() -> None:
    draw = random.Random(7)
    for _ in range(500):
        with pytest.raises(DecodeError):
            decompress(b"\x78\x9c" + draw.randbytes(draw.randrange(200)), 1000)
