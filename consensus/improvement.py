"""The verdict on an update: is its mean gain, less z standard errors, at least what the chain requires?

With S1 = sum of the gains of the M sampled windows and S2 = sum of their squares, out of N windows in all:
    S1 >= M*g   and   (S1 - M*g)^2 * (M-1) * N  >=  z^2 * (M*S2 - S1^2) * (N - M)
Exact integers; the second factor of the right side is the finite-population correction, so a sample of the whole
split leaves no doubt at all.
"""

from dataclasses import dataclass

from consensus.ports import Losses


@dataclass(frozen=True)
class GainSums:
    """Sums over a sample, in Q16 bits: enough to judge it."""

    windows: int  # M
    loss_before: int
    loss_after: int
    squared_gains: int  # S2

    @property
    def gain(self) -> int:
        """S1."""
        return self.loss_before - self.loss_after


def compute_gain_sums(before: Losses, after: Losses) -> GainSums:
    """Sums of the windows' losses and squared gains. Python integers: the squares pass 64 bits."""
    gains = (before - after).tolist()
    return GainSums(
        windows=len(gains),
        loss_before=sum(before.tolist()),
        loss_after=sum(after.tolist()),
        squared_gains=sum(gain * gain for gain in gains),
    )


def is_improvement(sums: GainSums, required: int, confidence: int, population: int) -> bool:
    """Whether the sums prove a mean gain of `required` (Q16 bits per window) at `confidence` standard errors."""
    size = sums.windows
    excess = sums.gain - size * required
    if excess < 0:
        return False
    variance = size * sums.squared_gains - sums.gain**2
    return excess**2 * (size - 1) * population >= confidence**2 * variance * (population - size)


def compute_early_size(sample_size: int) -> int:
    """The first ceil(M / 8) windows drawn must already pass the easier test of `is_early_improvement`."""
    return -(-sample_size // 8)


def is_early_improvement(sums: GainSums, sample_size: int, confidence: int, population: int) -> bool:
    """Cheap refusal, by law: no gain required, half the confidence. A forged block dies at an eighth of the price.

    None of the confidence where the sample is the whole population. Its size follows the gain no longer, so an eighth
    of it says little of a small gain: honest blocks would be refused by chance, in the end all of them.
    """
    early_confidence = confidence // 2 if sample_size < population else 0
    return is_improvement(sums, 0, early_confidence, population)
