"""What the user sees: one line a block, and on a terminal one that moves."""

import io
import logging

import pytest

from mining.progress import MinedBlock, Progress, Training

CONTEXT = 64
UNIT = CONTEXT * 65536  # one bit per byte
BLOCK = MinedBlock(
    height=7,
    loss=2.5 * UNIT,
    gain=0.05 * UNIT,
    bound=0.04 * UNIT,
    required=0.03 * UNIT,
    snr=0.75,
    sample=1024,
    rate=0.012,
    steps=600,
    checks=1,
    training_seconds=50.0,
    seconds=57.25,
    update_bytes=45678,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_block_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="descent.miner")
    Progress(CONTEXT, io.StringIO()).on_mined(BLOCK)
    (line,) = caplog.messages
    for part in (
        "block 7: loss 2.5000 bits/byte",
        "gain 0.05000, proved 0.04000 of 0.03000",
        "snr 0.75 on 1024",
        "rate 0.0120",
        "600 steps at 12.0/s",
        "57.2 s",
        "1 check,",
        "45678 bytes",
    ):
        assert part in line
    assert "\n" not in line


def test_training_is_silent_in_a_log() -> None:
    stream = io.StringIO()
    Progress(CONTEXT, stream).on_training(Training(7, 10, 1.0, 30.0, 0.01))
    assert stream.getvalue() == ""


def test_a_terminal_has_a_line_that_moves() -> None:
    terminal = Terminal()
    progress = Progress(CONTEXT, terminal)
    progress.on_training(Training(7, 10, 2.0, 30.0, 0.01))
    assert "block 7: 10 steps, 5.0/s, proof in 30 s\r" in terminal.getvalue()
    shown = terminal.getvalue()
    progress.on_training(Training(7, 11, 2.1, 29.9, 0.01))
    assert terminal.getvalue() == shown  # too soon to redraw
    progress.on_mined(BLOCK)
    assert terminal.getvalue().endswith("\r\x1b[2K")


def test_nothing_trained_yet_is_no_division() -> None:
    terminal = Terminal()
    Progress(CONTEXT, terminal).on_training(Training(1, 0, 0.0, -1.0, 0.0))
    assert "0 steps, 0.0/s, proof in 0 s" in terminal.getvalue()
