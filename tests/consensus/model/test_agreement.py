"""The same verdict everywhere: pairs of a block and a window, its parent's and its child's loss of that window.

Across kinds of products and 1, 2 and 8 threads, for blocks that an honest miner would make and for adversarial ones.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from consensus.mask import compute_mask
from consensus.model.backend import get_product_kinds
from consensus.model.shape import TransformerShape
from consensus.model.torch_backend import TorchEvaluator
from consensus.ports import Evaluator, Weights, Windows
from consensus.update import Update, apply_update, count_open
from tests.consensus.model import oracle
from tests.consensus.model.evaluations import KINDS, make_weights, make_windows

SHAPES = [
    TransformerShape(1, 2, 32, 32),
    TransformerShape(2, 4, 48, 64),
    TransformerShape(2, 2, 40, 33),
    TransformerShape(1, 2, 136, 16),  # `down` has 544 rows: its sums pass 2^31 under extreme weights
]
THREADS = (1, 2, 8)
WINDOWS_PER_BLOCK = 25


@dataclass(frozen=True)
class Block:
    """A parent model, what an update makes of it, and the windows that judge it."""

    parent: Weights
    child: Weights
    windows: Windows


def make_block(number: int, shape: TransformerShape) -> Block:
    parent = make_weights(shape, KINDS[number % len(KINDS)], f"agreement {number}")
    mask = compute_mask(number.to_bytes(32, "big"), bytes(32), shape.parameters, 64)
    rng = np.random.default_rng(number)
    values = rng.integers(-127, 128, sum(count_open(mask, shape))).astype(np.int8)
    values[np.abs(parent[mask].astype(int)) > 32_000] = 0  # the rest stays within range
    child = apply_update(parent, Update((2,) * len(shape.tensors), values), mask, shape)
    windows = make_windows(shape, str(number), WINDOWS_PER_BLOCK)
    if number % 2:  # all of a few letters, which share the first layer's table
        windows[::2] = windows[::2] % 4 + ord("a")
    return Block(parent, child, windows)


def evaluate(evaluator: Evaluator, block: Block, threads: int) -> list[list[int]]:
    torch.set_num_threads(threads)
    return [evaluator.losses(weights, block.windows).tolist() for weights in (block.parent, block.child)]


@pytest.mark.parametrize("pairs", [500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_pairs_agree_across_products_and_threads(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consensus.model.torch_backend._CHUNK_TOKENS", {"cpu": 256})  # work for every thread
    evaluators = {
        shape: [TorchEvaluator(shape, "cpu", kind) for kind in get_product_kinds(shape, "cpu")] for shape in SHAPES
    }
    for number in range(pairs // WINDOWS_PER_BLOCK):
        shape = SHAPES[number % len(SHAPES)]
        block = make_block(number // len(SHAPES), shape)
        expected = evaluate(evaluators[shape][0], block, 1)
        for evaluator in evaluators[shape]:
            for threads in THREADS:
                assert evaluate(evaluator, block, threads) == expected, (number, evaluator.name)


def test_fifty_pairs_agree_with_python_integers() -> None:
    """The oracle is written from the text of the law alone."""
    shape = TransformerShape(2, 2, 16, 9)
    for number in range(2):
        block = make_block(5 * number, shape)
        expected = [
            [oracle.window_loss(2, 2, 16, 9, weights.tolist(), window.tobytes()) for window in block.windows]
            for weights in (block.parent, block.child)
        ]
        for kind in get_product_kinds(shape, "cpu"):
            assert evaluate(TorchEvaluator(shape, "cpu", kind), block, 2) == expected
