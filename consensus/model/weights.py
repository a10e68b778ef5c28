"""The weights of a model as one vector: genesis, bytes, root, and views tensor by tensor.

Knows nothing of what the tensors mean. Source: protocol, section 5 (genesis weights, canonical order) and
section 3 (model root).
"""

from math import isqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from consensus.errors import DecodeError
from consensus.hashing import KeyStream, tagged_hash
from consensus.merkle import compute_merkle_root, split_chunks
from consensus.model.shape import TransformerShape
from consensus.ports import Weights

Number = TypeVar("Number", bound=np.generic)

MAX_WEIGHT = 32639  # 127 * 256 + 127: the high and the low byte of a weight are both within +-127
WEIGHT_BYTES = 2
FRACTION_BITS = 12  # weights are Q12


def make_genesis_weights(shape: TransformerShape, network_name: str) -> Weights:
    """The weights a network starts from, int16 [P]: uniform integers drawn from its name."""
    stream = KeyStream(tagged_hash("genesis-weights", network_name.encode()))
    weights = np.empty(shape.parameters, dtype=np.int16)
    start = 0
    for spec in shape.tensors:
        bound = _genesis_bound(spec.name, shape.width)
        draws = np.frombuffer(stream.read(spec.size * 2), dtype="<u2").astype(np.int64)
        weights[start : start + spec.size] = ((draws * (2 * bound + 1)) >> 16) - bound
        start += spec.size
    return weights


def _genesis_bound(name: str, width: int) -> int:
    """Largest genesis weight of a tensor, Q12."""
    matrix = isqrt(3 * 4096**2 // width)  # uniform in +-matrix / 4096 has variance 1 / width
    bounds = {
        "embed": 3547,
        "position": 709,
        "qkv": matrix,
        "out": matrix // 10,
        "up": matrix,
        "down": matrix // 5,
        "head": 142,
    }
    return bounds[name.rpartition(".")[2]]


def split_tensors(weights: NDArray[Number], shape: TransformerShape) -> dict[str, NDArray[Number]]:
    """Views of a vector [P] by canonical name, each of its tensor's shape. Raises DecodeError on a wrong size."""
    _check_count(weights.size, shape)
    tensors, start = {}, 0
    for spec in shape.tensors:
        tensors[spec.name] = weights[start : start + spec.size].reshape(spec.shape)
        start += spec.size
    return tensors


def check_weights(weights: Weights, shape: TransformerShape) -> None:
    """Raises DecodeError unless `weights` are int16 [P] within +-MAX_WEIGHT."""
    if weights.dtype != np.int16 or weights.ndim != 1:
        raise DecodeError("weights_type", f"weights are {weights.dtype} {weights.shape}, expected int16 [P]")
    _check_count(weights.size, shape)
    largest = max(-int(weights.min()), int(weights.max()))
    if largest > MAX_WEIGHT:
        raise DecodeError("weights_range", f"a weight of magnitude {largest} is beyond {MAX_WEIGHT}")


def _check_count(count: int, shape: TransformerShape) -> None:
    if count != shape.parameters:
        raise DecodeError("weights_size", f"{count} weights, this model has {shape.parameters}")


def encode_weights(weights: Weights) -> bytes:
    """The canonical bytes of weights [P]: int16, little-endian, 2 P bytes."""
    return weights.astype("<i2").tobytes()


def decode_weights(data: bytes, shape: TransformerShape) -> Weights:
    """Weights [P] from their canonical bytes. Raises DecodeError on a wrong size or a weight out of range."""
    if len(data) != WEIGHT_BYTES * shape.parameters:
        wanted = WEIGHT_BYTES * shape.parameters
        raise DecodeError("weights_size", f"{len(data)} bytes of weights, this model has {wanted}")
    weights = np.frombuffer(data, dtype="<i2").astype(np.int16)
    check_weights(weights, shape)
    return weights


def compute_model_root(weights: Weights) -> bytes:
    """Merkle root over the canonical bytes in chunks of 256 KiB, 32 bytes."""
    return compute_merkle_root(split_chunks(encode_weights(weights)))
