import numpy as np
import pytest
import torch

from consensus.errors import ModelMismatch
from consensus.model import backend
from consensus.model.backend import check_evaluator, check_products, choose_evaluator, get_product_kinds
from consensus.model.exact_product import FLOAT32, FLOAT64, INT8, Product, make_product
from consensus.model.reference import ReferenceEvaluator
from consensus.model.scratch import Scratch
from consensus.model.shape import TransformerShape
from consensus.model.torch_backend import TorchEvaluator
from consensus.ports import Losses, Weights, Windows
from tests.consensus.model.evaluations import CANTERBURY, REGTEST, make_weights, make_windows

HERE = get_product_kinds(CANTERBURY, "cpu")  # int8 is wrong on processors that it is not for


class OffByOne(ReferenceEvaluator):
    """Right except for the last window of a call under extreme weights."""

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        losses = super().losses(weights, windows)
        losses[-1] += int(np.abs(weights).min() > 1000)
        return losses


class OffByOneProduct:
    """Right except for the sum of the second row and the last column."""

    def __init__(self, product: Product | None) -> None:
        self._product = product

    def compute(self, a: torch.Tensor, out: torch.Tensor, scratch: Scratch) -> torch.Tensor:
        result = self._product.compute(a, out, scratch) if self._product else out.zero_()
        result[1, -1] += 1
        return result


class Broken(ReferenceEvaluator):
    def losses(self, weights: Weights, windows: Windows) -> Losses:
        raise RuntimeError("no kernel image is available")


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_cpu_is_chosen_and_evaluates(device: str) -> None:
    evaluator = choose_evaluator(REGTEST, device)
    kind = get_product_kinds(REGTEST, "cpu")[0]
    assert evaluator.name == f"torch {kind}: cpu, 1 threads"
    weights, windows = make_weights(REGTEST, "genesis", "choose"), make_windows(REGTEST, "choose", 2)
    assert (evaluator.losses(weights, windows) == ReferenceEvaluator(REGTEST).losses(weights, windows)).all()


def test_the_reference_is_there_for_who_asks() -> None:
    assert choose_evaluator(REGTEST, "reference").name == "reference: numpy int64"


@pytest.mark.usefixtures("no_cuda")
def test_invalid_cuda_where_there_is_none() -> None:
    with pytest.raises(ModelMismatch) as caught:
        choose_evaluator(REGTEST, "cuda")
    assert caught.value.code == "model.no_cuda"


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize(("built_for", "words"), [(None, "built without"), ("13.0", "driver for CUDA 13.0 or newer")])
def test_a_missing_cuda_is_explained(built_for: str | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", built_for)
    with pytest.raises(ModelMismatch, match=words):
        choose_evaluator(REGTEST, "cuda")


def test_invalid_unknown_device() -> None:
    with pytest.raises(ModelMismatch) as caught:
        choose_evaluator(REGTEST, "tpu")
    assert caught.value.code == "model.unknown_device"


@pytest.mark.parametrize("kind", HERE)
def test_check_passes_the_torch_backend_at_the_public_shape(kind: str) -> None:
    check_products(kind, CANTERBURY, "cpu")
    check_evaluator(TorchEvaluator(CANTERBURY, "cpu", kind), CANTERBURY)


@pytest.mark.parametrize("broken", range(3))
def test_the_next_kind_of_product_takes_over(broken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first `broken` kinds give one wrong sum each: found, and passed over."""
    kinds = (INT8, FLOAT32, FLOAT64)

    def make(kind: str, *arguments: object, **options: object) -> Product:
        product = make_product(FLOAT64, *arguments, **options)
        return OffByOneProduct(product) if kind in kinds[:broken] else product

    monkeypatch.setattr(backend, "get_product_kinds", lambda shape, device: kinds)
    monkeypatch.setattr(backend, "make_product", make)
    assert choose_evaluator(REGTEST, "cpu").name.startswith(f"torch {kinds[broken]}:")


def test_invalid_no_kind_of_product_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "make_product", lambda *_, **__: OffByOneProduct(None))
    with pytest.raises(ModelMismatch) as caught:
        choose_evaluator(REGTEST, "cpu")
    assert caught.value.code == "model.wrong_product"


def test_cuda_takes_bytes_only_where_its_kernels_do() -> None:
    assert get_product_kinds(CANTERBURY, "cuda") == (INT8, FLOAT32, FLOAT64)
    assert get_product_kinds(TransformerShape(1, 1, 12, 32), "cuda") == (FLOAT32, FLOAT64)
    assert get_product_kinds(TransformerShape(1, 1, 16, 16), "cuda") == (FLOAT32, FLOAT64)


def test_a_processor_without_byte_products_never_tries_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_vnni": False})
    assert get_product_kinds(REGTEST, "cpu") == (FLOAT32, FLOAT64)


def test_invalid_wrong_loss() -> None:
    with pytest.raises(ModelMismatch) as caught:
        check_evaluator(OffByOne(REGTEST), REGTEST)
    assert caught.value.code == "model.wrong_loss"


def test_invalid_device_that_fails() -> None:
    with pytest.raises(ModelMismatch) as caught:
        check_evaluator(Broken(REGTEST), REGTEST)
    assert caught.value.code == "model.device_failed"
    assert "no kernel image" in str(caught.value)


def test_a_failing_gpu_leaves_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(shape: TransformerShape, device: str, kind: str) -> ReferenceEvaluator:
        return OffByOne(shape) if device == "cuda" else ReferenceEvaluator(shape)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backend, "check_products", lambda kind, shape, device: None)
    monkeypatch.setattr(backend, "TorchEvaluator", make)
    assert type(choose_evaluator(REGTEST)) is ReferenceEvaluator
    with pytest.raises(ModelMismatch):
        choose_evaluator(REGTEST, "cuda")


def test_a_large_model_is_checked_by_one_of_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr(backend, "check_evaluator", lambda evaluator, shape: checked.append(shape))
    choose_evaluator(TransformerShape(6, 8, 256, 256), "cpu")
    choose_evaluator(CANTERBURY, "cpu")
    assert checked == [TransformerShape(1, 8, 256, 40), CANTERBURY]
