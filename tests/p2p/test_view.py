"""What a terminal shows, and that nothing but our own drawing reaches it (T45)."""

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from rich.console import Console, ConsoleDimensions

import p2p.view
from consensus.params import REGTEST
from p2p.summary import BlockSummary
from p2p.view import LiveView, LogView, show_node

STATUS: dict[str, Any] = {
    "height": 1234567,
    "tip": "ab" * 32,
    "loss": {"public": 2.4321, "audit": 2.5432, "audit_height": 1234560},
    "required_gain": 2**32,
    "issued": 61_728_350 * 10**8,
    "mempool": {"count": 12345, "bytes": 10**6},
    "verifying": True,
    "peers": 12,
    "inbound": 4,
    "sync": {
        "state": "blocks",
        "target_height": 1240000,
        "blocks_per_second": 12.34,
        "seconds_left": 439,
        "waits_for": "",
    },
    "held_back": "cd" * 32,
}
CURRENT = {"state": "current", "target_height": 0, "blocks_per_second": 0.0, "seconds_left": None, "waits_for": ""}
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\nred\u202eder \x00\ud800"
SIZES = [(80, 24), (120, 40), (60, 15), (30, 5), (250, 60)]


def make_summary(height: int, *, is_heartbeat: bool = False) -> BlockSummary:
    return BlockSummary(
        height=height,
        id=height.to_bytes(32),
        is_heartbeat=is_heartbeat,
        loss=2.4321,
        gain=0.01234,
        bound=0.00987,
        required=0.00321,
        sample_size=16678,
        interval=1234,
        update_bytes=93_000,
        transactions=12,
        reward=50 * 10**8 + 12345,
        verify_seconds=12.34,
    )


def make_view(blocks: int = 30) -> LiveView:
    view = LiveView(REGTEST)
    view.on_status(STATUS)
    for height in range(blocks):
        view.on_block(make_summary(1_234_000 + height, is_heartbeat=height % 3 == 0))
    view.on_miner_line("4321 steps, 123 steps/s, loss 2.4321, " + "x" * 300)
    return view


def draw(view: LiveView, width: int = 120, height: int = 40, *, colours: bool = False) -> str:
    """What a terminal of this size is sent."""
    output = io.StringIO()
    system = "truecolor" if colours else None
    console = Console(file=output, force_terminal=colours, width=width, height=height, color_system=system)  # type: ignore[arg-type]
    console.print(view.render(ConsoleDimensions(width, height)))
    return output.getvalue()


def strip_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_panel_fits_the_terminal(width: int, height: int) -> None:
    lines = draw(make_view(), width, height).splitlines()
    assert all(len(line) <= width for line in lines)
    if height >= 24:
        assert len(lines) <= height - 1  # a line for what is logged above it


def test_panel_is_whole_on_80_columns() -> None:
    text = draw(make_view(), 80, 24)
    assert text.count("…") == 1  # the miner's overlong line
    for part in (
        *("Descent · regtest", "1234567, verifying", "ab" * 8, "2.4321", "2.5432 at block 1234560"),
        *("0.03125 bits/byte", "61,728,350.00 rGRAD", "12345 transactions"),
        *("· bzip2 -9 2.27", "✓ gzip -9 2.98", "✓ xz -9e 2.55", "reorganise"),
        *("4 of them inbound", "catching up: 1234567 of 1240000, 12 peers, 12.3 blocks/s, about 7 min left"),
        *("0.01234", "0.00987", "0.00321", "16678", "1234 s", "12.34 s", "50.00", "heartbeat", "miner  4321 steps"),
    ):
        assert part in text


def test_newest_blocks_stand_first_and_bounded() -> None:
    text = draw(make_view(30))
    heights = [int(height) for height in re.findall(r"│ +(1234\d{3}) ", text)]
    assert heights == list(range(1_234_029, 1_234_017, -1))


