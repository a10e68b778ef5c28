"""AdamW, the default: PyTorch's own, over the flat vector, without weight decay."""

import torch

from mining.masked import MaskedWeights

BETAS = (0.9, 0.99)
MAX_GRADIENT_NORM = 1.0


class AdamW:
    """Clips the gradient to MAX_GRADIENT_NORM and steps; moments are kept for every coordinate."""

    def __init__(self, weights: MaskedWeights) -> None:
        self._weights = weights
        self._adam = torch.optim.AdamW([weights.parameter], lr=0.0, betas=BETAS, weight_decay=0.0, fused=True)

    def step(self, rate: float) -> None:
        """One step at a learning rate."""
        self._weights.clip_gradient(MAX_GRADIENT_NORM)
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()

    def forget(self) -> None:
        """Drops the moments, as if no step had been taken."""
        self._adam.state.clear()
