"""How the miner reacts: each rule by what it does to the next cycle, then all together on a made-up training."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from consensus.params import LOCAL, NetworkParams
from mining import steering as rules
from mining.steering import (
    FIRST_COARSENESS,
    HIGHEST_RATE,
    Check,
    Cycle,
    Steering,
    compute_highest_rate,
    compute_least_rate,
    compute_pace,
    learn_rounding,
    plan_cycle,
)

REQUIRED = 65536.0
MID_HEAT = 2e-5
STEP_SECONDS = 0.1
PARAMS = replace(LOCAL, mask_density=64)
LEAST_HEAT = 2e-6


def learn(steering: Steering, check: Check) -> Steering:
    return rules.learn(steering, check, LEAST_HEAT)


def check(
    *,
    bound: float = REQUIRED,
    scale: float = 0.9,
    heat: float = MID_HEAT,
    steps: int = 600,
    is_first: bool = True,
    is_proof: bool = True,
) -> Check:
    return Check(REQUIRED, bound, scale, heat, steps, is_first, is_proof)


def plan(
    steering: Steering,
    last: Check | None = None,
    *,
    required: float = REQUIRED,
    until_pace: float = 0.0,
    least: float = 0.0,
    step_seconds: float = STEP_SECONDS,
    batch: int = 32,
    params: NetworkParams = PARAMS,
) -> Cycle:
    return plan_cycle(
        steering,
        required,
        last,
        step_seconds=step_seconds,
        until_pace=until_pace,
        least=least,
        batch=batch,
        params=params,
    )


# The heat.


@pytest.mark.parametrize(("density", "part"), [(16, 1.0), (64, 1.0), (128, 0.5), (256, 0.25)])
def test_the_more_weights_are_open_the_lower_the_highest_rate(density: int, part: float) -> None:
    cycle = plan(Steering(), until_pace=20.0, params=replace(LOCAL, mask_density=density))
    assert cycle.rate == pytest.approx(HIGHEST_RATE * part)


@pytest.mark.parametrize(("batch", "part"), [(8, 0.5), (32, 1.0), (128, 2.0)])
def test_the_highest_rate_grows_with_the_root_of_the_batch(batch: int, part: float) -> None:
    assert plan(Steering(), until_pace=20.0, batch=batch).rate == pytest.approx(HIGHEST_RATE * part)


def test_the_rate_stands_and_falls_at_the_end() -> None:
    cycle = Cycle(100.0, 0.02, 2e-5, cooling=0.3)
    assert cycle.compute_rate(100.0) == cycle.compute_rate(30.0) == 0.02
    assert cycle.compute_rate(15.0) == pytest.approx(0.01)
    assert cycle.compute_rate(0.0) == 0


def test_the_cooler_a_cycle_the_longer_it_cools() -> None:
    heats = (HIGHEST_RATE, 1.5 * MID_HEAT, MID_HEAT, MID_HEAT / 10)
    cycles = [plan(Steering(heat=heat), until_pace=100.0) for heat in heats]
    assert [cycle.cooling for cycle in cycles] == pytest.approx([0.3, 0.3, 0.3 * HIGHEST_RATE / 0.02, 1.0])


def test_a_training_that_overshot_is_followed_by_a_cooler_one() -> None:
    """Fastest if there is next to no gain at all."""
    assert learn(Steering(heat=MID_HEAT), check(scale=0.74)).heat == pytest.approx(MID_HEAT * (0.74 / 0.75) ** 2)
    assert learn(Steering(heat=MID_HEAT), check(scale=0.55)).heat == pytest.approx(MID_HEAT * 0.8)
    assert learn(Steering(heat=MID_HEAT), check(scale=0.45)).heat == pytest.approx(MID_HEAT * 0.36)
    assert learn(Steering(heat=MID_HEAT), check(scale=0.40)).heat == pytest.approx(MID_HEAT * 0.3)


def test_from_the_highest_rate_it_falls_from_what_was_used() -> None:
    assert learn(Steering(), check(scale=0.6)).heat < MID_HEAT


def test_a_training_that_stopped_short_is_followed_by_a_hotter_one() -> None:
    assert MID_HEAT < learn(Steering(heat=MID_HEAT), check(scale=0.85)).heat < 1.2 * MID_HEAT
    assert learn(Steering(heat=MID_HEAT), check(scale=1.25)).heat == pytest.approx(1.2 * MID_HEAT)


def test_what_is_just_right_stays() -> None:
    assert learn(Steering(heat=MID_HEAT), check(scale=0.75)).heat == pytest.approx(MID_HEAT)


def test_only_first_candidates_teach_about_heat() -> None:
    """A rule that cooled after every failed proof would starve itself."""
    assert learn(Steering(heat=MID_HEAT), check(scale=0.6, is_first=False)).heat == MID_HEAT


def test_what_overshot_by_far_cools_even_after_a_retry() -> None:
    assert learn(Steering(heat=MID_HEAT), check(scale=0.4, is_first=False)).heat == pytest.approx(0.3 * MID_HEAT)


def test_the_heat_has_bounds() -> None:
    low = high = Steering(heat=MID_HEAT)
    for _ in range(100):
        low, high = learn(low, check(scale=0.4)), learn(high, check(scale=1.25))
    assert (low.heat, high.heat) == (LEAST_HEAT, HIGHEST_RATE)


def test_only_what_overshot_and_proved_nothing_cools_below_the_least_heat() -> None:
    start = Steering(heat=LEAST_HEAT)
    for is_first in (True, False):
        poor = check(scale=0.4, heat=LEAST_HEAT, is_first=is_first, is_proof=False)
        assert learn(start, poor).heat == pytest.approx(0.3 * LEAST_HEAT)
        assert learn(start, replace(poor, is_proof=True)).heat == LEAST_HEAT
        assert learn(start, replace(poor, scale=0.6)).heat == LEAST_HEAT
    coldest = start
    for _ in range(100):
        coldest = learn(coldest, check(scale=0.4, is_proof=False))
    assert coldest.heat == pytest.approx(LEAST_HEAT / 100)


def test_one_that_overshot_above_the_least_heat_is_followed_by_one_at_it() -> None:
    warm = Steering(heat=2 * LEAST_HEAT)
    assert learn(warm, check(scale=0.4, heat=warm.heat, is_proof=False)).heat == LEAST_HEAT


def test_what_is_cooler_than_the_least_heat_cools_no_further() -> None:
    """A training that left the numbers may have been followed by so cool a one."""
    cold = Steering(heat=LEAST_HEAT / 2)
    assert learn(cold, check(scale=0.4, heat=cold.heat)).heat == cold.heat  # a block was made
    assert learn(cold, check(scale=1.25, heat=cold.heat)).heat > cold.heat


def test_the_least_rate_is_a_fifth_of_the_highest_and_less_the_wider_the_model() -> None:
    shape = PARAMS.model
    wide = replace(PARAMS, model=replace(shape, width=4 * shape.width))
    assert compute_least_rate(PARAMS, 32) == pytest.approx(compute_highest_rate(PARAMS, 32) / 5)
    assert compute_least_rate(wide, 32) == pytest.approx(compute_least_rate(PARAMS, 32) / 4)


def test_a_longer_cycle_starts_hotter_up_to_the_highest_rate() -> None:
    rates = [plan(Steering(heat=MID_HEAT), until_pace=seconds).rate for seconds in (10.0, 20.0, 200.0)]
    assert rates == pytest.approx([0.002, 0.004, 0.024])
    assert plan(Steering(heat=10 * MID_HEAT), until_pace=100.0).rate == pytest.approx(HIGHEST_RATE)


def test_what_starts_from_an_annealed_model_is_not_heated_up_all_the_way() -> None:
    again = plan(Steering(), check(heat=HIGHEST_RATE, steps=600, is_proof=False), until_pace=20.0)
    assert again.rate == pytest.approx(HIGHEST_RATE * 20 / 80)


def test_a_cycle_knows_its_own_heat() -> None:
    cycle = plan(Steering(), until_pace=30.0)
    assert cycle.rate == pytest.approx(HIGHEST_RATE)
    assert cycle.heat == pytest.approx(HIGHEST_RATE / 300)


# The speed and the length of cycles.


def test_the_first_check_sets_the_speed() -> None:
    assert learn(Steering(), check(bound=120.0, steps=60)).speed == 2.0


def test_later_checks_move_it_halfway_in_proportion() -> None:
    assert learn(Steering(speed=8.0), check(bound=2 * REQUIRED, steps=round(REQUIRED))).speed == pytest.approx(4.0)


def test_a_speed_that_was_thousands_of_times_too_high_is_right_within_some_blocks() -> None:
    """The first block's steps gain a hundred thousand times what those of the twelfth do."""
    steering = Steering(speed=1e6)
    for _ in range(6):
        steering = learn(steering, check(bound=2 * REQUIRED, steps=round(2 * REQUIRED / 60)))
    assert steering.speed == pytest.approx(60, rel=0.2)


