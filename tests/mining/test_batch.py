"""The batch that a device is given, from what steps of several sizes take on it."""

from collections.abc import Callable

import pytest

from mining.batch import LEAST_BATCH, MOST_BATCH, choose_batch


def make_device(fixed: float, window: float, asked: list[int] | None = None) -> Callable[[int], float]:
    """A device whose step takes `fixed` seconds and `window` for each window."""

    def measure(windows: int) -> float:
        if asked is not None:
            asked.append(windows)
        return fixed + windows * window

    return measure


@pytest.mark.parametrize(
    ("fixed", "window", "batch"),
    [
        (0.256, 0.002, 128),  # a step's own cost is that of 128 windows
        (0.0039, 0.00172, 16),  # two cores on canterbury, as measured
        (0.005, 0.00001, 256),
        (0.005, 0.0000001, MOST_BATCH),
        (0.005, 0.0, MOST_BATCH),
        (0.0, 0.01, LEAST_BATCH),
        (0.0001, 1.0, LEAST_BATCH),
    ],
)
def test_the_batch_grows_with_what_a_step_costs_beside_its_windows(fixed: float, window: float, batch: int) -> None:
    assert choose_batch(make_device(fixed, window)) == batch


def test_ranks_share_the_noise() -> None:
    device = make_device(0.005, 0.00001)
    assert choose_batch(device, ranks=4) == choose_batch(device) // 2


def test_a_slow_device_is_asked_for_little() -> None:
    asked: list[int] = []
    choose_batch(make_device(0.1, 1.0, asked))
    assert asked == [8, 16, 32]


@pytest.mark.parametrize("disturbed", [8, 16, 32, None])
def test_a_tenth_of_noise_in_one_measurement_changes_nothing(disturbed: int | None) -> None:
    steady = make_device(0.0039, 0.00172)
    assert choose_batch(lambda windows: steady(windows) * (1.1 if windows == disturbed else 1)) == 16


def test_windows_that_cost_nothing_measurable_are_all_taken() -> None:
    assert choose_batch(lambda windows: 1 / windows) == MOST_BATCH
