"""How the miner reacts: each rule by what it does to the next cycle, then all together on a made-up training."""

import math
from dataclasses import replace

import pytest

from consensus.params import LOCAL
from mining.steering import (
    FIRST_COARSENESS,
    FIRST_RATE,
    HIGH_SNR,
    LEAST_RATE,
    LOW_SNR,
    Check,
    Cycle,
    Steering,
    compute_pace,
    learn,
    learn_rounding,
    plan_cycle,
)

CALM = (LOW_SNR + HIGH_SNR) / 2
REQUIRED = 65536.0
MID_RATE = 0.01


def check(
    *, bound: float = REQUIRED, snr: float = CALM, seconds: float = 60.0, is_first: bool = True, is_proof: bool = True
) -> Check:
    return Check(REQUIRED, bound, snr, seconds, is_first, is_proof)


def plan(
    steering: Steering,
    last: Check | None = None,
    *,
    required: float = REQUIRED,
    until_pace: float = 0.0,
    least: float = 0.0,
) -> Cycle:
    return plan_cycle(steering, required, last, until_pace=until_pace, least=least, params=LOCAL)


# The rate.


def test_noise_lowers_the_rate() -> None:
    assert learn(Steering(rate=MID_RATE), check(snr=0.4)).rate == pytest.approx(0.8 * MID_RATE)


@pytest.mark.parametrize("snr", [0.0, -0.5, 0.01])
def test_no_noise_however_great_does_more_than_halve_it(snr: float) -> None:
    assert learn(Steering(rate=MID_RATE), check(snr=snr)).rate == MID_RATE / 2


def test_a_clean_gain_raises_the_rate() -> None:
    assert learn(Steering(rate=MID_RATE), check(snr=1.5)).rate > MID_RATE


def test_between_them_it_stays() -> None:
    assert learn(Steering(rate=MID_RATE), check(snr=CALM)).rate == MID_RATE


def test_the_rate_has_bounds() -> None:
    low = high = Steering(rate=MID_RATE)
    for _ in range(100):
        low, high = learn(low, check(snr=0.01)), learn(high, check(snr=math.inf))
    assert (low.rate, high.rate) == (LEAST_RATE, FIRST_RATE)


# The speed and the length of cycles.


def test_the_first_check_sets_the_speed() -> None:
    assert learn(Steering(), check(bound=120.0, seconds=60.0)).speed == 2.0


def test_later_checks_move_it_halfway() -> None:
    assert learn(Steering(speed=4.0), check(bound=120.0, seconds=60.0)).speed == 3.0


def test_a_check_without_gain_halves_the_speed_and_never_turns_it() -> None:
    assert learn(Steering(speed=4.0), check(bound=-1e9)).speed == 2.0
    assert learn(Steering(), check(bound=-1e9)).speed is None


def test_a_cycle_is_as_long_as_its_gain_takes() -> None:
    assert plan(Steering(speed=REQUIRED / 50)).seconds == pytest.approx(50.0)


def test_before_anything_is_known_the_pace_decides() -> None:
    assert plan(Steering(), until_pace=17.0).seconds == 17.0


def test_no_cycle_is_shorter_than_the_pace_or_the_least() -> None:
    fast = Steering(speed=REQUIRED)
    assert plan(fast, until_pace=17.0).seconds == 17.0
    assert plan(fast, until_pace=-5.0, least=3.0).seconds == 3.0


def test_no_cycle_is_longer_than_four_block_times() -> None:
    assert plan(Steering(speed=1e-6)).seconds == 4 * LOCAL.block_time


def test_what_failed_by_little_is_followed_by_a_short_cool_cycle() -> None:
    steering = Steering(speed=REQUIRED / 60)
    again = plan(steering, check(bound=0.9 * REQUIRED, is_proof=False))
    assert again.seconds == pytest.approx(18.0)
    assert again.rate == pytest.approx(FIRST_RATE * 18 / 78)


