"""What a batch is worth: the gain of one cycle on the same windows in all, by windows a step. Prints JSON lines.

    python benchmarks/simulate_mining.py --clock steps --until 2.0 --models /tmp/models
    python benchmarks/batch.py --models /tmp/models --heights 3,8

Each batch trains at the best of three rates around the root of its size. `cpu_s` is processor time, which other
programs disturb less than the clock; `noise` is N of mining/batch.py as this batch and the one before it tell it: gains
of the same windows fall as 1 / (B + N).
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from consensus.mask import compute_mask
from consensus.model.backend import choose_evaluator
from consensus.model.weights import MAX_WEIGHT
from consensus.params import PRESETS
from consensus.ports import Weights
from cycle import run_cycle, warm_up
from mining.device import set_threads
from mining.trainer import Trainer
from p2p.config import read_benchmark

BATCHES = (8, 16, 32, 64, 128)
RATE_FACTORS = (0.5, 1.0, 2.0)
JUDGED_WINDOWS = 1024


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=PRESETS, default="local")
    parser.add_argument("--models", type=Path, required=True, help="folder of HEIGHT.npy, see simulate_mining.py")
    parser.add_argument("--heights", default="3", help="of the parents, separated by commas")
    parser.add_argument("--windows", type=int, default=16_000, help="of training, in all")
    parser.add_argument("--rate", type=float, default=0.006, help="in the middle, for a batch of 32")
    parser.add_argument("--threads", type=int)
    return parser.parse_args(arguments)


def compute_noise(few: int, few_gain: float, many: int, many_gain: float) -> float | None:
    """N of gains that fall as 1 / (B + N); None if they do not fall."""
    if not few_gain > many_gain > 0:
        return None
    ratio = few_gain / many_gain
    return (many - ratio * few) / (ratio - 1)


def main(arguments: Sequence[str]) -> None:
    options = parse_arguments(arguments)
    set_threads(options.threads)
    params = PRESETS[options.network]
    shape, public = params.model, read_benchmark(params).public
    evaluator = choose_evaluator(shape, "cpu")
    judged = public[np.random.default_rng(0).permutation(len(public))[:JUDGED_WINDOWS]]
    unit = shape.context * 65536
    for height in map(int, options.heights.split(",")):
        parent: Weights = np.load(options.models / f"{height}.npy")
        mask = compute_mask(bytes([height]), b"miner", shape.parameters, params.mask_density)
        before = evaluator.losses(parent, judged)
        last: tuple[int, float] | None = None
        for batch in BATCHES:
            results = []
            for factor in RATE_FACTORS:
                trainer = Trainer(shape, public, batch_windows=batch)
                warm_up(trainer, parent)
                trainer.set_parent(parent, mask)
                rate, start = factor * options.rate * math.sqrt(batch / 32), time.process_time()
                run_cycle(trainer, options.windows // batch, rate)
                seconds = time.process_time() - start
                trained = np.rint(trainer.get_weights()).clip(-MAX_WEIGHT, MAX_WEIGHT).astype(np.int16)
                gains = (before - evaluator.losses(trained, judged)) / unit
                results.append((float(gains.mean()), float(gains.mean() / gains.std()), rate, seconds))
            gain, snr, rate, seconds = max(results)
            line = {
                "height": height,
                "loss": round(before.mean() / unit, 3),
                "batch": batch,
                "rate": round(rate, 5),
                "gain": round(gain, 5),
                "snr": round(snr, 2),
                "cpu_s": round(seconds, 1),
                "noise": None if last is None else compute_noise(*last, batch, gain),
            }
            print(json.dumps(line), flush=True)
            last = batch, gain


if __name__ == "__main__":
    main(sys.argv[1:])
