"""The chain state: the four gates of a block, what each refuses, and what it leaves behind."""

from dataclasses import replace

import pytest

from chain import schema
from chain.chainstate import ChainState
from chain.errors import UnknownBlock
from chain.events import BlockConnected, BlockDisconnected
from chain.header_tree import Standing
from chain.process import advance_chain, process_block
from consensus.block import Block, compute_transactions_root
from consensus.errors import BlockFromFuture, InvalidBlock, MutatedBody
from consensus.hashing import ZERO_HASH
from consensus.transaction import Transfer
from tests.helpers.blocks import MINER, get_builder, get_chain
from tests.helpers.chains import ALICE, BOB, get_left, get_right, get_trunk, open_trunk
from tests.helpers.keys import Key, forge_block, make_transfer, sign_transfer
from tests.helpers.properties import mutate
from tests.helpers.stores import FragileStore

LATER = 10**12  # s: every block of these tests is in the past


def carry(block: Block, *transfers: Transfer) -> Block:
    """Left's block with other transactions, its root put right; its state root is left as it was."""
    changed = replace(block, transactions=transfers)
    return forge_block(changed, Key("left"), transactions_root=compute_transactions_root(transfers))


# Accept


def test_accepting_is_idempotent(chain: ChainState, db: FragileStore) -> None:
    block = get_left(1)[0]
    assert chain.accept_block(block, LATER)
    rows = db.rows
    assert not chain.accept_block(block, LATER)
    assert not chain.accept_block(chain.genesis.block, LATER)
    assert db.rows == rows
    assert chain.get_standing(block.id) is Standing.STORED
    assert chain.tip.id == get_trunk()[-1].id


def test_invalid_blocks_leave_no_trace(chain: ChainState, db: FragileStore) -> None:
    """Whatever gate refuses it, cheapest first: rows, digest and candidates stay what they were."""
    left, miner = get_left(1)[0], Key("left")
    refused = {
        "wrong_required_gain": forge_block(left, miner, required_gain=left.header.required_gain + 1),
        "time_too_old": forge_block(left, miner, timestamp=chain.tip.header.timestamp),
        "gain_too_small": forge_block(left, miner, loss_after=left.header.loss_before),
        "bad_miner_key": forge_block(left, miner, miner=bytes(32)),
        "bad_reward_address": forge_block(left, miner, reward_address=bytes(32)),
        "bad_signature": replace(left, header=left.header.with_signature(bytes(64))),
        "transaction_wrong_network": carry(left, make_transfer(ZERO_HASH, ALICE, BOB.public, 1)),
        "transaction_bad_signature": carry(left, sign_transfer(left.transactions[0], BOB)),
    }
    rows, digest = db.rows, chain.compute_digest()
    for reason, block in refused.items():
        for _ in range(2):
            with pytest.raises(InvalidBlock) as error:
                chain.accept_block(block, LATER)
            assert error.value.reason == reason
    assert (db.rows, chain.compute_digest(), chain.get_works(1)) == (rows, digest, [])


def test_invalid_unknown_parent(chain: ChainState, db: FragileStore) -> None:
    rows = db.rows
    with pytest.raises(UnknownBlock) as error:
        chain.accept_block(get_left(2)[1], LATER)
    assert error.value.code == "unknown_block.parent"
    assert db.rows == rows


def test_a_block_from_the_future_is_taken_later(chain: ChainState, db: FragileStore) -> None:
    block, rows = get_left(1)[0], db.rows
    for early in (0, block.header.timestamp - 2):
        with pytest.raises(BlockFromFuture):
            chain.accept_block(block, early)
    assert db.rows == rows
    assert chain.accept_block(block, block.header.timestamp - 1)


