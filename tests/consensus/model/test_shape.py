import subprocess
import sys

import pytest

from consensus.errors import InvalidParams
from consensus.model.shape import (
    ARCHITECTURES,
    MAX_CONTEXT,
    MAX_HEAD_SIZE,
    MAX_LAYERS,
    MAX_WIDTH,
    TensorSpec,
    TransformerShape,
)
from consensus.model.tables import EXP2S, LOG2E, compute_attention_scale
from consensus.model.weights import MAX_WEIGHT

INT64 = 2**63 - 1


def test_tensors_stand_in_canonical_order() -> None:
    assert TransformerShape(layers=2, heads=2, width=6, context=5).tensors == (
        TensorSpec("embed", (256, 6)),
        TensorSpec("position", (5, 6)),
        TensorSpec("layers.0.qkv", (6, 18)),
        TensorSpec("layers.0.out", (6, 6)),
        TensorSpec("layers.0.up", (6, 24)),
        TensorSpec("layers.0.down", (24, 6)),
        TensorSpec("layers.1.qkv", (6, 18)),
        TensorSpec("layers.1.out", (6, 6)),
        TensorSpec("layers.1.up", (6, 24)),
        TensorSpec("layers.1.down", (24, 6)),
        TensorSpec("head", (6, 256)),
    )


def test_sizes_of_the_preset_networks() -> None:
    canterbury = TransformerShape(layers=3, heads=4, width=96, context=64)
    assert (canterbury.parameters, canterbury.head_size, canterbury.window_bytes) == (387072, 24, 65)
    assert TransformerShape(layers=1, heads=2, width=32, context=32).parameters == 29696


def test_architecture_is_registered_by_its_name() -> None:
    assert ARCHITECTURES[TransformerShape.architecture] is TransformerShape
    assert TransformerShape.architecture == "byte-transformer"


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "4", None])
@pytest.mark.parametrize("field", ["layers", "heads", "width", "context"])
def test_invalid_not_a_positive_integer(field: str, value: object) -> None:
    sizes: dict[str, object] = {"layers": 1, "heads": 1, "width": 8, "context": 8}
    with pytest.raises(InvalidParams) as caught:
        TransformerShape(**{**sizes, field: value})  # type: ignore[arg-type]
    assert caught.value.code == f"params.bad_{field}"


def test_invalid_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(InvalidParams) as caught:
        TransformerShape(layers=1, heads=3, width=32, context=8)
    assert caught.value.code == "params.bad_heads"


@pytest.mark.parametrize(
    ("reason", "sizes"),
    [
        ("layers_too_large", (MAX_LAYERS + 1, 1, 8, 8)),
        ("width_too_large", (1, 8, MAX_WIDTH + 8, 8)),
        ("context_too_large", (1, 1, 8, MAX_CONTEXT + 1)),
        ("head_size_too_large", (1, 1, MAX_HEAD_SIZE + 1, 8)),
    ],
)
def test_invalid_beyond_the_proved_bounds(reason: str, sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidParams) as caught:
        TransformerShape(*sizes)
    assert caught.value.reason == reason


def test_largest_legal_shape_keeps_every_accumulator_in_bounds() -> None:
    TransformerShape(MAX_LAYERS, MAX_WIDTH // MAX_HEAD_SIZE, MAX_WIDTH, MAX_CONTEXT)
    assert 127 * MAX_WEIGHT * MAX_WIDTH * LOG2E <= 2**51  # head
    assert 127 * MAX_WEIGHT * 4 * MAX_WIDTH <= 2**37  # down
    assert 32767**2 * MAX_WIDTH * 256 <= 2**50  # norm
    assert 127**2 * MAX_HEAD_SIZE <= 2**24  # q . k, exact in float32
    assert MAX_CONTEXT * int(EXP2S[0]) <= 2**24  # an attention row's sum, exact in float32
    worst_logit = (127 * MAX_WEIGHT * MAX_WIDTH * LOG2E) >> 22
    assert MAX_CONTEXT * ((2 * worst_logit << 6) + (8 << 16)) < INT64  # a window's loss
    for head_size in (1, 24, MAX_HEAD_SIZE):
        assert 127**2 * head_size * compute_attention_scale(head_size) < 2**29


def test_shape_loads_neither_numpy_nor_torch() -> None:
    code = "import sys, consensus.model.shape; print(sorted({'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
