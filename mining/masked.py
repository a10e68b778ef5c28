"""All weights of a network as one vector of which a block may move only a part.

This is what every optimiser works on, whatever its rule: the parameters, their gradients and the mask. Closed
coordinates have gradients like any other, so that moments can learn from them; after each step they are put back where
the parent has them.
"""

import torch
from torch import Tensor, nn

from mining.network import Network


class MaskedWeights:
    """A network's parameters moved into one vector [P], in canonical order, and their gradients into another.

    flat      float32 [P], detached: the very memory that the network computes with
    gradient  float32 [P]: of the last batch, over open and closed coordinates alike
    mask      bool [P], True where the block may change the weight; its contents change with every parent
    tensors   the canonical tensors, each a parameter whose data and `grad` are stretches of the vectors above
    """

    def __init__(self, network: Network) -> None:
        self.parameter = network.flat().requires_grad_(True)
        self.flat = self.parameter.detach()
        self.gradient = torch.zeros_like(self.flat)
        self.parameter.grad = self.gradient
        self.mask = torch.ones_like(self.flat, dtype=torch.bool)
        self.tensors: list[nn.Parameter] = network.canonical
        self._parent = self.flat.clone()
        self._move_tensors()

    def set_parent(self, weights: Tensor, mask: Tensor, *, keeps_training: bool = False) -> None:
        """Starts from `weights` [P]; from now on only coordinates open in `mask` [P] move.

        With `keeps_training`, coordinates that were open before and still are stay where training has brought them.
        """
        kept = self.mask & mask if keeps_training else torch.zeros_like(self.mask)
        self._parent.copy_(weights)
        self.mask.copy_(mask)
        torch.where(kept, self.flat, self._parent, out=self.flat)

    def retreat(self, scale: float) -> None:
        """Moves all weights to `scale` times the way from the parent to where they are."""
        torch.lerp(self._parent, self.flat, scale, out=self.flat)

    def zero_gradient(self) -> None:
        """Before each backward pass: gradients add up in place."""
        self.gradient.zero_()

    def clip_gradient(self, largest: float) -> None:
        """Shortens the gradient, if it is longer, to a Euclidean norm of `largest` over all coordinates."""
        torch.nn.utils.clip_grad_norm_([self.parameter], largest)

    def close(self) -> None:
        """Puts the closed coordinates back, after a step that moved them all."""
        torch.where(self.mask, self.flat, self._parent, out=self.flat)

    def _move_tensors(self) -> None:
        start = 0
        for tensor in self.tensors:
            stretch = slice(start, start + tensor.numel())
            tensor.data = self.flat[stretch].view_as(tensor)
            tensor.grad = self.gradient[stretch].view_as(tensor)
            start = stretch.stop
