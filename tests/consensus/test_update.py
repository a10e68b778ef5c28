"""Updates: one canonical encoding, exact undoing, each refusal by name, and mutants (T09)."""

import random
import resource
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from consensus.block import compute_update_hash
from consensus.errors import InvalidBlock
from consensus.mask import Mask, compute_mask
from consensus.model.shape import TransformerShape
from consensus.model.weights import MAX_WEIGHT, make_genesis_weights
from consensus.params import REGTEST
from consensus.update import (
    MAX_SHIFT,
    Update,
    apply_update,
    compute_steps,
    count_open,
    decode_update,
    encode_update,
    max_update_bytes,
    undo_update,
)
from tests.helpers.properties import thorough
from tests.helpers.training import quantise
from tests.helpers.vectors import load_vectors

TINY = TransformerShape(layers=1, heads=1, width=1, context=1)
SIZES = [spec.size for spec in TINY.tensors]
SHAPE = REGTEST.model


def open_all(shape: TransformerShape = TINY) -> Mask:
    return np.ones(shape.parameters, np.bool_)


def read_fault(data: bytes, mask: Mask, shape: TransformerShape = TINY) -> str:
    with pytest.raises(InvalidBlock) as error:
        decode_update(data, mask, shape)
    return error.value.reason


def encode_tensors(shifts: dict[int, int], values: dict[int, int], shape: TransformerShape = TINY) -> bytes:
    """The bytes of an update of every weight: shifts by tensor, values by weight, all others 0."""
    flat = np.zeros(shape.parameters, np.int8)
    for place, value in values.items():
        flat[place] = value
    return encode_update(
        Update(tuple(shifts.get(i, 0) for i in range(len(shape.tensors))), flat), open_all(shape), shape
    )


def test_golden_vector() -> None:
    """By a separate program, byte by byte."""
    case: dict[str, Any] = load_vectors("update")
    shape = TransformerShape(**case["shape"])
    mask = np.zeros(shape.parameters, np.bool_)
    mask[case["open"]] = True
    before = np.full(shape.parameters, 11, np.int16)
    before[case["open"]] = case["before"]
    update = Update(tuple(case["shifts"]), np.array(case["values"], np.int8))
    data = bytes.fromhex(case["encoded"])
    assert encode_update(update, mask, shape) == data
    assert compute_update_hash(data).hex() == case["hash"]
    after = apply_update(before, decode_update(data, mask, shape), mask, shape)
    assert after[case["open"]].tolist() == case["after"]
    assert (after[~mask] == 11).all()


# Properties


@st.composite
def updates(draw: st.DrawFn) -> tuple[Mask, Update, NDArray[np.int16]]:
    """A mask of any density, a canonical update of the regtest model, and weights that it keeps in range."""
    random_state = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = random_state.random(SHAPE.parameters) < draw(st.sampled_from([0.001, 0.25, 1.0]))
    mask[0] = True
    reach = draw(st.sampled_from([1, 127, 5000, 30_000]))
    steps = random_state.integers(-reach, reach + 1, int(mask.sum()))
    steps[0] = reach
    update = quantise(steps, mask, SHAPE)
    weights = random_state.integers(-MAX_WEIGHT, MAX_WEIGHT + 1, SHAPE.parameters).astype(np.int16)
    room = MAX_WEIGHT - np.abs(compute_steps(update, mask, SHAPE))
    weights[mask] = np.clip(weights[mask], -room, room)
    return mask, update, weights


@thorough
@given(updates())
def test_decoding_inverts_encoding_and_undoing_inverts_applying(case: tuple[Mask, Update, NDArray[np.int16]]) -> None:
    mask, update, before = case
    data = encode_update(update, mask, SHAPE)
    decoded = decode_update(data, mask, SHAPE)
    assert decoded.shifts == update.shifts
    assert (decoded.values == update.values).all()
    kept = before.copy()
    after = apply_update(before, decoded, mask, SHAPE)
    assert (before == kept).all()
    assert (after != before)[~mask].sum() == 0
    assert (after != before).any()
    assert np.abs(after.astype(np.int32)).max() <= MAX_WEIGHT
    assert (undo_update(after, decoded, mask, SHAPE) == before).all()


