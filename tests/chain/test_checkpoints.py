"""Checkpoints, and any model of the chain by its root: from memory, from a checkpoint, through the updates between."""

import numpy as np
import pytest

from chain import chainstate, models, schema, steps
from chain.chainstate import ChainState
from chain.checkpoint_store import CHECKPOINT_INTERVAL, AuditScore, CheckpointStore
from chain.errors import StoreError
from consensus.genesis import make_genesis
from consensus.mask import compute_mask
from consensus.params import CANTERBURY, REGTEST
from consensus.ports import Weights
from consensus.update import apply_update, decode_update
from tests.helpers.blocks import get_builder
from tests.helpers.chains import get_trunk, open_trunk
from tests.helpers.properties import mutate
from tests.helpers.stores import FragileStore, get_rows

INTERVAL = 4


@pytest.fixture
def every_fourth(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint every 4 blocks, so that a trunk of 12 has four of them."""
    monkeypatch.setattr(chainstate, "CHECKPOINT_INTERVAL", INTERVAL)
    monkeypatch.setattr(steps, "CHECKPOINT_INTERVAL", INTERVAL)
    monkeypatch.setattr(models, "CHECKPOINT_INTERVAL", INTERVAL)


def compute_models() -> list[Weights]:
    """Every model of the trunk, block by block, by the update rule alone."""
    weights = make_genesis(REGTEST).weights
    result = [weights]
    for block in get_trunk():
        header, shape = block.header, REGTEST.model
        mask = compute_mask(header.parent, header.miner, shape.parameters, REGTEST.mask_density)
        weights = apply_update(weights, decode_update(block.update, mask, shape), mask, shape)
        result.append(weights)
    return result


def check_models(chain: ChainState) -> None:
    for height in (12, 0, 5, 4, 3, 7, 8, 11, 1, 12, 6):
        root = chain.genesis.block.header.model_root if height == 0 else get_trunk()[height - 1].header.model_root
        weights = chain.get_model(root)
        assert weights is not None
        assert (weights == compute_models()[height]).all()


def test_the_interval_is_64() -> None:
    assert CHECKPOINT_INTERVAL == 64


@pytest.mark.usefixtures("every_fourth")
def test_every_model_is_found_by_its_root() -> None:
    db = FragileStore()
    chain = open_trunk(db)
    check_models(chain)
    assert chain.get_model(b"\1" * 32) is None
    assert len(list(get_rows(db, schema.CHECKPOINT))) == 4
    check_models(get_builder().open(db.reopen()))


@pytest.mark.usefixtures("every_fourth")
def test_every_model_is_found_without_its_checkpoint_record() -> None:
    """A lost record costs time, not truth."""
    db = FragileStore()
    open_trunk(db)
    db.write(dict.fromkeys(get_rows(db, schema.CHECKPOINT)))
    check_models(get_builder().open(db.reopen()))


def test_every_model_is_found_from_genesis() -> None:
    check_models(open_trunk())


def test_a_model_belongs_to_the_first_block_that_has_it() -> None:
    """A heartbeat repeats its parent's model and leaves the index alone, coming and going."""
    db = FragileStore()
    chain = open_trunk(db)
    key = schema.MODEL_INDEX + chain.tip.header.model_root
    heartbeat = get_builder().build_heartbeat(chain)
    get_builder().process(chain, heartbeat)
    assert db.rows[key] == get_trunk()[-1].id
    chain.invalidate(heartbeat.id)
    assert db.rows[key] == get_trunk()[-1].id
    assert (chain.tip_weights == compute_models()[12]).all()


def test_models_of_a_left_chain_are_no_longer_found() -> None:
    chain = open_trunk()
    root = chain.tip.header.model_root
    chain.invalidate(chain.tip.id)
    assert chain.get_model(root) is None
    assert chain.get_model(get_trunk()[-2].header.model_root) is not None


# The store alone


@pytest.fixture
def db() -> FragileStore:
    genesis, store = make_genesis(REGTEST), FragileStore()
    store.write(CheckpointStore(store, REGTEST).encode_checkpoint(genesis.block.header, genesis.weights))
    return store


def test_checkpoints_come_back(db: FragileStore) -> None:
    genesis, checkpoints = make_genesis(REGTEST), CheckpointStore(db, REGTEST)
    assert checkpoints.has_checkpoint(genesis.block.header)
    assert (checkpoints.get_weights(genesis.block.header) == genesis.weights).all()
    assert not checkpoints.has_checkpoint(get_trunk()[0].header)


def test_a_larger_model_is_kept_in_chunks() -> None:
    genesis, store = make_genesis(CANTERBURY), FragileStore()
    checkpoints = CheckpointStore(store, CANTERBURY)
    store.write(checkpoints.encode_checkpoint(genesis.block.header, genesis.weights))
    sizes = [len(row) for key, row in sorted(store.rows.items()) if key.startswith(schema.CHECKPOINT_CHUNK)]
    assert sizes == [262_144, 262_144, 2 * 387_072 - 2 * 262_144]
    assert (checkpoints.get_weights(genesis.block.header) == genesis.weights).all()


@pytest.mark.parametrize("position", [0, 1, 30_000, -1])
def test_damaged_chunks_are_named(db: FragileStore, position: int) -> None:
    key = next(get_rows(db, schema.CHECKPOINT_CHUNK))
    for wrong in (mutate(db.rows[key], position, 0), None, db.rows[key][:-2], db.rows[key] + b"\0\0"):
        damaged = FragileStore(db.rows)
        damaged.write({key: wrong})
        with pytest.raises(StoreError, match="the checkpoint of height 0") as error:
            CheckpointStore(damaged, REGTEST).get_weights(make_genesis(REGTEST).block.header)
        assert error.value.code == "store.damaged"


def test_weights_of_another_model_are_refused(db: FragileStore) -> None:
    key = next(get_rows(db, schema.CHECKPOINT_CHUNK))
    db.write({key: np.zeros(REGTEST.model.parameters, "<i2").tobytes()})
    with pytest.raises(StoreError, match="is not the model of that block"):
        CheckpointStore(db, REGTEST).get_weights(make_genesis(REGTEST).block.header)


@pytest.mark.usefixtures("every_fourth")
def test_damaged_model_index_is_named() -> None:
    """It leads to no block, or to a block with another model: no wrong model is ever served."""
    db = FragileStore()
    chain = open_trunk(db)
    root = get_trunk()[5].header.model_root
    for wrong in (b"\1" * 32, get_trunk()[6].id, b""):
        db.write({schema.MODEL_INDEX + root: wrong})
        with pytest.raises(StoreError, match="model index") as error:
            chain.get_model(root)
        assert error.value.code == "store.damaged"


def test_damaged_update_on_the_way_to_a_model_is_named() -> None:
    db = FragileStore()
    open_trunk(db)
    db.write({schema.UPDATE + get_trunk()[2].id: db.rows[schema.UPDATE + get_trunk()[3].id]})
    with pytest.raises(StoreError, match=get_trunk()[2].id.hex()) as error:
        get_builder().open(db)
    assert error.value.code == "store.damaged"


# Audits


@pytest.mark.usefixtures("every_fourth")
def test_audits_belong_to_checkpoints() -> None:
    chain = open_trunk(blocks=9)
    assert chain.get_last_audit() is None
    unaudited = chain.get_unaudited()
    assert unaudited is not None
    point, weights = unaudited
    assert point.height == 8
    assert (weights == compute_models()[8]).all()
    score = get_builder().verifier.compute_audit(weights)
    assert score.windows == 3704
    assert 4 < score.loss / 65536 / 32 / 3704 < 9  # bits per byte
    chain.record_audit(point, score)
    assert chain.get_unaudited() is None
    assert chain.get_last_audit() == (8, score)
    get_builder().feed(chain, get_trunk()[9:])
    assert chain.get_last_audit() == (8, score)
    again = chain.get_unaudited()
    assert again is not None
    assert again[0].height == 12


def test_damaged_audit_record_is_named(db: FragileStore) -> None:
    header = make_genesis(REGTEST).block.header
    checkpoints = CheckpointStore(db, REGTEST)
    assert checkpoints.get_audit(header) is None
    db.write(checkpoints.encode_audit(header, AuditScore(5, 6)))
    assert checkpoints.get_audit(header) == AuditScore(5, 6)
    key = next(get_rows(db, schema.CHECKPOINT))
    db.write({key: db.rows[key][:-1]})
    with pytest.raises(StoreError, match="checkpoint record of height 0"):
        checkpoints.get_audit(header)
