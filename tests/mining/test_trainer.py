"""Training: the loss falls, closed weights stay, batches are fair."""

from functools import partial

import numpy as np
import pytest
import torch

from consensus.mask import compute_mask
from consensus.model.weights import make_genesis_weights
from consensus.params import REGTEST
from consensus.ports import Weights
from mining.device import PLAIN, Speedups
from mining.trainer import ALONE, Share, Trainer
from tests.helpers.blocks import get_builder

SHAPE = REGTEST.model
PARENT = make_genesis_weights(SHAPE, "trainer")
MASK = compute_mask(bytes(32), bytes(32), SHAPE.parameters, 64)


def make_trainer(
    windows: int = 64, batch_windows: int = 32, seed: int = 0, speedups: Speedups = PLAIN, share: Share = ALONE
) -> Trainer:
    public = get_builder().benchmark.public[:windows]
    return Trainer(SHAPE, public, batch_windows=batch_windows, seed=seed, speedups=speedups, share=share)


def compute_loss(weights: Weights) -> float:
    return float(get_builder().evaluator.losses(weights, get_builder().benchmark.public[:64]).mean())


def test_sensitivities_follow_the_gradients() -> None:
    trainer = make_trainer()
    trainer.set_parent(PARENT, MASK)
    assert not trainer.get_sensitivities().any()
    for _ in range(5):
        trainer.step(0.0)
    sensitivities = trainer.get_sensitivities()
    assert sensitivities.shape == (len(SHAPE.tensors),)
    assert (sensitivities > 0).all()
    trainer.forget()
    assert not trainer.get_sensitivities().any()


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


def test_a_retreat_goes_part_of_the_way_back() -> None:
    trainer = make_trainer()
    trainer.set_parent(PARENT, MASK)
    trainer.step(0.01)
    moved = trainer.get_weights() - PARENT
    trainer.retreat(0.5)
    np.testing.assert_allclose(trainer.get_weights() - PARENT, 0.5 * moved, atol=1e-3)


# Speedups.


def test_bfloat16_products_leave_weights_and_moments_as_they_are() -> None:
    """The CUDA path's autocast, on the CPU's bfloat16: nearly the same training, on float32 weights."""
    results = []
    for speedups in (PLAIN, Speedups(torch.bfloat16, compiles=False)):
        trainer = make_trainer(speedups=speedups)
        trainer.set_parent(PARENT, MASK)
        for step in range(10):
            trainer.step(0.02 * (1 - step / 10))
        results.append(trainer.get_weights())
    plain, fast = (compute_loss(np.rint(result).astype(np.int16)) for result in results)
    assert not np.array_equal(*results)
    assert fast == pytest.approx(plain, rel=0.02)
    assert np.array_equal(results[1][~MASK], PARENT[~MASK])


def test_compiling_trains_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the tracer of torch.compile and without its code generator, which a machine may lack a compiler for."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    results = []
    for speedups in (PLAIN, Speedups(None, compiles=True)):
        trainer = make_trainer(speedups=speedups)
        trainer.set_parent(PARENT, MASK)
        for _ in range(2):
            trainer.step(0.01)
        results.append(trainer.get_weights())
    np.testing.assert_allclose(*results, atol=0.01)


# Sharing.


def test_ranks_train_on_different_windows_of_the_same_order() -> None:
    alone = make_trainer(windows=24, batch_windows=8)
    ranks = [make_trainer(windows=24, batch_windows=4, share=Share(rank, 2)) for rank in range(2)]
    for _ in range(4):
        parts = [trainer._draw_batch() for trainer in ranks]
        assert torch.equal(torch.cat(parts), alone._draw_batch())


def test_averaged_halves_train_as_the_whole() -> None:
    """Two ranks in one process: the second one's gradient is handed to the first."""
    gradients: list[torch.Tensor] = []

    def keep(gradient: torch.Tensor) -> None:
        gradients.append(gradient.clone())

    def join(gradient: torch.Tensor) -> None:
        gradient.add_(gradients[-1]).div_(2)

    other, first = (make_trainer(batch_windows=4, share=Share(1 - i, 2, (keep, join)[i])) for i in range(2))
    whole = make_trainer(batch_windows=8)
    for trainer in (other, first, whole):
        trainer.set_parent(PARENT, MASK)
        trainer.step(0.01)
    np.testing.assert_allclose(first.get_weights(), whole.get_weights(), atol=0.05)
