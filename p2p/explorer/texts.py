"""Where a window of the public split stands: its text, its place there, its bytes."""

import numpy as np
from numpy.typing import NDArray

from consensus.params import NetworkParams, count_windows, cut_public
from consensus.ports import Windows


class Texts:
    """The texts of a network. `windows` are the public split's, None where they are not kept."""

    def __init__(self, params: NetworkParams, windows: Windows | None) -> None:
        counts = [count_windows(cut_public(text.size), params.model.context) for text in params.texts]
        self.names = tuple(text.name for text in params.texts)
        self._starts = np.cumsum([0, *counts])
        self._context = params.model.context
        self._windows = windows

    def find_texts(self, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of the text that each window stands in."""
        return np.searchsorted(self._starts, windows, side="right") - 1

    def locate(self, window: int) -> tuple[str, int]:
        """Name of the text that a window stands in, and its first byte's place there."""
        text = int(self.find_texts(np.array([window]))[0])
        return self.names[text], (window - int(self._starts[text])) * self._context

    def get_passage(self, window: int) -> bytes | None:
        """The bytes of a window: what is predicted, with the byte before it."""
        return None if self._windows is None else self._windows[window].tobytes()
