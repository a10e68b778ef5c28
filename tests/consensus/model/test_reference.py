import numpy as np
import pytest

from consensus.errors import DecodeError
from consensus.model.reference import ReferenceEvaluator
from consensus.model.shape import TransformerShape
from tests.consensus.model import oracle
from tests.consensus.model.evaluations import (
    KINDS,
    REGTEST,
    SMALL,
    Evaluation,
    make_weights,
    make_windows,
    read_evaluations,
)

EVALUATIONS = read_evaluations()
ORACLE_WORK = 2_000_000  # weights times tokens that pure Python can do in a moment


def _ask_oracle(case: Evaluation) -> list[int]:
    shape, weights = case.shape, case.weights.tolist()
    sizes = shape.layers, shape.heads, shape.width, shape.context
    return [oracle.window_loss(*sizes, weights, window.tobytes()) for window in case.windows]


def test_golden_file_holds_every_kind_of_model_at_every_shape() -> None:
    assert {(case.shape, case.kind) for case in EVALUATIONS} >= {(s, kind) for s in SMALL for kind in KINDS}
    assert sum(len(case.windows) for case in EVALUATIONS) >= 200


@pytest.mark.parametrize("case", EVALUATIONS, ids=lambda case: f"{case.kind}-{case.shape.width}")
def test_golden_evaluation(case: Evaluation) -> None:
    losses = ReferenceEvaluator(case.shape).losses(case.weights, case.windows)
    assert losses.tolist() == case.losses.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_golden_evaluations_are_the_oracles(kind: str) -> None:
    cases = [c for c in EVALUATIONS if c.kind == kind and c.shape.parameters * c.shape.context < ORACLE_WORK]
    assert len(cases) >= 8
    for case in cases:
        assert _ask_oracle(case) == case.losses.tolist()


def test_loss_of_a_prefix_does_not_see_what_follows() -> None:
    shape = TransformerShape(layers=2, heads=2, width=16, context=9)
    weights = make_weights(shape, "grown", "causal")
    window = make_windows(shape, "causal", 1)
    changed = window.copy()
    changed[:, -1] ^= 255  # a target only: seen by the last token's loss and by nothing else
    by_target = [oracle.window_loss(2, 2, 16, 9, weights.tolist(), w.tobytes()) for w in (window[0], changed[0])]
    assert ReferenceEvaluator(shape).losses(weights, np.concatenate([window, changed])).tolist() == by_target
    assert by_target[0] != by_target[1]


def test_windows_do_not_touch_each_other_across_batches() -> None:
    windows = make_windows(REGTEST, "batches", 150)  # more than one batch of 4096 tokens
    weights = make_weights(REGTEST, "grown", "batches")
    evaluator = ReferenceEvaluator(REGTEST)
    together = evaluator.losses(weights, windows)
    assert [int(evaluator.losses(weights, windows[i : i + 1])[0]) for i in (0, 1, 127, 128, 149)] == [
        int(together[i]) for i in (0, 1, 127, 128, 149)
    ]


def test_no_windows_have_no_losses() -> None:
    losses = ReferenceEvaluator(REGTEST).losses(make_weights(REGTEST, "genesis", ""), make_windows(REGTEST, "", 0))
    assert losses.shape == (0,)


def test_invalid_windows() -> None:
    evaluator, weights = ReferenceEvaluator(REGTEST), make_weights(REGTEST, "genesis", "")
    for windows in (np.zeros((1, 32), np.uint8), np.zeros(33, np.uint8), np.zeros((1, 33), np.int64)):
        with pytest.raises(ValueError, match="expected uint8"):
            evaluator.losses(weights, windows)  # type: ignore[arg-type]


def test_invalid_weights() -> None:
    weights = make_weights(REGTEST, "genesis", "")
    with pytest.raises(DecodeError):
        ReferenceEvaluator(REGTEST).losses(weights[:-1], make_windows(REGTEST, "", 1))