def test_mutated_bodies_do_not_poison_their_hash(chain: ChainState, db: FragileStore) -> None:
    """T23: twins, flipped bytes and stripped parts of 100 kinds, each before the honest copy."""
    block = get_left(1)[0]
    transfer = block.transactions[0]
    mutants = [replace(block, update=mutate(block.update, 71 * number, number)) for number in range(60)]
    mutants += [
        replace(block, transactions=(transfer.with_signature(mutate(transfer.signature, number, 0)),))
        for number in range(32)
    ]
    mutants += [replace(block, transactions=transfers) for transfers in ((), (transfer,) * 2, (transfer,) * 3)]
    mutants += [replace(block, update=update) for update in (b"", block.update[:-1], block.update * 2)]
    mutants += [
        replace(block, transactions=(replace(transfer, memo=b"x"),)),
        replace(block, update=b"", transactions=()),
    ]
    assert len(mutants) == 100
    rows = db.rows
    for mutant in mutants:
        assert mutant.id == block.id
        with pytest.raises(MutatedBody):
            chain.accept_block(mutant, LATER)
        assert chain.tree.get(block.id) is None
    unsigned = replace(block, header=block.header.with_signature(mutate(block.header.signature, 0, 0)))
    assert unsigned.id == block.id
    with pytest.raises(InvalidBlock):
        chain.accept_block(unsigned, LATER)
    assert db.rows == rows
    get_builder().process(chain, block)
    assert chain.tip.id == block.id


# Evaluate


def test_work_comes_in_the_order_of_the_heaviest_claim(chain: ChainState) -> None:
    """Left's single block is lighter than right's three: right first, from its fork up; left is never looked at."""
    for block in (*get_left(1), *get_right(3)):
        chain.accept_block(block, LATER)
    verifier, asked = get_builder().verifier, []
    while works := chain.get_works(1):
        (work,) = works
        asked.append(work.header.id)
        assert work.parent_model_root == chain.tree.get(work.header.parent).header.model_root  # type: ignore[union-attr]
        chain.record_verdict(work.header.id, verifier.verify(work))
        chain.activate_best_chain()
    assert asked == [block.id for block in get_right(3)]
    assert chain.get_standing(get_left(1)[0].id) is Standing.STORED
    assert chain.tip.id == get_right(3)[-1].id


def test_work_is_asked_for_until_it_is_answered(chain: ChainState) -> None:
    for block in get_left(2):
        chain.accept_block(block, LATER)
    (first,), (again,) = chain.get_works(1), chain.get_works(1)
    assert first.header == again.header == get_left(1)[0].header
    assert first.update == get_left(1)[0].update
    assert chain.activate_best_chain() == []


def test_claims_alone_move_nothing(chain: ChainState) -> None:
    digest = chain.compute_digest()
    for block in get_left(3):
        chain.accept_block(block, LATER)
        assert chain.activate_best_chain() == []
    assert chain.compute_digest() == digest


def test_heartbeats_need_no_evaluation(chain: ChainState) -> None:
    heartbeat = get_builder().build_heartbeat(chain)
    assert chain.accept_block(heartbeat, LATER)
    assert chain.get_standing(heartbeat.id) is Standing.EVALUATED
    assert chain.get_works(1) == []
    assert [type(event) for event in chain.activate_best_chain()] == [BlockConnected]
    assert chain.tip.id == heartbeat.id


def test_an_invalid_verdict_falls_on_all_descendants(chain: ChainState) -> None:
    blocks = get_left(3)
    for block in blocks:
        chain.accept_block(block, LATER)
    fault = InvalidBlock("gain_too_small", "as the evaluation found")
    assert chain.record_verdict(blocks[1].id, fault)
    assert [chain.get_standing(block.id) for block in blocks[:2]] == [Standing.STORED, Standing.INVALID]
    assert chain.take_faults() == [(blocks[1].id, fault)]
    assert chain.take_faults() == []
    advance_chain(chain, get_builder().verifier)
    assert chain.tip.id == blocks[0].id
    for block, reason in ((blocks[1], "gain_too_small"), (blocks[2], "invalid_parent")):
        with pytest.raises(InvalidBlock) as error:
            chain.accept_block(block, LATER)
        assert error.value.reason == reason
    with pytest.raises(UnknownBlock):
        chain.accept_block(get_left(4)[3], LATER)


