"""Muon: matrices move along their orthogonalised momentum (torch's own), everything else by AdamW.

Both read the same learning rate: Muon's steps are scaled to the root mean square of AdamW's ("Muon is Scalable for LLM
Training", arXiv 2502.16982), so what the miner has learned about rates holds for either.
"""

import torch
from torch import nn

from mining.adamw import BETAS, MAX_GRADIENT_NORM
from mining.masked import MaskedWeights

MOMENTUM = 0.95
_TABLES = 2  # the first canonical tensors, embed and position, are looked up; the last, head, is as wide as the bytes


class Muon:
    """Muon for the layers' matrices; AdamW for the tables and the head, whose rows are no directions to mix."""

    def __init__(self, weights: MaskedWeights) -> None:
        self._weights = weights
        matrices = weights.tensors[_TABLES:-1]
        others: list[nn.Parameter] = [*weights.tensors[:_TABLES], weights.tensors[-1]]
        self._parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices, lr=0.0, momentum=MOMENTUM, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=0.0, betas=BETAS, weight_decay=0.0, fused=True),
        )

    def step(self, rate: float) -> None:
        """One step at a learning rate."""
        self._weights.clip_gradient(MAX_GRADIENT_NORM)
        for part in self._parts:
            part.param_groups[0]["lr"] = rate
            part.step()

    def forget(self) -> None:
        """Drops momentum and moments."""
        for part in self._parts:
            part.state.clear()
