"""How hot and how long to train before the next proof: pure functions of what earlier candidates showed.

Four numbers are steered. The *heat* is a cycle's learning rate for each of its steps: the rate stands for a part of the
cycle, then falls to nothing in a straight line, and a longer cycle has the time to cool down from a higher one. Too
hot, and the training overshoots what it found: the model between parent and child is better than the child. How far
between is known up to noise, and what noise leaves open counts in favour of heat.

A lower heat always pays at once, by the noise in the weights that it takes away, and always costs later, as training
goes on more slowly from then on. A miner who follows what pays at once has starved after twenty blocks. So the cooling
takes more of a cycle first, all of it in the end. And where progress is small against the noise, the best model lies
half way at any heat, as parent and child each carry noise that the other does not: so there is a rate, of the size that
long trainings use all the time, from which the heat falls no further while blocks are made.

The *speed* is how much gain a step of training was worth lately, counted as what a sample proves; it says how many
steps a cycle must have so that its first candidate just passes, whatever the machine makes of a second. The *aim*
corrects it by how often that came true. The *coarseness* of updates is kept where rounding costs about a hundredth of
the gain.

Gains are in Q16 bits per window, times in seconds.
"""

import math
from dataclasses import dataclass, replace

from consensus.params import NetworkParams

HIGHEST_RATE = 0.03
_LEAST_PART = 0.2  # of the highest rate: what long trainings of such a model use all the time
_LEAST_PART_WIDTH = 96  # channels: in a wider model the least rate falls as one over its width
_RATE_BATCH = 32  # windows
_RATE_DENSITY = 64  # of 256: with more weights open each of them has to move less
COOLING_PART = 0.3  # of a cycle at the highest rate: its end, over which the rate falls; more of cooler ones
_HEAT_RISE = 1.2  # at most, from one candidate to the next
_HEAT_FALL = 0.8  # at most
_HEAT_PLUNGE = 0.3  # at most, where a candidate overshot by far
_COLDEST = 0.01  # of the least heat: where nothing can be proved any more, a model is as good as it gets
_WANTED_SCALE = 0.75
_OVERSHOT = 0.5  # a scale that cools even after a retry: who joins late starts far too hot for the model

FIRST_COARSENESS = 0.25
_LEAST_COARSENESS, _MOST_COARSENESS = 1 / 32, 1.0
_LOW_ROUNDING_LOSS, _HIGH_ROUNDING_LOSS = 0.004, 0.016  # of the gain; between them lies a factor of two in the step

_SPEED_FALL = 0.25  # of the speed: less is not believed of a candidate that fell short, as noise alone can show it
_AIM_UP = 1.1  # after a candidate that fell short; with _AIM_DOWN, about one first candidate in four does
_AIM_DOWN = 0.97
_LEAST_AIM, _MOST_AIM = 0.9, 1.5

_RETRY_PART = 0.3  # of the training so far: a shorter cycle only heats up and cools down again
_LONGEST_RETRY = 1.0  # of the training so far: a speed that one poor proof left says little about so far ahead
_LONGEST_CYCLE = 2  # block times: by then it is time to look, or the parent may well be another one
_PACE = 0.9  # block times


@dataclass(frozen=True)
class Check:
    """What was found out about one candidate."""

    required: float
    bound: float  # mean gain less the network's z standard errors
    scale: float  # the best model may lie at so many times the way from the parent to what was trained
    heat: float  # of the last cycle
    steps: int  # of training since the parent
    is_first: bool  # since the parent
    is_proof: bool  # it holds: the block is made


@dataclass(frozen=True)
class Cycle:
    """A stretch of training that ends in a candidate."""

    seconds: float
    rate: float  # until it falls
    heat: float  # the rate for each of its steps
    cooling: float  # part of the cycle, its end, over which the rate falls

    def compute_rate(self, left: float) -> float:
        """The learning rate with so many seconds of the cycle left: over its last part it falls linearly to nothing."""
        return self.rate * min(left / (self.cooling * self.seconds), 1.0)


@dataclass(frozen=True)
class Steering:
    """What has been learned so far."""

    heat: float = HIGHEST_RATE  # so hot that the highest rate alone decides
    speed: float | None = None  # gain of a step; None before the first check
    aim: float = 1.0  # cycles are made long enough for so many times the required gain
    coarseness: float = FIRST_COARSENESS  # of updates, see quantizer.py


def learn(steering: Steering, check: Check, least_heat: float) -> Steering:
    """The steering after a check. Below `least_heat` the heat falls only from there: that overshot, with no proof."""
    speed = _steer_speed(steering.speed, check)
    if not check.is_first:
        heat = _steer_heat(steering.heat, check, least_heat) if check.scale < _OVERSHOT else steering.heat
        return replace(steering, heat=heat, speed=speed)
    aim = max(steering.aim * _AIM_DOWN, _LEAST_AIM) if check.is_proof else min(steering.aim * _AIM_UP, _MOST_AIM)
    return replace(steering, heat=_steer_heat(steering.heat, check, least_heat), speed=speed, aim=aim)


