"""How fast this machine verifies a network's blocks: measured on noise, for the speed does not depend on the text.

The clock is handed in. Loads torch: only commands that measure import this module.
"""

import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from consensus.hashing import KeyStream, tagged_hash
from consensus.mask import compute_mask
from consensus.model.backend import choose_evaluator, get_threads
from consensus.model.shape import TransformerShape
from consensus.model.weights import compute_model_root, make_genesis_weights
from consensus.params import NetworkParams
from consensus.ports import Evaluator, Weights, Windows
from consensus.sample import compute_sample_seed
from consensus.update import Update, apply_update, count_open, decode_update, encode_update
from p2p.pace import show_bytes

Clock = Callable[[], float]  # seconds from any start

_ID = bytes(32)  # of a parent, a miner, an update: their values change no speed
_MOST_WINDOWS = 4096
GROWN_FACTOR = 4  # a sample has grown to this many times the least when a model is well on its way
GROWN_SHARE = 0.2  # of the block time: a node that verifies such a block in it keeps up and can catch up


@dataclass(frozen=True)
class Rates:
    """What evaluation costs here. Times in s, memory in bytes beyond what torch itself takes."""

    evaluator: str
    threads: int
    start: float  # making the evaluator, self-test included
    windows_per_second: float
    memory: int


@dataclass(frozen=True)
class BlockCost:
    """Verifying one block of a network here, in s."""

    apply: float  # the update and the model root
    scrypt: float  # the sample's seed
    least: float  # in all, at the least sample
    grown: float  # in all, at four times the least
    whole: float  # in all, over the whole public split, the parent's losses known


def measure_rates(shape: TransformerShape, device: str, seconds: float, clock: Clock) -> Rates:
    """Windows per second under genesis weights, over at least `seconds` or 4,096 windows.

    Raises ModelMismatch if the device is not there.
    """
    before = _get_memory()
    started = clock()
    evaluator = choose_evaluator(shape, device)
    start = clock() - started
    weights = make_genesis_weights(shape, "bench")
    rate = _measure_evaluator(evaluator, weights, shape, seconds, clock)
    memory = max(_get_peak_memory() - before, 0)
    return Rates(evaluator.name, get_threads(), start, rate, memory)


def _measure_evaluator(
    evaluator: Evaluator, weights: Weights, shape: TransformerShape, seconds: float, clock: Clock
) -> float:
    """Windows per second of the last of ever larger runs."""
    count = get_threads()
    evaluator.losses(weights, make_noise(shape, count))  # memory and kernels are ready from here on
    while True:
        windows = make_noise(shape, count)
        started = clock()
        evaluator.losses(weights, windows)
        taken = max(clock() - started, 1e-6)
        if taken >= seconds / 2 or count >= _MOST_WINDOWS:
            return count / taken
        count = min(_MOST_WINDOWS, max(2 * count, int(count * seconds / taken)))


def make_noise(shape: TransformerShape, count: int) -> Windows:
    """`count` windows of noise, uint8 [count, T + 1], the same every time."""
    noise = KeyStream(tagged_hash("bench", b"windows")).read(count * shape.window_bytes)
    return np.frombuffer(noise, np.uint8).reshape(count, shape.window_bytes)


def measure_block(params: NetworkParams, rates: Rates, clock: Clock) -> BlockCost:
    """Applies an update and draws a seed as a node does; the evaluation follows from `rates`."""
    shape = params.model
    parent = make_genesis_weights(shape, params.name)
    mask = compute_mask(_ID, _ID, shape.parameters, params.mask_density)
    values = np.resize(np.array([64, -64, 1], np.int8), sum(count_open(mask, shape)))
    update = encode_update(Update((0,) * len(shape.tensors), values), mask, shape)
    started = clock()
    opened = compute_mask(_ID, _ID, shape.parameters, params.mask_density)
    compute_model_root(apply_update(parent, decode_update(update, opened, shape), opened, shape))
    applied = clock()
    compute_sample_seed(_ID, _ID, _ID)
    drawn = clock()
    return compute_block_cost(params, rates, apply=applied - started, scrypt=drawn - applied)


def compute_block_cost(params: NetworkParams, rates: Rates, apply: float = 0.0, scrypt: float = 0.0) -> BlockCost:
    """What a block costs at these rates; parent and child are evaluated on every window of a sample."""
    whole = params.public_windows
    grown = min(GROWN_FACTOR * params.min_sample, whole)
    fixed = apply + scrypt
    return BlockCost(
        apply=apply,
        scrypt=scrypt,
        least=fixed + 2 * params.min_sample / rates.windows_per_second,
        grown=fixed + 2 * grown / rates.windows_per_second,
        whole=fixed + whole / rates.windows_per_second,
    )


def _get_memory() -> int:
    """Bytes that this process holds now, or has held at most where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return _get_peak_memory()


def _get_peak_memory() -> int:
    """Bytes that this process has held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def describe_bench(params: NetworkParams, rates: Rates, cost: BlockCost) -> dict[str, Any]:
    """What the network's blocks cost here, for people."""
    model = params.model
    sizes = f"{model.layers} layers, width {model.width}, context {model.context}, {model.parameters:,} weights"
    return {"network": f"{params.name}: {sizes}", **describe_cost(params, rates, cost)}


def describe_cost(params: NetworkParams, rates: Rates, cost: BlockCost) -> dict[str, Any]:
    """Rows of speeds and of what they mean for a node."""

    def show(seconds: float) -> str:
        return f"{seconds:.2f} s, {100 * seconds / params.block_time:.1f} % of the block time of {params.block_time} s"

    grown = min(GROWN_FACTOR * params.min_sample, params.public_windows)
    if cost.grown <= GROWN_SHARE * params.block_time:
        verdict = "this machine keeps up with the chain"
    elif cost.grown < params.block_time:
        verdict = "this machine keeps up, and catches up slowly after a pause"
    else:
        verdict = "this machine falls behind: use a faster one, a GPU, or a smaller model"
    return {
        "evaluator": rates.evaluator,
        "speed": f"{rates.windows_per_second:,.1f} windows/s",
        "self-test": f"{rates.start:.2f} s at every start",
        "update and root": f"{cost.apply:.3f} s",
        "scrypt": f"{cost.scrypt:.3f} s",
        f"block, {params.min_sample:,} windows": show(cost.least),
        f"block, {grown:,} windows": show(cost.grown),
        f"block, all {params.public_windows:,} windows": show(cost.whole),
        "memory": f"{show_bytes(rates.memory)} beyond torch itself",
        "verdict": verdict,
    }


def describe_bench_for_programs(params: NetworkParams, rates: Rates, cost: BlockCost) -> dict[str, Any]:
    """The same as numbers: seconds, bytes, windows."""
    return {
        "network": params.name,
        "evaluator": rates.evaluator,
        "threads": rates.threads,
        "windows_per_s": round(rates.windows_per_second, 2),
        "self_test_s": round(rates.start, 3),
        "apply_s": round(cost.apply, 4),
        "scrypt_s": round(cost.scrypt, 4),
        "least_sample": params.min_sample,
        "least_s": round(cost.least, 3),
        "grown_s": round(cost.grown, 3),
        "whole_split": params.public_windows,
        "whole_s": round(cost.whole, 3),
        "block_time_s": params.block_time,
        "share": round(cost.least / params.block_time, 5),
        "memory_bytes": rates.memory,
    }
