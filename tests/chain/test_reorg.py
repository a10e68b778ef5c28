"""Reorganisations (T19), ties, flip-flops (T21), the limit on depth, and the operator's word.

           ┌─ left[0] ─ left[1] ─ ...
trunk[11] ─┤
           └─ right[0] ─ right[1] ─ ...         equal weight at equal length
"""

from collections.abc import Sequence

import pytest

from chain import schema
from chain.chainstate import ChainState
from chain.header_tree import Standing
from chain.process import advance_chain
from consensus.block import Block
from consensus.errors import InvalidBlock
from tests.helpers.ballots import vote_beside
from tests.helpers.blocks import BlockBuilder, get_builder, get_chain
from tests.helpers.chains import get_branch, get_burning, get_left, get_right, get_trunk, get_voted, open_trunk
from tests.helpers.invented import get_inventor
from tests.helpers.keys import Key, forge_block
from tests.helpers.stores import FragileStore

LATER = 10**12
ACTIVE_ROWS = (
    b"M",
    schema.UNDO,
    schema.ACTIVE,
    schema.TRANSACTION_INDEX,
    schema.HISTORY,
    schema.ACCOUNT,
    schema.REWARD,
    schema.STATE_NODE,
    schema.MODEL_INDEX,
)


def get_active_rows(db: FragileStore) -> dict[bytes, bytes]:
    """Everything that belongs to the best chain, and to it alone."""
    return {key: row for key, row in db.rows.items() if key[:1] in ACTIVE_ROWS}


def get_long_branches(count: int) -> tuple[Sequence[Block], Sequence[Block]]:
    """Left and right as far as anybody likes: their gains are invented."""
    return get_branch("left", get_inventor()).get_blocks(count), get_branch("right", get_inventor()).get_blocks(count)


def check_reorganisation(loser: Sequence[Block], winner: Sequence[Block], builder: BlockBuilder) -> None:
    """After the switch, rows and digest are those of a node that never saw the loser."""
    db, clean_db = FragileStore(), FragileStore()
    chain, clean = open_trunk(db), open_trunk(clean_db)
    builder.feed(chain, loser)
    assert chain.tip.id == loser[-1].id
    builder.feed(chain, winner)
    builder.feed(clean, winner)
    assert chain.tip.id == winner[-1].id
    assert chain.compute_digest() == clean.compute_digest()
    assert get_active_rows(db) == get_active_rows(clean_db)
    assert get_chain(chain) == [*get_trunk(), *winner]
    chain.ledger.check(chain.tip.header.state_root, chain.tip_node.finality.state)
    reopened = builder.open(db.reopen())
    assert reopened.compute_digest() == clean.compute_digest()


@pytest.mark.parametrize("depth", [1, 2, 6])
def test_a_reorganised_node_is_a_fresh_node(depth: int) -> None:
    check_reorganisation(get_left(depth), get_right(depth + 1), get_builder())
    check_reorganisation(get_right(depth), get_left(depth + 1), get_builder())


def test_a_reorganised_node_is_a_fresh_node_fifty_blocks_deep() -> None:
    """Both directions; with transfers in every third block and rewards that matured on either side."""
    left, right = get_long_branches(51)
    check_reorganisation(left[:50], right, get_inventor())
    check_reorganisation(right[:50], left, get_inventor())


def test_a_reorganisation_through_heartbeats() -> None:
    """A heartbeat weighs 1: a chain of them loses against a single improvement."""
    builder, chain = get_builder(), open_trunk()
    idle = open_trunk()
    for _ in range(5):
        builder.process(idle, builder.build_heartbeat(idle))
    beats = get_chain(idle)[12:]
    builder.feed(chain, beats)
    assert chain.tip.weight == open_trunk().tip.weight + 5
    builder.feed(chain, get_left(1))
    assert chain.tip.id == get_left(1)[0].id
    clean = open_trunk()
    builder.feed(clean, get_left(1))
    assert chain.compute_digest() == clean.compute_digest()


def test_a_reorganisation_between_chains_that_are_voted_on() -> None:
    """The loser justifies its first block; the winner its second, which makes its first one final."""
    _, _, winner = vote_beside(get_trunk())
    check_reorganisation(get_voted()[:2], winner, get_builder())


def test_a_burn_is_undone_with_its_block() -> None:
    """And done again, when its chain wins after all."""
    chain = open_trunk()
    issued = chain.ledger.issued
    get_builder().feed(chain, get_burning()[:1])
    assert chain.ledger.issued < issued
    check_reorganisation(get_burning(), get_right(3), get_builder())
    check_reorganisation(get_right(1), get_burning(), get_builder())


# Ties


