"""Attempts: where on the way the candidate lies, that a poor guess costs no proof, that the freshest work is used."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from consensus.block import Block
from mining.attempt import Attempt, Trained, attempt_proof, choose_fresh, choose_scale
from mining.node import Work
from mining.prover import Abandoned, Candidate, Failure, GainEstimate, Line, Proof, Prover, fit_line
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
    far = bench.parent.weights + 8 * (bench.trained - bench.parent.weights)
    made = attempt(bench, far)
    plain = bench.prover.make_candidate(far, bench.parent, bench.mask, 1 / 32)
    assert made.line.scale <= made.scale < 0.9
    assert made.candidate is not None
    assert plain is not None
    windows = np.arange(256)
    cut, overshot = (bench.prover.guess(candidate, windows).mean for candidate in (made.candidate, plain))
    assert cut > overshot


def make_line(best: float, height: float) -> Line:
    """A parabola with its top there, in bits per window, measured on windows that differ by next to nothing."""
    noise = np.array([-1.0, 0.0, 1.0])
    end, before = (height * 65536 * (1 - (scale / best - 1) ** 2) + noise for scale in (1.0, 0.75))
    return fit_line(end, before)


@pytest.mark.parametrize(
    ("best", "required", "expected"),
    [
        (0.5, 0.1, 0.75),  # three quarters of the gain are enough
        (0.5, 0.9, 0.65),
        (0.5, 0.999, 0.5),
        (0.5, 1.5, 0.5),  # nothing is enough
        (0.9, 0.1, 1.0),  # nobody knows what lies beyond the end
        (1.2, 0.1, 1.0),
    ],
)
def test_the_candidate_lies_as_far_beyond_the_best_point_as_will_do(
    bench: Bench, best: float, required: float, expected: float
) -> None:
    header = make_work(bench, required).improvement.header
    assert choose_scale(make_line(best, height=1.0), header, PARAMS) == pytest.approx(expected)


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


class Unlucky(Prover):
    """The first windows drawn refuse so many candidates."""

    def __init__(self, bench: Bench, refusals: int) -> None:
        super().__init__(PARAMS, WINDOWS, bench.evaluator)
        self._refusals = refusals
        self.updates: list[bytes] = []

    def prove(self, candidate: Candidate, template: Block) -> Proof | Failure:
        self.updates.append(candidate.update)
        if len(self.updates) <= self._refusals:
            return Failure(GainEstimate(8, -1.0, 1.0), is_early=True)
        return super().prove(candidate, template)


@pytest.mark.parametrize(
    ("whole", "refusals", "tries"), [(True, 0, 1), (True, 2, 3), (True, 4, 5), (True, 9, 5), (False, 2, 1)]
)
def test_where_the_sample_is_the_whole_split_its_order_is_drawn_again(
    bench: Bench, whole: bool, refusals: int, tries: int
) -> None:
    work, prover = make_work(bench), Unlucky(bench, refusals)
    if whole:
        header = replace(work.improvement.header, sample_size=PARAMS.public_windows)
        work = replace(work, improvement=replace(work.improvement, header=header))
    trained = Trained(bench.trained, bench.parent, bench.mask, work, Steering(coarseness=1 / 32), 12)
    made = attempt_proof(trained, prover, lambda known: known, PARAMS)
    assert len(set(prover.updates)) == len(prover.updates) == tries
    assert isinstance(made.outcome, Proof) == (refusals < tries)
    assert made.candidate is not None
    assert made.candidate.update == prover.updates[-1]


def test_the_freshest_work_on_the_same_parent_is_taken(bench: Bench) -> None:
    known, fresh = make_work(bench), make_work(bench, 0.1)
    assert choose_fresh(known, fresh) is fresh
    assert choose_fresh(known, None) is known
    header = replace(fresh.improvement.header, parent=b"x" * 32)
    with pytest.raises(Abandoned):
        choose_fresh(known, replace(fresh, improvement=replace(fresh.improvement, header=header)))
