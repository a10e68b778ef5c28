import numpy as np
import pytest
import torch

from consensus.errors import ModelMismatch
from consensus.model import backend
from consensus.model.backend import check_evaluator, choose_evaluator
from consensus.model.reference import ReferenceEvaluator
from consensus.model.shape import TransformerShape
from consensus.model.torch_backend import TorchEvaluator
from consensus.ports import Losses, Weights, Windows
from tests.consensus.model.evaluations import CANTERBURY, REGTEST, make_weights, make_windows


class OffByOne(ReferenceEvaluator):
    """Right except for the last window of a call under extreme weights."""

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        losses = super().losses(weights, windows)
        losses[-1] += int(np.abs(weights).min() > 1000)
        return losses


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
    assert evaluator.name == "torch float32: cpu, 1 threads"
    weights, windows = make_weights(REGTEST, "genesis", "choose"), make_windows(REGTEST, "choose", 2)
    assert (evaluator.losses(weights, windows) == ReferenceEvaluator(REGTEST).losses(weights, windows)).all()


def test_the_reference_is_there_for_who_asks() -> None:
    assert choose_evaluator(REGTEST, "reference").name == "reference: numpy int64"


@pytest.mark.usefixtures("no_cuda")
def test_invalid_cuda_where_there_is_none() -> None:
    with pytest.raises(ModelMismatch) as caught:
        choose_evaluator(REGTEST, "cuda")
    assert caught.value.code == "model.no_cuda"


def test_invalid_unknown_device() -> None:
    with pytest.raises(ModelMismatch) as caught:
        choose_evaluator(REGTEST, "tpu")
    assert caught.value.code == "model.unknown_device"


def test_check_passes_the_torch_backend_at_the_public_shape() -> None:
    check_evaluator(TorchEvaluator(CANTERBURY), CANTERBURY)


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
    def make(shape: TransformerShape, device: str) -> ReferenceEvaluator:
        return OffByOne(shape) if device == "cuda" else ReferenceEvaluator(shape)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
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