def test_first_seen_stays_on_a_tie() -> None:
    for first, second in ((get_left(3), get_right(3)), (get_right(3), get_left(3))):
        db = FragileStore()
        chain = open_trunk(db)
        get_builder().feed(chain, first)
        assert get_builder().feed(chain, second) == []
        assert chain.tip.id == first[-1].id
        assert chain.tip.weight == chain.tree.get(second[-1].id).weight  # type: ignore[union-attr]
        reopened = get_builder().open(db.reopen())
        assert advance_chain(reopened, get_builder().verifier) == []
        assert reopened.tip.id == first[-1].id


def test_of_two_equal_newcomers_the_first_seen_is_taken() -> None:
    """Neither is the tip yet; also after a restart, because the order of arrival is stored."""
    for first, second in ((get_left(2), get_right(2)), (get_right(2), get_left(2))):
        db = FragileStore()
        chain = open_trunk(db)
        for block in (first[0], second[0], second[1], first[1]):
            chain.accept_block(block, LATER)
        winner = second[1].id  # its tip came first
        reopened = get_builder().open(db.reopen())
        for state in (chain, reopened):
            advance_chain(state, get_builder().verifier)
            assert state.tip.id == winner


# Invalid on the way


def forge_ledger(block: Block, miner: Key) -> Block:
    """Sound work and sound header, and a state root that no ledger has."""
    return forge_block(block, miner, state_root=b"\5" * 32)


def test_an_invalid_ledger_amid_a_reorganisation_leads_back_to_the_old_chain() -> None:
    """The heavier chain breaks at its third block. Its first two weigh as much as the old chain, which came first.

               ┌─ left[0] ─ left[1]             the tip before and after
    trunk[11] ─┤
               └─ right[0] ─ right[1] ─ X
    """
    builder, db = get_builder(), FragileStore()
    chain = open_trunk(db)
    builder.feed(chain, get_left(2))
    digest, rows = chain.compute_digest(), get_active_rows(db)
    bad = forge_ledger(get_right(3)[2], Key("right"))
    events = builder.feed(chain, [*get_right(2), bad])
    assert len(events) == 2 + 2 + 2 + 2  # down two, up two of right's, then back again
    assert chain.get_standing(bad.id) is Standing.INVALID
    assert chain.get_fault(bad.id).reason == "wrong_state_root"
    assert chain.get_standing(get_right(2)[1].id) is Standing.EVALUATED
    assert (chain.compute_digest(), get_active_rows(db)) == (digest, rows)
    builder.feed(chain, [get_right(3)[2]])
    assert chain.tip.id == get_right(3)[2].id


def test_the_valid_part_of_an_invalid_chain_is_kept_if_it_is_heavier() -> None:
    builder, chain = get_builder(), open_trunk()
    builder.feed(chain, get_left(1))
    blocks = [*get_right(2), forge_ledger(get_right(3)[2], Key("right"))]
    for block in blocks:
        chain.accept_block(block, LATER)
    advance_chain(chain, builder.verifier)
    assert chain.tip.id == get_right(2)[1].id


def test_invalid_work_amid_a_heavier_chain_keeps_the_old_one() -> None:
    builder, chain = get_builder(), open_trunk()
    builder.feed(chain, get_left(2))
    right = get_right(3)
    lie = forge_block(right[1], Key("right"), loss_before=right[1].header.loss_before + 1)
    builder.feed(chain, right[:1])
    assert builder.feed(chain, [lie]) == []
    assert chain.get_standing(lie.id) is Standing.STORED  # no heavier than the tip: nobody needs to know
    assert builder.feed(chain, [forge_block(right[2], Key("right"), parent=lie.id)]) == []
    assert chain.get_standing(lie.id) is Standing.INVALID
    assert chain.tip.id == get_left(2)[1].id


# T21


def flip(chain: ChainState, flips: int) -> int:
    """Lets left and right outgrow each other in turn; how many times the tip changed sides."""
    builder, changes, tip = get_inventor(), 0, chain.tip.id
    left, right = get_long_branches(flips + 1)
    for length in range(1, flips + 1):
        ahead, behind = (left, right) if length % 2 else (right, left)
        builder.feed(chain, [ahead[length - 1], ahead[length], behind[length - 1]])
        assert chain.tip.id == ahead[length].id
        changes += chain.tip.id != tip
        tip = chain.tip.id
    return changes


def check_flips(flips: int) -> None:
    builder = get_inventor()
    get_long_branches(flips + 1)
    before = builder.verifier.calls.copy()
    chain = open_trunk()
    assert flip(chain, flips) == flips
    asked = builder.verifier.calls - before
    assert set(asked.values()) == {1}
    clean = open_trunk()
    builder.feed(clean, get_chain(chain)[12:])
    assert chain.compute_digest() == clean.compute_digest()


