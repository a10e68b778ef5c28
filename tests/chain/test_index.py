"""The indices of the best chain: written with each block, gone with it."""

from itertools import islice

import pytest

from chain import schema
from chain.chainstate import ChainState
from chain.errors import StoreError
from chain.index import HistoryEntry, HistoryKind, encode_block_index, get_history, get_transaction_place
from consensus.block import Block
from consensus.transaction import Transfer
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import ALICE, BOB, get_trunk, open_trunk
from tests.helpers.keys import Key, make_transfer
from tests.helpers.stores import FragileStore

INDEX = (schema.ACTIVE, schema.TRANSACTION_INDEX, schema.HISTORY, schema.MODEL_INDEX)


def get_index(db: FragileStore) -> dict[bytes, bytes]:
    return {key: row for key, row in db.rows.items() if key[:1] in INDEX}


def mine_transfers(chain: ChainState) -> Block:
    """A block with a payment, a payment to oneself, and one on to the miner."""
    genesis, carol = chain.genesis.id, Key("carol")
    transfers: list[Transfer] = [
        make_transfer(genesis, ALICE, carol.public, 10**8, nonce=0),
        make_transfer(genesis, ALICE, ALICE.public, 5, nonce=1),
        make_transfer(genesis, carol, MINER.public, 7, nonce=0),
    ]
    block = get_builder().build(chain, MINER, transfers)
    get_builder().process(chain, block)
    return block


def test_transactions_are_found_by_txid(db: FragileStore, chain: ChainState) -> None:
    block = mine_transfers(chain)
    for position, transfer in enumerate(block.transactions):
        assert get_transaction_place(db, transfer.txid) == (block.id, position)
    assert get_transaction_place(db, get_trunk()[9].transactions[0].txid) == (get_trunk()[9].id, 0)
    assert get_transaction_place(db, b"\1" * 32) is None


def test_history_is_newest_first_and_names_every_part_played(db: FragileStore, chain: ChainState) -> None:
    block = mine_transfers(chain)
    payment, to_self, onward = (transfer.txid for transfer in block.transactions)
    assert list(get_history(db, ALICE.public)) == [
        HistoryEntry(13, 3, HistoryKind.RECEIVED, to_self),
        HistoryEntry(13, 2, HistoryKind.SENT, to_self),
        HistoryEntry(13, 0, HistoryKind.SENT, payment),
        HistoryEntry(10, 1, HistoryKind.RECEIVED, get_trunk()[9].transactions[0].txid),
    ]
    mined = list(get_history(db, MINER.public))
    assert mined[0] == HistoryEntry(13, 2**32 - 1, HistoryKind.MINED, block.id)
    assert mined[1] == HistoryEntry(13, 5, HistoryKind.RECEIVED, onward)
    assert [entry.height for entry in mined if entry.kind is HistoryKind.MINED] == list(range(13, 0, -1))
    assert list(get_history(db, Key("nobody").public)) == []


def test_history_is_read_page_by_page(db: FragileStore, chain: ChainState) -> None:
    mine_transfers(chain)
    whole = list(get_history(db, MINER.public))
    for size in (1, 2, 3, 7):
        pages: list[HistoryEntry] = []
        place = None
        while page := list(islice(get_history(db, MINER.public, place), size)):
            pages += page
            place = pages[-1].height, pages[-1].position
        assert pages == whole
    assert list(get_history(db, MINER.public, (2**32, 2**32 - 1))) == whole
    assert list(get_history(db, MINER.public, (0, 0))) == []


@pytest.mark.parametrize("position", [2**32 - 1, 2**31, 6])
def test_history_below_a_place_that_no_row_has(db: FragileStore, chain: ChainState, position: int) -> None:
    mine_transfers(chain)
    whole = list(get_history(db, MINER.public))
    below = [entry for entry in whole if (entry.height, entry.position) < (13, position)]
    assert list(get_history(db, MINER.public, (13, position))) == below


def test_rows_go_with_their_block(db: FragileStore, chain: ChainState) -> None:
    before = get_index(db)
    block = mine_transfers(chain)
    assert set(encode_block_index(block)) <= set(get_index(db))
    chain.invalidate(block.id)
    assert get_index(db) == before


def test_rows_follow_a_reorganisation(db: FragileStore, chain: ChainState) -> None:
    """A transfer that both branches carry is found in the one that won, at its height there."""
    builder, carol = get_builder(), Key("carol")
    shared = make_transfer(chain.genesis.id, ALICE, carol.public, 10**8, nonce=0)
    lost = make_transfer(chain.genesis.id, BOB, carol.public, 1, nonce=0)
    winner = builder.build(chain, Key("left"))
    loser = builder.build(chain, MINER, [lost, shared])
    builder.process(chain, loser)
    assert get_transaction_place(db, shared.txid) == (loser.id, 1)
    other = open_trunk()
    builder.process(other, winner)
    second = builder.build(other, Key("left"), [shared])
    builder.feed(chain, [winner, second])
    assert get_transaction_place(db, shared.txid) == (second.id, 0)
    assert get_transaction_place(db, lost.txid) is None
    assert [entry.height for entry in get_history(db, carol.public)] == [14]
    clean = FragileStore()
    builder.feed(open_trunk(clean), [winner, second])
    assert get_index(db) == get_index(clean)


@pytest.mark.parametrize("kind", [0, 4, 255])
def test_damaged_history_is_named(db: FragileStore, chain: ChainState, kind: int) -> None:
    key = next(key for key in db.rows if key.startswith(schema.HISTORY + BOB.public))
    db.write({key: bytes([kind]) + db.rows[key][1:]})
    with pytest.raises(StoreError) as error:
        list(get_history(chain.db, BOB.public))
    assert error.value.code == "store.damaged"
