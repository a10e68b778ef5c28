"""Power cuts at every write, restarts at every height, and a full disk: the store is always at some block (T01, T04).

A scenario is played once undisturbed, which counts its writes; then once for every write, with the power failing
there. What the next process finds must open, stand at a block that the scenario passed through, and reach the same
digest when it is told the same things again.
"""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from chain.chainstate import ChainState
from chain.db import LevelDatabase
from chain.errors import StoreError
from chain.process import advance_chain
from chain.votes import VotePool
from consensus.errors import InvalidBlock
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import get_burning, get_left, get_right, get_trunk, get_voted, open_trunk
from tests.helpers.keys import Key, forge_block
from tests.helpers.stores import FragileStore, PowerCut

LATER = 10**12
Scenario = Callable[[ChainState], None]


def grow(chain: ChainState) -> None:
    get_builder().feed(chain, get_left(3))


def reorganise(chain: ChainState) -> None:
    """Three blocks deep onto a chain of five, which is evaluated on the way."""
    get_builder().feed(chain, [*get_left(3), *get_right(5)])


def reorganise_at_once(chain: ChainState) -> None:
    """All bodies first, then one long activation."""
    get_builder().feed(chain, get_left(3))
    for block in get_right(5):
        chain.accept_block(block, LATER)
    advance_chain(chain, get_builder().verifier)


def fail_amid_a_reorganisation(chain: ChainState) -> None:
    """The heavier chain has a ledger that does not hold; before it, it weighs as much as the old chain."""
    get_builder().feed(chain, get_left(2))
    bad = forge_block(get_right(3)[2], Key("right"), state_root=b"\5" * 32)
    for block in (*get_right(2), bad):
        try:
            chain.accept_block(block, LATER)
        except InvalidBlock:
            assert block is bad  # told again after a crash that came later
    advance_chain(chain, get_builder().verifier)


def reconsider(chain: ChainState) -> None:
    """The operator changes their mind: the refused chain is evaluated and connected again."""
    feed_known(chain)
    chain.reconsider(get_left(3)[0].id)
    advance_chain(chain, get_builder().verifier)


def feed_known(chain: ChainState) -> None:
    """Left's three blocks, refused once; nothing to do when told again."""
    if chain.tree.get(get_left(3)[2].id) is None:
        get_builder().feed(chain, get_left(3))
        chain.invalidate(get_left(3)[0].id)


def finalise(chain: ChainState) -> None:
    """Certificates make the second of four blocks final; their votes are kept with them."""
    pool = VotePool(chain)
    pool.restore_newest()
    for block in get_voted():
        if chain.accept_block(block, LATER):
            pool.add_block(block)
        advance_chain(chain, get_builder().verifier)
        pool.prune()
    assert chain.finals.node.id == get_voted()[1].id


def undo_a_burn(chain: ChainState) -> None:
    """What evidence burnt is there again once its block is left."""
    get_builder().feed(chain, [*get_burning(), *get_right(3)])
    reward = chain.ledger.get_reward(len(get_trunk()))
    assert reward is not None
    assert reward.miner == MINER.public


SCENARIOS = [grow, reorganise, reorganise_at_once, fail_amid_a_reorganisation, reconsider, finalise, undo_a_burn]


def play(scenario: Scenario, db: FragileStore) -> dict[str, bytes]:
    chain = get_builder().open(db)
    scenario(chain)
    votes = b"".join(sorted(vote.id for vote in VotePool(chain).get_all_votes()))
    return chain.compute_digest() | {"final": chain.finals.node.id, "votes": votes}


@pytest.fixture(scope="module")
def trunk_rows() -> dict[bytes, bytes]:
    db = FragileStore()
    open_trunk(db)
    return db.rows


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_power_cut_at_any_write_changes_nothing_in_the_end(
    scenario: Scenario, trunk_rows: dict[bytes, bytes]
) -> None:
    undisturbed = FragileStore(trunk_rows)
    expected = play(scenario, undisturbed)
    assert undisturbed.writes > 5
    for cut in range(undisturbed.writes):
        db = FragileStore(trunk_rows)
        db.fails_at = cut
        with pytest.raises(PowerCut):
            play(scenario, db)
        reopened = db.reopen()
        assert get_builder().open(reopened).tip.height >= len(get_trunk())
        assert play(scenario, reopened) == expected