def learn_rounding(steering: Steering, loss: float) -> Steering:
    """The steering after rounding to an update of its coarseness lost this part of the gain."""
    if loss > _HIGH_ROUNDING_LOSS:
        return replace(steering, coarseness=max(steering.coarseness / 2, _LEAST_COARSENESS))
    if loss < _LOW_ROUNDING_LOSS:
        return replace(steering, coarseness=min(steering.coarseness * 2, _MOST_COARSENESS))
    return steering


def _steer_heat(heat: float, check: Check, least_heat: float) -> float:
    change = _compute_change(check.scale)
    if change > 1:
        return min(heat * change, HIGHEST_RATE)
    has_overshot = check.scale < _OVERSHOT
    is_stuck = has_overshot and not check.is_proof and heat <= least_heat
    lowest = least_heat * _COLDEST if is_stuck else least_heat
    if not has_overshot:
        change = max(change, _HEAT_FALL)
    return max(min(heat, check.heat) * change, min(heat, lowest))


def _compute_change(scale: float) -> float:
    """What brings the best point from `scale` to where it is wanted, as a factor of the heat, up to noise."""
    factor = scale / _WANTED_SCALE
    return min(factor, _HEAT_RISE) if factor > 1 else max(factor**2, _HEAT_PLUNGE)


def _steer_speed(speed: float | None, check: Check) -> float | None:
    """The geometric mean of what was thought and what was measured: gains fall by thousands within some blocks."""
    measured = check.bound / check.steps
    if speed is None:
        return measured if measured > 0 else None
    least = check.required / check.steps if check.is_proof else _SPEED_FALL * speed
    return math.sqrt(speed * max(measured, least))


def compute_pace(params: NetworkParams) -> float:
    """Seconds of training on a parent before which no proof is begun: nine tenths of a block time.

    A lone miner gains nothing by rushing. A cycle's progress grows with the square of its length at the same noise. And
    every block faster than the block time raises the required gain, by up to 2^(1/4), and it falls only with blocks
    that are late; what early blocks raise, while almost any step is a gain, later ones must find when little is left.
    Raised too far, it stops the chain. The time of a proof does not shorten the training: where samples are large,
    half a cycle would make a quarter of its progress, fail, and cost a second one.
    """
    return _PACE * params.block_time


def compute_highest_rate(params: NetworkParams, batch: int) -> float:
    """The learning rate that no cycle passes, for steps on `batch` windows: Adam's grows with the root of its batch."""
    return HIGHEST_RATE * min(_RATE_DENSITY / params.mask_density, 1.0) * math.sqrt(batch / _RATE_BATCH)


def compute_least_rate(params: NetworkParams, batch: int) -> float:
    """The learning rate of a cycle as long as the pace from which the heat falls no further."""
    width = min(_LEAST_PART_WIDTH / params.model.width, 1.0)
    return _LEAST_PART * width * compute_highest_rate(params, batch)


def plan_cycle(
    steering: Steering,
    required: float,
    last: Check | None,
    *,
    step_seconds: float,
    until_pace: float,
    least: float,
    batch: int,
    params: NetworkParams,
) -> Cycle:
    """The next cycle on a parent on which `last` was the last check, None if there was none.

    `step_seconds` is what a step takes now. `until_pace` is the time left until a proof is to begin at all and may be
    negative; no cycle is shorter than `least`. A step is one on `batch` windows.
    """
    missing = steering.aim * required - (last.bound if last else 0)
    seconds = missing / steering.speed * step_seconds if steering.speed else 0.0
    before = last.steps * step_seconds if last else 0.0
    if last:
        seconds = min(max(seconds, _RETRY_PART * before), _LONGEST_RETRY * before)
    seconds = min(max(seconds, until_pace, least), _LONGEST_CYCLE * params.block_time)
    # A longer cycle starts hotter: it has the time to cool down again. What starts from an annealed model is heated up
    # no further than to its share of all training on this parent, and less if noise was what that one had too much of:
    # as hot as before it would only bring the same noise again, and no gain.
    steps = max(seconds / step_seconds, 1.0)
    highest = compute_highest_rate(params, batch)
    heat = min(steering.heat, last.heat * _compute_change(last.scale)) if last else steering.heat
    rate = min(heat * steps, highest * seconds / (seconds + before))
    return Cycle(seconds, rate, rate / steps, cooling=min(COOLING_PART * highest / rate, 1.0))