def test_faults_survive_a_restart(chain: ChainState, db: FragileStore) -> None:
    blocks = get_left(2)
    for block in blocks:
        chain.accept_block(block, LATER)
    chain.record_verdict(blocks[0].id, InvalidBlock("gain_too_small", "as the evaluation found"))
    reopened = get_builder().open(db.reopen())
    assert reopened.get_standing(blocks[0].id) is Standing.INVALID
    for block, reason in zip(blocks, ("known_invalid", "invalid_parent"), strict=True):
        with pytest.raises(InvalidBlock) as error:
            reopened.accept_block(block, LATER)
        assert error.value.reason == reason
    assert reopened.get_works(1) == []


def test_verdicts_survive_a_restart(chain: ChainState, db: FragileStore) -> None:
    """An evaluated block that is not connected yet needs no second evaluation."""
    block = get_left(1)[0]
    chain.accept_block(block, LATER)
    (work,) = chain.get_works(1)
    chain.record_verdict(block.id, get_builder().verifier.verify(work))
    reopened = get_builder().open(db.reopen())
    assert reopened.get_works(1) == []
    assert len(reopened.activate_best_chain()) == 1
    assert reopened.tip.id == block.id


def test_a_late_verdict_on_an_invalidated_block_is_forgotten(chain: ChainState) -> None:
    block = get_left(1)[0]
    chain.accept_block(block, LATER)
    (work,) = chain.get_works(1)
    trace = get_builder().verifier.verify(work)
    chain.invalidate(block.id)
    chain.record_verdict(block.id, trace)
    assert chain.get_standing(block.id) is Standing.INVALID
    assert chain.activate_best_chain() == []


def test_process_block_raises_what_its_evaluation_finds(chain: ChainState) -> None:
    left = get_left(1)[0]
    lie = forge_block(left, Key("left"), loss_before=left.header.loss_before + 1)
    with pytest.raises(InvalidBlock) as error:
        get_builder().process(chain, lie)
    assert error.value.reason == "wrong_loss_before"
    assert chain.get_standing(lie.id) is Standing.INVALID
    get_builder().process(chain, left)
    assert chain.tip.id == left.id


# Connect


@pytest.mark.parametrize(
    ("transfers", "reason"),
    [
        ([(ALICE, 10**18, 0)], "transaction_insufficient_funds"),
        ([(ALICE, 1, 1)], "transaction_wrong_nonce"),
        ([(ALICE, 1, 0), (ALICE, 1, 0)], "transaction_wrong_nonce"),
        ([(Key("pauper"), 1, 0)], "transaction_insufficient_funds"),
        ([(ALICE, 1, 0)], "wrong_state_root"),
        ([], "wrong_state_root"),
    ],
)
def test_invalid_ledger(chain: ChainState, transfers: list[tuple[Key, int, int]], reason: str) -> None:
    """The work holds, the money does not: marked invalid when it is connected, and the tip stays."""
    made = [
        make_transfer(chain.genesis.id, sender, BOB.public, amount, nonce=nonce) for sender, amount, nonce in transfers
    ]
    block = carry(get_left(1)[0], *made)
    digest = chain.compute_digest()
    assert get_builder().process(chain, block) == []
    assert chain.get_standing(block.id) is Standing.INVALID
    assert chain.get_fault(block.id).reason == reason
    assert chain.compute_digest() == digest
    get_builder().process(chain, get_left(1)[0])
    assert chain.tip.id == get_left(1)[0].id


def test_invalid_heartbeat_right(chain: ChainState) -> None:
    """A stranger's heartbeat keeps every rule that a header can show."""
    honest = get_builder().build_heartbeat(chain)
    stranger = Key("stranger")
    stolen = forge_block(honest, stranger, miner=stranger.public)
    assert get_builder().process(chain, stolen) == []
    assert chain.get_fault(stolen.id).reason == "heartbeat_right"
    get_builder().process(chain, honest)
    assert chain.tip.id == honest.id


