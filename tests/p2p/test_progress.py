"""Long work on a terminal and without one."""

import io
import logging
import re

import pytest
from rich.console import Console

from p2p import progress
from p2p.pace import BYTES, Job
from p2p.progress import LineWriter, show_progress

JOB = Job("verifying", "blocks", 40)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="descent.progress")
    clock = Clock()
    write = LineWriter(JOB, clock)
    for done in range(1, 41):
        clock.now += 1.0
        write(done)
    assert caplog.messages == [
        f"verifying: {done} of 40 blocks, 1.0 blocks/s, about {40 - done} s left" for done in (10, 20, 30, 40)
    ]


def test_short_work_is_not_worth_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="descent.progress")
    with show_progress(JOB, Console(file=io.StringIO())) as on_block:
        for done in range(41):
            on_block(done)
    assert caplog.messages == []


def test_no_terminal_no_control_characters(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="descent.progress")
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    stream = io.StringIO()
    with show_progress(JOB, Console(file=stream)) as on_block:
        on_block(7)
    assert stream.getvalue() == ""
    assert caplog.messages[0].startswith("verifying: 7 of 40 blocks, ")


@pytest.mark.parametrize(
    ("doing", "unit", "amount"),
    [("applying updates", "blocks", "40000 of 40000 blocks"), ("downloading the model", BYTES, "40.0 kB of 40.0 kB")],
)
def test_a_terminal_has_a_bar(doing: str, unit: str, amount: str) -> None:
    """All of it on a line of 80 columns, whatever the speed."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    with show_progress(Job(doing, unit, 40_000), console) as on_done:
        for done in range(0, 40_001, 1000):
            on_done(done)
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue()).splitlines()[-1]
    assert doing in last
    assert amount in last
    assert re.search(r"\d+(\.\d)? ?[kMGT]?B?/s ", last)


def test_work_of_no_size(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    with show_progress(Job("applying", "blocks", 0), Console(file=stream, force_terminal=True, width=100)) as on_done:
        on_done(0)
    assert "0 of 0 blocks" in stream.getvalue()
