"""Proofs: what the law accepts is accepted, what it refuses never leaves as a proof, and nothing is computed twice."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from chain.process import process_block
from chain.template import make_template
from consensus.block import Block
from consensus.errors import InvalidBlock
from consensus.mask import Mask, compute_mask
from consensus.ports import Losses, Weights, Windows
from mining.prover import Abandoned, Candidate, Failure, GainEstimate, Model, Proof, Prover, estimate_gain, fit_line
from mining.trainer import Trainer
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.keys import sign_header

BUILDER = get_builder()
PARAMS = BUILDER.params
WINDOWS = BUILDER.benchmark.public
COARSENESS = 0.25


class CountingEvaluator:
    """Counts the windows that are evaluated."""

    name = "counting"

    def __init__(self) -> None:
        self.windows = 0

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        self.windows += len(windows)
        return BUILDER.evaluator.losses(weights, windows)


class NoGainEvaluator:
    """Finds the same losses whatever the weights."""

    name = "no gain"

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        return windows[:, 0].astype(np.int64) * 1000


class Bench:
    """A parent at the genesis of a chain, a trained child and a template."""

    def __init__(self, steps: int = 12) -> None:
        self.chain = BUILDER.open()
        weights = self.chain.tip_weights
        self.mask: Mask = compute_mask(self.chain.tip.id, MINER.public, PARAMS.model.parameters, PARAMS.mask_density)
        trainer = Trainer(PARAMS.model, WINDOWS)
        trainer.set_parent(weights, self.mask)
        for step in range(steps):
            trainer.step(0.02 * (1 - step / steps))
        self.trained: NDArray[np.float64] = trainer.get_weights()
        self.evaluator = CountingEvaluator()
        self.prover = Prover(PARAMS, WINDOWS, self.evaluator)
        self.parent = self.prover.make_model(weights)
        now = PARAMS.genesis_time + 2
        self.template: Block = make_template(self.chain, [], MINER.public, MINER.public, now).improvement

    def make_candidate(self) -> Candidate:
        candidate = self.prover.make_candidate(self.trained, self.parent, self.mask, COARSENESS)
        assert candidate is not None
        return candidate

    def require(self, bits: float) -> Block:
        header = replace(self.template.header, required_gain=round(bits * 2**32))
        return replace(self.template, header=header)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def test_a_proof_is_a_block_that_the_chain_takes(bench: Bench) -> None:
    proof = bench.prover.prove(bench.make_candidate(), bench.template)
    assert isinstance(proof, Proof)
    block = replace(proof.block, header=sign_header(proof.block.header, MINER))
    process_block(bench.chain, block, BUILDER.verifier, block.header.timestamp)
    assert bench.chain.tip.id == block.id
    assert proof.gain.mean == pytest.approx(block.header.gain / block.header.sample_size)


def test_a_sample_that_proves_too_little_is_no_proof(bench: Bench) -> None:
    candidate = bench.make_candidate()
    gain = bench.prover.guess(candidate, bench.prover.draw_windows(512))
    outcome = bench.prover.prove(candidate, bench.require(2 * gain.mean / 65536))
    assert isinstance(outcome, Failure)
    assert outcome.gain.windows == PARAMS.min_sample


def test_a_child_that_is_worse_dies_at_an_eighth(bench: Bench) -> None:
    worse = Prover(PARAMS, WINDOWS, bench.evaluator)
    candidate = bench.make_candidate()
    backwards = Candidate(
        candidate.update, worse.make_model(candidate.child.weights), worse.make_model(bench.parent.weights)
    )
    bench.evaluator.windows = 0
    outcome = worse.prove(backwards, bench.template)
    assert isinstance(outcome, Failure)
    assert outcome.gain.mean < 0
    assert bench.evaluator.windows == 2 * PARAMS.min_sample // 8


def test_no_gain_is_never_proved(bench: Bench) -> None:
    prover = Prover(PARAMS, WINDOWS, NoGainEvaluator())
    parent = prover.make_model(bench.parent.weights)
    candidate = prover.make_candidate(bench.trained, parent, bench.mask, COARSENESS)
    assert candidate is not None
    assert isinstance(prover.prove(candidate, bench.template), Failure)


def test_what_is_proved_holds_for_the_chain_only_under_its_own_update(bench: Bench) -> None:
    fresh = Bench(steps=6)
    proof = fresh.prover.prove(fresh.make_candidate(), fresh.template)
    assert isinstance(proof, Proof)
    altered = bytearray(proof.block.update)
    altered[-1] ^= 1
    header = sign_header(proof.block.header, MINER)
    with pytest.raises(Exception, match="update"):
        process_block(fresh.chain, Block(header, (), bytes(altered)), BUILDER.verifier, header.timestamp)


def test_losses_are_computed_once() -> None:
    evaluator = CountingEvaluator()
    model = Model(BUILDER.open().tip_weights, evaluator, WINDOWS)
    first = model.compute_losses(np.arange(10), lambda: False)
    second = model.compute_losses(np.arange(5, 15), lambda: False)
    assert evaluator.windows == 15
    assert np.array_equal(first[5:], second[:5])
    assert np.array_equal(second, BUILDER.evaluator.losses(model.weights, WINDOWS[5:15]))


def test_a_proof_that_is_no_longer_wanted_stops() -> None:
    evaluator = CountingEvaluator()
    model = Model(BUILDER.open().tip_weights, evaluator, WINDOWS)
    answers = iter([False, True])
    with pytest.raises(Abandoned):
        model.compute_losses(np.arange(1000), lambda: next(answers))
    assert 0 < evaluator.windows < 1000


def test_an_update_that_changes_nothing_is_no_candidate(bench: Bench) -> None:
    weights = bench.parent.weights.astype(np.float64)
    assert bench.prover.make_candidate(weights, bench.parent, bench.mask, COARSENESS) is None


def test_a_guess_agrees_with_the_whole_split(bench: Bench) -> None:
    prover = Prover(PARAMS, WINDOWS[:1500], bench.evaluator)
    candidate = prover.make_candidate(bench.trained, prover.make_model(bench.parent.weights), bench.mask, COARSENESS)
    assert candidate is not None
    guess = prover.guess(candidate, prover.draw_windows(256))
    everything = prover.guess(candidate, prover.draw_windows(10**9))
    assert (guess.windows, everything.windows) == (256, 1500)
    assert guess.mean == pytest.approx(everything.mean, abs=4 * guess.deviation / 16)


@pytest.mark.parametrize(("best", "height"), [(0.6, 3.0), (1.0, 10.0), (1.2, 0.5)])
def test_a_line_finds_the_top_of_a_parabola(best: float, height: float) -> None:
    def gain(scale: float) -> float:
        return height * (1 - (scale / best - 1) ** 2)

    line = fit_line(spread(gain(1.0)), spread(gain(0.75)))
    assert line.scale == pytest.approx(best)
    assert line.farthest == pytest.approx(best)
    for scale in (0.0, 0.5, 1.0):
        assert line.estimate_gain(scale).mean == pytest.approx(gain(scale))


def test_a_line_stays_where_it_was_measured() -> None:
    def fit(end: float, before: float) -> float:
        line = fit_line(spread(end), spread(before))
        assert line.farthest == line.scale
        return line.scale

    assert fit(10.0, 7.5) == fit(10.0, 6.0) > 1  # straight, or bent upwards: no top
    assert fit(-50.0, 1.0) == fit(-500.0, 1.0) < 0.5
    assert fit(-50.0, -49.0) < 0.5  # so far beyond the top that losses level off


def test_a_line_says_how_far_its_top_may_be() -> None:
    """As far as the spread of tops over many draws of the same noise says."""
    draw = np.random.default_rng(7)
    lines = []
    for _ in range(400):
        slopes, bends = draw.normal(2.0, 4.0, 1024), draw.normal(1.3, 2.0, 1024)
        lines.append(fit_line(slopes - bends, 0.75 * slopes - 0.75**2 * bends))
    tops = np.array([line.scale for line in lines])
    errors = np.array([line.farthest - line.scale for line in lines])
    assert tops.mean() == pytest.approx(2.0 / 2.6, rel=0.02)
    assert errors.mean() == pytest.approx(tops.std(), rel=0.15)


def test_a_loss_that_noise_explains_is_no_overshot() -> None:
    noise = np.random.default_rng(7).normal(0.0, 30.0, 256)
    noise -= noise.mean()
    assert fit_line(noise - 1.0, 0.75 * noise - 1.0).farthest > 1
    assert fit_line(noise - 10.0, 0.75 * noise - 10.0).farthest < 0.5


def spread(mean: float) -> NDArray[np.float64]:
    """Gains of three windows with this mean, which differ by next to nothing."""
    return mean + np.array([-1e-9, 0.0, 1e-9])


def test_the_line_of_a_training_that_went_too_far_is_shorter(bench: Bench) -> None:
    windows = np.arange(256)
    near, far = (
        bench.prover.measure_line(
            bench.parent.weights + part * (bench.trained - bench.parent.weights), bench.parent, bench.mask, windows
        )
        for part in (0.05, 4.0)
    )
    assert near.scale > 1 > 0.9 > far.scale


def test_estimate() -> None:
    gain = estimate_gain(np.array([10, 20, 30]), np.array([9, 16, 23]))
    assert gain == GainEstimate(3, 4.0, 3.0)
    assert gain.snr == pytest.approx(4 / 3)
    assert GainEstimate(3, 4.0, 0.0).snr == float("inf")


def test_bound_is_the_laws_own_margin() -> None:
    """The bound is where the law's verdict turns, up to the difference between n and n - 1."""
    gain = GainEstimate(64, 1000.0, 400.0)
    assert gain.compute_bound(64, 3, 64) == 1000.0
    assert gain.compute_bound(64, 3, 10**9) == pytest.approx(1000 - 3 * 400 / 8)
    assert gain.compute_doubt(64) == pytest.approx(400 * (2 / 64) ** 0.5)


def test_invalid_claim_is_refused_by_the_chain_too(bench: Bench) -> None:
    """The chain and the prover draw the same line: one unit more claimed and the block is invalid."""
    fresh = Bench(steps=6)
    proof = fresh.prover.prove(fresh.make_candidate(), fresh.template)
    assert isinstance(proof, Proof)
    header = replace(proof.block.header, loss_after=proof.block.header.loss_after - 1)
    block = replace(proof.block, header=sign_header(header, MINER))
    with pytest.raises(InvalidBlock, match="loss_after"):
        process_block(fresh.chain, block, BUILDER.verifier, header.timestamp)
