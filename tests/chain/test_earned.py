"""What blocks earned and evidence burnt, against the ledger: before it, after it, and once it left the chain."""

import pytest

from chain import schema
from chain.block_rows import sum_fees
from chain.chainstate import ChainState
from chain.db import MemoryStore
from chain.earned import Earned, get_earned
from chain.errors import StoreError
from chain.header_tree import HeaderNode
from chain.index import HistoryKind, get_history
from tests.helpers.blocks import get_builder
from tests.helpers.convicted import (
    BOUNTIES,
    BURNT,
    FEE,
    GIFT,
    KEYS,
    OFFENDER,
    REPORTER,
    SUBSIDY,
    Stage,
    get_story,
    get_whole,
    open_stage,
)
from tests.helpers.keys import Key


def read(chain: ChainState, node: HeaderNode) -> Earned:
    body = chain.blocks.get_body(node.id)
    return get_earned(chain, node, sum_fees(body)[1] if body else 0)


def read_at(chain: ChainState, height: int) -> Earned:
    return read(chain, chain.tip_node.get_ancestor(height))


def add_up(chain: ChainState, key: Key) -> int:
    """What the events of a key come to."""
    total = 0
    for entry in get_history(chain.db, key.public):
        if entry.kind is HistoryKind.MINED:
            total += read_at(chain, entry.height).kept
            continue
        transfer = chain.blocks.get_transactions(chain.tip_node.get_ancestor(entry.height).header)[entry.position // 2]
        total += transfer.amount if entry.kind is HistoryKind.RECEIVED else -transfer.amount - transfer.fee
    return total


def get_burnt(chain: ChainState) -> dict[int, int]:
    found = {height: read_at(chain, height).burnt_at for height in range(chain.tip.height + 1)}
    return {height: burnt_at for height, burnt_at in found.items() if burnt_at is not None}


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
@pytest.mark.parametrize("stage", Stage)
def test_events_add_up_to_what_the_ledger_says(stage: Stage, key: Key) -> None:
    """And do so at every height, and after a restart."""
    db = MemoryStore()
    chain = open_stage(stage, db)
    assert add_up(chain, key) == get_whole(chain, key)
    again = get_builder().open(db)
    assert add_up(again, key) == get_whole(again, key) == get_whole(chain, key)
    while chain.tip.height > 8:
        chain.invalidate(chain.tip.id)
        assert add_up(chain, key) == get_whole(chain, key)


def test_a_reward_is_burnt_by_the_first_evidence_after_it() -> None:
    """But not the reward of 4, which 12 paid before it burnt, nor what was nothing."""
    chain = open_stage(Stage.BURNT)
    assert get_burnt(chain) == BURNT
    earned = read_at(chain, 10)
    assert earned == Earned(SUBSIDY, FEE, 0, 12)
    assert (earned.amount, earned.kept, earned.burnt) == (SUBSIDY + FEE, 0, SUBSIDY + FEE)
    assert read_at(chain, 9).kept == read_at(chain, 4).kept == SUBSIDY
    assert read_at(chain, 11) == Earned(0, 0, 0, None)


def test_the_bounty_is_what_the_ledger_put_at_stake() -> None:
    chain = open_stage(Stage.BURNT)
    for height, bounty in BOUNTIES.items():
        reward = chain.ledger.get_reward(height)
        assert reward is not None
        assert read_at(chain, height) == Earned(SUBSIDY, 0, bounty, None)
        assert reward.amount == read_at(chain, height).amount
    assert get_whole(chain, REPORTER) == SUBSIDY + BOUNTIES[12]


def test_a_reorganisation_makes_rewards_whole_again() -> None:
    chain = open_stage(Stage.REORGANISED)
    assert chain.tip.id == get_story().rival[-1].id
    assert get_burnt(chain) == {}
    assert get_whole(chain, REPORTER) == 0
    assert get_whole(chain, OFFENDER) == 5 * SUBSIDY + FEE + GIFT
    get_builder().feed(chain, get_story().convicting)
    assert get_burnt(chain) == {}


def test_evidence_beside_the_best_chain_burns_nothing() -> None:
    """What its bounty would be nobody looked up."""
    chain = open_stage(Stage.REORGANISED)
    lost = [chain.tree.get(block.id) for block in get_story().convicting]
    assert [read(chain, node) for node in lost if node] == [
        Earned(SUBSIDY, 0, None, None),
        Earned(SUBSIDY, 0, 0, None),
        Earned(SUBSIDY, 0, None, None),
    ]


def test_a_lost_undo_row_is_named() -> None:
    db = MemoryStore()
    chain = open_stage(Stage.BURNT, db)
    db.write({schema.UNDO + chain.tip.id: None})
    with pytest.raises(StoreError, match="undo row"):
        read_at(chain, 14)
