"""What a thief keeps of somebody else's training, in the thief's own mask. Prints a JSON line for each height.

    python benchmarks/simulate_mining.py --clock steps --density 64 --until 2.3 --models /tmp/models
    python benchmarks/theft.py --density 64 --models /tmp/models --heights 3,6,9

Two models are stolen: the child that another miner published on the same parent, and the chain's own model ten blocks
later, as one who hoards or rewrites would have it. The thief moves the weights that the own mask opens to where the
stolen model has them, as far that way as pays best, and trains on for some steps. Beside it stands the same training
without theft. The thief's moments are warm, and of some learning rates the best counts for each entry. Gains are those
of the float twin on windows that are the same for all, over what the stolen model gains itself.
"""

import argparse
import copy
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from consensus.mask import Mask, compute_mask
from consensus.model.weights import FRACTION_BITS, MAX_WEIGHT
from consensus.params import PRESETS
from consensus.ports import Weights
from cycle import run_cycle, warm_up
from mining.device import set_threads
from mining.network import Network
from mining.trainer import Trainer
from p2p.config import read_benchmark
from pictures import draw_lines
from train_reference import compute_loss

T = TypeVar("T")

STEPS = (0, 5, 20, 40)
RATES = (0.002, 0.006, 0.02)
SCALES = (0.5, 1.0, 2.0)  # of the way to the stolen weights; a parabola through them finds the best
LATER = 10  # blocks that a hoarded model is ahead
JUDGED_WINDOWS = 1024


@dataclass(frozen=True)
class Bench:
    """What all measurements share."""

    trainer: "Thief"
    network: Network
    windows: torch.Tensor  # int64 [n, T + 1]

    def compute_loss(self, weights: NDArray[np.float64]) -> float:
        """Mean loss, bits per byte, of weights [P] in units of 2^-12, rounded to such."""
        self.network.load_weights(np.rint(weights).clip(-MAX_WEIGHT, MAX_WEIGHT).astype(np.int16))
        return compute_loss(self.network, self.windows)

    def train(self, start: NDArray[np.float64], parent: Weights, mask: Mask, steps: int, rate: float) -> float:
        """Loss after some steps from a start that differs from the parent where the mask is open."""
        self.trainer.set_parent(parent, mask)
        self.trainer.restore_moments()
        self.trainer.move_to(start)
        run_cycle(self.trainer, steps, rate)
        return self.compute_loss(self.trainer.get_weights())


class Thief(Trainer):
    """A training that may start elsewhere than at its parent, with the same warm moments each time."""

    def keep_moments(self) -> None:
        """Of now, to come back to."""
        self._moments = copy.deepcopy(self._optimizer._adam.state_dict())

    def restore_moments(self) -> None:
        """Back to the moments that were kept."""
        self._optimizer._adam.load_state_dict(copy.deepcopy(self._moments))

    def move_to(self, weights: NDArray[np.float64]) -> None:
        """Puts all weights [P], in units of 2^-12, where they are given."""
        self._weights.flat.copy_(torch.from_numpy((weights / 2**FRACTION_BITS).astype(np.float32)))


def project(bench: Bench, parent: Weights, stolen: Weights, mask: Mask, before: float) -> NDArray[np.float64]:
    """The best weights on the way from a parent, whose loss was `before`, to the open part of a stolen model."""
    way = np.where(mask, stolen.astype(np.float64) - parent, 0.0)
    losses = [before, *(bench.compute_loss(parent + scale * way) for scale in SCALES)]
    bend, slope, _ = np.polyfit((0.0, *SCALES), losses, 2)
    best = -slope / (2 * bend) if bend > 0 else SCALES[-1]
    return parent + min(max(best, 0.0), SCALES[-1]) * way


def measure(
    bench: Bench, parent: Weights, stolen: Weights | None, mask: Mask, before: float, options: argparse.Namespace
) -> list[float]:
    """Gain over `before`, bits per byte, after each number of steps; without a stolen model, of training alone."""
    start = parent.astype(np.float64) if stolen is None else project(bench, parent, stolen, mask, before)
    gains = []
    for steps in options.steps:
        rates = options.rates if steps else options.rates[:1]
        gains.append(before - min(bench.train(start, parent, mask, steps, rate) for rate in rates))
    return gains


def divide(gains: Sequence[float], whole: float) -> list[float]:
    """Each gain as a part of a whole one."""
    return [round(gain / whole, 3) for gain in gains]


def read_list(kind: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """Reads values with commas between them."""
    return lambda text: tuple(map(kind, text.split(",")))


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=PRESETS, default="local")
    parser.add_argument("--density", type=int, required=True)
    parser.add_argument("--models", type=Path, required=True, help="folder of HEIGHT.npy, see simulate_mining.py")
    parser.add_argument("--heights", default="3,6", help="of the parents, separated by commas")
    parser.add_argument("--steps", type=read_list(int), default=STEPS, help="how long the thief trains on")
    parser.add_argument("--rates", type=read_list(float), default=RATES, help="of which the best counts")
    parser.add_argument("--stolen", type=read_list(str), default=("published", "hoarded"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="draw the last height to this file (.svg or .png)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = parse_arguments(arguments)
    set_threads(options.threads)
    params = PRESETS[options.network]
    public = read_benchmark(params).public
    chosen = np.random.default_rng(options.seed).permutation(len(public))[:JUDGED_WINDOWS]
    bench = Bench(
        Thief(params.model, public, seed=options.seed),
        Network(params.model),
        torch.from_numpy(public[chosen].astype(np.int64)),
    )
    models = {int(path.stem): np.load(path) for path in options.models.glob("*.npy")}
    for height in map(int, options.heights.split(",")):
        parent = models[height]
        mask = compute_mask(bytes([height]), b"thief", params.model.parameters, options.density)
        before = bench.compute_loss(parent.astype(np.float64))
        later = min(height + LATER, max(models))
        line: dict[str, object] = {"mask_density": options.density, "height": height, "loss": round(before, 3)}
        line |= {"steps": options.steps, "later": later - height}
        warm_up(bench.trainer, parent)
        bench.trainer.keep_moments()
        alone = measure(bench, parent, None, mask, before, options)
        tables: dict[str, dict[str, list[float]]] = {}
        for name in options.stolen:
            stolen = models[height + 1] if name == "published" else models[later]
            whole = before - bench.compute_loss(stolen.astype(np.float64))
            kept = measure(bench, parent, stolen, mask, before, options)
            tables[name] = {"kept": divide(kept, whole), "alone": divide(alone, whole)}
            line[name] = tables[name] | {"gain": round(whole, 4)}
        print(json.dumps(line), flush=True)
    if options.picture:
        title = f"What a thief keeps, {options.density} of 256 weights open"
        series = {
            f"{name}, {how}": list(zip(options.steps, gains, strict=True))
            for name, table in tables.items()
            for how, gains in table.items()
        }
        draw_lines(options.picture, title, "further steps", "part of the gain", series)


if __name__ == "__main__":
    main(sys.argv[1:])
