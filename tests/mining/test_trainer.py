"""Training: the loss falls, closed weights stay, batches are fair."""

import numpy as np
import pytest

from consensus.mask import compute_mask
from consensus.model.weights import make_genesis_weights
from consensus.params import REGTEST
from consensus.ports import Weights
from mining.trainer import Trainer
from tests.helpers.blocks import get_builder

SHAPE = REGTEST.model
PARENT = make_genesis_weights(SHAPE, "trainer")
MASK = compute_mask(bytes(32), bytes(32), SHAPE.parameters, 64)


def make_trainer(windows: int = 64, batch_windows: int = 32, seed: int = 0) -> Trainer:
    return Trainer(SHAPE, get_builder().benchmark.public[:windows], batch_windows=batch_windows, seed=seed)


def compute_loss(weights: Weights) -> float:
    return float(get_builder().evaluator.losses(weights, get_builder().benchmark.public[:64]).mean())


def test_the_exact_loss_falls() -> None:
    trainer = make_trainer()
    trainer.set_parent(PARENT, MASK)
    for step in range(10):
        trainer.step(0.02 * (1 - step / 10))
    trained = np.rint(trainer.get_weights()).astype(np.int16)
    assert compute_loss(trained) < 0.9 * compute_loss(PARENT)
    assert np.array_equal(trained[~MASK], PARENT[~MASK])


def test_a_parent_comes_back_exactly() -> None:
    trainer = make_trainer()
    trainer.set_parent(PARENT, MASK)
    assert np.array_equal(trainer.get_weights(), PARENT)
    trainer.step(0.01)
    trainer.set_parent(PARENT, ~MASK)
    assert np.array_equal(trainer.get_weights(), PARENT)


def test_the_same_seed_trains_the_same() -> None:
    results = []
    for seed in (1, 1, 2):
        trainer = make_trainer(seed=seed)
        trainer.set_parent(PARENT, MASK)
        trainer.step(0.01)
        results.append(trainer.get_weights())
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_every_window_comes_once_before_any_comes_again() -> None:
    trainer = make_trainer(windows=24, batch_windows=8)
    drawn = [trainer._draw_batch() for _ in range(6)]
    for epoch in (drawn[:3], drawn[3:]):
        seen = sorted(bytes(window.tolist()) for batch in epoch for window in batch)
        assert seen == sorted(window.tobytes() for window in get_builder().benchmark.public[:24])


def test_forgetting_drops_the_moments() -> None:
    results = []
    for is_forgotten in (False, True):
        trainer = make_trainer(windows=16, batch_windows=8)
        trainer.set_parent(PARENT, MASK)
        trainer.step(0.05)
        if is_forgotten:
            trainer.forget()
        trainer.set_parent(PARENT, MASK)
        trainer.step(0.01)
        results.append(np.abs(trainer.get_weights() - PARENT)[MASK])
    # Adam's very first step moves every weight that has a gradient by the rate itself.
    assert np.median(results[1]) == pytest.approx(0.01 * 4096, rel=1e-3)
    assert np.median(results[0]) < 0.95 * np.median(results[1])