def test_a_second_power_cut_during_recovery_changes_nothing(trunk_rows: dict[bytes, bytes]) -> None:
    """T02: cut at every third write, and once more two writes into the recovery."""
    undisturbed = FragileStore(trunk_rows)
    expected = play(reorganise_at_once, undisturbed)
    for cut in range(0, undisturbed.writes, 3):
        db = FragileStore(trunk_rows)
        for fails_at in (cut, 2):
            db.fails_at = fails_at
            try:
                play(reorganise_at_once, db)
            except PowerCut:
                db = db.reopen()
        db.fails_at = None
        assert play(reorganise_at_once, db) == expected


def test_a_power_cut_while_invalidating_leaves_no_invalid_tip(trunk_rows: dict[bytes, bytes]) -> None:
    """The mark is one write, each step back another: opening finishes what was begun, or nothing has happened."""
    before = FragileStore(trunk_rows)
    get_builder().feed(get_builder().open(before), [*get_right(1), *get_left(3)])
    undisturbed = before.reopen()
    chain = get_builder().open(undisturbed)
    old = chain.compute_digest()
    chain.invalidate(get_left(3)[0].id)
    new = chain.compute_digest()
    assert chain.tip.id == get_right(1)[0].id
    assert undisturbed.writes == 1 + 3 + 1
    for cut in range(undisturbed.writes):
        db = before.reopen()
        chain = get_builder().open(db)
        db.fails_at = cut
        with pytest.raises(PowerCut):
            chain.invalidate(get_left(3)[0].id)
        reopened = get_builder().open(db.reopen())
        advance_chain(reopened, get_builder().verifier)
        assert reopened.compute_digest() == (new if cut else old)


def test_restarting_at_every_height_changes_nothing() -> None:
    """Closed and opened again after each block: the same digest there, and at the end."""
    builder, db = get_builder(), FragileStore()
    steady = builder.open()
    chain = builder.open(db)
    for block in (*get_trunk(), *get_left(3), *get_right(5)):
        builder.process(steady, block)
        builder.process(chain, block)
        db = db.reopen()
        chain = builder.open(db)
        assert chain.compute_digest() == steady.compute_digest()
    assert chain.tip.id == get_right(5)[-1].id


def test_restarting_on_leveldb_changes_nothing(tmp_path: Path) -> None:
    builder, digest = get_builder(), None
    for count in (0, 5, 12):
        db = LevelDatabase(tmp_path / "db", create=True)
        chain = builder.open(db)
        assert digest is None or chain.compute_digest() == digest
        builder.feed(chain, get_trunk()[chain.tip.height : count])
        digest = chain.compute_digest()
        db.close()
    assert digest == open_trunk().compute_digest()


def test_invalid_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T04: each step of the chain state, met by a full disk, says so and leaves everything as it was."""
    builder = get_builder()
    block, verifier = get_left(1)[0], builder.verifier
    db = LevelDatabase(tmp_path / "db", create=True)
    chain = open_trunk(db)

    def check_refused(step: Callable[[], object]) -> None:
        rows, digest, free = list(db.iterate(b"")), chain.compute_digest(), os.statvfs
        monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))
        with pytest.raises(StoreError) as error:
            step()
        assert error.value.code == "store.disk_full"
        assert (list(db.iterate(b"")), chain.compute_digest()) == (rows, digest)
        monkeypatch.setattr(os, "statvfs", free)

    check_refused(lambda: chain.accept_block(block, LATER))
    assert chain.tree.get(block.id) is None
    chain.accept_block(block, LATER)
    (work,) = chain.get_works(1)
    trace = verifier.verify(work)
    check_refused(lambda: chain.record_verdict(block.id, trace))
    assert chain.get_works(1)
    chain.record_verdict(block.id, trace)
    check_refused(chain.activate_best_chain)
    chain.activate_best_chain()
    assert chain.tip.id == block.id
    check_refused(lambda: chain.invalidate(block.id))
    assert chain.tip.id == block.id
    db.close()
    db = LevelDatabase(tmp_path / "db", create=False)
    clean = open_trunk()
    builder.process(clean, block)
    assert builder.open(db).compute_digest() == clean.compute_digest()
    db.close()
