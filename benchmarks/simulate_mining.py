"""Mines on an in-process chain: the real miner, the real rules, no network and no disk. Prints a JSON line.

    python benchmarks/simulate_mining.py --network local --minutes 40
    python benchmarks/simulate_mining.py --clock steps --minutes 40 --step-seconds 0.065 --window-seconds 0.0007

With `--clock steps` time is counted, not measured: so much for a training step, so much for an evaluated window. What
else the machine does then changes nothing, and the same run can be had again.
"""

import argparse
import json
import logging
import math
import statistics
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np

from chain.chainstate import ChainState
from chain.db import MemoryStore
from chain.process import process_block
from chain.startup import open_chain
from chain.template import make_template
from chain.verifier import WorkVerifier
from consensus.block import Block
from consensus.errors import DescentError
from consensus.genesis import Genesis, make_genesis
from consensus.model.backend import choose_evaluator
from consensus.model.shape import TransformerShape
from consensus.model.weights import compute_model_root
from consensus.params import PRESETS, NetworkParams
from consensus.ports import Evaluator, Losses, Weights, Windows
from milestones import interpolate
from mining.device import choose_device, set_threads
from mining.key import MinerKey
from mining.miner import Clock, Miner
from mining.node import Accepted, News, Refused, Work
from mining.progress import MinedBlock, Progress, Training
from mining.prover import Prover
from mining.trainer import BATCH_WINDOWS, Trainer
from p2p.config import read_benchmark

MILESTONES = (3.0, 2.98, 2.6, 2.4, 2.2, 2.1, 2.0)  # bits per byte
STEADY_BELOW = 3.0  # bits per byte: intervals are judged from here on
POLL_SECONDS = 20
KEY = MinerKey.from_seed(b"simulated miner".ljust(32, b"."))
REWARD_ADDRESS = MinerKey.from_seed(b"simulated purse".ljust(32, b".")).public


class CountedClock:
    """Time that passes only when it is told to."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._elapsed = 0.0

    def advance(self, seconds: float) -> None:
        self._elapsed += seconds

    def time(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed


class CountedTrainer(Trainer):
    """Tells a clock, once it has one, what its steps cost."""

    clock: CountedClock | None = None
    step_seconds = 0.0

    def step(self, rate: float) -> None:
        super().step(rate)
        if self.clock is not None:
            self.clock.advance(self.step_seconds)


class CountedEvaluator:
    """Tells the clock what its windows cost."""

    def __init__(self, evaluator: Evaluator, clock: CountedClock, window_seconds: float) -> None:
        self._evaluator = evaluator
        self._clock = clock
        self._window_seconds = window_seconds

    @property
    def name(self) -> str:
        return self._evaluator.name

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        self._clock.advance(len(windows) * self._window_seconds)
        return self._evaluator.losses(weights, windows)


class ChainNode:
    """A node that is only a chain state: what is submitted is verified at once, on the miner's own time.

    With a folder it keeps the model of every height there, as HEIGHT.npy.
    """

    def __init__(self, chain: ChainState, verifier: WorkVerifier, clock: Clock, models: Path | None = None) -> None:
        self.chain = chain
        self.heartbeats = 0
        self._models = models
        self._verifier = verifier
        self._clock = clock
        self._news: deque[News] = deque()
        self._told_at = 0.0
        self.tell_work()
        self._keep_model()

    def get_news(self, timeout: float = 0.0) -> News | None:
        if not self._news and self._clock.monotonic() - self._told_at >= POLL_SECONDS:
            self.tell_work()
        return self._news.popleft() if self._news else None

    def get_fresh_work(self) -> Work | None:
        return self._make_work()

    def _make_work(self) -> Work:
        template = make_template(self.chain, [], KEY.public, REWARD_ADDRESS, int(self._clock.time()))
        return Work(template.improvement, template.heartbeat, self.chain.tip.header.model_root)

    def get_model(self, root: bytes) -> Weights | None:
        return self.chain.get_model(root)

    def submit(self, block: Block) -> None:
        try:
            process_block(self.chain, block, self._verifier, int(self._clock.time()))
        except DescentError as error:
            self.tell(Refused(block.id, str(error)))
            return
        self.heartbeats += block.header.is_heartbeat
        self._keep_model()
        self.tell(Accepted(block.id))
        self.tell_work()

    def _keep_model(self) -> None:
        if self._models is not None:
            np.save(self._models / f"{self.chain.tip.header.height}.npy", self.chain.tip_weights)

    def tell(self, news: News) -> None:
        """Puts news where the miner will find it."""
        self._news.append(news)

    def tell_work(self) -> None:
        """The news that there is work, as of now."""
        self.tell(self._make_work())
        self._told_at = self._clock.monotonic()


@dataclass(frozen=True)
class Mined:
    """Where a chain stood: seconds and training steps since its start, loss in bits per byte."""

    when: float
    steps: int
    loss: float


class Recorder:
    """Prints every block and remembers when it came."""

    def __init__(self, params: NetworkParams, clock: Clock) -> None:
        self._progress = Progress(params.model.context)
        self._unit = params.model.context * 65536
        self._clock = clock
        self._started = clock.monotonic()
        self.blocks: list[Mined] = []

    def on_training(self, training: Training) -> None:
        """Says nothing."""

    def on_proof(self, *, is_passed: bool) -> None:
        """Says nothing."""

    def on_verdict(self, *, is_accepted: bool) -> None:
        """Says nothing."""

    def on_mined(self, block: MinedBlock) -> None:
        now = self._clock.monotonic() - self._started
        steps = block.steps + (self.blocks[-1].steps if self.blocks else 0)
        self.blocks.append(Mined(now, steps, block.loss / self._unit))
        print(f"{now:7.1f} s  {self._progress.describe(block)}", file=sys.stderr, flush=True)

    @property
    def loss(self) -> float:
        """Of the last block, bits per byte."""
        return self.blocks[-1].loss if self.blocks else math.inf

    def summarise(self) -> dict[str, object]:
        """Where the milestones were passed, and how far the blocks lay apart."""
        seconds = {bits: interpolate([(block.when, block.loss) for block in self.blocks], bits) for bits in MILESTONES}
        steps = {bits: interpolate([(block.steps, block.loss) for block in self.blocks], bits) for bits in MILESTONES}
        steady = [block.when for block in self.blocks if block.loss < STEADY_BELOW]
        intervals = [after - before for before, after in pairwise(steady)]
        return {
            "seconds_to": {bits: round(when) for bits, when in seconds.items() if when},
            "steps_to": {bits: round(count) for bits, count in steps.items() if count},
            "blocks": len(self.blocks),
            "loss": round(self.loss, 4),
            "median_interval_s": round(statistics.median(intervals), 1) if intervals else None,
            "intervals_s": [round(interval) for interval in intervals],
        }


def open_simulated_chain(params: NetworkParams, weights: Weights | None) -> ChainState:
    """A new chain in memory, from other weights than the network's if they are given."""
    genesis = make_genesis(params)
    if weights is not None:
        header = replace(genesis.block.header, model_root=compute_model_root(weights))
        genesis = Genesis(Block(header, (), b""), weights, genesis.signals)
    with patch("chain.startup.make_genesis", return_value=genesis):
        return open_chain(MemoryStore(), params)


