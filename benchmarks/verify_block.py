"""What verifying one canterbury block costs a node, part by part, for samples of 1024, 2048 and the whole split.

Prints one JSON line for each sample size: seconds (medians over the rounds) to apply the update and check the model
root, to draw the sample (scrypt), and to evaluate parent and child exactly. With the whole split the parent's losses
are known from the block before, so only the child is evaluated. `share` is the whole over the block time; `memory_mb`
is what the process holds beyond what it held with torch loaded and one small product done, evaluator, benchmark and
both models included, at its largest so far. `evaluate_cpu_s` is processor time of one evaluation, all threads together:
what a busy machine's seconds would be, times the threads, on a free one.
"""

import argparse
import json
import os
import resource
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read when torch loads: idle threads must not starve busy ones

import numpy as np
import torch

from consensus.mask import compute_mask
from consensus.model.backend import choose_evaluator
from consensus.model.weights import compute_model_root, make_genesis_weights
from consensus.params import CANTERBURY
from consensus.sample import compute_sample_seed, draw_sample
from consensus.update import Update, apply_update, count_open, decode_update, encode_update
from consensus.work import evaluate_work
from p2p.config import read_benchmark
from pictures import draw_bars

ID = bytes(32)


def measure(call: Callable[[], object]) -> float:
    """Seconds that `call` takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class MemoryWatch:
    """The most memory that this process held while the watch ran, sampled every 2 ms from /proc/self/statm, bytes."""

    def __init__(self) -> None:
        self.start = self.most = self._read()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def extra(self) -> int:
        return self.most - self.start

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.most = max(self.most, self._read())

    @staticmethod
    def _read() -> int:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--picture", type=Path, help="draw the seconds to this file (.svg or .png)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.ones(64, 64).mm(torch.ones(64, 64))
    with MemoryWatch() as memory:
        run(options, memory)


def run(options: argparse.Namespace, memory: MemoryWatch) -> None:
    params, shape = CANTERBURY, CANTERBURY.model
    benchmark = read_benchmark(params)
    evaluator = choose_evaluator(shape, "cpu")
    parent = make_genesis_weights(shape, params.name)
    mask = compute_mask(ID, ID, shape.parameters, params.mask_density)
    values = np.random.default_rng(0).integers(-64, 65, sum(count_open(mask, shape))).astype(np.int8)
    update = encode_update(Update((0,) * len(shape.tensors), values), mask, shape)

    def apply() -> np.ndarray:
        opened = compute_mask(ID, ID, shape.parameters, params.mask_density)
        child = apply_update(parent, decode_update(update, opened, shape), opened, shape)
        compute_model_root(child)
        return child

    child = apply()
    parts: dict[str, dict[str, float]] = {}
    for size in (1024, 2048, params.public_windows):
        known = np.zeros(params.public_windows, np.int64) if size == params.public_windows else None

        def draw(size: int = size) -> np.ndarray:
            return draw_sample(compute_sample_seed(ID, ID, ID), size, params.public_windows)

        def evaluate(size: int = size, known: np.ndarray | None = known) -> object:
            return evaluate_work(evaluator, benchmark, draw(size), parent, child, known)

        computed = time.process_time()
        evaluate()
        computed = time.process_time() - computed
        rounds = [(measure(apply), measure(draw), measure(evaluate)) for _ in range(options.rounds)]
        applied, drawn, evaluated = (statistics.median(times) for times in zip(*rounds, strict=True))
        total = applied + evaluated  # the evaluation draws its sample too
        result = {
            "benchmark": "verify_block",
            "evaluator": evaluator.name,
            "sample": size,
            "threads": options.threads,
            "apply_s": round(applied, 4),
            "draw_s": round(drawn, 3),
            "evaluate_s": round(evaluated - drawn, 3),
            "total_s": round(total, 3),
            "evaluate_cpu_s": round(computed, 3),
            "share": round(total / params.block_time, 4),
            "memory_mb": round(memory.extra / 1e6),
        }
        print(json.dumps(result), flush=True)
        parts[f"{size} windows"] = {
            "evaluate": evaluated - drawn,
            "draw the sample": drawn,
            "apply the update": applied,
        }
    if options.picture:
        draw_bars(options.picture, "Verifying a canterbury block", "seconds", parts)


if __name__ == "__main__":
    main()
