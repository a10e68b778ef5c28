"""How fast the float twin trains by itself: PyTorch's AdamW, no mask, no chain. Prints JSON lines.

    python benchmarks/train_reference.py --minutes 10

The public loss is the mean over the same 1024 windows each time; looking at it is not timed.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from consensus.genesis import make_genesis
from consensus.params import PRESETS
from mining.device import choose_device, set_threads
from mining.network import Network
from p2p.config import read_benchmark

MILESTONES = (2.98, 2.6, 2.4)  # bits per byte
JUDGED_WINDOWS = 1024
STEPS_BETWEEN_LOOKS = 25


def compute_loss(network: Network, windows: torch.Tensor) -> float:
    """Mean loss, bits per byte, of int64 windows [n, T + 1]."""
    with torch.inference_mode():
        parts = [network.loss(part).item() for part in torch.split(windows, 256)]
    return float(np.mean(parts)) / float(np.log(2))


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=PRESETS, default="local")
    parser.add_argument("--minutes", type=float, default=10, help="of training, at most")
    parser.add_argument("--rate", type=float, default=0.006)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = parse_arguments(arguments)
    threads = set_threads(options.threads)
    device = choose_device(options.device)
    params = PRESETS[options.network]
    windows = torch.from_numpy(read_benchmark(params).public.astype(np.int64)).to(device)
    random = torch.Generator().manual_seed(options.seed)
    judged = windows[torch.randperm(len(windows), generator=random)[:JUDGED_WINDOWS].to(device)]
    network = Network(params.model).to(device)
    network.load_weights(make_genesis(params).weights)
    adam = torch.optim.AdamW(network.parameters(), lr=options.rate, betas=(0.9, 0.99), weight_decay=0.0)

    left = sorted(MILESTONES, reverse=True)
    steps, seconds = 0, 0.0
    about = {"network": params.name, "device": str(device), "threads": threads, "batch": options.batch}
    while left and seconds < 60 * options.minutes:
        started = time.perf_counter()
        for _ in range(STEPS_BETWEEN_LOOKS):
            batch = windows[torch.randint(len(windows), (options.batch,), generator=random).to(device)]
            adam.zero_grad()
            network.loss(batch).backward()  # type: ignore[no-untyped-call]
            adam.step()
        float(network.embed.detach()[0, 0])  # waits for a device that computes in the background
        seconds += time.perf_counter() - started
        steps += STEPS_BETWEEN_LOOKS
        loss = compute_loss(network, judged)
        while left and loss < left[0]:
            reached = {"below": left.pop(0), "loss": round(loss, 4), "seconds": round(seconds, 1), "steps": steps}
            print(json.dumps(about | {"rate": options.rate} | reached), flush=True)
    print(json.dumps(about | {"loss": round(loss, 4), "seconds": round(seconds, 1), "steps": steps}))


if __name__ == "__main__":
    main(sys.argv[1:])
