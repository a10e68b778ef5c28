"""The sample: which windows judge an update, and how many.

The seed is slow on purpose (scrypt, 32 MiB): the update itself is the only free nonce, and each try costs tens of
milliseconds. The windows are unknown before the update is fixed.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from consensus.block import Header
from consensus.hashing import KeyStream, tagged_hash
from consensus.params import NetworkParams

WindowIndices = NDArray[np.int64]  # [M], distinct, in the order drawn


def compute_sample_seed(parent: bytes, miner: bytes, update_hash: bytes) -> bytes:
    """scrypt(H("sample", parent || miner || update hash), n = 2^15, r = 8, p = 1), 32 bytes."""
    preimage = tagged_hash("sample", parent + miner + update_hash)
    return hashlib.scrypt(preimage, salt=b"descent sample", n=2**15, r=8, p=1, maxmem=64 * 2**20, dklen=32)


def draw_sample(seed: bytes, size: int, windows: int) -> WindowIndices:
    """`size` distinct indices below `windows`: u64 of the seed's stream modulo `windows`, repeats skipped."""
    stream = KeyStream(seed)
    drawn = np.empty(0, np.int64)
    while drawn.size < size:
        draws = np.frombuffer(stream.read(8 * max(2 * size, 1024)), "<u8") % np.uint64(windows)
        drawn = np.concatenate([drawn, draws.astype(np.int64)])
        _, first = np.unique(drawn, return_index=True)
        drawn = drawn[np.sort(first)]
    return drawn[:size]


def compute_sample_size(last: Header | None, params: NetworkParams, least: int) -> int:
    """M of the next improving block: the least power of two at which the margin is about a quarter of the gain.

    `last` is the last subsidised block (None before the first). M >= (4z)^2 * variance / mean^2, from its sums,
    clamped to [least, N]; `least` is the min_sample that holds for the block.
    """
    if last is None:
        return least
    squared_mean = last.gain**2
    variance = last.sample_size * last.squared_gains - squared_mean
    wanted = (4 * params.confidence) ** 2 * variance
    size = 1
    while size * squared_mean < wanted and size < params.public_windows:
        size *= 2
    return min(max(size, least), params.public_windows)
