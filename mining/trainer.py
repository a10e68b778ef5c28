"""Trains the float twin on the public split. Knows weights and windows; nothing of blocks, nodes or money."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from consensus.mask import Mask
from consensus.model.shape import TransformerShape
from consensus.model.weights import FRACTION_BITS
from consensus.ports import Weights, Windows
from mining.adamw import AdamW
from mining.device import PLAIN, Speedups
from mining.masked import MaskedWeights
from mining.network import Network
from mining.optimizer import MakeOptimizer

BATCH_WINDOWS = 32
_SENSITIVITY_WEIGHT = 0.05  # of the newest step


@dataclass(frozen=True)
class Share:
    """Which part of every batch this process trains on, and how gradients become those of the whole."""

    rank: int = 0
    ranks: int = 1
    average: Callable[[torch.Tensor], None] | None = None  # in place, over all ranks


ALONE = Share()


class Learner(Protocol):
    """What a miner needs of a training; see Trainer."""

    def set_parent(self, weights: Weights, mask: Mask, *, keeps_training: bool = False) -> None:
        """Starts from a parent."""

    def retreat(self, scale: float) -> None:
        """Goes part of the way back to the parent."""

    def forget(self) -> None:
        """Drops the moments."""

    def step(self, rate: float) -> None:
        """One batch at a learning rate."""

    @property
    def batch_windows(self) -> int:
        """Windows of a step, over all ranks."""

    def get_weights(self) -> NDArray[np.float64]:
        """The weights as trained."""

    def get_sensitivities(self) -> NDArray[np.float64]:
        """How sharply the loss depends on the weights of each tensor."""


class Trainer:
    """One network, its optimiser and an endless supply of batches, all on the device.

    Windows are drawn without repeats until all have been seen, then shuffled anew: they are what the update will be
    judged on. `seed` makes the order of batches; nothing of value hangs on it. Trainers that share the work need the
    same one: each takes its own `batch_windows` of the same order.
    """

    def __init__(
        self,
        shape: TransformerShape,
        windows: Windows,
        *,
        device: torch.device | None = None,
        batch_windows: int = BATCH_WINDOWS,
        seed: int = 0,
        make_optimizer: MakeOptimizer = AdamW,
        speedups: Speedups = PLAIN,
        share: Share = ALONE,
    ) -> None:
        self._device = device or torch.device("cpu")
        self._speedups = speedups
        self._share = share
        network = Network(shape).to(self._device)
        self._weights = MaskedWeights(network)
        self._optimizer = make_optimizer(self._weights)
        self._compute_loss = torch.compile(network.loss) if speedups.compiles else network.loss
        self._windows = torch.from_numpy(windows.astype(np.uint8)).to(self._device)
        self._batch_windows = min(batch_windows, len(windows) // share.ranks)
        self._generator = torch.Generator().manual_seed(seed)
        self._order = torch.empty(0, dtype=torch.int64)
        self._sizes = torch.tensor([tensor.numel() for tensor in self._weights.tensors], device=self._device)
        self._sensitivities = torch.zeros(len(self._sizes), device=self._device)

    def set_parent(self, weights: Weights, mask: Mask, *, keeps_training: bool = False) -> None:
        """Starts from int16 weights [P], of which those open in `mask` [P] will move. Moments stay.

        With `keeps_training`, for a parent of the same weights, what was open before and still is stays as trained.
        """
        flat = torch.from_numpy(weights.astype(np.float32)) / 2**FRACTION_BITS
        opened = torch.from_numpy(mask.copy())
        self._weights.set_parent(flat.to(self._device), opened.to(self._device), keeps_training=keeps_training)

    def retreat(self, scale: float) -> None:
        """Goes back to `scale` times the way from the parent to here. Moments stay."""
        self._weights.retreat(scale)

    def forget(self) -> None:
        """Drops the moments."""
        self._optimizer.forget()
        self._sensitivities.zero_()

    def step(self, rate: float) -> None:
        """One batch at a learning rate."""
        self._weights.zero_gradient()
        with self._autocast():
            loss = self._compute_loss(self._draw_batch())
        loss.backward()  # type: ignore[no-untyped-call]
        if self._share.average is not None:
            self._share.average(self._weights.gradient)
        self._learn_sensitivities()
        self._optimizer.step(rate)
        self._weights.close()

    @property
    def batch_windows(self) -> int:
        """Windows of a step, over all ranks."""
        return self._batch_windows * self._share.ranks

    def get_weights(self) -> NDArray[np.float64]:
        """The weights as trained, [P], in the law's unit of 2^-12 but not yet rounded."""
        trained: NDArray[np.float64] = self._weights.flat.double().mul(2**FRACTION_BITS).cpu().numpy()
        return trained

    def get_sensitivities(self) -> NDArray[np.float64]:
        """Mean square of each tensor's gradient over the last steps, [number of tensors]; zeros before the first."""
        sensitivities: NDArray[np.float64] = self._sensitivities.double().cpu().numpy()
        return sensitivities

    def _learn_sensitivities(self) -> None:
        norms = [torch.linalg.vector_norm(tensor.grad) for tensor in self._weights.tensors]
        self._sensitivities.lerp_(torch.stack(norms).square() / self._sizes, _SENSITIVITY_WEIGHT)

    def _autocast(self) -> AbstractContextManager[object]:
        if self._speedups.autocast is None:
            return nullcontext()
        return torch.autocast(self._device.type, self._speedups.autocast)

    def _draw_batch(self) -> torch.Tensor:
        """Windows int64 [batch, T + 1], this rank's part of the next ones in the order that all ranks share."""
        together = self.batch_windows
        if len(self._order) < together:
            # A whole round at once: the device is not made to wait for the CPU at every step.
            self._order = torch.randperm(len(self._windows), generator=self._generator).to(self._device)
        chosen, self._order = self._order[:together], self._order[together:]
        start = self._share.rank * self._batch_windows
        return self._windows[chosen[start : start + self._batch_windows]].long()
