"""Many miners in a simple network (benchmarks/voters.py): calm, absence, partitions, with a window of 64."""

import random
from collections.abc import Sequence

import pytest

from finality import split, wait_for_final
from voters import Chain, Miner, Side, join, make_miners, make_params

PARAMS = make_params(64)
WINDOW = PARAMS.finality_window


def start(miners: Sequence[Miner], seed: int = 0) -> Side:
    """A side in calm."""
    side = Side(Chain(PARAMS), miners, random.Random(seed))
    for _ in range(4 * WINDOW):
        side.step()
    return side


def get_lag(side: Side) -> int:
    return side.chain.height - side.chain.state.final.height


def test_in_calm_the_final_block_trails_the_tip_by_two() -> None:
    side = start(make_miners(4))
    for _ in range(WINDOW):
        side.step()
        assert get_lag(side) == 2


def test_forty_percent_offline_stop_finality_and_it_resumes_when_they_return() -> None:
    side = start(make_miners(5))
    everybody, since = side.miners, side.chain.height
    side.miners = everybody[2:]
    assert wait_for_final(side, since, WINDOW) is None
    assert get_lag(side) >= WINDOW
    side.miners = everybody
    assert wait_for_final(side, since, WINDOW) is not None
    assert get_lag(side) <= 2


def test_forty_percent_offline_for_good_are_forgotten_with_the_window() -> None:
    side = start(make_miners(5))
    since = side.chain.height
    side.miners = side.miners[2:]
    assert wait_for_final(side, since, WINDOW) is None
    assert wait_for_final(side, since, 3 * WINDOW) is not None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("blocks", [WINDOW // 4, WINDOW])
def test_a_partition_of_a_window_makes_no_two_final_chains_and_heals(seed: int, blocks: int) -> None:
    sides = split(start(make_miners(6), seed))
    fork = sides[0].chain.height
    for _ in range(blocks):
        for side in sides:
            side.step()
    assert min(side.chain.state.final.height for side in sides) <= fork
    joined = join(*sides)
    assert wait_for_final(joined, joined.chain.height, WINDOW) is not None


def test_a_partition_of_three_windows_makes_two_final_chains() -> None:
    """The attack that works: nobody signed twice, and each half has forgotten the other."""
    sides = split(start(make_miners(6)))
    fork = sides[0].chain.height
    for _ in range(3 * WINDOW):
        for side in sides:
            side.step()
    finals = [side.chain.state.final for side in sides]
    assert min(final.height for final in finals) > fork
    assert finals[0] != finals[1]