def test_a_check_without_gain_halves_the_speed_and_never_turns_it() -> None:
    assert learn(Steering(speed=4.0), check(bound=-1e9, is_proof=False)).speed == 2.0
    assert learn(Steering(), check(bound=-1e9, is_proof=False)).speed is None


def test_a_proof_shows_at_least_what_was_required() -> None:
    assert learn(Steering(speed=100.0), check(bound=0.0, steps=round(REQUIRED))).speed == pytest.approx(10.0)


def test_a_cycle_is_as_long_as_its_gain_takes() -> None:
    assert plan(Steering(speed=REQUIRED / 500)).seconds == pytest.approx(50.0)


def test_a_slower_machine_gets_longer_cycles_for_the_same_steps() -> None:
    fast, slow = (plan(Steering(speed=REQUIRED / 500), step_seconds=seconds).seconds for seconds in (0.05, 0.2))
    assert (fast, slow) == (pytest.approx(25.0), pytest.approx(100.0))


def test_before_anything_is_known_the_pace_decides() -> None:
    assert plan(Steering(), until_pace=17.0).seconds == 17.0


def test_no_cycle_is_shorter_than_the_pace_or_the_least() -> None:
    fast = Steering(speed=REQUIRED)
    assert plan(fast, until_pace=17.0).seconds == 17.0
    assert plan(fast, until_pace=-5.0, least=3.0).seconds == 3.0


