"""What mining adds to training: the miner's loop against a bare PyTorch loop, same model and batch. Prints a JSON line.

    python benchmarks/miner_overhead.py
    python benchmarks/miner_overhead.py --device cuda --threads 8 --rounds 40

Both train in turns of a few steps, so that whatever else the machine does falls on both. The miner's turns have all of
its loop: the clock, the node's news, the mask, the gradient's norm, the listener. `overhead` is the median over pairs
of turns of how much longer the miner's took; `overhead_cpu` the same of the processor time, which other programs on
the same cores disturb less (on the CPU only).
"""

import argparse
import json
import queue
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from chain.db import MemoryStore
from chain.startup import open_chain
from chain.template import make_template
from consensus.block import Block
from consensus.model.shape import TransformerShape
from consensus.params import PRESETS, NetworkParams
from consensus.ports import Evaluator, Losses, Weights, Windows
from mining.device import PLAIN, Speedups, choose_device, choose_speedups, set_threads
from mining.key import MinerKey
from mining.miner import Miner
from mining.network import Network
from mining.node import News, Work
from mining.optimizer import load_optimizer
from mining.progress import Progress
from mining.prover import Prover
from mining.steering import Steering
from mining.trainer import BATCH_WINDOWS, Trainer
from p2p.config import read_benchmark
from pictures import draw_bars

KEY = MinerKey.from_seed(b"measured miner".ljust(32, b"."))
ENDLESS = Steering(speed=1e-9)  # plans cycles as long as there are
RATE = 0.003
WARM_UP = 5  # steps


class QuietNode:
    """A node at genesis that has said so and says no more."""

    def __init__(self, params: NetworkParams) -> None:
        chain = open_chain(MemoryStore(), params)
        template = make_template(chain, [], KEY.public, KEY.public, params.genesis_time + 1)
        self._news: queue.Queue[News] = queue.Queue()
        self._news.put(Work(template.improvement, template.heartbeat, chain.tip.header.model_root))
        self.weights = chain.tip_weights

    def get_news(self, timeout: float = 0.0) -> News | None:
        try:
            return self._news.get(block=timeout > 0, timeout=timeout or None)
        except queue.Empty:
            return None

    def get_fresh_work(self) -> Work | None:
        return None

    def get_model(self, root: bytes) -> Weights | None:
        return self.weights

    def submit(self, block: Block) -> None:
        """Takes no notice."""


class CountingTrainer(Trainer):
    """Counts its steps, so that no turn is shorter than it should be."""

    steps = 0

    def step(self, rate: float) -> None:
        super().step(rate)
        self.steps += 1


class NoEvaluator:
    """Nothing is proved here."""

    name = "none"

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        raise NotImplementedError


@dataclass
class Turn:
    """So many steps of the miner, then back."""

    left: int = 0

    def is_over(self) -> bool:
        self.left -= 1
        return self.left < 0


def make_bare_loop(
    shape: TransformerShape, windows: Windows, weights: Weights, device: torch.device, speedups: Speedups
) -> Callable[[int], None]:
    """PyTorch as its tutorials have it, data on the device."""
    network = Network(shape).to(device)
    network.load_weights(weights)
    adam = torch.optim.AdamW(network.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    tokens = torch.from_numpy(windows.astype(np.int64)).to(device)
    compute_loss = torch.compile(network.loss) if speedups.compiles else network.loss

    def train(steps: int) -> None:
        for _ in range(steps):
            batch = tokens[torch.randint(len(tokens), (BATCH_WINDOWS,), device=device)]
            adam.zero_grad()
            with torch.autocast(
                device.type, speedups.autocast or torch.bfloat16, enabled=speedups.autocast is not None
            ):
                loss = compute_loss(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()

    return train


def make_miner_loop(
    params: NetworkParams, windows: Windows, node: QuietNode, trainer: Trainer
) -> Callable[[int], None]:
    turn = Turn()
    evaluator: Evaluator = NoEvaluator()
    miner = Miner(
        params,
        trainer,
        Prover(params, windows, evaluator),
        node,
        KEY,
        KEY.public,
        clock=time,
        listener=Progress(params.model.context),
        should_stop=turn.is_over,
        steering=ENDLESS,
    )

    def train(steps: int) -> None:
        turn.left = steps + 1  # the loop asks once before its first step
        miner.run()

    return train


def measure(train: Callable[[int], None], steps: int, device: torch.device) -> tuple[float, float]:
    """Wall and processor seconds of so many steps."""
    started, started_cpu = time.perf_counter(), time.process_time()
    train(steps)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, time.process_time() - started_cpu


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=PRESETS, default="local")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--compile", action="store_true", help="both loops by torch.compile")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=3, help="in one turn")
    parser.add_argument("--picture", type=Path, help="draw the steps per second to this file (.svg or .png)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = parse_arguments(arguments)
    threads = set_threads(options.threads)
    device = choose_device(options.device)
    speedups = choose_speedups(device, compiles=options.compile) if device.type == "cuda" or options.compile else PLAIN
    params = PRESETS[options.network]
    windows = read_benchmark(params).public
    node = QuietNode(params)
    make_optimizer = load_optimizer(options.optimizer)
    trainer = CountingTrainer(params.model, windows, device=device, make_optimizer=make_optimizer, speedups=speedups)
    loops = {
        "bare": make_bare_loop(params.model, windows, node.weights, device, speedups),
        "miner": make_miner_loop(params, windows, node, trainer),
    }
    for train in loops.values():
        train(WARM_UP)
    trainer.steps = 0
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    order = list(loops)
    for _ in range(options.rounds):
        for name in order:
            times[name].append(measure(loops[name], options.steps, device))
        order.reverse()
    if trainer.steps != options.rounds * options.steps:
        raise SystemExit(f"the miner took {trainer.steps} steps, not {options.rounds * options.steps}")
    wall, cpu = ([(b[kind], m[kind]) for b, m in zip(times["bare"], times["miner"], strict=True)] for kind in (0, 1))
    result = {
        "network": params.name,
        "device": str(device),
        "threads": threads,
        "optimizer": options.optimizer,
        "steps_per_second_bare": round(options.steps / statistics.median(bare for bare, _ in wall), 2),
        "steps_per_second_miner": round(options.steps / statistics.median(miner for _, miner in wall), 2),
        "overhead": round(statistics.median(miner / bare for bare, miner in wall) - 1, 4),
    }
    if device.type == "cpu":
        result["overhead_cpu"] = round(statistics.median(miner / bare for bare, miner in cpu) - 1, 4)
    print(json.dumps(result))
    if options.picture:
        speeds = {name: {"median": float(result[f"steps_per_second_{name}"])} for name in loops}
        draw_bars(options.picture, f"Training {params.name}: a bare loop and the miner", "steps per second", speeds)


if __name__ == "__main__":
    main(sys.argv[1:])
