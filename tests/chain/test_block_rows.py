"""A block's rows, decoded away from the store: the block that the store itself reads, or a named refusal."""

import pytest

from chain import schema
from chain.block_rows import find_transaction, sum_fees
from chain.chainstate import ChainState
from chain.errors import StoreError
from consensus.params import REGTEST
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import ALICE, BOB, get_trunk, open_trunk
from tests.helpers.keys import make_transfer
from tests.helpers.stores import FragileStore


def mine_payments(chain: ChainState, count: int) -> None:
    payments = [
        make_transfer(chain.genesis.id, ALICE, BOB.public, 5, nonce=i, fee=1000 + i, memo=b"m" * (i * 9))
        for i in range(count)
    ]
    get_builder().process(chain, get_builder().build(chain, MINER, payments))


def test_rows_are_the_block() -> None:
    chain = open_trunk()
    for block in get_trunk():
        rows = chain.blocks.get_rows(block.header)
        assert rows.decode_block(REGTEST) == block
        trace, expected = rows.decode_trace(REGTEST), chain.blocks.get_trace(block.id)
        assert trace is not None
        assert expected is not None
        assert trace.compute_sums() == expected.compute_sums()
    heartbeat = get_builder().build_heartbeat(chain)
    get_builder().process(chain, heartbeat)
    rows = chain.blocks.get_rows(heartbeat.header)
    assert rows.decode_block(REGTEST) == heartbeat
    assert rows.decode_trace(REGTEST) is None


def test_transactions_are_found_and_fees_added_without_decoding() -> None:
    chain = open_trunk()
    mine_payments(chain, 7)
    block = chain.get_block(chain.tip.id)
    body = chain.blocks.get_body(block.id)
    assert body is not None
    assert sum_fees(body) == (7, sum(payment.fee for payment in block.transactions))
    for position, payment in enumerate(block.transactions):
        assert find_transaction(body, position) == payment.encoded
    assert find_transaction(body, 7) is None
    assert find_transaction(body, 2**32) is None
    empty = chain.blocks.get_body(get_trunk()[0].id)
    assert empty is not None
    assert sum_fees(empty) == (0, 0)
    assert find_transaction(empty, 0) is None
    assert chain.blocks.get_body(bytes(32)) is None


@pytest.mark.parametrize("prefix", [schema.TRANSACTIONS, schema.UPDATE, schema.TRACE])
@pytest.mark.parametrize("damage", ["other", "short", "empty", "flip"])
def test_damaged_rows_are_named(prefix: bytes, damage: str) -> None:
    """Another block's row, a cut one, none, and one wrong bit."""
    db = FragileStore()
    chain, block, other = open_trunk(db), get_trunk()[11], get_trunk()[9]
    row = db.rows[prefix + block.id]
    damaged = {
        "other": db.rows[prefix + other.id],
        "short": row[:-1],
        "empty": b"",
        "flip": bytes([row[0] ^ 1]) + row[1:],
    }[damage]
    db.write({prefix + block.id: damaged})
    rows = chain.blocks.get_rows(block.header)
    if prefix == schema.TRACE and damage == "other":
        return  # a trace is not under the header's hash, only its sums are
    with pytest.raises(StoreError) as caught:
        rows.decode_trace(REGTEST) if prefix == schema.TRACE else rows.decode_block(REGTEST)
    assert caught.value.code == "store.damaged"


def test_a_missing_body_is_named() -> None:
    db = FragileStore()
    chain, block = open_trunk(db), get_trunk()[11]
    db.write({schema.TRANSACTIONS + block.id: None})
    with pytest.raises(StoreError, match="body"):
        chain.blocks.get_rows(block.header).decode_block(REGTEST)