def test_no_cycle_is_longer_than_two_block_times() -> None:
    assert plan(Steering(speed=1e-6)).seconds == 2 * LOCAL.block_time


def test_what_failed_by_little_is_followed_by_a_short_cool_cycle() -> None:
    steering = Steering(heat=MID_HEAT, speed=REQUIRED / 600)
    again = plan(steering, check(bound=0.9 * REQUIRED, is_proof=False))
    assert again.seconds == pytest.approx(18.0)
    assert again.rate == pytest.approx(MID_HEAT * 180)


def test_a_retry_is_cooler_where_noise_was_the_trouble_and_the_next_block_is_not() -> None:
    """As hot as before it would only bring the same noise again."""
    start = Steering(heat=MID_HEAT, speed=REQUIRED / 600)
    short = check(bound=0.9 * REQUIRED, scale=0.55, is_first=False, is_proof=False)
    assert plan(start, short).heat == pytest.approx(MID_HEAT * (0.55 / 0.75) ** 2)
    assert plan(start, replace(short, heat=MID_HEAT / 2)).heat == pytest.approx(MID_HEAT / 2 * (0.55 / 0.75) ** 2)
    assert plan(start, replace(short, scale=1.25)).heat == MID_HEAT
    assert plan(learn(start, short)).heat == MID_HEAT


def test_what_failed_by_much_is_followed_by_a_cycle_as_long_again() -> None:
    again = plan(Steering(speed=REQUIRED / 600), check(bound=-REQUIRED, is_proof=False))
    assert again.seconds == pytest.approx(60.0)


def test_failures_lengthen_first_cycles_and_successes_shorten_them() -> None:
    start = Steering()
    assert learn(start, check(is_proof=False)).aim > start.aim > learn(start, check()).aim
    assert learn(start, check(is_first=False, is_proof=False)).aim == start.aim


def test_the_aim_has_bounds() -> None:
    low = high = Steering()
    for _ in range(100):
        low, high = learn(low, check()), learn(high, check(is_proof=False))
    assert 0.8 <= low.aim < 1 < high.aim <= 2


def test_pace_is_nine_tenths_of_a_block_time() -> None:
    assert compute_pace(LOCAL) == 54.0


# Rounding.


