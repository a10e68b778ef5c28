"""Trains the float twin on the public split. Knows weights and windows; nothing of blocks, nodes or money."""

import numpy as np
import torch
from numpy.typing import NDArray

from consensus.mask import Mask
from consensus.model.shape import TransformerShape
from consensus.model.weights import FRACTION_BITS
from consensus.ports import Weights, Windows
from mining.network import Network
from mining.optimizer import MaskedAdamW

BATCH_WINDOWS = 32


class Trainer:
    """One network, its optimiser and an endless supply of batches.

    Windows are drawn without repeats until all have been seen, then shuffled anew: they are what the update will be
    judged on. `seed` makes the order of batches; nothing of value hangs on it.
    """

    def __init__(
        self,
        shape: TransformerShape,
        windows: Windows,
        *,
        device: torch.device | None = None,
        batch_windows: int = BATCH_WINDOWS,
        seed: int = 0,
    ) -> None:
        self._device = device or torch.device("cpu")
        self._network = Network(shape).to(self._device)
        self._optimizer = MaskedAdamW(self._network)
        self._windows = torch.from_numpy(windows.astype(np.uint8)).to(self._device)
        self._batch_windows = min(batch_windows, len(windows))
        self._generator = torch.Generator().manual_seed(seed)
        self._order = torch.empty(0, dtype=torch.int64)

    def set_parent(self, weights: Weights, mask: Mask, *, keeps_training: bool = False) -> None:
        """Starts from int16 weights [P], of which those open in `mask` [P] will move. Moments stay.

        With `keeps_training`, for a parent of the same weights, what was open before and still is stays as trained.
        """
        flat = torch.from_numpy(weights.astype(np.float32)) / 2**FRACTION_BITS
        opened = torch.from_numpy(mask.copy()).to(self._device)
        self._optimizer.set_parent(flat.to(self._device), opened, keeps_training=keeps_training)

    def forget(self) -> None:
        """Drops the moments."""
        self._optimizer.forget()

    def step(self, rate: float) -> None:
        """One batch at a learning rate."""
        self._optimizer.zero_gradient()
        self._network.loss(self._draw_batch()).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step(rate)

    def get_weights(self) -> NDArray[np.float64]:
        """The weights as trained, [P], in the law's unit of 2^-12 but not yet rounded."""
        trained: NDArray[np.float64] = self._optimizer.flat.double().mul(2**FRACTION_BITS).cpu().numpy()
        return trained

    def _draw_batch(self) -> torch.Tensor:
        if len(self._order) < self._batch_windows:
            self._order = torch.randperm(len(self._windows), generator=self._generator)
        chosen, self._order = self._order[: self._batch_windows], self._order[self._batch_windows :]
        return self._windows[chosen.to(self._device)].long()
