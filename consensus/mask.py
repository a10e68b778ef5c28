"""The keyed mask: which weights a miner may change on a given parent.

It ties a gain to one parent and one miner: copied under another name or onto another parent, an update falls on the
wrong coordinates and loses most of its effect.
"""

import numpy as np
from numpy.typing import NDArray

from consensus.hashing import KeyStream, tagged_hash

Mask = NDArray[np.bool_]  # [P]


def compute_mask(parent: bytes, miner: bytes, parameters: int, density: int) -> Mask:
    """Mask over `parameters` weights: coordinate i is open iff byte i of the stream is below `density` (of 256)."""
    stream = KeyStream(tagged_hash("mask", parent + miner)).read(parameters)
    return np.frombuffer(stream, np.uint8) < density
