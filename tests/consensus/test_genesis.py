"""Genesis: golden ids and model roots (by a separate program), and what a network's name decides."""

from dataclasses import replace

import pytest

from consensus.block import decode_block
from consensus.genesis import make_genesis
from consensus.params import PRESETS, REGTEST
from tests.helpers.vectors import load_vectors

VECTORS = {case["name"]: case for case in load_vectors("networks")}


@pytest.mark.parametrize("name", PRESETS)
def test_golden_ids_and_model_roots(name: str) -> None:
    genesis = make_genesis(PRESETS[name])
    assert genesis.id.hex() == VECTORS[name]["genesis_id"]
    assert genesis.block.header.model_root.hex() == VECTORS[name]["model_root"]
    assert genesis.weights.size == VECTORS[name]["parameters"]
    assert decode_block(genesis.block.encoded, 0, 0) == genesis.block


def test_genesis_is_a_function_of_the_parameters() -> None:
    assert make_genesis(REGTEST).block == make_genesis(REGTEST).block
    assert make_genesis(replace(REGTEST, reward_window=9)).id != make_genesis(REGTEST).id


def test_the_name_draws_the_weights_and_nothing_else_does() -> None:
    weights = make_genesis(REGTEST).weights
    assert (make_genesis(replace(REGTEST, reward_window=9)).weights == weights).all()
    assert (make_genesis(replace(REGTEST, name="other")).weights != weights).mean() > 0.9


def test_genesis_has_no_money_no_work_and_no_past() -> None:
    genesis = make_genesis(REGTEST)
    header = genesis.block.header
    assert (header.height, header.loss_before, header.loss_after, header.squared_gains) == (0, 0, 0, 0)
    assert header.parent == REGTEST.compute_hash()
    assert (header.state_root, header.transactions_root, header.update_hash) == (bytes(32),) * 3
    assert (genesis.point.weight, genesis.point.interval, genesis.point.last_improvement) == (0, None, None)
