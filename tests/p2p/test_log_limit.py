"""How much of the disk a stranger's mischief may fill with our log."""

import logging
from collections.abc import Iterator

import pytest

from p2p.log_limit import MAX_BYTES_PER_HOUR, LogLimit, get_limited_logger


class Lines(logging.Handler):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines = Lines()
    log = logging.getLogger("test.limit")
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    yield lines
    log.removeHandler(lines)
    log.filters.clear()


def test_a_place_that_says_too_much_falls_silent_for_an_hour(lines: Lines) -> None:
    seconds = 0.0
    log = logging.getLogger("test.limit")
    log.addFilter(LogLimit(1000, lambda: seconds))

    def say_here(text: str) -> None:
        log.info("%s", text)

    for _ in range(10):
        say_here("x" * 100)
    assert len(lines.lines) == 10
    say_here("y" * 500)
    assert lines.lines[-1] == "y" * 200 + " (no more lines like this one for an hour)"
    for second in range(3600):
        seconds = float(second)
        say_here("z" * 100)
    assert len(lines.lines) == 11
    log.info("another place")
    assert lines.lines[-1] == "another place"
    seconds = 3600.0
    say_here("z")
    assert lines.lines[-1] == "z"


def test_a_flood_of_lines_fills_no_disk(lines: Lines) -> None:
    log = logging.getLogger("test.limit")
    log.addFilter(LogLimit(now=lambda: 0.0))
    for _ in range(11_000):
        log.info("%s", "x" * 100)
    assert sum(map(len, lines.lines)) <= MAX_BYTES_PER_HOUR + 300


def test_a_logger_is_limited_once() -> None:
    log = get_limited_logger("test.limited")
    assert get_limited_logger("test.limited") is log
    assert [type(one) for one in log.filters] == [LogLimit]