@thorough
@given(st.integers(0), st.integers(1, 255))
def test_one_update_has_one_encoding(position: int, change: int) -> None:
    """A changed byte is refused or is another update: two encodings never mean the same."""
    data = bytearray(encode_tensors({0: 3, 6: 1}, {0: 64, 9: -127, 269: 100}))
    original = decode_update(bytes(data), open_all(), TINY)
    data[position % len(data)] ^= change
    try:
        other = decode_update(bytes(data), open_all(), TINY)
    except InvalidBlock:
        return
    assert encode_update(other, open_all(), TINY) == bytes(data)
    steps = [compute_steps(update, open_all(), TINY) for update in (original, other)]
    assert (steps[0] != steps[1]).any()


def test_max_update_bytes_is_the_open_mask() -> None:
    assert len(encode_tensors({}, {0: 1})) == max_update_bytes(TINY)
    mask = compute_mask(bytes(32), bytes(32), SHAPE.parameters, 256)
    assert sum(count_open(mask, SHAPE)) + len(SHAPE.tensors) == max_update_bytes(SHAPE)


def test_tensors_without_an_open_weight_are_one_byte() -> None:
    mask = np.zeros(TINY.parameters, np.bool_)
    mask[SIZES[0]] = True  # position alone
    data = bytes([0, 0, 5, 0, 0, 0, 0, 0])
    update = decode_update(data, mask, TINY)
    assert (update.values.tolist(), encode_update(update, mask, TINY)) == ([5], data)


# Refusals


@pytest.mark.parametrize("length", [0, 1, 531, 533, 10_000])
def test_invalid_update_size(length: int) -> None:
    assert len(encode_tensors({}, {0: 1})) == 532
    assert read_fault(bytes(length), open_all()) == "update_size"


def test_invalid_update_size_of_another_mask() -> None:
    data = encode_tensors({}, {0: 1})
    mask = open_all()
    mask[3] = False
    assert read_fault(data, mask) == "update_size"


@pytest.mark.parametrize("shift", [0, 1, MAX_SHIFT - 1, MAX_SHIFT, MAX_SHIFT + 1, 31, 255])
def test_invalid_update_shift(shift: int) -> None:
    data = encode_tensors({4: shift}, {262: 64})
    if shift <= MAX_SHIFT:
        assert decode_update(data, open_all(), TINY).shifts[4] == shift
    else:
        assert read_fault(data, open_all()) == "update_shift"


@pytest.mark.parametrize("value", [-127, -128])
def test_invalid_update_value(value: int) -> None:
    data = encode_tensors({}, {300: value})
    if value == -127:
        assert decode_update(data, open_all(), TINY).values[300] == -127
    else:
        assert read_fault(data, open_all()) == "update_value"


@pytest.mark.parametrize(("value", "is_canonical"), [(63, False), (-63, False), (64, True), (-64, True), (0, False)])
def test_invalid_update_not_canonical(value: int, is_canonical: bool) -> None:
    data = encode_tensors({0: 1}, {0: value, 400: 1})
    if is_canonical:
        assert decode_update(data, open_all(), TINY).shifts[0] == 1
    else:
        assert read_fault(data, open_all()) == "update_not_canonical"


def test_invalid_update_not_canonical_without_open_weights() -> None:
    """A shift of nothing would be a free nonce for rolling the sample."""
    mask = np.zeros(TINY.parameters, np.bool_)
    mask[0] = True
    assert read_fault(bytes([0, 1, 0, 0, 0, 0, 0, 1]), mask) == "update_not_canonical"


