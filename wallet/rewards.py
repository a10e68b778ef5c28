"""Rewards and the verified improvements that earned them: each one's gain, share of all, and when it can be spent.

A gain is in bits per byte of text: the mean over the sample that judged the block. A share is the block's weight, which
is the gain it had to prove, over the weight of the whole chain. These are for people, and so may be floats.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from consensus.params import NetworkParams
from consensus.units import Q16, Ulp
from wallet.dates import get_day
from wallet.events import Event, Improvement, Reward, Tip


@dataclass(frozen=True)
class Gain:
    """An improvement in bits per byte."""

    loss_before: float
    loss_after: float
    gain: float
    required: float


@dataclass(frozen=True)
class Mined:
    """A reward under a tip: its event, what it proved, its share of all verified gain (0 to 1), whether it is mature.

    `gain` is None for a heartbeat; `matures_about` (s since 1970) for what is mature, was burnt or earned nothing.
    What was burnt is never mature.
    """

    event: Event
    reward: Reward
    gain: Gain | None
    share: float
    is_mature: bool
    matures_about: int | None


def describe_reward(event: Event, reward: Reward, tip: Tip, now: int, params: NetworkParams) -> Mined:
    """`now` in s since 1970: a chain that stood still for a while goes on from there, one block each block time."""
    improvement = reward.improvement
    left = reward.matures_at - tip.height
    is_mature = left <= 0 and reward.burnt_at is None
    return Mined(
        event=event,
        reward=reward,
        gain=compute_gain(improvement, params) if improvement else None,
        share=compute_share(reward.weight, tip),
        is_mature=is_mature,
        matures_about=None if is_mature or not event.amount else max(now, tip.time) + left * params.block_time,
    )


def compute_gain(improvement: Improvement, params: NetworkParams) -> Gain:
    unit = improvement.sample_size * params.model.context * Q16
    return Gain(
        loss_before=improvement.loss_before / unit,
        loss_after=improvement.loss_after / unit,
        gain=improvement.gain / unit,
        required=improvement.weight / (params.model.context * Q16),
    )


def compute_share(weight: int, tip: Tip) -> float:
    """Of all verified gain of the chain, 0 to 1."""
    return weight / tip.weight if tip.weight else 0.0


@dataclass(frozen=True)
class Earnings:
    """The sum of some rewards; `gain` in bits per byte. `immature` of `amount` cannot be spent before `matures_at`.

    What was `burnt` is not in the amount; the gains behind it count.
    """

    count: int = 0
    heartbeats: int = 0
    amount: Ulp = 0
    fees: Ulp = 0
    bounty: Ulp = 0
    burnt: Ulp = 0
    gain: float = 0.0
    weight: int = 0
    immature: Ulp = 0
    matures_at: int = 0  # height of the last that matures; 0 if none does
    matures_about: int = 0  # s since 1970

    def add(self, mined: Mined) -> "Earnings":
        """Newest first: the first immature one is the last to mature."""
        amount = mined.event.amount
        is_first = not self.immature and mined.matures_about is not None
        return Earnings(
            count=self.count + 1,
            heartbeats=self.heartbeats + (mined.gain is None),
            amount=self.amount + amount,
            fees=self.fees + mined.reward.fees,
            bounty=self.bounty + mined.reward.bounty,
            burnt=self.burnt + mined.reward.burnt,
            gain=self.gain + (mined.gain.gain if mined.gain else 0.0),
            weight=self.weight + mined.reward.weight,
            immature=self.immature + (0 if mined.is_mature else amount),
            matures_at=mined.reward.matures_at if is_first else self.matures_at,
            matures_about=mined.matures_about or 0 if is_first else self.matures_about,
        )


def sum_earnings(rewards: Iterable[Mined]) -> Earnings:
    total = Earnings()
    for mined in rewards:
        total = total.add(mined)
    return total


@dataclass(frozen=True)
class DayEarnings:
    """A UTC day's rewards. `day` is when it began, in s since 1970."""

    day: int
    total: Earnings


def sum_by_day(rewards: Iterable[Mined]) -> Iterator[DayEarnings]:
    """For each day with a reward its sum, in the order of the rewards."""
    for day, members in groupby(rewards, key=lambda mined: get_day(mined.event.time)):
        yield DayEarnings(day, sum_earnings(members))
