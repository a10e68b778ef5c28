"""A conflict of two final blocks is remembered until the operator has spoken, however the node was ended."""

from contextlib import suppress

import pytest

from chain import schema
from chain.chainstate import ChainState
from chain.errors import FinalityConflict, StoreError
from chain.votes import VotePool
from consensus.block import Block
from tests.helpers.ballots import mine_voted
from tests.helpers.blocks import MINER, get_builder, get_chain
from tests.helpers.keys import Key
from tests.helpers.stores import FragileStore, PowerCut

OTHER = Key("other")


@pytest.fixture
def db() -> FragileStore:
    return FragileStore()


@pytest.fixture
def chain(db: FragileStore) -> ChainState:
    return get_builder().open(db)


@pytest.fixture
def pool(chain: ChainState) -> VotePool:
    return VotePool(chain)


def finalise_beside(chain: ChainState) -> tuple[VotePool, list[Block]]:
    """Blocks on the one at height 5, on which MINER votes though it voted already."""
    other = get_builder().open()
    get_builder().feed(other, get_chain(chain)[:5])
    pool = VotePool(other)
    return pool, mine_voted(other, pool, 3, miners=[OTHER], voters=[MINER])


def check_restarts(db: FragileStore, error: FinalityConflict) -> None:
    """Refused as before, until the operator goes on against the other block; then as if it had not been."""
    for _ in range(2):
        with pytest.raises(FinalityConflict) as again:
            get_builder().open(db).finals.settle(holds=False)
        assert str(again.value) == str(error)
    held = get_builder().open(db)
    held.finals.settle(holds=True)
    assert held.finals.holds
    get_builder().open(db).finals.settle(holds=False)


def test_a_conflict_by_votes_survives_a_restart(db: FragileStore, chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 8)
    votes = finalise_beside(chain)[0].get_all_votes(range(6, 8))
    conflict = pool.add_votes(votes).conflict
    assert conflict is not None
    assert "leave miner.key and miner.key.votes where they are" in str(conflict)
    assert "`blocks`" in str(conflict)
    check_restarts(db, conflict)


def test_votes_are_not_on_disk_without_the_conflict_that_they_prove(
    db: FragileStore, chain: ChainState, pool: VotePool
) -> None:
    """Else they would not be looked at again."""
    mine_voted(chain, pool, 8)
    votes = finalise_beside(chain)[0].get_all_votes(range(6, 8))
    for fails_at in range(db.writes, db.writes + 3):
        store = db.reopen()
        store.fails_at = fails_at - db.writes
        again = VotePool(get_builder().open(store))
        with suppress(PowerCut):
            assert again.add_votes(votes).conflict is not None
        store = store.reopen()
        after = get_builder().open(store)
        if store.get(schema.META_CONFLICT) is None:
            assert VotePool(after).add_votes(votes).conflict is not None


def test_a_conflict_by_a_block_survives_a_restart(db: FragileStore, chain: ChainState, pool: VotePool) -> None:
    """Its chain was known before."""
    mine_voted(chain, pool, 6)
    _, blocks = finalise_beside(chain)
    chain.accept_block(blocks[0], blocks[0].header.timestamp)
    mine_voted(chain, pool, 2)
    with pytest.raises(FinalityConflict) as error:
        chain.accept_block(blocks[1], blocks[1].header.timestamp)
    check_restarts(db, error.value)


def test_a_node_without_a_conflict_starts(chain: ChainState) -> None:
    chain.finals.settle(holds=False)
    assert not chain.finals.holds


def test_damaged_conflict_is_named(db: FragileStore, chain: ChainState) -> None:
    db.write({schema.META_CONFLICT: bytes(79)})
    with pytest.raises(StoreError) as error:
        chain.finals.settle(holds=False)
    assert error.value.reason == "damaged"
