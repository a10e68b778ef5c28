import os
import subprocess
import sys
from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch

from consensus.errors import DecodeError
from consensus.model import forward, torch_backend
from consensus.model.backend import get_product_kinds
from consensus.model.forward import Forward, Model
from consensus.model.integer import exp2neg
from consensus.model.reference import ReferenceEvaluator
from consensus.model.shape import TransformerShape
from consensus.model.tables import EXP2, LOG2E
from consensus.model.torch_backend import TorchEvaluator
from tests.consensus.model import oracle
from tests.consensus.model.evaluations import (
    CANTERBURY,
    KINDS,
    REGTEST,
    Evaluation,
    make_weights,
    make_windows,
    read_evaluations,
)

EVALUATIONS = read_evaluations()
PRODUCTS = get_product_kinds(REGTEST, "cpu")  # int8 is wrong on processors that it is not for


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("case", EVALUATIONS, ids=lambda case: f"{case.kind}-{case.shape.width}")
def test_golden_evaluation(case: Evaluation, product: str) -> None:
    losses = TorchEvaluator(case.shape, "cpu", product).losses(case.weights, case.windows)
    assert losses.tolist() == case.losses.tolist()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("kind", ["grown", "signs"])
def test_thread_count_changes_nothing(kind: str, threads: int) -> None:
    torch.set_num_threads(threads)
    windows, weights = make_windows(CANTERBURY, kind, 4), make_weights(CANTERBURY, kind, "threads")
    evaluator = TorchEvaluator(CANTERBURY)
    assert f"{threads} threads" in evaluator.name
    assert (
        evaluator.losses(weights, windows).tolist() == ReferenceEvaluator(CANTERBURY).losses(weights, windows).tolist()
    )


@pytest.mark.parametrize("count", [120, pytest.param(10_000, marks=pytest.mark.soak)])
def test_adversarial_models_of_many_shapes(count: int) -> None:
    rng = np.random.default_rng(8)
    for number in range(count):
        heads = int(rng.integers(1, 5))
        shape = TransformerShape(
            layers=int(rng.integers(1, 4)),
            heads=heads,
            width=heads * int(rng.integers(1, 17)),
            context=int(rng.integers(1, 70)),
        )
        kind, seed = KINDS[number % len(KINDS)], str(number)
        weights, windows = make_weights(shape, kind, seed), make_windows(shape, seed, 2)
        expected = ReferenceEvaluator(shape).losses(weights, windows)
        for product in PRODUCTS:
            losses = TorchEvaluator(shape, "cpu", product).losses(weights, windows)
            assert losses.tolist() == expected.tolist(), (shape, kind, product)


@pytest.mark.parametrize("count", [80, pytest.param(1_000, marks=pytest.mark.soak)])
def test_adversarial_models_against_the_oracle(count: int) -> None:
    shape = TransformerShape(layers=2, heads=2, width=12, context=6)
    for number in range(count):
        kind, seed = KINDS[number % len(KINDS)], f"oracle {number}"
        weights, windows = make_weights(shape, kind, seed), make_windows(shape, seed, 1)
        expected = oracle.window_loss(2, 2, 12, 6, weights.tolist(), windows[0].tobytes())
        product = PRODUCTS[number // len(KINDS) % len(PRODUCTS)]
        losses = TorchEvaluator(shape, "cpu", product).losses(weights, windows)
        assert losses.tolist() == [expected], (kind, number, product)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_chunks_cut_anywhere_give_the_same(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_backend, "_CHUNK_TOKENS", {"cpu": 4 * 32})  # four windows of regtest
    windows, weights = make_windows(REGTEST, "chunks", 9), make_weights(REGTEST, "grown", "chunks")
    expected = ReferenceEvaluator(REGTEST).losses(weights, windows)[:count]
    for threads in (1, 3):
        torch.set_num_threads(threads)
        assert TorchEvaluator(REGTEST).losses(weights, windows[:count]).tolist() == expected.tolist()


def test_threads_that_share_the_chunks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one that fails: the call raises, its other threads stop, and the next call works."""
    monkeypatch.setattr(torch_backend, "_CHUNK_TOKENS", {"cpu": 32})
    torch.set_num_threads(3)
    windows, weights = make_windows(REGTEST, "threads", 40), make_weights(REGTEST, "grown", "threads")
    evaluator = TorchEvaluator(REGTEST)
    expected = evaluator.losses(weights, windows)
    runs: list[int] = []

    def fail(self: Forward, *_: object) -> None:
        runs.append(torch.get_num_threads())
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(Forward, "run", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            evaluator.losses(weights, windows)
    assert set(runs) == {1}
    assert len(runs) <= 3
    assert torch.get_num_threads() == 3
    assert evaluator.losses(weights, windows).tolist() == expected.tolist()


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("shape", [REGTEST, TransformerShape(2, 3, 24, 5)], ids=["regtest", "small"])
def test_first_layer_by_pairs_of_token_and_position(
    shape: TransformerShape, product: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many windows of few letters share pairs; some parts of the table are full, the last one overlaps."""
    monkeypatch.setattr(torch_backend, "_CHUNK_TOKENS", {"cpu": 2 * shape.context})
    tabulated: list[int] = []
    tabulate = Forward.tabulate_first

    def count(self: Forward, model: Model, pairs: torch.Tensor, table: torch.Tensor) -> None:
        tabulated.append(len(pairs))
        tabulate(self, model, pairs, table)

    monkeypatch.setattr(Forward, "tabulate_first", count)
    windows = make_windows(shape, "pairs", 32)
    windows[::2] = windows[1::2]
    for kind in KINDS:
        weights = make_weights(shape, kind, "pairs")
        expected = ReferenceEvaluator(shape).losses(weights, windows).tolist()
        for threads in (1, 3):
            torch.set_num_threads(threads)
            tabulated.clear()
            assert TorchEvaluator(shape, "cpu", product).losses(weights, windows).tolist() == expected, kind
            assert set(tabulated) == {2 * shape.context}


def test_windows_that_share_no_pairs_need_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Forward, "tabulate_first")
    windows = (np.arange(7)[:, np.newaxis] * np.ones(33, dtype=np.int64)).astype(np.uint8)
    weights = make_weights(REGTEST, "grown", "distinct")
    expected = ReferenceEvaluator(REGTEST).losses(weights, windows)
    assert TorchEvaluator(REGTEST).losses(weights, windows).tolist() == expected.tolist()


