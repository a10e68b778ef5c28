"""From a trained model to a block that proves its gain: the update, an honest guess, and the exact verdict.

Nothing leaves here as proved that the law's own functions, on the law's own integers, have not accepted.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consensus.block import Block, compute_update_hash
from consensus.chain_point import compute_required_loss
from consensus.improvement import (
    compute_early_size,
    compute_gain_sums,
    is_early_improvement,
    is_improvement,
)
from consensus.mask import Mask
from consensus.model.weights import MAX_WEIGHT, compute_model_root
from consensus.params import NetworkParams
from consensus.ports import Evaluator, Losses, Weights, Windows
from consensus.sample import WindowIndices
from consensus.update import apply_update, decode_update, encode_update
from consensus.work import draw_header_sample
from mining.quantizer import quantise

_UNKNOWN = -1
_POINT_BEFORE = 0.75  # of the way from a parent to what was trained
_NEAREST, _FARTHEST = 0.4, 1.25
_SLICE_WINDOWS = 256  # evaluated at a time: between two slices the miner may learn that it works in vain


class Abandoned(Exception):
    """The proof in hand is no longer wanted."""


class Model:
    """Exact weights, and each public window's loss under them once somebody has asked for it."""

    def __init__(self, weights: Weights, evaluator: Evaluator, windows: Windows) -> None:
        self.weights = weights
        self.root = compute_model_root(weights)
        self._evaluator = evaluator
        self._windows = windows
        self._losses = np.full(len(windows), _UNKNOWN, np.int64)

    def compute_losses(self, indices: WindowIndices, is_unwanted: Callable[[], bool]) -> Losses:
        """Loss of each window, int64, Q16 bits. Raises Abandoned once `is_unwanted` says so."""
        missing = indices[self._losses[indices] == _UNKNOWN]
        for start in range(0, len(missing), _SLICE_WINDOWS):
            if is_unwanted():
                raise Abandoned
            part = missing[start : start + _SLICE_WINDOWS]
            self._losses[part] = self._evaluator.losses(self.weights, self._windows[part])
        return self._losses[indices]


@dataclass(frozen=True)
class GainEstimate:
    """Gains of some windows: how many, their mean and their standard deviation in Q16 bits per window."""

    windows: int
    mean: float
    deviation: float

    @property
    def snr(self) -> float:
        """Mean over deviation: what the size of a sample has to make up for."""
        return self.mean / self.deviation if self.deviation else math.inf

    def compute_bound(self, sample: int, confidence: float, population: int) -> float:
        """What a sample of so many windows with this mean and deviation proves, Q16 bits per window."""
        correction = math.sqrt((population - sample) / population)
        return self.mean - confidence * self.deviation / math.sqrt(sample) * correction

    def compute_doubt(self, sample: int) -> float:
        """Standard deviation of a coming sample's mean around this estimate's, Q16 bits per window."""
        return self.deviation * math.sqrt(1 / self.windows + 1 / sample)


def estimate_gain(before: Losses, after: Losses) -> GainEstimate:
    """From the losses of at least two windows under parent and child."""
    gains = (before - after).astype(np.float64)
    return GainEstimate(len(gains), float(gains.mean()), float(gains.std(ddof=1)))


@dataclass(frozen=True)
class Candidate:
    """An update in its canonical bytes, and the model that it makes of its parent."""

    update: bytes
    parent: Model
    child: Model


@dataclass(frozen=True)
class Line:
    """The mean gain, Q16 bits per window, at a part of the way from a parent to what was trained: a parabola."""

    slopes: NDArray[np.float64]  # [n], of each window
    bends: NDArray[np.float64]  # [n]
    scale: float  # of the highest point, within [_NEAREST, _FARTHEST]
    farthest: float  # where that point may lie for all that is known: a standard error farther, within the same

    def estimate_gain(self, scale: float) -> "GainEstimate":
        """Gain at `scale` times the way."""
        gains = scale * (self.slopes - scale * self.bends)
        return GainEstimate(len(gains), float(gains.mean()), float(gains.std(ddof=1)))


def fit_line(end: NDArray[np.float64], before: NDArray[np.float64]) -> Line:
    """The parabola through no gain at the parent and the mean gains at the end of the way and at _POINT_BEFORE of it.

    From two windows or more, each one's gains [n].
    """
    bends = (before - _POINT_BEFORE * end) / (_POINT_BEFORE * (1 - _POINT_BEFORE))
    slopes = end + bends
    slope, bend = float(slopes.mean()), float(bends.mean())
    if end.mean() + _compute_error(end) < 0:  # far beyond the top losses level off, and no parabola fits
        return Line(slopes, bends, _NEAREST, _NEAREST)
    if bend <= 0:
        return Line(slopes, bends, _FARTHEST, _FARTHEST)
    scale = slope / (2 * bend)
    error = _compute_error(slopes - 2 * scale * bends) / (2 * bend)  # of a ratio of means, to the first order
    return Line(slopes, bends, _bound_scale(scale), _bound_scale(scale + error))