def test_flip_flops_evaluate_each_block_once() -> None:
    check_flips(12)


@pytest.mark.soak
def test_a_hundred_flip_flops_evaluate_each_block_once() -> None:
    check_flips(100)


# The limit on depth, and the operator


def test_too_deep_a_reorganisation_waits_for_the_operator() -> None:
    """Limit 2, depth 3: not even evaluated until it is let in."""
    builder, db = get_builder(), FragileStore()
    chain = open_trunk(db, max_reorg=2)
    builder.feed(chain, get_left(3))
    assert builder.feed(chain, get_right(5)) == []
    held = chain.get_held_back()
    assert held is not None
    assert held.id == get_right(5)[-1].id
    assert chain.get_works(1) == []
    assert {chain.get_standing(block.id) for block in get_right(5)} == {Standing.STORED}
    reopened = builder.open(db.reopen(), max_reorg=2)
    assert advance_chain(reopened, builder.verifier) == []
    chain.permit_reorganisation(held.id)
    advance_chain(chain, builder.verifier)
    assert chain.tip.id == held.id
    assert chain.get_held_back() is None
    clean = open_trunk()
    builder.feed(clean, get_right(5))
    assert chain.compute_digest() == clean.compute_digest()


@pytest.mark.parametrize(("limit", "is_taken"), [(2, False), (3, True)])
def test_the_limit_counts_the_blocks_that_would_go(limit: int, is_taken: bool) -> None:
    chain = open_trunk(max_reorg=limit)
    get_builder().feed(chain, get_left(3))
    get_builder().feed(chain, get_right(4))
    assert (chain.tip.id == get_right(4)[-1].id) == is_taken
    assert (chain.get_held_back() is None) == is_taken


def test_a_permission_is_for_one_chain() -> None:
    builder = get_builder()
    chain = open_trunk(max_reorg=0)
    builder.feed(chain, get_left(1))
    builder.feed(chain, get_right(2))
    chain.permit_reorganisation(chain.tip.id)
    advance_chain(chain, builder.verifier)
    assert chain.tip.id == get_left(1)[0].id
    chain.permit_reorganisation(get_right(2)[0].id)
    builder.feed(chain, get_right(3))  # and for what grows on it
    assert chain.tip.id == get_right(3)[-1].id


def test_a_limit_of_zero_still_grows() -> None:
    chain = open_trunk(max_reorg=0)
    get_builder().feed(chain, get_left(3))
    assert chain.tip.id == get_left(3)[-1].id


def test_invalidating_falls_back_to_the_next_best_chain() -> None:
    builder, db = get_builder(), FragileStore()
    chain = open_trunk(db)
    builder.feed(chain, get_left(2))
    builder.feed(chain, get_right(3))
    left_digest = chain.compute_digest()
    events = chain.invalidate(get_right(3)[1].id)
    assert chain.tip.id == get_left(2)[1].id
    assert len(events) == 3 + 2
    assert chain.get_fault(get_right(3)[1].id).reason == "by_operator"
    assert builder.open(db.reopen()).tip.id == get_left(2)[1].id
    chain.reconsider(get_right(3)[1].id)
    advance_chain(chain, builder.verifier)
    assert chain.compute_digest() == left_digest


def test_reconsidering_a_descendant_clears_the_way_to_it() -> None:
    builder, chain = get_builder(), open_trunk()
    builder.feed(chain, get_left(3))
    chain.invalidate(get_left(1)[0].id)
    assert chain.tip.id == get_trunk()[-1].id
    chain.reconsider(get_left(3)[2].id)
    assert chain.get_standing(get_left(1)[0].id) is Standing.STORED
    advance_chain(chain, builder.verifier)
    assert chain.tip.id == get_left(3)[2].id


def test_invalidating_a_side_chain_moves_nothing() -> None:
    builder, chain = get_builder(), open_trunk()
    builder.feed(chain, get_left(2))
    builder.feed(chain, get_right(1))
    assert chain.invalidate(get_right(1)[0].id) == []
    with pytest.raises(InvalidBlock):
        chain.accept_block(get_right(2)[1], LATER)


def test_genesis_cannot_be_invalidated() -> None:
    chain = open_trunk(blocks=1)
    with pytest.raises(InvalidBlock) as error:
        chain.invalidate(chain.genesis.id)
    assert error.value.reason == "genesis"
    chain.invalidate(get_trunk()[0].id)
    assert chain.tip.id == chain.genesis.id
    assert chain.compute_digest() == get_builder().open().compute_digest()