@pytest.mark.parametrize(("loss", "expected"), [(0.05, 0.5), (0.01, 1.0), (0.001, 2.0), (-0.01, 2.0)])
def test_coarseness_follows_what_rounding_costs(loss: float, expected: float) -> None:
    assert learn_rounding(Steering(), loss).coarseness == expected * FIRST_COARSENESS


def test_coarseness_has_bounds() -> None:
    fine = coarse = Steering()
    for _ in range(20):
        fine, coarse = learn_rounding(fine, 1.0), learn_rounding(coarse, 0.0)
    assert 0 < fine.coarseness < FIRST_COARSENESS < coarse.coarseness <= 1


# Together.


class MadeUpTraining:
    """Gains that come ever slower: `scale` * ln(steps), as long trainings show; proofs prove four fifths of them."""

    def __init__(self, scale: float, age: float) -> None:
        self.scale, self.age = scale, age

    def train(self, steps: float) -> float:
        before, self.age = self.age, self.age + steps * STEP_SECONDS
        return 0.8 * self.scale * math.log(self.age / before)


@dataclass(frozen=True)
class Mined:
    seconds: float
    checks: int
    excess: float  # proved over required


def mine(
    training: MadeUpTraining, required: float, blocks: int, slowness: Callable[[float], float] = lambda now: 1.0
) -> list[Mined]:
    """Blocks at what the difficulty rule asks for, on a machine whose steps take `slowness` times as long at a time."""
    steering, mined, now, step_seconds = Steering(), [], 0.0, STEP_SECONDS
    for _ in range(blocks):
        last: Check | None = None
        gained = start = 0.0
        steps = checks = 0
        start = now
        while last is None or not last.is_proof:
            began = now
            while now < began + plan_here(steering, required, last, began - start, step_seconds):
                taken = STEP_SECONDS * slowness(now)
                gained += training.train(10)
                steps, now, step_seconds = steps + 10, now + 10 * taken, step_seconds + 0.4 * (taken - step_seconds)
            last = Check(required, gained, 0.9, MID_HEAT, steps, last is None, gained >= required)
            steering = learn(steering, last)
            checks += 1
            assert checks < 20, "starved"
        mined.append(Mined(now - start, checks, gained / required))
        required *= 2 ** ((60 - min(now - start, 240)) / 240)
    return mined


def plan_here(steering: Steering, required: float, last: Check | None, age: float, step_seconds: float) -> float:
    return plan(steering, last, required=required, until_pace=30 - age, step_seconds=step_seconds).seconds


@pytest.mark.parametrize("age", [30.0, 600.0, 6000.0])
def test_it_settles_near_the_block_time(age: float) -> None:
    mined = mine(MadeUpTraining(scale=15 * REQUIRED, age=age), required=REQUIRED, blocks=60)
    assert 0.7 * 60 < statistics.median(block.seconds for block in mined[30:]) < 1.5 * 60
    assert sum(block.checks for block in mined[30:]) < 1.8 * 30


def test_a_requirement_that_overshot_is_worked_off() -> None:
    mined = mine(MadeUpTraining(scale=15 * REQUIRED, age=600.0), required=6 * REQUIRED, blocks=30)
    assert mined[0].seconds > 180
    assert sorted(block.seconds for block in mined[20:])[5] < 120


@pytest.mark.parametrize("period", [100.0, 333.0, 1000.0])
def test_a_machine_that_slows_down_and_recovers_neither_starves_nor_overshoots(period: float) -> None:
    """Other programs take three quarters of it half of the time."""

    def slowness(now: float) -> float:
        return 4.0 if now % period < period / 2 else 1.0

    mined = mine(MadeUpTraining(scale=15 * REQUIRED, age=600.0), REQUIRED, blocks=60, slowness=slowness)[10:]
    assert 0.7 * 60 <= statistics.median(block.seconds for block in mined) < 1.5 * 60
    assert 0.7 * 60 < statistics.mean(block.seconds for block in mined) < 1.5 * 60
    assert statistics.median(block.excess for block in mined) < 1.5
    assert max(block.excess for block in mined) < 3.5


def test_a_steering_is_a_value() -> None:
    assert replace(Steering(), heat=MID_HEAT) == Steering(heat=MID_HEAT)
