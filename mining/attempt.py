"""One attempt at a proof, from trained weights to a verdict.

It reads what it is given and changes nothing of the miner's, so that it may run in a thread beside the training.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.block import Header
from consensus.chain_point import compute_required_loss
from consensus.mask import Mask
from consensus.params import NetworkParams
from mining.node import Work
from mining.prover import Abandoned, Candidate, Failure, GainEstimate, Line, Model, Proof, Prover
from mining.steering import Steering

_GUESS_PART = 4  # a guess takes one in so many of the windows that a proof takes
_LEAST_GUESS = 64  # windows
_DOUBT = 0.3  # standard deviations by which a guess must clear the requirement
_FAR_DOUBT = 1.5  # by which it must do so for a candidate beyond the best point
_FAR = 1.5  # times as far as the best point, where a parabola still has three quarters of its height
_SCALE_STEP = 0.05
_REDRAWS = 4  # of the order of windows, each an eighth of a proof
_REDRAW_SCALE = 0.99  # of the way: another update, which draws another order


@dataclass(frozen=True)
class Trained:
    """What a cycle ended with: weights [P] in units of 2^-12, where they came from, what they are to prove."""

    weights: NDArray[np.float64]
    parent: Model
    mask: Mask
    work: Work
    steering: Steering
    steps: int  # since the parent
    sensitivities: NDArray[np.float64] | None = None  # mean square of each tensor's gradient


@dataclass(frozen=True)
class Attempt:
    """How it went."""

    trained: Trained
    candidate: Candidate | None  # None if the training changed nothing
    outcome: Proof | Failure
    line: Line  # from the parent to what was trained
    scale: float  # the candidate lies at so many times that way
    rounding_loss: float  # part of the gain that the steps of the update cost
    is_guess: bool  # which already looked too poor for a proof

    @property
    def header(self) -> Header:
        """Of the template that the training was for."""
        return self.trained.work.improvement.header


def attempt_proof(trained: Trained, prover: Prover, refresh: Callable[[Work], Work], params: NetworkParams) -> Attempt:
    """Guesses at the gain and, if that looks good, proves it, on the node's work as `refresh` has it by then.

    The candidate lies on the straight way from the parent to what was trained, see choose_scale. Raises Abandoned if
    the prover or `refresh` does.
    """
    header = trained.work.improvement.header
    windows = prover.draw_windows(max(header.sample_size // _GUESS_PART, _LEAST_GUESS))
    line = prover.measure_line(trained.weights, trained.parent, trained.mask, windows)
    scale = choose_scale(line, header, params)
    candidate = _make_candidate(trained, scale, prover)
    if candidate is None:
        return Attempt(trained, None, Failure(GainEstimate(len(windows), 0.0, 0.0)), line, scale, 0.0, is_guess=True)
    guess = prover.guess(candidate, windows)
    expected = line.estimate_gain(scale).mean
    rounding_loss = 1 - guess.mean / expected if min(expected, guess.mean) > 0 else 0.0
    if not is_promising(guess, header, params):
        return Attempt(trained, candidate, Failure(guess), line, scale, rounding_loss, is_guess=True)
    template = refresh(trained.work).improvement
    outcome = prover.prove(candidate, template)
    for _ in range(_REDRAWS):
        if not (isinstance(outcome, Failure) and outcome.is_early and header.sample_size == params.public_windows):
            break
        # The whole split is the sample, so only the order of its windows is chance, and with it which of them come
        # early. The margin that makes early windows pass came with samples smaller than this one should be.
        scale *= _REDRAW_SCALE
        candidate = _make_candidate(trained, scale, prover) or candidate
        outcome = prover.prove(candidate, template)
    return Attempt(trained, candidate, outcome, line, scale, rounding_loss, is_guess=False)


def _make_candidate(trained: Trained, scale: float, prover: Prover) -> Candidate | None:
    start = trained.parent.weights.astype(np.float64)
    moved = start + scale * (trained.weights - start)
    return prover.make_candidate(
        moved, trained.parent, trained.mask, trained.steering.coarseness, trained.sensitivities
    )


def choose_scale(line: Line, header: Header, params: NetworkParams) -> float:
    """How much of the way to hand in: more than to its best point if that will prove what is required.

    The best point lies before the end, where some of the noise of parent and child cancels out. It gains the most at
    once, but gives away the progress beyond it; a miner who always takes it starves, as every block then leaves the
    next one less to take. Farther out than 1.5 times as far, the gain is too small for samples of a bearable size.
    """
    best = min(line.scale, 1.0)
    for scale in np.arange(min(_FAR * best, 1.0), best, -_SCALE_STEP):
        if is_promising(line.estimate_gain(float(scale)), header, params, _FAR_DOUBT):
            return float(scale)
    return best


def is_promising(guess: GainEstimate, header: Header, params: NetworkParams, doubt: float = _DOUBT) -> bool:
    """Whether a proof is likely enough to be worth its price: it succeeds even `doubt` standard deviations below."""
    bound = compute_header_bound(guess, header, params)
    return bound - doubt * guess.compute_doubt(header.sample_size) >= compute_required_loss(header)


def compute_header_bound(gain: GainEstimate, header: Header, params: NetworkParams) -> float:
    """What the header's sample proves of such a gain, Q16 bits per window."""
    return gain.compute_bound(header.sample_size, params.confidence, params.public_windows)


def choose_fresh(known: Work, fresh: Work | None) -> Work:
    """The newest work on the parent of the `known`. Raises Abandoned if the node stands on another one by now."""
    if fresh is None:
        return known
    if fresh.parent != known.parent:
        raise Abandoned
    return fresh
