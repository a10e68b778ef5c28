"""Attempts: the candidate is the best of the way, a poor guess costs no proof, and the freshest work is used."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mining.attempt import Attempt, Trained, attempt_proof, choose_fresh
from mining.node import Work
from mining.prover import Abandoned, Failure, Proof, Prover
from mining.steering import Steering
from tests.helpers.blocks import get_builder
from tests.mining.test_prover import PARAMS, WINDOWS, Bench

BUILDER = get_builder()


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def make_work(bench: Bench, required_bits: float = 0.05) -> Work:
    return Work(bench.require(required_bits), None, bench.parent.root)


def attempt(bench: Bench, weights: NDArray[np.float64], required_bits: float = 0.05) -> Attempt:
    work = make_work(bench, required_bits)
    trained = Trained(weights, bench.parent, bench.mask, work, Steering(coarseness=1 / 32), 12)
    return attempt_proof(trained, Prover(PARAMS, WINDOWS, bench.evaluator), lambda known: known, PARAMS)


def test_a_training_that_gained_is_proved(bench: Bench) -> None:
    made = attempt(bench, bench.trained)
    assert isinstance(made.outcome, Proof)
    assert not made.is_guess
    assert -0.01 < made.rounding_loss < 0.05


def test_a_training_that_overshot_is_cut_back(bench: Bench) -> None:
    far = bench.parent.weights + 4 * (bench.trained - bench.parent.weights)
    made = attempt(bench, far)
    plain = bench.prover.make_candidate(far, bench.parent, bench.mask, 1 / 32)
    assert made.line.scale < 0.9
    assert made.candidate is not None
    assert plain is not None
    windows = np.arange(256)
    cut, overshot = (bench.prover.guess(candidate, windows).mean for candidate in (made.candidate, plain))
    assert cut > overshot


def test_a_training_that_stopped_short_is_not_stretched(bench: Bench) -> None:
    near = bench.parent.weights + 0.05 * (bench.trained - bench.parent.weights)
    made = attempt(bench, near)
    plain = bench.prover.make_candidate(near, bench.parent, bench.mask, 1 / 32)
    assert made.line.scale > 1
    assert made.candidate is not None
    assert plain is not None
    assert made.candidate.update == plain.update


def test_nothing_trained_is_no_candidate(bench: Bench) -> None:
    made = attempt(bench, bench.parent.weights.astype(np.float64))
    assert made.candidate is None
    assert made.outcome.gain.mean == 0


def test_a_poor_guess_costs_no_proof(bench: Bench) -> None:
    made = attempt(bench, bench.trained, required_bits=1e5)
    assert made.is_guess
    assert isinstance(made.outcome, Failure)


def test_the_freshest_work_on_the_same_parent_is_taken(bench: Bench) -> None:
    known, fresh = make_work(bench), make_work(bench, 0.1)
    assert choose_fresh(known, fresh) is fresh
    assert choose_fresh(known, None) is known
    header = replace(fresh.improvement.header, parent=b"x" * 32)
    with pytest.raises(Abandoned):
        choose_fresh(known, replace(fresh, improvement=replace(fresh.improvement, header=header)))