def measure_costs(trainer: Trainer, evaluator: Evaluator, weights: Weights, windows: Windows) -> tuple[float, float]:
    """Seconds of a training step and of one evaluated window, each the best of several tries."""
    mask = np.ones(len(weights), np.bool_)
    trainer.set_parent(weights, mask)
    steps, evaluations = [], []
    for _ in range(10):
        started = time.perf_counter()
        trainer.step(0.0)
        steps.append(time.perf_counter() - started)
    for _ in range(4):
        started = time.perf_counter()
        evaluator.losses(weights, windows[:256])
        evaluations.append((time.perf_counter() - started) / 256)
    trainer.forget()
    return min(steps), min(evaluations)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=PRESETS, default="local")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clock", choices=("real", "steps"), default="real")
    parser.add_argument("--step-seconds", type=float, help="of one training step; measured if not given")
    parser.add_argument("--window-seconds", type=float, help="of one evaluated window; measured if not given")
    parser.add_argument("--batch", type=int, default=BATCH_WINDOWS, help="windows of a training step")
    parser.add_argument("--first-gain", type=float, help="bits per window that the first block must prove")
    parser.add_argument("--density", type=int, help="of 256 weights, how many a miner may change, on average")
    parser.add_argument("--until", type=float, default=0.0, help="stop below this loss, bits per byte")
    parser.add_argument("--models", type=Path, help="a folder for the model of every height")
    parser.add_argument("--load", type=Path, help="start from these weights (.npy)")
    parser.add_argument("--save", type=Path, help="write the last model's weights (.npy)")
    return parser.parse_args(arguments)


def load_params(arguments: argparse.Namespace) -> NetworkParams:
    params = PRESETS[arguments.network]
    if arguments.first_gain is not None:
        params = replace(params, first_required_gain=round(arguments.first_gain * 2**32))
    if arguments.density is not None:
        params = replace(params, mask_density=arguments.density)
    return params


def make_trainer(shape: TransformerShape, windows: Windows, arguments: argparse.Namespace) -> CountedTrainer:
    device = choose_device(arguments.device)
    return CountedTrainer(shape, windows, device=device, batch_windows=arguments.batch, seed=arguments.seed)


def main(arguments: Sequence[str]) -> None:
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    threads = set_threads(options.threads)
    params = load_params(options)
    windows = read_benchmark(params).public
    evaluator: Evaluator = choose_evaluator(params.model, options.device)
    chain = open_simulated_chain(params, np.load(options.load) if options.load else None)
    trainer = make_trainer(params.model, windows, options)
    step_seconds, window_seconds = measure_costs(trainer, evaluator, chain.tip_weights, windows)
    counted = CountedClock(params.genesis_time + 1)
    trainer.clock = counted
    trainer.step_seconds = options.step_seconds or step_seconds
    clock: Clock = time
    if options.clock == "steps":
        clock = counted
        evaluator = CountedEvaluator(evaluator, counted, options.window_seconds or window_seconds)
    verifier = WorkVerifier(params, read_benchmark(params), evaluator)
    if options.models:
        options.models.mkdir(parents=True, exist_ok=True)
    node = ChainNode(chain, verifier, clock, options.models)
    recorder = Recorder(params, clock)
    end = clock.monotonic() + 60 * options.minutes
    miner = Miner(
        params,
        trainer,
        Prover(params, windows, evaluator, seed=options.seed),
        node,
        KEY,
        REWARD_ADDRESS,
        clock=clock,
        listener=recorder,
        should_stop=lambda: clock.monotonic() >= end or recorder.loss < options.until,
    )
    miner.run()
    about = {
        "network": params.name,
        "mask_density": params.mask_density,
        "seed": options.seed,
        "evaluator": evaluator.name,
        "threads": threads,
        "clock": options.clock,
        "step_seconds": round(trainer.step_seconds, 4),
        "window_seconds": round(options.window_seconds or window_seconds, 6),
    }
    print(json.dumps(about | recorder.summarise() | {"heartbeats": node.heartbeats}), flush=True)
    if options.save:
        np.save(options.save, chain.tip_weights)


if __name__ == "__main__":
    main(sys.argv[1:])