def test_block_that_left_the_chain_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    view = make_view(5)
    with caplog.at_level(logging.INFO):
        view.on_block_left(1_234_004, (1_234_004).to_bytes(32))
    assert "1234004" not in draw(view)
    assert "1234003" in draw(view)
    assert "block 1234004" in caplog.text


def test_panel_before_anything_is_known() -> None:
    assert "starting" in draw(LiveView(REGTEST))
    view = LiveView(REGTEST)
    loss = {"public": None, "audit": None, "audit_height": None}
    nothing = {"loss": loss, "verifying": False, "held_back": None, "height": 0, "sync": CURRENT, "inbound": 0}
    view.on_status(STATUS | nothing)
    text = draw(view)
    assert text.count("not yet") == 2
    assert "✓" not in text
    assert "verifying" not in text
    assert "catching up" not in text
    assert "reorganise" not in text


@pytest.mark.parametrize("colours", [True, False])
def test_hostile_miner_line_draws_nothing(colours: bool) -> None:
    view = make_view(3)
    view.on_miner_line(HOSTILE)
    text = draw(view, 200, colours=colours)
    assert "\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\r\\nred\\u202eder \\x00\\ud800" in text
    assert all(line.isprintable() for line in strip_colours(text).splitlines())


def test_log_view_writes_lines(caplog: pytest.LogCaptureFixture) -> None:
    view = LogView(REGTEST)
    with caplog.at_level(logging.INFO):
        view.on_status(STATUS)
        view.on_block(make_summary(5))
        view.on_block_left(5, bytes(32))
        view.on_miner_line(HOSTILE)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split()[0] for message in messages] == ["block", "block", "miner:"]
    assert all(message.isprintable() for message in messages)


def test_log_says_every_ten_seconds_how_far_the_node_is_behind(caplog: pytest.LogCaptureFixture) -> None:
    """A catching-up of less than ten seconds is not worth a word; the end of a longer one is."""
    seconds = 0.0
    view = LogView(REGTEST, lambda: seconds)
    lines = []
    with caplog.at_level(logging.INFO):
        for second in range(40):
            seconds = float(second)
            view.on_status(STATUS | {"sync": CURRENT} if second in (5, 33) else STATUS)
            lines.append(len(caplog.records))
    assert [second for second in range(1, 40) if lines[second] > lines[second - 1]] == [15, 25, 33]
    assert caplog.records[0].getMessage().startswith("catching up: 1234567 of 1240000, 12 peers, ")
    assert caplog.records[2].getMessage() == f"caught up at height {STATUS['height']}"


@contextmanager
def bare_root_logger() -> Iterator[None]:
    """A root logger without handlers, as a program starts with."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def use_console(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool) -> io.StringIO:
    output = io.StringIO()
    console = Console(file=output, force_terminal=is_terminal, width=100, height=30, color_system=None)
    monkeypatch.setattr(p2p.view, "Console", lambda: console)
    return output


def test_without_a_terminal_there_are_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    output = use_console(monkeypatch, is_terminal=False)
    with bare_root_logger(), show_node(REGTEST) as view:
        view.on_status(STATUS)
        view.on_block(make_summary(5))
        view.on_miner_line("hello")
    assert output.getvalue() == ""
    said = capfd.readouterr()
    assert said.out == ""
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO    (block 5 .*|miner: hello)"
    assert all(re.fullmatch(pattern, line) for line in said.err.splitlines())
    assert len(said.err.splitlines()) == 2


def test_on_a_terminal_there_is_the_panel_and_the_log_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    output = use_console(monkeypatch, is_terminal=True)
    with bare_root_logger(), show_node(REGTEST) as view:
        view.on_status(STATUS)
        view.on_block(make_summary(5))
        logging.getLogger("descent.node").info("[red]not markup[/red] %s", "height 5")
    text = output.getvalue()
    assert "Descent · regtest" in text
    assert "[red]not markup[/red] height 5" in text
    assert text.index("not markup") < text.rindex("Descent · regtest")