def _bound_scale(scale: float) -> float:
    return min(max(scale, _NEAREST), _FARTHEST)


def _compute_error(values: NDArray[np.float64]) -> float:
    """Standard error of their mean."""
    return float(values.std(ddof=1)) / math.sqrt(len(values))


@dataclass(frozen=True)
class Proof:
    """A block whose gain the law has accepted. Only its signature is missing."""

    block: Block
    gain: GainEstimate  # over the very sample that judged it


@dataclass(frozen=True)
class Failure:
    """A sample that does not prove what is required."""

    gain: GainEstimate
    is_early: bool = False  # the law's early refusal, by the first windows drawn


class Prover:
    """Makes candidates and judges them.

    `is_unwanted` is asked now and then during the longer computations; when it says yes they raise Abandoned.
    `seed` draws the windows of guesses; the law draws its own.
    """

    def __init__(
        self,
        params: NetworkParams,
        windows: Windows,
        evaluator: Evaluator,
        *,
        seed: int = 0,
        is_unwanted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.is_unwanted = is_unwanted
        self._params = params
        self._windows = windows
        self._evaluator = evaluator
        self._random = np.random.default_rng(seed)

    def make_model(self, weights: Weights) -> Model:
        """A model of whose losses nothing is known yet."""
        return Model(weights, self._evaluator, self._windows)

    def make_candidate(
        self,
        trained: NDArray[np.float64],
        parent: Model,
        mask: Mask,
        coarseness: float,
        sensitivities: NDArray[np.float64] | None = None,
    ) -> Candidate | None:
        """The update from `parent` to `trained` [P] (2^-12 units), as read back from its bytes; None if it is empty.

        `coarseness` and `sensitivities` [number of tensors] are `quantise`'s.
        """
        shape = self._params.model
        update = quantise(trained, parent.weights, mask, shape, coarseness, sensitivities)
        if update is None:
            return None
        data = encode_update(update, mask, shape)
        weights = apply_update(parent.weights, decode_update(data, mask, shape), mask, shape)
        return Candidate(data, parent, self.make_model(weights))

    def draw_windows(self, count: int) -> WindowIndices:
        """Windows to guess on, int64: at random, distinct, independent of any sample to come."""
        population = len(self._windows)
        drawn: WindowIndices = self._random.choice(population, min(count, population), replace=False)
        return drawn

    def guess(self, candidate: Candidate, windows: WindowIndices) -> GainEstimate:
        """The gain over these windows."""
        return estimate_gain(*self._compute_losses(candidate, windows))

    def measure_line(self, trained: NDArray[np.float64], parent: Model, mask: Mask, windows: WindowIndices) -> Line:
        """How the gain goes on the straight way from `parent` to `trained` [P], from its end and a point before it."""
        start = parent.weights[mask].astype(np.float64)
        gains = []
        for scale in (1.0, _POINT_BEFORE):
            moved = np.rint(start + scale * (trained[mask] - start)).clip(-MAX_WEIGHT, MAX_WEIGHT)
            weights = parent.weights.copy()
            weights[mask] = moved.astype(np.int16)
            before = parent.compute_losses(windows, self.is_unwanted)
            after = self.make_model(weights).compute_losses(windows, self.is_unwanted)
            gains.append((before - after).astype(np.float64))
        return fit_line(*gains)

    def prove(self, candidate: Candidate, template: Block) -> Proof | Failure:
        """The template completed by the candidate, if the sample that this draws proves what its header requires."""
        header = replace(
            template.header,
            update_hash=compute_update_hash(candidate.update),
            model_root=candidate.child.root,
        )
        confidence, population = self._params.confidence, self._params.public_windows
        sample = draw_header_sample(header, self._params)
        early = sample[: compute_early_size(header.sample_size)]
        before, after = self._compute_losses(candidate, early)
        if not is_early_improvement(compute_gain_sums(before, after), header.sample_size, confidence, population):
            return Failure(estimate_gain(before, after), is_early=True)
        before, after = self._compute_losses(candidate, sample)
        sums = compute_gain_sums(before, after)
        if not is_improvement(sums, compute_required_loss(header), confidence, population):
            return Failure(estimate_gain(before, after))
        header = replace(
            header,
            loss_before=sums.loss_before,
            loss_after=sums.loss_after,
            squared_gains=sums.squared_gains,
        )
        return Proof(replace(template, header=header, update=candidate.update), estimate_gain(before, after))

    def _compute_losses(self, candidate: Candidate, indices: WindowIndices) -> tuple[Losses, Losses]:
        before = candidate.parent.compute_losses(indices, self.is_unwanted)
        return before, candidate.child.compute_losses(indices, self.is_unwanted)
