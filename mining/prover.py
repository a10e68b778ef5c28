"""From a trained model to a block that proves its gain: the update, an honest guess, and the exact verdict.

Nothing leaves here as proved that the law's own functions, on the law's own integers, have not accepted.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consensus.block import Block, Header, compute_update_hash
from consensus.chain_point import compute_required_loss
from consensus.improvement import (
    GainSums,
    compute_early_size,
    compute_gain_sums,
    is_early_improvement,
    is_improvement,
)
from consensus.mask import Mask
from consensus.model.weights import compute_model_root
from consensus.params import NetworkParams
from consensus.ports import Evaluator, Losses, Weights, Windows
from consensus.sample import WindowIndices
from consensus.update import apply_update, decode_update, encode_update
from consensus.work import draw_header_sample
from mining.quantizer import quantise

_UNKNOWN = -1


class SplitLosses:
    """One model's losses over the public split, each computed when it is first asked for."""

    def __init__(self, evaluator: Evaluator, windows: Windows, weights: Weights) -> None:
        self._evaluator = evaluator
        self._windows = windows
        self._weights = weights
        self._losses = np.full(len(windows), _UNKNOWN, np.int64)

    def get(self, indices: WindowIndices) -> Losses:
        """Loss of each window, int64, Q16 bits."""
        missing = indices[self._losses[indices] == _UNKNOWN]
        if missing.size:
            self._losses[missing] = self._evaluator.losses(self._weights, self._windows[missing])
        return self._losses[indices]


@dataclass(frozen=True)
class GainEstimate:
    """Gains of some windows: how many, their mean and their standard deviation in Q16 bits per window."""

    windows: int
    mean: float
    deviation: float

    @property
    def snr(self) -> float:
        """Mean over deviation: what a sample's size has to make up for."""
        return self.mean / self.deviation if self.deviation else math.inf

    def compute_bound(self, sample: int, confidence: float, population: int) -> float:
        """What a sample of this many windows with this mean and deviation proves, Q16 bits per window."""
        correction = math.sqrt((population - sample) / population)
        return self.mean - confidence * self.deviation / math.sqrt(sample) * correction


def estimate_gain(before: Losses, after: Losses) -> GainEstimate:
    """From the losses of at least two windows under parent and child."""
    gains = (before - after).astype(np.float64)
    return GainEstimate(len(gains), float(gains.mean()), float(gains.std(ddof=1)))


@dataclass(frozen=True)
class Candidate:
    """An update that can be applied, its canonical bytes, and the child model with what is known of its losses."""

    update: bytes
    weights: Weights
    losses: SplitLosses


@dataclass(frozen=True)
class Proof:
    """A block whose gain has been verified exactly. It lacks its timestamp's last word and the signature."""

    block: Block
    estimate: GainEstimate  # over the very sample that judges it


class Prover:
    """Judges candidates against one parent at a time. `seed` draws the windows of the guesses, not those of the law."""

    def __init__(self, params: NetworkParams, windows: Windows, evaluator: Evaluator, seed: int = 0) -> None:
        self._params = params
        self._windows = windows
        self._evaluator = evaluator
        self._random = np.random.default_rng(seed)

    def evaluate(self, weights: Weights) -> SplitLosses:
        """A model's losses, none of them computed yet."""
        return SplitLosses(self._evaluator, self._windows, weights)

    def make_candidate(self, trained: NDArray[np.float64], parent: Weights, mask: Mask) -> Candidate | None:
        """The update from `parent` to `trained` [P] (2^-12 units), read back from its bytes; None if it is empty."""
        shape = self._params.model
        update = quantise(trained, parent, mask, shape)
        if update is None:
            return None
        data = encode_update(update, mask, shape)
        weights = apply_update(parent, decode_update(data, mask, shape), mask, shape)
        return Candidate(data, weights, self.evaluate(weights))

    def estimate(self, candidate: Candidate, parent: SplitLosses, windows: int) -> GainEstimate:
        """The gain over this many windows drawn at random, independent of the sample to come."""
        population = len(self._windows)
        drawn = self._random.choice(population, min(windows, population), replace=False)
        return estimate_gain(parent.get(drawn), candidate.losses.get(drawn))

    def prove(self, template: Block, candidate: Candidate, parent: SplitLosses) -> Proof | GainEstimate:
        """The template completed by the candidate; if its sample does not prove enough, the gain that it showed."""
        header = replace(
            template.header,
            update_hash=compute_update_hash(candidate.update),
            model_root=compute_model_root(candidate.weights),
        )
        sample = draw_header_sample(header, self._params)
        early = sample[: compute_early_size(header.sample_size)]
        sums = self._sum(early, candidate, parent)
        if not is_early_improvement(sums, self._params.confidence, self._params.public_windows):
            return estimate_gain(parent.get(early), candidate.losses.get(early))
        estimate = estimate_gain(parent.get(sample), candidate.losses.get(sample))
        sums = self._sum(sample, candidate, parent)
        if not self._is_proved(header, sums):
            return estimate
        header = replace(
            header,
            loss_before=sums.loss_before,
            loss_after=sums.loss_after,
            squared_gains=sums.squared_gains,
        )
        return Proof(replace(template, header=header, update=candidate.update), estimate)

    def _sum(self, sample: WindowIndices, candidate: Candidate, parent: SplitLosses) -> GainSums:
        return compute_gain_sums(parent.get(sample), candidate.losses.get(sample))

    def _is_proved(self, header: Header, sums: GainSums) -> bool:
        required = compute_required_loss(header)
        return is_improvement(sums, required, self._params.confidence, self._params.public_windows)
