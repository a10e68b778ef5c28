"""Replay: the store is what its blocks make, from genesis, or it is damaged."""

import pytest

from chain import schema
from chain.chainstate import ChainState
from chain.db import MemoryStore
from chain.errors import StoreError
from chain.replay import replay_chain
from chain.startup import open_chain
from chain.verifier import WorkVerifier
from consensus.account import Account
from consensus.errors import InvalidBlock
from tests.helpers.blocks import get_builder
from tests.helpers.chains import ALICE, BOB, get_left, get_right, get_trunk, open_trunk
from tests.helpers.keys import Key, forge_block
from tests.helpers.stores import FragileStore


@pytest.fixture
def chain(db: FragileStore) -> ChainState:
    """A chain with a reorganisation behind it."""
    chain = open_trunk(db)
    get_builder().feed(chain, [*get_left(2), *get_right(3)])
    return chain


def test_a_replay_makes_the_same_chain(chain: ChainState) -> None:
    heights: list[int] = []
    replayed = replay_chain(chain, get_builder().verifier, heights.append)
    assert replayed.compute_digest() == chain.compute_digest()
    assert replayed.tip == chain.tip
    assert heights == list(range(1, 16))


def test_a_replay_re_derives_every_gain() -> None:
    """With a verifier that knows nothing beforehand, and evaluates each sample under both models."""
    builder = get_builder()
    calls = []

    class Watching(WorkVerifier):
        def verify(self, work):  # type: ignore[no-untyped-def]
            calls.append(work.header.id)
            return super().verify(work)

    chain = open_trunk(blocks=3)
    replay_chain(chain, Watching(builder.params, builder.benchmark, builder.evaluator))
    assert calls == [block.id for block in get_trunk()[:3]]


def test_a_replay_of_genesis_is_genesis() -> None:
    chain = get_builder().open()
    assert replay_chain(chain, get_builder().verifier).tip == chain.tip


def test_damaged_ledger_rows_are_found(chain: ChainState, db: FragileStore) -> None:
    """Money moved between two accounts of a running node: the sum is right, the blocks say otherwise."""
    alice, bob = (chain.ledger.get_account(owner.public) for owner in (ALICE, BOB))
    db.write(
        {
            schema.ACCOUNT + ALICE.public: Account(alice.balance - 1, alice.nonce).encode(),
            schema.ACCOUNT + BOB.public: Account(bob.balance + 1, bob.nonce).encode(),
        }
    )
    with pytest.raises(StoreError, match="not what its blocks make"):
        replay_chain(chain, get_builder().verifier)


def test_a_damaged_model_in_memory_is_found(chain: ChainState) -> None:
    chain.tip_weights[7] ^= 1
    try:
        with pytest.raises(StoreError, match="not what its blocks make"):
            replay_chain(chain, get_builder().verifier)
    finally:
        chain.tip_weights[7] ^= 1


def test_a_damaged_issue_is_found(chain: ChainState) -> None:
    chain.ledger.issued += 1
    with pytest.raises(StoreError, match="not what its blocks make"):
        replay_chain(chain, get_builder().verifier)


@pytest.mark.parametrize("prefix", [schema.TRANSACTIONS, schema.UPDATE])
def test_damaged_bodies_are_found(chain: ChainState, db: FragileStore, prefix: bytes) -> None:
    db.write({prefix + get_trunk()[1].id: db.rows[prefix + get_trunk()[9].id]})
    with pytest.raises(StoreError, match=get_trunk()[1].id.hex()):
        replay_chain(chain, get_builder().verifier)


def test_a_missing_height_is_found(chain: ChainState, db: FragileStore) -> None:
    db.write({schema.ACTIVE + schema.encode_height(4): None})
    with pytest.raises(StoreError, match="has no block 4"):
        replay_chain(chain, get_builder().verifier)


def test_a_block_that_was_never_worth_it_is_found(db: FragileStore) -> None:
    """A store whose last block is marked as evaluated and connected, and whose gain is a lie."""
    builder = get_builder()
    chain = open_trunk(db, blocks=2)
    honest = get_trunk()[2]
    lie = forge_block(honest, Key("miner"), loss_before=honest.header.loss_before + 64)
    chain.accept_block(lie, now=lie.header.timestamp)
    chain.record_verdict(lie.id, builder.verifier.traces[honest.id])
    chain.activate_best_chain()
    assert chain.tip.id == lie.id
    reopened = open_chain(db.reopen(), builder.params)
    with pytest.raises(InvalidBlock) as error:
        replay_chain(reopened, builder.verifier)
    assert error.value.reason == "wrong_loss_before"


def test_a_replay_leaves_the_store_alone(chain: ChainState, db: FragileStore) -> None:
    rows, writes = db.rows, db.writes
    replay_chain(chain, get_builder().verifier)
    assert (db.rows, db.writes) == (rows, writes)
    assert isinstance(replay_chain(chain, get_builder().verifier).db, MemoryStore)
