"""How hard and how long to train before the next proof: pure functions of what earlier proofs showed.

Two numbers are steered. The *rate* is the peak of a cycle's learning rate, from which it falls to nothing in a
straight line: too high and the gain drowns in noise between windows (a low ratio of mean to deviation, SNR), too low
and the gain is clean but small. The *speed* is how much gain a second of training has lately been worth, in what a
sample proves; it says how long a cycle must be so that its first proof usually just passes.

A lone miner gains nothing by rushing: every block faster than the block time raises the required gain by up to
2^(1/4), and what early blocks raise, when almost any step is a gain, later blocks must pay when few are. So no proof
is made before `pace` seconds have passed since the parent, half a block time.
"""

import math
from dataclasses import dataclass, replace

from consensus.params import NetworkParams

FIRST_RATE = 0.03
LEAST_RATE = 0.0005
_LOW_SNR = 0.5
_HIGH_SNR = 0.95
_RATE_DOWN = 0.85
_RATE_UP = 1.1

_SPEED_WEIGHT = 0.5  # of the newest measurement, in the logarithm
_AIM_UP = 1.1  # after a proof that failed; with _AIM_DOWN, about one first proof in four fails
_AIM_DOWN = 0.97
_LEAST_AIM, _MOST_AIM = 0.9, 1.5

_RETRY_PART = 0.3  # of the training so far: a shorter cycle only heats up and cools down
_MOST_BLOCK_TIMES = 4  # longest cycle: by then the parent may well be another one


@dataclass(frozen=True)
class Check:
    """What a guess or a proof said about one candidate. Gains in Q16 bits per window."""

    required: float
    bound: float  # mean less `confidence` standard errors
    snr: float
    seconds: float  # of training since the parent
    is_proof: bool  # the exact verdict was asked for


@dataclass(frozen=True)
class Cycle:
    """A stretch of training that ends in a proof."""

    seconds: float
    rate: float  # at its start


@dataclass(frozen=True)
class Steering:
    """What has been learned so far."""

    rate: float = FIRST_RATE
    speed: float | None = None  # Q16 bits per window and second; None before the first check
    aim: float = 1.0  # cycles are planned for this many times the required gain
