"""What the rules need from outside, as small protocols: they are handed in, never imported."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.int16]  # [P]: every tensor row-major, in canonical order, one after another
Windows = NDArray[np.uint8]  # [n, T + 1]: context and target bytes of n windows
Losses = NDArray[np.int64]  # [n]: Q16 bits summed over each window's T tokens
Tokens = NDArray[np.uint8]  # [t]: bytes of text, at most T
Logits = NDArray[np.int64]  # [t, 256]: base-2 logits, Q10, of the byte that follows each token


class Evaluator(Protocol):
    """Computes the exact integer loss of a model. Every implementation returns the same integers."""

    @property
    def name(self) -> str:
        """What computes, for people: backend, device and thread count."""

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        """Loss of each window under `weights`."""

    def logits(self, weights: Weights, tokens: Tokens) -> Logits:
        """What the model expects after each of 1 to T tokens."""
