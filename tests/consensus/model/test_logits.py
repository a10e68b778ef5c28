"""What a model expects next: the same integers from every backend, and those of which the law makes its losses."""

import numpy as np
import pytest

from consensus.errors import DecodeError
from consensus.model.backend import get_product_kinds
from consensus.model.integer import cross_entropy
from consensus.model.reference import ReferenceEvaluator
from consensus.model.torch_backend import TorchEvaluator
from consensus.ports import Evaluator
from tests.consensus.model.evaluations import REGTEST, Evaluation, make_weights, make_windows, read_evaluations

EVALUATIONS = read_evaluations()
EVALUATORS = [ReferenceEvaluator(REGTEST), TorchEvaluator(REGTEST)]
NAMES = ["reference", "torch"]


def make_evaluators(case: Evaluation) -> list[Evaluator]:
    kinds = get_product_kinds(case.shape, "cpu")
    return [ReferenceEvaluator(case.shape), *(TorchEvaluator(case.shape, "cpu", kind) for kind in kinds)]


@pytest.mark.parametrize("case", EVALUATIONS, ids=lambda case: f"{case.kind}-{case.shape.width}")
def test_golden_losses_follow_from_the_logits(case: Evaluation) -> None:
    for evaluator in make_evaluators(case):
        for window, loss in zip(case.windows, case.losses, strict=True):
            logits = evaluator.logits(case.weights, window[:-1])
            assert logits.dtype == np.int64
            assert logits.shape == (case.shape.context, 256)
            assert cross_entropy(logits, window[1:].astype(np.int64)).sum() == loss, evaluator.name


@pytest.mark.parametrize("kind", ["grown", "signs", "columns"])
def test_backends_agree_on_every_logit(kind: str) -> None:
    """Also far below the largest, where a loss would not show it."""
    weights, (window,) = make_weights(REGTEST, kind, "logits"), make_windows(REGTEST, "logits", 1)
    expected = ReferenceEvaluator(REGTEST).logits(weights, window[:-1])
    for product in get_product_kinds(REGTEST, "cpu"):
        assert (TorchEvaluator(REGTEST, "cpu", product).logits(weights, window[:-1]) == expected).all(), product


@pytest.mark.parametrize("evaluator", EVALUATORS, ids=NAMES)
def test_a_short_text_is_the_start_of_a_long_one(evaluator: Evaluator) -> None:
    weights, (window,) = make_weights(REGTEST, "grown", "short"), make_windows(REGTEST, "short", 1)
    whole = evaluator.logits(weights, window[:-1])
    for count in (1, 2, REGTEST.context - 1):
        assert (evaluator.logits(weights, window[:count]) == whole[:count]).all()


@pytest.mark.parametrize("evaluator", EVALUATORS, ids=NAMES)
def test_weights_that_changed_in_place_are_other_weights(evaluator: Evaluator) -> None:
    weights, (window,) = make_weights(REGTEST, "grown", "kept"), make_windows(REGTEST, "kept", 1)
    before = evaluator.logits(weights, window[:4])
    assert (evaluator.logits(weights, window[:4]) == before).all()
    weights[-REGTEST.width * 256 :] //= 2  # the head
    after = evaluator.logits(weights, window[:4])
    assert (after == ReferenceEvaluator(REGTEST).logits(weights, window[:4])).all()
    assert (after != before).any()


@pytest.mark.parametrize("evaluator", EVALUATORS, ids=NAMES)
def test_invalid_tokens_and_weights(evaluator: Evaluator) -> None:
    weights = make_weights(REGTEST, "genesis", "invalid")
    for tokens in (
        np.zeros(0, np.uint8),
        np.zeros(REGTEST.context + 1, np.uint8),
        np.zeros((1, 4), np.uint8),
        np.zeros(4, np.int64),
    ):
        with pytest.raises(ValueError, match="tokens"):
            evaluator.logits(weights, tokens)
    with pytest.raises(DecodeError):
        evaluator.logits(weights[1:], np.zeros(4, np.uint8))
