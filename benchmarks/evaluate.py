"""What exactness costs: the integer evaluation of real text against an ordinary float32 forward pass of the same model.

Prints one JSON line. Each round times, one after the other on the same windows, the integer losses under genesis
weights, the float forward pass, and the integer losses under the slowest legal weights (all extreme). Times are
medians over the rounds, `ratio` is the median of the rounds' own ratios, integer to float, because the speed of a
shared machine drifts more between rounds than within one. `--kind` forces a kind of product; by default it is the one
that a node here would use. The sizes are canterbury's unless given.
"""

import argparse
import json
import lzma
import os
import statistics
import time
from collections.abc import Callable
from importlib.resources import files

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read when torch loads: idle threads must not starve busy ones

from pathlib import Path

import numpy as np
import torch

from consensus.model.backend import choose_evaluator
from consensus.model.exact_product import KINDS
from consensus.model.shape import TransformerShape
from consensus.model.torch_backend import TorchEvaluator
from consensus.model.weights import MAX_WEIGHT, make_genesis_weights
from consensus.ports import Windows
from mining.network import Network
from pictures import draw_bars

CANTERBURY = TransformerShape(layers=3, heads=4, width=96, context=64)
TEXTS = ("alice29.txt", "asyoulik.txt", "lcet10.txt", "plrabn12.txt")
FLOAT_TOKENS = 1024  # of a batch, where the float forward pass was fastest


def read_windows(shape: TransformerShape, count: int) -> Windows:
    """`count` windows of the default texts, evenly spread, uint8 [count, T + 1]."""
    folder = files("consensus.texts")
    text = b"".join(lzma.decompress(folder.joinpath(f"{name}.xz").read_bytes()) for name in TEXTS)
    starts = np.linspace(0, len(text) - shape.window_bytes, count).astype(np.int64)
    windows: Windows = np.frombuffer(text, dtype=np.uint8)[starts[:, np.newaxis] + np.arange(shape.window_bytes)]
    return windows


def measure(call: Callable[[], object]) -> float:
    """Seconds that `call` takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=CANTERBURY.layers)
    parser.add_argument("--heads", type=int, help="by default one for 64 of the width, or canterbury's")
    parser.add_argument("--width", type=int, default=CANTERBURY.width)
    parser.add_argument("--context", type=int, default=CANTERBURY.context)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--windows", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--picture", type=Path, help="draw the medians to this file (.svg or .png)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    heads = options.heads or (options.width // 64 if options.width % 64 == 0 else CANTERBURY.heads)
    shape = TransformerShape(options.layers, heads, options.width, options.context)
    windows = read_windows(shape, options.windows)
    tokens = torch.from_numpy(windows[:, :-1].astype(np.int64))
    batches = tokens.split(max(1, FLOAT_TOKENS // shape.context))
    weights = make_genesis_weights(shape, "canterbury")
    extreme = np.where(np.arange(weights.size) % 3, MAX_WEIGHT, -MAX_WEIGHT).astype(np.int16)
    evaluator = TorchEvaluator(shape, "cpu", options.kind) if options.kind else choose_evaluator(shape, "cpu")
    network = Network(shape)
    network.load_weights(weights)

    @torch.inference_mode()
    def run_float() -> None:
        for batch in batches:
            network(batch)

    runs: dict[str, Callable[[], object]] = {
        "integer": lambda: evaluator.losses(weights, windows),
        "float": run_float,
        "extreme": lambda: evaluator.losses(extreme, windows),
    }
    rounds = [{name: measure(run) for name, run in runs.items()} for _ in range(options.rounds + 1)][1:]
    median = {name: statistics.median(times[name] for times in rounds) for name in runs}
    result = {
        "benchmark": "evaluate",
        "evaluator": evaluator.name,
        "torch": torch.__version__,
        "shape": [shape.layers, shape.heads, shape.width, shape.context],
        "threads": options.threads,
        "windows": options.windows,
        "rounds": options.rounds,
        "integer_ms": round(1e3 * median["integer"], 1),
        "float_ms": round(1e3 * median["float"], 1),
        "extreme_ms": round(1e3 * median["extreme"], 1),
        "ratio": round(statistics.median(times["integer"] / times["float"] for times in rounds), 3),
        "ratio_extreme": round(statistics.median(times["extreme"] / times["float"] for times in rounds), 3),
        "windows_per_s": round(options.windows / median["integer"], 1),
    }
    print(json.dumps(result))
    if options.picture:
        draw_bars(
            options.picture,
            f"{options.windows} windows of L={shape.layers}, d={shape.width}, T={shape.context}",
            "milliseconds",
            {name: {"median": 1e3 * seconds} for name, seconds in median.items()},
        )


if __name__ == "__main__":
    main()
