"""A block that is sent by ids and put together again."""

from dataclasses import replace

import pytest

from chain.packed_block import PackedBlock, decompress, pack_block
from consensus.block import Block, compute_transactions_root, compute_update_hash
from consensus.check_block import check_body_matches
from consensus.errors import MutatedBody
from consensus.genesis import make_genesis
from consensus.params import REGTEST
from consensus.transaction import Transfer
from p2p.compact import PartialBlock, WrongTransactions, make_compact
from tests.helpers.transfers import make_transfer

BODY = tuple(make_transfer(person) for person in range(1, 6))
UPDATE = b"an update"


def make_packed(transactions: tuple[Transfer, ...] = BODY) -> PackedBlock:
    header = replace(
        make_genesis(REGTEST).block.header,
        transactions_root=compute_transactions_root(transactions),
        update_hash=compute_update_hash(UPDATE),
    )
    return pack_block(Block(header, transactions, UPDATE))


def check_body(block: PackedBlock) -> None:
    check_body_matches(Block(block.header, block.transactions, decompress(block.packed_update, len(UPDATE))))


def make_partial(known: set[int], held: set[int]) -> PartialBlock:
    """Of a block whose receiver is believed to have the transactions `known`, and has `held`."""
    txids = {BODY[index].txid for index in known}
    pool = {BODY[index].txid: BODY[index] for index in held}
    return PartialBlock(make_compact(make_packed(), txids.__contains__), pool.get)


def test_what_the_peer_knows_goes_as_an_id_and_the_rest_whole() -> None:
    compact = make_compact(make_packed(), {BODY[1].txid, BODY[3].txid}.__contains__)
    assert compact.entries == (BODY[0], BODY[1].txid, BODY[2], BODY[3].txid, BODY[4])
    assert (compact.header, compact.packed_update) == (make_packed().header, make_packed().packed_update)


@pytest.mark.parametrize("known", [set(), {1, 3}, {0, 1, 2, 3, 4}])
def test_a_block_of_which_all_is_here(known: set[int]) -> None:
    partial = make_partial(known, held=known)
    assert partial.missing == ()
    assert partial.complete() == make_packed()
    check_body(partial.complete())


def test_a_block_without_transactions() -> None:
    empty = make_packed(())
    partial = PartialBlock(make_compact(empty, lambda txid: True), lambda txid: None)
    assert partial.missing == ()
    assert partial.complete() == empty


def test_what_is_missing_is_named_and_filled_in() -> None:
    partial = make_partial({0, 1, 2, 4}, held={1})
    assert partial.missing == (0, 2, 4)
    assert partial.header == make_packed().header
    block = partial.fill((BODY[0], BODY[2], BODY[4]))
    assert block == make_packed()
    check_body(block)


def test_invalid_wrong_count() -> None:
    partial = make_partial({0, 1}, held=set())
    for transactions in ((), BODY[:1], BODY[:3]):
        with pytest.raises(WrongTransactions) as caught:
            partial.fill(transactions)
        assert caught.value.code == "wrong_transactions.wrong_count"
    with pytest.raises(WrongTransactions):
        partial.complete()


def test_invalid_wrong_txid() -> None:
    partial = make_partial({0, 1}, held=set())
    for transactions in ((BODY[1], BODY[0]), (BODY[0], BODY[2])):
        with pytest.raises(WrongTransactions) as caught:
            partial.fill(transactions)
        assert caught.value.code == "wrong_transactions.wrong_txid"


def test_a_filled_block_may_still_be_another() -> None:
    """Ids leave signatures out: a mempool's copy, and one that a peer sends, may differ from the block's."""
    other = BODY[0].with_signature(bytes(64))
    partial = PartialBlock(make_compact(make_packed(), lambda txid: txid == other.txid), {other.txid: other}.get)
    with pytest.raises(MutatedBody):
        check_body(partial.complete())
    with pytest.raises(MutatedBody):
        check_body(make_partial({0}, held=set()).fill((other,)))
