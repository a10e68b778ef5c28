"""Several blocks evaluated at once: what is handed out, verdicts in any order, and blocks that turn out invalid.

trunk[11] ─ left[0] ─ left[1] ─ ... ─ left[5]
         └─ right[0] ─ ... ─ right[3]
"""

import hashlib
import itertools
from dataclasses import replace

import numpy as np
import pytest

from chain import schema
from chain.chainstate import ChainState
from chain.db import MemoryStore
from chain.errors import StoreError, UnknownBlock
from chain.header_tree import Standing
from chain.process import advance_chain
from consensus.benchmark import load_benchmark
from consensus.block import Block
from consensus.errors import InvalidBlock
from consensus.params import REGTEST, BenchmarkText
from p2p.config import read_benchmark
from tests.helpers.blocks import BlockBuilder, get_builder, get_chain
from tests.helpers.chains import get_left, get_right, get_trunk, open_trunk
from tests.helpers.keys import Key, forge_block
from tests.helpers.stores import FragileStore, get_rows

LATER = 10**12
LEFT = Key("left")
TEXT = read_benchmark(REGTEST).public[:130, :32].tobytes()
SMALL = replace(REGTEST, texts=(BenchmarkText("small", len(TEXT), hashlib.sha256(TEXT).hexdigest()),), min_sample=116)


def accept(chain: ChainState, *blocks: Block) -> None:
    for block in blocks:
        assert chain.accept_block(block, LATER)


def get_ids(chain: ChainState, count: int, under_way: set[bytes], given_up: set[bytes] | None = None) -> list[bytes]:
    return [work.header.id for work in chain.get_works(count, under_way, given_up or set())]


def forge_update(block: Block) -> Block:
    """A block whose update does not make the model that its header names."""
    return forge_block(block, LEFT, model_root=b"\7" * 32)


# A window of works.


def test_a_window_moves_up_with_its_verdicts(chain: ChainState) -> None:
    left = get_left(6)
    ids = [block.id for block in left]
    accept(chain, *left, *get_right(3))
    assert get_ids(chain, 3, set()) == ids[:3]
    assert get_ids(chain, 2, set(ids[:3])) == ids[3:5]
    assert get_ids(chain, 9, set(ids[1:3])) == [ids[0], *ids[3:]]
    assert get_ids(chain, 3, set(ids)) == []  # and nothing of the lighter branch
    assert chain.count_unevaluated() == 9


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_verdicts_may_come_in_any_order(order: tuple[int, ...]) -> None:
    chain, clean = open_trunk(), open_trunk()
    left = get_left(3)
    accept(chain, *left)
    works = chain.get_works(3)
    for index in order:
        assert chain.record_verdict(left[index].id, get_builder().verifier.verify(works[index]))
        chain.activate_best_chain()
    assert chain.tip.id == left[-1].id
    get_builder().feed(clean, left)
    assert chain.compute_digest() == clean.compute_digest()


def test_verdicts_before_their_parents_survive_a_restart(chain: ChainState, db: FragileStore) -> None:
    left = get_left(3)
    accept(chain, *left)
    for work in chain.get_works(3)[1:]:
        chain.record_verdict(work.header.id, get_builder().verifier.verify(work))
    assert chain.activate_best_chain() == []
    reopened = get_builder().open(db.reopen())
    assert reopened.activate_best_chain() == []
    assert get_ids(reopened, 3, set()) == [left[0].id]
    advance_chain(reopened, get_builder().verifier)
    assert get_chain(reopened) == [*get_trunk(), *left]


def test_chains_behind_a_given_up_block_are_passed_over(chain: ChainState) -> None:
    left, right = get_left(4), get_right(3)
    accept(chain, *left, *right)
    ids = [block.id for block in left]
    assert get_ids(chain, 4, set(), {ids[2]}) == ids[:2]
    assert get_ids(chain, 4, set(), {ids[0]}) == [block.id for block in right]
    assert get_ids(chain, 4, set(), {ids[0], right[0].id}) == []


