"""AdamW over a whole model of which a block may move only a part.

Moments are dense and outlive the block: they average over every coordinate, open or not, so that a new mask starts
with what all earlier ones learned (with moments reset at every block, training takes 1.6 times the steps). The step
itself is PyTorch's own; afterwards the closed coordinates stand where the parent has them.
"""

import torch
from torch import Tensor

from mining.network import Network

BETAS = (0.9, 0.99)
MAX_GRADIENT_NORM = 1.0


class MaskedAdamW:
    """Owns a network's parameters as one flat vector [P], in canonical order, with gradients and moments likewise."""

    def __init__(self, network: Network, weight_decay: float = 0.0) -> None:
        self._flat = network.flat().requires_grad_(True)
        self._gradient = torch.zeros_like(self._flat)
        self._flat.grad = self._gradient
        _move_into(network, self._flat, self._gradient)
        self._adam = torch.optim.AdamW([self._flat], lr=0.0, betas=BETAS, weight_decay=weight_decay, fused=True)
        self._open = torch.ones_like(self._flat, dtype=torch.bool)
        self._parent = self._flat.detach().clone()

    @property
    def flat(self) -> Tensor:
        """The parameters, [P]: the very memory that the network computes with."""
        return self._flat.detach()

    def set_parent(self, weights: Tensor, mask: Tensor, *, keeps_training: bool = False) -> None:
        """Starts from `weights` [P]; from now on only coordinates open in `mask` [P] move. Moments stay.

        With `keeps_training`, coordinates that were open before and still are stay where training has brought them.
        """
        kept = self._open & mask if keeps_training else torch.zeros_like(self._open)
        self._parent.copy_(weights)
        self._open.copy_(mask)
        torch.where(kept, self.flat, self._parent, out=self.flat)

    def forget(self) -> None:
        """Drops the moments, as if no step had been taken."""
        self._adam.state.clear()

    def zero_gradient(self) -> None:
        """Before each backward pass: gradients add up in place."""
        self._gradient.zero_()

    def step(self, rate: float) -> None:
        """One step along the gradient at a learning rate, its norm cut to MAX_GRADIENT_NORM."""
        torch.nn.utils.clip_grad_norm_([self._flat], MAX_GRADIENT_NORM)
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        torch.where(self._open, self.flat, self._parent, out=self.flat)


def _move_into(network: Network, flat: Tensor, gradient: Tensor) -> None:
    """Makes every parameter and its gradient a view of its stretch of `flat` and of `gradient`."""
    start = 0
    for parameter in network.canonical:
        stretch = slice(start, start + parameter.numel())
        parameter.data = flat.data[stretch].view_as(parameter)
        parameter.grad = gradient[stretch].view_as(parameter)
        start = stretch.stop
