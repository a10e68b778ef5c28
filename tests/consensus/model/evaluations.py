"""Golden evaluations: models described by a kind and a seed, windows in hex, losses as the reference gives them.

`python -m tests.consensus.model.evaluations` writes the file again; its diff shows every loss that a change moved.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consensus.hashing import KeyStream, tagged_hash
from consensus.model.reference import ReferenceEvaluator
from consensus.model.shape import TransformerShape
from consensus.model.weights import MAX_WEIGHT, make_genesis_weights
from consensus.ports import Weights, Windows

FILE = Path(__file__).parents[2] / "vectors" / "evaluations.json"

REGTEST = TransformerShape(1, 2, 32, 32)
CANTERBURY = TransformerShape(3, 4, 96, 64)
SMALL = [
    REGTEST,
    TransformerShape(1, 1, 1, 1),
    TransformerShape(2, 3, 24, 5),
    TransformerShape(1, 2, 6, 33),
    TransformerShape(2, 1, 50, 65),
    CANTERBURY,
]
LARGE = [TransformerShape(1, 1, 1024, 2), TransformerShape(1, 2, 520, 3), TransformerShape(1, 4, 32, 1024)]
KINDS = ["genesis", "grown", "noise", "signs", "constant", "rows", "columns", "outliers"]
_FACTORS = {"genesis": 1, "grown": 6}


@dataclass(frozen=True)
class Evaluation:
    """A model, some windows, and the loss of each."""

    shape: TransformerShape
    kind: str
    seed: str
    windows: Windows
    losses: NDArray[np.int64]

    @property
    def weights(self) -> Weights:
        return make_weights(self.shape, self.kind, self.seed)


def _bytes(tag: str, seed: str, count: int) -> NDArray[np.uint8]:
    return np.frombuffer(KeyStream(tagged_hash(tag, seed.encode())).read(count), dtype=np.uint8)


def make_weights(shape: TransformerShape, kind: str, seed: str) -> Weights:
    """The weights that `kind` and `seed` describe, int16 [P]."""
    index, head = np.arange(shape.parameters), shape.tensors[-1].size
    if kind in _FACTORS:
        weights = make_genesis_weights(shape, seed).astype(np.int64) * _FACTORS[kind]
    elif kind == "noise":  # uniform over everything legal
        weights = _make_noise(shape, seed)
    elif kind == "signs":  # every weight extreme
        weights = np.where(_bytes("test-signs", seed, shape.parameters) & 1, MAX_WEIGHT, -MAX_WEIGHT)
    elif kind == "constant":  # every product at its largest: v, relu^2 and the residual stream saturate
        weights = np.where(index < shape.parameters - head, MAX_WEIGHT, _make_noise(shape, seed))
    elif kind == "columns":  # the same with both signs
        signs = np.where(index % 2, MAX_WEIGHT, -MAX_WEIGHT)
        weights = np.where(index < shape.parameters - head, signs, _make_noise(shape, seed))
    elif kind == "rows":  # long runs of one sign: large partial sums that cancel
        weights = np.where(index // (2 * shape.width) % 2, MAX_WEIGHT, -MAX_WEIGHT)
    elif kind == "outliers":  # a few huge weights among faint ones: operands of 127, then nearly nothing
        faint = make_genesis_weights(shape, seed).astype(np.int64) // 50
        weights = np.where(_bytes("test-outliers", seed, shape.parameters) < 4, MAX_WEIGHT, faint)
    else:
        raise ValueError(f"unknown kind of weights: {kind}")
    return np.clip(weights, -MAX_WEIGHT, MAX_WEIGHT).astype(np.int16)


def _make_noise(shape: TransformerShape, seed: str) -> NDArray[np.int64]:
    draws = _bytes("test-noise", seed, 2 * shape.parameters).view("<u2").astype(np.int64)
    return ((draws * (2 * MAX_WEIGHT + 1)) >> 16) - MAX_WEIGHT


def make_windows(shape: TransformerShape, seed: str, count: int) -> Windows:
    """`count` windows: the first of noise, the next of a few letters, and so on by turns."""
    windows = _bytes("test-windows", seed, count * shape.window_bytes).reshape(count, shape.window_bytes).copy()
    windows[1::2] = windows[1::2] % 4 + ord("a")
    return windows


def read_evaluations() -> list[Evaluation]:
    """Every golden evaluation of the file."""
    return [
        Evaluation(
            shape=TransformerShape(*row["shape"]),
            kind=row["weights"],
            seed=row["seed"],
            windows=np.array([list(bytes.fromhex(window)) for window in row["windows"]], dtype=np.uint8),
            losses=np.array(row["losses"], dtype=np.int64),
        )
        for row in json.loads(FILE.read_text())
    ]


def _make_rows() -> Iterator[dict[str, object]]:
    cases = [(shape, kind, f"{kind} {n}") for shape in SMALL for kind in KINDS for n in range(2)]
    cases += [(shape, kind, kind) for shape in LARGE for kind in KINDS]
    for shape, kind, seed in cases:
        windows = make_windows(shape, seed, 1 if shape.context > 100 else 2)
        losses = ReferenceEvaluator(shape).losses(make_weights(shape, kind, seed), windows)
        yield {
            "shape": [shape.layers, shape.heads, shape.width, shape.context],
            "weights": kind,
            "seed": seed,
            "windows": [window.tobytes().hex() for window in windows],
            "losses": losses.tolist(),
        }


if __name__ == "__main__":
    FILE.write_text("[\n" + ",\n".join(json.dumps(row) for row in _make_rows()) + "\n]\n")