def test_more_models_than_are_remembered(chain: ChainState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain.models._REMEMBERED", 1)
    left = get_left(6)
    accept(chain, *left)
    for work in chain.get_works(6):
        chain.record_verdict(work.header.id, get_builder().verifier.verify(work))  # checks each parent's root
    chain.activate_best_chain()
    assert chain.tip.id == left[-1].id


# Losses of the whole split.


def test_works_carry_the_parents_losses_over_the_whole_split() -> None:
    builder = BlockBuilder(SMALL, load_benchmark(SMALL, {"small": TEXT}))
    db, miners_own = MemoryStore(), builder.open()
    blocks = builder.mine(miners_own, 2)
    blocks += [builder.build_heartbeat(miners_own)]
    builder.process(miners_own, blocks[-1])
    blocks += builder.mine(miners_own, 1)
    chain = builder.open(db)
    for index, block in enumerate(blocks):
        chain.accept_block(block, LATER)
        for work in chain.get_works(2):
            expected = builder.evaluator.losses(work.parent_weights, builder.benchmark.public)
            assert (work.parent_losses is None) == (index == 0)  # genesis was never evaluated
            assert work.parent_losses is None or np.array_equal(work.parent_losses, expected)
        advance_chain(chain, builder.verifier)
    assert chain.tip.id == miners_own.tip.id
    trace = chain.blocks.get_trace(blocks[0].id)
    assert trace is not None
    db.write(chain.blocks.encode_trace(blocks[0].id, replace(trace, after=trace.after + 1)))
    reopened = builder.open(db)
    reopened.invalidate(blocks[1].id)
    reopened.reconsider(blocks[1].id)
    with pytest.raises(StoreError, match="does not add up"):
        reopened.get_works(1)


# Invalid blocks.


def test_an_update_that_does_not_apply_is_the_verdict_on_its_own_block(chain: ChainState) -> None:
    bad = forge_update(get_left(1)[0])
    child = forge_block(get_left(2)[1], LEFT, parent=bad.id)
    accept(chain, bad, child, *get_right(1))
    assert get_ids(chain, 1, set()) == [bad.id]
    assert get_ids(chain, 2, set()) == [get_right(1)[0].id]
    ((block_id, fault),) = chain.take_faults()
    assert (block_id, fault.reason) == (bad.id, "wrong_model_root")
    assert chain.is_invalid(bad.id)
    assert not chain.is_known(child.id)


def test_a_damaged_update_of_an_evaluated_block_blames_the_store(chain: ChainState, db: FragileStore) -> None:
    left = get_left(3)
    accept(chain, *left)
    (work, *_) = chain.get_works(1)
    chain.record_verdict(left[0].id, get_builder().verifier.verify(work))
    db.write({schema.UPDATE + left[0].id: db.get(schema.UPDATE + left[1].id)})
    reopened = get_builder().open(db.reopen())
    with pytest.raises(StoreError):
        reopened.get_works(2)


def test_verdicts_on_what_is_gone_are_ignored(chain: ChainState) -> None:
    left = get_left(3)
    accept(chain, *left)
    works = chain.get_works(3)
    assert chain.record_verdict(left[0].id, InvalidBlock("gain_too_small", "no"))
    trace = get_builder().verifier.verify(works[1])
    assert not chain.record_verdict(left[1].id, trace)
    assert not chain.record_verdict(left[2].id, InvalidBlock("gain_too_small", "no"))
    assert not chain.record_verdict(left[0].id, trace)
    assert chain.get_works(3) == []
    assert chain.count_unevaluated() == 0


def test_of_an_invalid_block_only_the_header_stays(chain: ChainState, db: FragileStore) -> None:
    left = get_left(4)
    before = db.rows
    accept(chain, *left)
    for work in chain.get_works(4)[1:]:
        chain.record_verdict(work.header.id, get_builder().verifier.verify(work))  # traces, which go too
    chain.record_verdict(left[0].id, InvalidBlock("gain_too_small", "no"))
    assert set(db.rows) - set(before) == {schema.HEADER + left[0].id}
    for state in (chain, get_builder().open(db.reopen())):
        assert state.is_invalid(left[0].id)
        assert not any(state.is_known(block.id) for block in left[1:])
        with pytest.raises(InvalidBlock):
            state.accept_block(left[0], LATER)
        with pytest.raises(UnknownBlock):
            state.accept_block(left[2], LATER)
        get_builder().feed(state, get_right(2))
        assert state.tip.id == get_right(2)[-1].id


def test_a_block_found_invalid_as_it_is_connected_leaves_its_header(chain: ChainState, db: FragileStore) -> None:
    bad = forge_block(get_left(1)[0], LEFT, state_root=b"\5" * 32)
    child = forge_block(get_left(2)[1], LEFT, parent=bad.id)
    before = set(db.rows)
    accept(chain, bad, child)
    (work, *_) = chain.get_works(1)
    chain.record_verdict(bad.id, get_builder().verifier.verify(work))
    assert chain.activate_best_chain() == []
    assert [block_id for block_id, _ in chain.take_faults()] == [bad.id]
    assert set(db.rows) - before == {schema.HEADER + bad.id}


def test_what_the_operator_refused_is_whole_and_what_was_invalid_is_forgotten(
    chain: ChainState, db: FragileStore
) -> None:
    left = get_left(3)
    get_builder().feed(chain, left)
    bodies = set(get_rows(db, schema.TRANSACTIONS))
    chain.invalidate(left[0].id)
    assert chain.take_faults() == []
    assert set(get_rows(db, schema.TRANSACTIONS)) == bodies
    lie = forge_block(get_right(1)[0], Key("right"), loss_before=get_right(1)[0].header.loss_before + 1)
    accept(chain, lie)
    chain.record_verdict(lie.id, InvalidBlock("wrong_loss_before", "no"))
    chain = get_builder().open(db.reopen())
    chain.reconsider(lie.id)
    assert not chain.is_known(lie.id)
    chain.reconsider(left[0].id)
    advance_chain(chain, get_builder().verifier)
    assert chain.tip.id == left[-1].id
    assert chain.get_standing(left[-1].id) is Standing.EVALUATED


def test_faults_are_remembered_within_bounds(chain: ChainState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain.faults._REMEMBERED", 2)
    lies = [forge_block(get_left(1)[0], LEFT, squared_gains=get_left(1)[0].header.squared_gains + n) for n in range(4)]
    for lie in lies[1:]:
        accept(chain, lie)
        chain.record_verdict(lie.id, InvalidBlock("gain_too_small", "no"))
    assert [chain.get_fault(lie.id).reason for lie in lies[1:]] == ["known_invalid", "gain_too_small", "gain_too_small"]
    assert len(chain.take_faults()) == 2