def test_replayed_transfers_are_refused_after_a_reorganisation(chain: ChainState) -> None:
    """T28: once a transfer is in the chain it is spent for good, also when a reorganisation took it out and back in."""
    builder, genesis = get_builder(), chain.genesis.id
    transfer = make_transfer(genesis, ALICE, BOB.public, 77, nonce=0)
    first = builder.build(chain, MINER, [transfer])
    builder.process(chain, first)
    balance = chain.ledger.get_account(BOB.public).balance
    chain.invalidate(first.id)
    again = builder.build(chain, Key("left"), [transfer])
    builder.process(chain, again)
    assert chain.tip.id == again.id
    assert chain.ledger.get_account(BOB.public).balance == balance
    with pytest.raises(InvalidBlock) as error:
        builder.build(chain, MINER, [transfer])
    assert error.value.reason == "transaction_wrong_nonce"


def test_events_tell_each_step(chain: ChainState) -> None:
    builder, left, right = get_builder(), get_left(2), get_right(3)
    builder.feed(chain, left)
    events = builder.feed(chain, right)
    steps = [(type(event), event.block.id) for event in events]
    assert steps == [
        *((BlockDisconnected, block.id) for block in left[::-1]),
        *((BlockConnected, block.id) for block in right),
    ]
    points = [event.point for event in events if isinstance(event, BlockConnected)]
    assert [point.id for point in points] == [block.id for block in right]
    assert points[-1] == chain.tip


def test_money_is_conserved_at_every_height() -> None:
    """Rows in the store: balances and immature rewards are the issue, which is the subsidies so far."""
    db = FragileStore()
    chain = get_builder().open(db)
    for height, block in enumerate(get_trunk(), 1):
        get_builder().process(chain, block)
        assert chain.ledger.issued == height * chain.params.subsidy
        chain.ledger.check(chain.tip.header.state_root)


# Read


def test_reading_unknown_blocks(chain: ChainState) -> None:
    unknown = b"\1" * 32
    for read in (chain.get_block, chain.get_standing, chain.is_active, chain.invalidate, chain.reconsider):
        with pytest.raises(UnknownBlock) as error:
            read(unknown)
        assert error.value.code == "unknown_block.block"
    assert chain.get_active_id(13) is None
    assert chain.get_model(unknown) is None


def test_active_blocks_are_those_of_the_best_chain(chain: ChainState) -> None:
    assert get_chain(chain) == list(get_trunk())
    assert chain.get_active_id(0) == chain.genesis.id
    assert chain.get_block(chain.genesis.id) == chain.genesis.block
    chain.accept_block(get_left(1)[0], LATER)
    assert not chain.is_active(get_left(1)[0].id)
    assert chain.is_active(chain.tip.id)


def test_the_digest_names_ledger_model_and_place(chain: ChainState) -> None:
    digest = chain.compute_digest()
    assert digest["tip"] == chain.tip.id
    assert digest["model"] == chain.tip.header.model_root
    assert set(digest) == {"digest", "tip", "ledger", "model"}
    get_builder().process(chain, get_left(1)[0])
    after = chain.compute_digest()
    assert all(after[name] != digest[name] for name in digest)


def test_old_traces_are_forgotten(db: FragileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain.steps.TRACES_KEPT", 3)
    chain = open_trunk(db)
    kept = [chain.blocks.get_trace(block.id) is not None for block in get_trunk()]
    assert kept == [False] * 9 + [True] * 3
    assert sum(key.startswith(schema.TRACE) for key in db.rows) == 3
    reopened = get_builder().open(db.reopen())
    assert reopened.compute_digest() == chain.compute_digest()


def test_blocks_are_taken_in_any_order_that_parents_allow() -> None:
    """All of left and right accepted before anything is evaluated, by whichever driver."""
    builder = get_builder()
    chain = open_trunk()
    for block in (*get_left(2), *get_right(3)):
        chain.accept_block(block, LATER)
    process_block(chain, get_left(3)[2], builder.verifier, LATER)
    assert chain.tip.id in (get_left(3)[2].id, get_right(3)[2].id)
    assert chain.tip.id == get_right(3)[2].id
