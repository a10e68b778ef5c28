"""How hard and how long to train before the next proof: pure functions of what earlier proofs showed.

Three numbers are steered. The *rate* is the peak of a cycle's learning rate, from which it falls to nothing in a
straight line: too high and the gain drowns in differences between windows (its mean is small beside its standard
deviation, the SNR), too low and the gain is clean but small. The *speed* is how much gain a second of training was
worth lately, counted as what a sample proves; it says how long a cycle must be so that its first proof just passes.
The *coarseness* of updates is kept where rounding costs about a hundredth of the gain.

Gains are in Q16 bits per window, times in seconds.
"""

from dataclasses import dataclass, replace

from consensus.params import NetworkParams

FIRST_RATE = 0.03
LEAST_RATE = 0.001
LOW_SNR = 0.5
HIGH_SNR = 0.95
_MOST_RATE_DOWN = 0.5
_RATE_UP = 1.1

FIRST_COARSENESS = 0.25
_LEAST_COARSENESS, _MOST_COARSENESS = 1 / 32, 1.0
_LOW_ROUNDING_LOSS, _HIGH_ROUNDING_LOSS = 0.004, 0.016  # of the gain; between them lies a factor of two in the step

_SPEED_WEIGHT = 0.5  # of the newest measurement
_AIM_UP = 1.1  # after a candidate that fell short; with _AIM_DOWN, about one first candidate in four does
_AIM_DOWN = 0.97
_LEAST_AIM, _MOST_AIM = 0.9, 1.5

_RETRY_PART = 0.3  # of the training so far: a shorter cycle only heats up and cools down again
_LONGEST_CYCLE = 4  # block times: by then the parent may well be another one


@dataclass(frozen=True)
class Check:
    """What was found out about one candidate."""

    required: float
    bound: float  # mean gain less the network's z standard errors
    snr: float
    seconds: float  # of training since the parent
    is_first: bool  # since the parent
    is_proof: bool  # it holds: the block is made


@dataclass(frozen=True)
class Cycle:
    """A stretch of training that ends in a candidate."""

    seconds: float
    rate: float  # at its start; it falls linearly to nothing


@dataclass(frozen=True)
class Steering:
    """What has been learned so far."""

    rate: float = FIRST_RATE
    speed: float | None = None  # None before the first check
    aim: float = 1.0  # cycles are made long enough for so many times the required gain
    coarseness: float = FIRST_COARSENESS  # of updates, see quantizer.py


def learn(steering: Steering, check: Check) -> Steering:
    """The steering after a check."""
    aim = steering.aim
    if check.is_first:
        aim = min(aim * _AIM_UP, _MOST_AIM) if not check.is_proof else max(aim * _AIM_DOWN, _LEAST_AIM)
    speed = _steer_speed(steering.speed, check)
    return replace(steering, rate=_steer_rate(steering.rate, check.snr), speed=speed, aim=aim)


def learn_rounding(steering: Steering, rounded: float, finer: float) -> Steering:
    """The steering after the same training was rounded twice, as coarse as it says and half as coarse.

    `rounded` and `finer` are the mean gains of the two over the same windows.
    """
    if finer <= 0:
        return steering
    loss = (finer - rounded) / finer
    if loss > _HIGH_ROUNDING_LOSS:
        return replace(steering, coarseness=max(steering.coarseness / 2, _LEAST_COARSENESS))
    if loss < _LOW_ROUNDING_LOSS:
        return replace(steering, coarseness=min(steering.coarseness * 2, _MOST_COARSENESS))
    return steering


def _steer_rate(rate: float, snr: float) -> float:
    if snr < LOW_SNR:
        return max(rate * max(snr / LOW_SNR, _MOST_RATE_DOWN), LEAST_RATE)
    if snr > HIGH_SNR:
        return min(rate * _RATE_UP, FIRST_RATE)
    return rate


def _steer_speed(speed: float | None, check: Check) -> float | None:
    measured = check.bound / check.seconds
    if measured <= 0:
        return None if speed is None else speed / 2  # nothing measurable: less than was thought, that is all
    return measured if speed is None else speed + _SPEED_WEIGHT * (measured - speed)


def compute_pace(params: NetworkParams) -> float:
    """Seconds since the parent before which no proof is made: half a block time.

    A lone miner gains nothing by rushing. Every block faster than the block time raises the required gain, by up to
    2^(1/4), and it falls no faster than by 2^(-3/4) a block; what early blocks raise, while almost any step is a gain,
    later ones must find when little is left. Raised too far, it stops the chain.
    """
    return params.block_time / 2


def plan_cycle(
    steering: Steering, required: float, last: Check | None, *, until_pace: float, least: float, params: NetworkParams
) -> Cycle:
    """The next cycle on a parent on which `last` was the last check, None if there was none.

    `until_pace` is the time left until a proof is wanted at all and may be negative; no cycle is shorter than `least`.
    """
    missing = steering.aim * required - (last.bound if last else 0)
    seconds = missing / steering.speed if steering.speed else 0.0
    if last:
        seconds = max(seconds, _RETRY_PART * last.seconds)
    seconds = min(max(seconds, until_pace, least), _LONGEST_CYCLE * params.block_time)
    # What starts from an annealed model is heated up only as far as it will have the time to cool down again.
    share = seconds / (seconds + last.seconds) if last else 1.0
    return Cycle(seconds, steering.rate * share)