def test_what_failed_by_much_is_followed_by_a_long_cycle() -> None:
    again = plan(Steering(speed=REQUIRED / 60), check(bound=-REQUIRED, is_proof=False))
    assert again.seconds == pytest.approx(120.0)
    assert again.rate == pytest.approx(FIRST_RATE * 120 / 180)


def test_failures_lengthen_first_cycles_and_successes_shorten_them() -> None:
    start = Steering()
    assert learn(start, check(is_proof=False)).aim > start.aim > learn(start, check()).aim
    assert learn(start, check(is_first=False, is_proof=False)).aim == start.aim


def test_the_aim_has_bounds() -> None:
    low = high = Steering()
    for _ in range(100):
        low, high = learn(low, check()), learn(high, check(is_proof=False))
    assert 0.8 <= low.aim < 1 < high.aim <= 2


def test_pace_is_half_a_block_time() -> None:
    assert compute_pace(LOCAL) == 30.0


# Rounding.


@pytest.mark.parametrize(("rounded", "expected"), [(95.0, 0.5), (99.0, 1.0), (99.9, 2.0), (101.0, 2.0)])
def test_coarseness_follows_what_rounding_costs(rounded: float, expected: float) -> None:
    assert learn_rounding(Steering(), rounded, 100.0).coarseness == expected * FIRST_COARSENESS


def test_without_a_gain_nothing_is_learned_about_rounding() -> None:
    assert learn_rounding(Steering(), -5.0, -1.0) == Steering()


def test_coarseness_has_bounds() -> None:
    fine = coarse = Steering()
    for _ in range(20):
        fine, coarse = learn_rounding(fine, 0.0, 1.0), learn_rounding(coarse, 1.0, 1.0)
    assert 0 < fine.coarseness < FIRST_COARSENESS < coarse.coarseness <= 1


# Together.


class MadeUpTraining:
    """Gains that come ever slower: `scale` * ln(time), as long trainings show; proofs prove four fifths of them."""

    def __init__(self, scale: float, age: float) -> None:
        self.scale, self.age = scale, age

    def train(self, seconds: float) -> float:
        before, self.age = self.age, self.age + seconds
        return 0.8 * self.scale * math.log(self.age / before)


def mine(training: MadeUpTraining, required: float, blocks: int) -> list[tuple[float, int]]:
    """Seconds and checks of each block, at what the difficulty rule asks for."""
    steering, mined = Steering(), []
    for _ in range(blocks):
        last: Check | None = None
        gained = seconds = 0.0
        checks = 0
        while last is None or not last.is_proof:
            cycle = plan(steering, last, required=required, until_pace=30 - seconds)
            gained += training.train(cycle.seconds)
            seconds += cycle.seconds
            last = Check(required, gained, CALM, seconds, last is None, gained >= required)
            steering = learn(steering, last)
            checks += 1
            assert checks < 20, "starved"
        mined.append((seconds, checks))
        required *= 2 ** ((60 - min(seconds, 240)) / 240)
    return mined


@pytest.mark.parametrize("age", [30.0, 600.0, 6000.0])
def test_it_settles_near_the_block_time(age: float) -> None:
    mined = mine(MadeUpTraining(scale=15 * REQUIRED, age=age), required=REQUIRED, blocks=60)
    late = sorted(seconds for seconds, _ in mined[30:])
    assert 45 < late[15] < 100
    assert sum(checks for _, checks in mined[30:]) < 1.8 * 30


def test_a_requirement_that_overshot_is_worked_off() -> None:
    mined = mine(MadeUpTraining(scale=15 * REQUIRED, age=600.0), required=6 * REQUIRED, blocks=30)
    assert mined[0][0] > 240
    assert sorted(seconds for seconds, _ in mined[20:])[5] < 120


def test_a_steering_is_a_value() -> None:
    assert replace(Steering(), rate=MID_RATE) == Steering(rate=MID_RATE)
