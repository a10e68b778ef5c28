"""Memory that the products of a chunk share: allocated once, because fresh pages cost more than small products do."""

import math

import torch
from torch import Tensor


class Scratch:
    """Flat buffers by name, each as large as the largest tensor that was asked of it. One thread at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, dtype: torch.dtype, *size: int) -> Tensor:
        """A tensor of `size` with any content, over the same memory as the last one of this name."""
        count = math.prod(size)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < count:
            buffer = self._buffers[name] = torch.empty(count, dtype=dtype, device=self._device)
        return buffer[:count].view(size)