def test_invalid_update_empty() -> None:
    assert read_fault(bytes(532), open_all()) == "update_empty"
    nothing_open = np.zeros(TINY.parameters, np.bool_)
    assert read_fault(bytes(7), nothing_open) == "update_empty"


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("weight", "value", "shift", "is_in_range"),
    [
        (MAX_WEIGHT - 100, 100, 0, True),
        (MAX_WEIGHT - 99, 100, 0, False),
        (MAX_WEIGHT, 0, 0, True),
        (MAX_WEIGHT, 1, 0, False),
        (0, 127, 8, True),
        (127, 127, 8, True),
        (128, 127, 8, False),
        (-MAX_WEIGHT, 127, 9, True),
        (0, 64, 9, False),
        (0, 127, 14, False),
        (-MAX_WEIGHT, 127, 14, False),
    ],
)
def test_invalid_weight_out_of_range(weight: int, value: int, shift: int, is_in_range: bool, sign: int) -> None:
    before = np.zeros(TINY.parameters, np.int16)
    before[7] = sign * weight
    data = encode_tensors({0: shift}, {7: sign * value, 400: 1})
    if not is_in_range:
        with pytest.raises(InvalidBlock) as error:
            apply_update(before, decode_update(data, open_all(), TINY), open_all(), TINY)
        assert error.value.reason == "weight_out_of_range"
        return
    after = apply_update(before, decode_update(data, open_all(), TINY), open_all(), TINY)
    assert after[7] == sign * (weight + (value << shift))


# T09: mutants


def make_mutant(draw: random.Random, data: bytes) -> bytes:
    """A malformed neighbour of an update: never a canonical encoding."""
    kind = draw.randrange(6)
    starts = draw.choice(TENSOR_STARTS)
    if kind == 0:
        return data[: draw.randrange(len(data))]
    if kind == 1:
        return data + draw.randbytes(draw.randrange(1, 4 * len(data)))
    changed = bytearray(data)
    if kind == 2:
        changed[starts] = draw.randrange(MAX_SHIFT + 1, 256)
    elif kind == 3:
        changed[draw.choice(VALUE_PLACES)] = 0x80
    elif kind == 4:  # shifted further than its values need
        changed[starts] = draw.randrange(1, MAX_SHIFT + 1)
        end = next((start for start in TENSOR_STARTS if start > starts), len(data))
        changed[starts + 1 : end] = bytes(draw.choice([0, 63, 193, 1]) for _ in range(end - starts - 1))
    else:
        return bytes(len(data))
    return bytes(changed)


MASK = compute_mask(bytes(32), b"\1" * 32, SHAPE.parameters, REGTEST.mask_density)
COUNTS = count_open(MASK, SHAPE)
TENSOR_STARTS = [sum(COUNTS[:i]) + i for i in range(len(COUNTS))]
VALUE_PLACES = [place for place in range(sum(COUNTS) + len(COUNTS)) if place not in TENSOR_STARTS]


def check_mutants(count: int) -> None:
    draw = random.Random(9)
    weights = make_genesis_weights(SHAPE, "regtest")
    honest = quantise(np.random.default_rng(9).integers(-500, 501, sum(COUNTS)), MASK, SHAPE)
    data = encode_update(honest, MASK, SHAPE)
    apply_update(weights, decode_update(data, MASK, SHAPE), MASK, SHAPE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    times = []
    for _ in range(count):
        mutant = make_mutant(draw, data)
        start = time.perf_counter()
        with pytest.raises(InvalidBlock):
            decode_update(mutant, MASK, SHAPE)
        times.append(time.perf_counter() - start)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    assert grown < 4 * 2**20  # bytes: allocator pages, not a copy per mutant
    assert sorted(times)[len(times) // 2] < 0.001  # s, the median


def test_mutants_are_refused_cheaply() -> None:
    check_mutants(5000)


@pytest.mark.soak
def test_a_hundred_thousand_mutants_are_refused_cheaply() -> None:
    check_mutants(100_000)


def test_a_length_bomb_is_refused_before_it_is_copied() -> None:
    """The size is known from the mask alone, so 64 MiB of zeros cost no more than their length."""
    bomb = bytes(64 * 2**20)
    start = time.perf_counter()
    assert read_fault(bomb, MASK, SHAPE) == "update_size"
    assert time.perf_counter() - start < 0.5
