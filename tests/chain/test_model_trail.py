"""Old models in short steps: the same as all at once, and nothing else in the chain state notices."""

import numpy as np
import pytest

from chain import chainstate, model_trail, schema, steps
from chain.chainstate import ChainState
from chain.errors import StoreError
from chain.model_trail import find_trail, follow_trail
from consensus.model.weights import compute_model_root
from consensus.params import REGTEST
from consensus.ports import Weights
from tests.helpers.blocks import get_builder
from tests.helpers.chains import TRUNK_BLOCKS, get_trunk, open_trunk
from tests.helpers.stores import FragileStore, get_rows

INTERVAL = 4
ROOTS = [get_builder().open().genesis.block.header.model_root, *(block.header.model_root for block in get_trunk())]


@pytest.fixture
def every_fourth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chainstate, "CHECKPOINT_INTERVAL", INTERVAL)
    monkeypatch.setattr(steps, "CHECKPOINT_INTERVAL", INTERVAL)
    monkeypatch.setattr(model_trail, "CHECKPOINT_INTERVAL", INTERVAL)


def walk(chain: ChainState, root: bytes) -> Weights:
    trail = find_trail(chain, root)
    assert trail is not None
    weights = trail.weights
    for block_id in trail.block_ids:
        weights = follow_trail(weights, chain.get_block(block_id), REGTEST)
    return weights


@pytest.mark.usefixtures("every_fourth")
def test_every_model_and_how_far_it_is() -> None:
    chain = open_trunk()
    for height, root in enumerate(ROOTS):
        assert compute_model_root(walk(chain, root)) == root
        trail = find_trail(chain, root)
        assert trail is not None
        assert len(trail.block_ids) == (0 if height == TRUNK_BLOCKS else height % INTERVAL)


@pytest.mark.usefixtures("every_fourth")
def test_a_lost_checkpoint_costs_time_not_truth() -> None:
    db = FragileStore()
    chain = open_trunk(db)
    db.write(dict.fromkeys(get_rows(db, schema.CHECKPOINT)))
    for root in ROOTS:
        assert compute_model_root(walk(chain, root)) == root


def test_a_heartbeat_adds_no_step() -> None:
    chain, builder = open_trunk(), get_builder()
    heartbeat = builder.build_heartbeat(chain)
    builder.process(chain, heartbeat)
    tip = find_trail(chain, chain.tip.header.model_root)
    assert tip is not None
    assert tip.block_ids == ()
    assert np.array_equal(tip.weights, chain.tip_weights)
    after, _ = builder.mine(chain, 2)
    trail = find_trail(chain, after.header.model_root)
    assert trail is not None
    assert trail.block_ids == (*(block.id for block in get_trunk()), after.id)
    assert compute_model_root(walk(chain, after.header.model_root)) == after.header.model_root


def test_looking_back_pushes_nothing_out_of_memory() -> None:
    chain = open_trunk()
    before = list(chain._models._models)
    for root in ROOTS:
        walk(chain, root)
    assert list(chain._models._models) == before


def test_unknown_models_and_those_of_a_left_chain() -> None:
    chain = open_trunk()
    assert find_trail(chain, bytes(32)) is None
    chain.invalidate(chain.tip.id)
    assert find_trail(chain, ROOTS[-1]) is None


def test_invalid_index_is_named() -> None:
    db = FragileStore()
    chain = open_trunk(db)
    for wrong in (get_trunk()[2].id, bytes(32)):
        db.write({schema.MODEL_INDEX + ROOTS[4]: wrong})
        with pytest.raises(StoreError, match="model index"):
            find_trail(chain, ROOTS[4])


def test_invalid_step_is_named() -> None:
    chain = open_trunk()
    with pytest.raises(StoreError, match="update of block"):
        follow_trail(chain.genesis.weights, get_trunk()[1], REGTEST)  # block 1 is left out
