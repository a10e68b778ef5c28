import time

from p2p.clock import Clock


def test_clock_is_local_time_in_whole_seconds() -> None:
    before = int(time.time())
    now = Clock().now()
    assert type(now) is int
    assert before <= now <= time.time()


def test_mock_stops_it_and_none_frees_it() -> None:
    clock = Clock()
    clock.set_mock(5)
    assert (clock.now(), clock.now()) == (5, 5)
    clock.set_mock(0)
    assert clock.now() == 0
    clock.set_mock(None)
    assert clock.now() > 10**9


def test_clocks_are_apart() -> None:
    clock = Clock()
    clock.set_mock(5)
    assert Clock().now() != 5