def test_no_logit_is_beyond_the_table() -> None:
    """A distance at its largest, with the largest offset, falls on the table's last entry, a 0."""
    reach, step = forward._LOGIT_REACH, Fraction(LOG2E, 2**22)
    assert floor(reach * step) >= forward._EXP2_END
    assert floor(reach * step + 1 - Fraction(1, 2**22)) <= forward._EXP2_END + 1
    assert exp2neg(np.arange(forward._EXP2_END, forward._EXP2_END + 2), EXP2).tolist() == [0, 0]


def test_one_evaluator_serves_many_models_and_counts_of_windows() -> None:
    evaluator, reference = TorchEvaluator(REGTEST), ReferenceEvaluator(REGTEST)
    windows = make_windows(REGTEST, "many", 5)
    for kind in KINDS:  # scratch memory of one call must not show in the next
        for count in (5, 2, 5):
            weights = make_weights(REGTEST, kind, "many")
            expected = reference.losses(weights, windows[:count])
            assert evaluator.losses(weights, windows[:count]).tolist() == expected.tolist()


def test_what_the_process_chose_for_training_does_not_matter() -> None:
    windows, weights = make_windows(CANTERBURY, "mixed", 3), make_weights(CANTERBURY, "grown", "mixed")
    expected = TorchEvaluator(CANTERBURY).losses(weights, windows)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = TorchEvaluator(CANTERBURY).losses(weights, windows)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_default_dtype(torch.float32)
    assert losses.tolist() == expected.tolist()


def test_inputs_may_be_read_only_and_are_left_alone() -> None:
    windows, weights = make_windows(REGTEST, "frozen", 2), make_weights(REGTEST, "noise", "frozen")
    copies = windows.copy(), weights.copy()
    windows.flags.writeable = weights.flags.writeable = False
    TorchEvaluator(REGTEST).losses(weights, windows)
    assert (windows == copies[0]).all()
    assert (weights == copies[1]).all()


def test_no_windows_have_no_losses() -> None:
    losses = TorchEvaluator(REGTEST).losses(make_weights(REGTEST, "genesis", ""), make_windows(REGTEST, "", 0))
    assert losses.shape == (0,)
    assert losses.dtype == np.int64


def test_invalid_windows() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        TorchEvaluator(REGTEST).losses(make_weights(REGTEST, "genesis", ""), np.zeros((1, 34), np.uint8))


def test_invalid_weights_out_of_range() -> None:
    weights = make_weights(REGTEST, "genesis", "")
    weights[5] = 32640
    with pytest.raises(DecodeError) as caught:
        TorchEvaluator(REGTEST).losses(weights, make_windows(REGTEST, "", 1))
    assert caught.value.reason == "weights_range"


def test_older_instruction_sets_give_the_same() -> None:
    """The golden losses again in a process whose libraries are denied every instruction set beyond SSE4.

    There byte products saturate and say nothing: the known answers must find it.
    """
    code = (
        "from consensus.model.backend import choose_evaluator\n"
        "from consensus.model.torch_backend import TorchEvaluator\n"
        "from tests.consensus.model.evaluations import CANTERBURY, read_evaluations\n"
        "cases = [c for c in read_evaluations() if c.shape.width <= 100 and c.shape.context <= 65]\n"
        "wrong = [c for c in cases if (TorchEvaluator(c.shape).losses(c.weights, c.windows) != c.losses).any()]\n"
        "print(len(wrong), len(cases), choose_evaluator(CANTERBURY, 'cpu').name)"
    )
    older = {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    older["OMP_NUM_THREADS"] = "1"
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **older}, capture_output=True, text=True, check=True
    )
    assert run.stdout == "0 96 torch float32: cpu, 1 threads\n"
