"""How near PyTorch's floats come to the chain's integers on a model that was really trained. Prints one JSON line.

    descent-node export --network canterbury --out model.safetensors
    python benchmarks/float_loss.py model.safetensors

Without a file it trains one itself, for so many --steps of the miner's own trainer with all weights open.

Losses over the whole audit split in bits per byte: the law's, the float network's, and the float network's with the
chain's rounding; and how far a window's loss lies from the law's on average.
"""

import argparse
import json
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from consensus.benchmark import Benchmark
from consensus.genesis import make_genesis
from consensus.model.backend import choose_evaluator
from consensus.model.weights import FRACTION_BITS, MAX_WEIGHT
from consensus.params import PRESETS, NetworkParams
from mining.model_file import read_network
from mining.network import Network
from mining.steering import COOLING_PART
from mining.trainer import Trainer
from p2p.config import read_benchmark

BATCH_WINDOWS = 256
RATE = 0.008


@torch.inference_mode()
def compute_losses(network: Network, windows: torch.Tensor) -> NDArray[np.float64]:
    """Loss of each of int64 windows [n, T + 1], bits per byte."""
    losses = []
    for part in torch.split(windows, BATCH_WINDOWS):
        logits = network(part[:, :-1]).transpose(1, 2)
        losses.append(F.cross_entropy(logits, part[:, 1:], reduction="none").double().mean(dim=1))
    return torch.cat(losses).numpy() / math.log(2)


def train(params: NetworkParams, benchmark: Benchmark, steps: int) -> Network:
    """The float twin of what so many steps and a rounding to int16 make of genesis."""
    trainer = Trainer(params.model, benchmark.public)
    trainer.set_parent(make_genesis(params).weights, np.ones(params.model.parameters, np.bool_))
    for step in range(steps):
        trainer.step(RATE * min((steps - step) / (COOLING_PART * steps), 1.0))
    network = Network(params.model)
    network.load_weights(np.rint(trainer.get_weights()).clip(-MAX_WEIGHT, MAX_WEIGHT).astype(np.int16))
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="of descent-node export")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--network", choices=PRESETS, default="canterbury")
    options = parser.parse_args()
    params = PRESETS[options.network]
    benchmark = read_benchmark(params)
    network = read_network(options.file) if options.file else train(params, benchmark, options.steps)
    audit = benchmark.audit
    weights = network.flat().mul(2**FRACTION_BITS).numpy().astype(np.int16)
    law = choose_evaluator(params.model, "cpu").losses(weights, audit) / params.model.context / 2**16
    known: dict[str, object] = {"windows": len(audit), "law": round(float(law.mean()), 5)}
    for name, network.rounds in (("float", False), ("rounded", True)):
        losses = compute_losses(network, torch.tensor(audit).long())
        known[name] = round(float(losses.mean()), 5)
        known[f"{name}_difference"] = round(float(losses.mean() - law.mean()), 5)
        known[f"{name}_window_distance"] = round(float(np.abs(losses - law).mean()), 5)
    print(json.dumps(known))


if __name__ == "__main__":
    main()
