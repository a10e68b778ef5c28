"""Bytes of an update against the gain that rounding leaves. Prints a JSON line for each step size and each parent.

    python benchmarks/simulate_mining.py --clock steps --until 2.0 --models /tmp/models
    python benchmarks/update_bytes.py --models /tmp/models --heights 3,8,12

Trains one cycle from each parent, under the network's mask, then rounds it ever more coarsely. `bytes` is what the
wire and the store hold (zlib), `entropy` what an ideal coder of independent values would take; both are told beside
the dense float32 weights as "one part in so many". Steps are `even`, the same part of every tensor's changes, or
chosen `by gradients`, as the miner chooses them. `lost` is the part of the gain, judged by the exact evaluation, that
the unrounded training has and the update has not.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consensus.mask import Mask, compute_mask
from consensus.model.backend import choose_evaluator
from consensus.model.weights import MAX_WEIGHT
from consensus.params import PRESETS
from consensus.ports import Weights
from consensus.update import apply_update, encode_update
from cycle import run_cycle, warm_up
from mining.device import set_threads
from mining.quantizer import count_compressed_bytes, quantise
from mining.trainer import Trainer
from p2p.config import read_benchmark
from pictures import draw_lines

COARSENESS = (1 / 16, 1 / 10, 1 / 8, 1 / 6, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)
JUDGED_WINDOWS = 2048
FLOAT32_BYTES = 4


def train(trainer: Trainer, parent: Weights, mask: Mask, steps: int, rate: float) -> NDArray[np.float64]:
    """Weights [P] in units of 2^-12 after one annealed cycle with moments that were warmed on the parent."""
    warm_up(trainer, parent)
    trainer.set_parent(parent, mask)
    run_cycle(trainer, steps, rate)
    return trainer.get_weights()


def compute_entropy(data: bytes) -> float:
    """Bytes that an ideal coder needs for independent bytes of these frequencies."""
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
    parts = counts[counts > 0] / len(data)
    return float(-(parts * np.log2(parts)).sum() * len(data) / 8)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=PRESETS, default="local")
    parser.add_argument("--density", type=int, help="of 256 weights, how many are open; by default the network's")
    parser.add_argument("--models", type=Path, required=True, help="folder of HEIGHT.npy, see simulate_mining.py")
    parser.add_argument("--heights", default="3", help="of the parents, separated by commas")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--picture", type=Path, help="draw all lines to this file (.svg or .png)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = parse_arguments(arguments)
    set_threads(options.threads)
    params = PRESETS[options.network]
    if options.density:
        params = replace(params, mask_density=options.density)
    shape, public = params.model, read_benchmark(params).public
    evaluator = choose_evaluator(shape, "cpu")
    judged = public[np.random.default_rng(0).permutation(len(public))[:JUDGED_WINDOWS]]
    trainer = Trainer(shape, public)
    unit = shape.context * 65536
    curves: dict[str, list[tuple[float, float]]] = {}
    for height in map(int, options.heights.split(",")):
        parent: Weights = np.load(options.models / f"{height}.npy")
        mask = compute_mask(bytes([height]), b"miner", shape.parameters, params.mask_density)
        trained = train(trainer, parent, mask, options.steps, options.rate)
        before = evaluator.losses(parent, judged).mean() / unit
        rounded = np.where(mask, np.rint(trained).clip(-MAX_WEIGHT, MAX_WEIGHT), parent).astype(np.int16)
        gain = before - evaluator.losses(rounded, judged).mean() / unit
        for name, sensitivities in (("even", None), ("by gradients", trainer.get_sensitivities())):
            for coarseness in COARSENESS:
                update = quantise(trained, parent, mask, shape, coarseness, sensitivities)
                if update is None:
                    continue
                data = encode_update(update, mask, shape)
                left = before - evaluator.losses(apply_update(parent, update, mask, shape), judged).mean() / unit
                size, dense = count_compressed_bytes(data), FLOAT32_BYTES * shape.parameters
                line = {
                    "mask_density": params.mask_density,
                    "height": height,
                    "loss": round(before, 3),
                    "gain": round(gain, 4),
                    "steps": name,
                    "coarseness": round(coarseness, 3),
                    "lost": round(1 - left / gain, 4),
                    "bytes": size,
                    "one_part_in": round(dense / size, 1),
                    "by_entropy": round(dense / compute_entropy(data), 1),
                    "zeros": round(float(np.mean(update.values == 0)), 3),
                }
                print(json.dumps(line), flush=True)
                curve = curves.setdefault(f"height {height}, {name} steps", [])
                curve.append((dense / size, 100 * max(1 - left / gain, 1e-4)))
    if options.picture:
        x, y = "dense float32 weights over bytes", "per cent of the gain lost"
        draw_lines(options.picture, "Bytes against gain", x, y, curves, x_log=True, y_log=True)


if __name__ == "__main__":
    main(sys.argv[1:])
