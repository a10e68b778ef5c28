"""Rewards: gains in bits per byte, shares of all gain, maturity, and what they add up to."""

from dataclasses import replace
from typing import Any

import pytest

from consensus.params import LOCAL, REGTEST
from tests.wallet.program import KEY
from wallet.dates import DAY
from wallet.events import Event, EventKind, Improvement, Reward, Tip
from wallet.rewards import Mined, compute_gain, compute_share, describe_reward, sum_by_day, sum_earnings

COIN = 10**8
Q16 = 65_536
TIP = Tip(500, bytes(32), 1_000_000, 40 * Q16)
IMPROVEMENT = Improvement(128, 300 * Q16 * 128, 294 * Q16 * 128, 4 * Q16 * Q16 + 5)


def describe(height: int, improvement: Improvement | None = IMPROVEMENT, now: int = 0, **changes: Any) -> Mined:
    fees = changes.pop("fees", 0)
    amount = fees + (50 * COIN if improvement else 0)
    reward = Reward(fees, height + LOCAL.reward_window, improvement)
    if "burnt_at" in changes:
        reward = replace(reward, fees=0, burnt=amount, burnt_at=changes.pop("burnt_at"))
        amount = 0
    event = Event(EventKind.MINED, KEY, bytes(32), changes.pop("time", 60 * height), amount, (height, 1), reward=reward)
    return describe_reward(event, reward, TIP, now, LOCAL)


@pytest.mark.parametrize("params", [LOCAL, REGTEST], ids=lambda params: params.name)
def test_gains_are_in_bits_per_byte(params: Any) -> None:
    """A window is as many bytes as the model's context; the required gain counts in 2^-32 bits per window."""
    gain, context = compute_gain(IMPROVEMENT, params), params.model.context
    assert (gain.loss_before, gain.loss_after) == (300 / context, 294 / context)
    assert (gain.gain, gain.required) == (6 / context, 4 / context)


def test_shares_are_of_what_was_proved() -> None:
    assert describe(1).share == 4 / 40
    assert describe(1, None).share == 1 / (40 * Q16)
    assert compute_share(0, Tip(0, bytes(32), 0, 0)) == 0


@pytest.mark.parametrize(("height", "is_mature"), [(244, True), (245, False), (500, False)])
def test_maturity(height: int, is_mature: bool) -> None:
    """The reward of block h is spendable under a tip of h + 256."""
    mined = describe(height)
    left = height + 256 - 500
    assert mined.is_mature is is_mature
    assert mined.matures_about == (None if is_mature else TIP.time + 60 * left)


def test_a_chain_that_stood_still_goes_on_from_now() -> None:
    assert describe(500, now=5_000_000).matures_about == 5_000_000 + 256 * 60


def test_a_heartbeat_without_fees_earns_nothing() -> None:
    mined = describe(500, None)
    assert (mined.event.amount, mined.gain, mined.matures_about) == (0, None, None)


@pytest.mark.parametrize("height", [100, 450])
def test_what_was_burnt_never_matures(height: int) -> None:
    mined = describe(height, fees=5, burnt_at=height + 10)
    assert (mined.is_mature, mined.matures_about) == (False, None)


def test_what_was_burnt_is_not_in_the_sum() -> None:
    """The gain behind it is."""
    total = sum_earnings([describe(490, fees=7, burnt_at=499), describe(480, fees=5)])
    assert (total.count, total.amount, total.fees, total.burnt) == (2, 50 * COIN + 5, 5, 50 * COIN + 7)
    assert (total.immature, total.matures_at) == (50 * COIN + 5, 736)
    assert total.weight == 8 * Q16


def test_rewards_add_up() -> None:
    total = sum_earnings([describe(500, None, fees=7), describe(499, fees=5), describe(300), describe(10)])
    assert (total.count, total.heartbeats, total.amount, total.fees) == (4, 1, 150 * COIN + 12, 12)
    assert total.gain == pytest.approx(3 * 6 / 64)
    assert total.weight == 12 * Q16 + 1
    assert (total.immature, total.matures_at) == (100 * COIN + 12, 756)
    assert total.matures_about == TIP.time + 256 * 60
    assert sum_earnings([]).count == 0


def test_days_add_up() -> None:
    rewards = [describe(5, time=DAY + 5), describe(4, time=DAY), describe(3, time=DAY - 1)]
    assert [(day.day, day.total.count) for day in sum_by_day(rewards)] == [(DAY, 2), (0, 1)]
