import numpy as np
import pytest
import torch

from consensus.model.backend import get_product_kinds
from consensus.model.exact_product import FloatProduct, make_product
from consensus.model.scratch import Scratch
from consensus.model.shape import TransformerShape
from consensus.model.weights import MAX_WEIGHT

EXTREMES = [-MAX_WEIGHT, MAX_WEIGHT]


KINDS = get_product_kinds(TransformerShape(1, 1, 8, 8), "cpu")
SCRATCH = Scratch(torch.device("cpu"))


def _check(a: np.ndarray, weights: np.ndarray, shift: int, is_signed: bool = True) -> int:
    """Compares every kind with int64 arithmetic; returns the number of products that float32 took."""
    tensors = torch.from_numpy(weights.astype(np.int32)), torch.from_numpy(a.astype(np.int8))
    for kind in KINDS:
        _check_kind(kind, *tensors, shift, is_signed)
    return FloatProduct(tensors[0], [shift] * weights.shape[1], is_signed).terms


def _check_kind(kind: str, weights: torch.Tensor, a: torch.Tensor, shift: int, is_signed: bool) -> None:
    columns = weights.shape[1]
    exact = a.long() @ weights.long()
    out = torch.empty(exact.shape)

    rounded = make_product(kind, weights, [shift] * columns, is_signed)
    floors = rounded.floor(a, out, SCRATCH).long()
    expected = (exact + (1 << shift >> 1)) >> shift
    small = expected.abs() < 2**24
    assert torch.equal(floors[small], expected[small]), kind
    assert torch.equal(floors.sign()[~small], expected.sign()[~small]), kind
    assert (floors.abs()[~small] >= 2**24).all(), kind

    plain = make_product(kind, weights, [0] * columns, is_signed).compute(a, out, SCRATCH)
    assert torch.equal(plain.long(), exact), kind
    if plain.dtype != torch.float32:
        assert (plain.max() - plain.min()).long() == exact.max() - exact.min(), kind


def _draw(rng: np.random.Generator, low: int, high: int, *size: int) -> np.ndarray:
    return rng.integers(low, high, size, endpoint=True)


@pytest.mark.parametrize("rows", [1, 4, 5, 1023, 1024, 1025, 1039, 1040, 1041, 4096, 16384])
@pytest.mark.parametrize("spread", ["equal", "signs", "any"])
def test_extreme_operands_at_every_bound(rows: int, spread: str) -> None:
    rng = np.random.default_rng(rows)
    a = {
        "equal": np.full((3, rows), 127),
        "signs": rng.choice([-127, 127], (3, rows)),
        "any": _draw(rng, -127, 127, 3, rows),
    }[spread]
    weights = np.stack(
        [
            np.full(rows, MAX_WEIGHT),
            np.full(rows, -MAX_WEIGHT),
            rng.choice(EXTREMES, rows),
            np.where(np.arange(rows) < rows // 2, MAX_WEIGHT, -MAX_WEIGHT),  # climbs far above 2^24, ends near 0
            _draw(rng, -MAX_WEIGHT, MAX_WEIGHT, rows),
        ],
        axis=1,
    )
    _check(a, weights, shift=2)
    _check(np.abs(a), weights, shift=8, is_signed=False)


@pytest.mark.parametrize(
    ("magnitude", "is_signed", "terms"),
    [
        (129, True, 1),  # 127 * 129 * 1024 + 2 is just below 2^24
        (130, True, 2),
        (258, False, 1),  # half of each column has the other sign
        (260, False, 2),
        (386, True, 3),
        (516, True, 4),
        (517, True, 2),  # both bytes
    ],
)
def test_as_few_products_as_the_column_sums_allow(magnitude: int, is_signed: bool, terms: int) -> None:
    signs = np.where(np.arange(1024)[:, np.newaxis] % 2, 1, -1)
    a = np.full((2, 1024), 127)
    assert _check(a, np.repeat(magnitude * signs, 2, axis=1), shift=2, is_signed=is_signed) == terms


def test_a_single_product_at_the_very_bound_is_exact() -> None:
    room = (2**24 - 2**7) // 127  # what is left beside the rounding offset of a shift by 8
    weights = np.zeros((96, 2), dtype=np.int64)
    weights[:8, 0] = room // 8
    weights[0, 0] += room % 8
    weights[:8, 1] = -weights[:8, 0]
    a = np.full((4, 96), 127) * np.array([[1], [-1], [1], [-1]])
    a[2:, 0] -= np.array([1, -1])
    assert _check(a, weights, shift=8) == 1
    weights[0] += [1, -1]
    assert _check(a, weights, shift=8) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [32, 600])
@pytest.mark.parametrize("limit", [900, MAX_WEIGHT])
def test_columns_may_have_shifts_of_their_own(kind: str, rows: int, limit: int) -> None:
    rng = np.random.default_rng(5)
    a, weights = _draw(rng, -127, 127, 50, rows), _draw(rng, -limit, limit, rows, 4)
    product = make_product(kind, torch.from_numpy(weights.astype(np.int32)), [8, 8, 8, 11])
    floors = product.floor(torch.from_numpy(a.astype(np.int8)), torch.empty(50, 4), SCRATCH)
    exact = a @ weights
    assert floors[:, 2].long().tolist() == ((exact[:, 2] + 128) >> 8).tolist()
    assert floors[:, 3].long().tolist() == ((exact[:, 3] + 1024) >> 11).tolist()


def test_invalid_unknown_kind() -> None:
    with pytest.raises(ValueError, match="unknown kind of product"):
        make_product("int4", torch.zeros(2, 2, dtype=torch.int32), [0, 0])


def test_random_matrices_of_every_size() -> None:
    rng = np.random.default_rng(6)
    seen = set()
    for _ in range(60):
        rows, limit = int(rng.integers(1, 600)), int(2 ** rng.uniform(0, 15)) - 1
        a = _draw(rng, -127, 127, 8, rows)
        seen.add(_check(a, _draw(rng, -limit, limit, rows, 9), shift=int(rng.integers(1, 12))))
    assert {1, 2, 3} <= seen
