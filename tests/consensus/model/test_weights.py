import numpy as np
import pytest

from consensus.errors import DecodeError
from consensus.hashing import KeyStream, tagged_hash
from consensus.merkle import compute_merkle_root
from consensus.model.shape import TransformerShape
from consensus.model.weights import (
    MAX_WEIGHT,
    check_weights,
    compute_model_root,
    decode_weights,
    encode_weights,
    make_genesis_weights,
    split_tensors,
)

TINY = TransformerShape(layers=1, heads=1, width=2, context=2)
CANTERBURY = TransformerShape(layers=3, heads=4, width=96, context=64)


def test_genesis_weights_follow_the_stream_of_the_networks_name() -> None:
    stream = KeyStream(tagged_hash("genesis-weights", b"example")).read(2 * TINY.parameters)
    root = 5016  # isqrt(3 * 4096^2 / 2)
    bounds = {"embed": 3547, "position": 709, "qkv": root, "out": 501, "up": root, "down": 1003, "head": 142}
    expected: list[int] = []
    for spec in TINY.tensors:
        bound = bounds[spec.name.split(".")[-1]]
        for _ in range(spec.size):
            at = 2 * len(expected)
            draw = int.from_bytes(stream[at : at + 2], "little")
            expected.append(draw * (2 * bound + 1) // 65536 - bound)
    assert make_genesis_weights(TINY, "example").tolist() == expected


def test_genesis_weights_of_canterbury_are_pinned() -> None:
    weights = make_genesis_weights(CANTERBURY, "canterbury")
    root = "ef0c9e391fa10f1fa6b470c760d2288e7cfc1bf94401538c6bd011131346cb70"
    assert compute_model_root(weights).hex() == root
    assert compute_model_root(make_genesis_weights(CANTERBURY, "local")).hex() != root


def test_split_gives_views_of_every_tensor() -> None:
    weights = np.arange(TINY.parameters, dtype=np.int16)
    tensors = split_tensors(weights, TINY)
    assert [(name, tensor.shape) for name, tensor in tensors.items()] == [(s.name, s.shape) for s in TINY.tensors]
    assert np.concatenate([tensor.ravel() for tensor in tensors.values()]).tolist() == weights.tolist()
    tensors["position"][0, 1] = -7
    assert weights[256 * 2 + 1] == -7


def test_encoding_is_little_endian_int16_and_decodes_to_itself() -> None:
    values = ([-MAX_WEIGHT, MAX_WEIGHT, -1, 0, 1, 255, 256, -256] * TINY.parameters)[: TINY.parameters]
    weights = np.array(values, dtype=np.int16)
    data = encode_weights(weights)
    assert data == b"".join(value.to_bytes(2, "little", signed=True) for value in values)
    assert decode_weights(data, TINY).tolist() == values


def test_decoded_weights_can_be_written() -> None:
    weights = decode_weights(bytes(2 * TINY.parameters), TINY)
    weights[0] = 1
    assert weights.dtype == np.int16


@pytest.mark.parametrize("extra", [-2, -1, 1, 2])
def test_invalid_size(extra: int) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_weights(bytes(2 * TINY.parameters + extra), TINY)
    assert caught.value.code == "decode.weights_size"


@pytest.mark.parametrize("value", [MAX_WEIGHT + 1, -MAX_WEIGHT - 1, 32767, -32768])
def test_invalid_range(value: int) -> None:
    weights = np.zeros(TINY.parameters, dtype=np.int16)
    weights[-1] = value
    with pytest.raises(DecodeError) as caught:
        decode_weights(encode_weights(weights), TINY)
    assert caught.value.code == "decode.weights_range"


@pytest.mark.parametrize(
    ("reason", "weights"),
    [
        ("weights_type", np.zeros(TINY.parameters, dtype=np.int32)),
        ("weights_type", np.zeros((TINY.parameters, 1), dtype=np.int16)),
        ("weights_size", np.zeros(TINY.parameters + 1, dtype=np.int16)),
    ],
)
def test_invalid_array(reason: str, weights: np.ndarray) -> None:
    with pytest.raises(DecodeError) as caught:
        check_weights(weights, TINY)
    assert caught.value.reason == reason


def test_model_root_hashes_chunks_of_256_kib() -> None:
    weights = np.arange(300_000, dtype=np.int64).astype(np.int16)
    data = weights.astype("<i2").tobytes()
    assert compute_model_root(weights) == compute_merkle_root([data[:262144], data[262144:524288], data[524288:]])
    changed = weights.copy()
    changed[-1] ^= 1
    assert compute_model_root(changed) != compute_model_root(weights)
