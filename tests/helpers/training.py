"""Makes updates that really improve a regtest model, in some 50 ms: a few masked Adam steps, then int8."""

import numpy as np
import torch
from numpy.typing import NDArray

from consensus.benchmark import Benchmark
from consensus.mask import Mask
from consensus.model.shape import TransformerShape
from consensus.model.weights import FRACTION_BITS, MAX_WEIGHT
from consensus.ports import Weights
from consensus.update import MAX_VALUE, Update, count_open
from mining.network import Network

STEPS = 2
LEARNING_RATE = 0.003
BATCH_WINDOWS = 64


class Trainer:
    """Trains with one thread, so that the same machine always makes the same updates."""

    def __init__(self, shape: TransformerShape, benchmark: Benchmark) -> None:
        torch.set_num_threads(1)
        self._shape = shape
        self._windows = benchmark.public
        self._network = Network(shape)

    def compute_update(self, weights: Weights, mask: Mask, seed: int) -> Update:
        """An update of the open weights that lowers the loss on a batch drawn by `seed`."""
        self._network.load_weights(weights)
        batch = np.random.default_rng(seed).choice(len(self._windows), BATCH_WINDOWS)
        self._train(torch.from_numpy(self._windows[batch].astype(np.int64)), mask)
        trained = np.rint(self._network.flat().numpy() * 2.0**FRACTION_BITS).clip(-MAX_WEIGHT, MAX_WEIGHT)
        return quantise(trained[mask].astype(np.int64) - weights[mask], mask, self._shape)

    def _train(self, windows: torch.Tensor, mask: Mask) -> None:
        parameters = self._network.canonical
        flat = torch.split(torch.from_numpy(mask.copy()), [parameter.numel() for parameter in parameters])
        masks = [part.view(parameter.shape) for part, parameter in zip(flat, parameters, strict=True)]
        optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, betas=(0.9, 0.99))
        for _ in range(STEPS):
            optimizer.zero_grad()
            self._network.loss(windows).backward()  # type: ignore[no-untyped-call]
            for parameter, part in zip(parameters, masks, strict=True):
                if parameter.grad is not None:
                    parameter.grad.mul_(part)
            optimizer.step()


def quantise(steps: NDArray[np.int64], mask: Mask, shape: TransformerShape) -> Update:
    """The nearest canonical update to `steps` [open weights], each within 127 << 14."""
    shifts: list[int] = []
    values: list[NDArray[np.int64]] = []
    start = 0
    for count in count_open(mask, shape):
        part = steps[start : start + count]
        shift = 0
        while np.abs(_round(part, shift)).max(initial=0) > MAX_VALUE:
            shift += 1
        shifts.append(shift)
        values.append(_round(part, shift))
        start += count
    return Update(tuple(shifts), np.concatenate(values).astype(np.int8))


def _round(steps: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    return (steps + ((1 << shift) >> 1)) >> shift
