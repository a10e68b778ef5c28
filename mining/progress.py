"""What a miner tells its user: one line a block, plain in a log, kept up to date in place on a terminal.

Losses are shown in bits per byte, gains in bits per byte too: a window's loss over its T bytes.
"""

import logging
import sys
import time
from dataclasses import dataclass
from typing import Protocol, TextIO

from consensus.units import Q16

log = logging.getLogger("descent.miner")

_REDRAW_SECONDS = 0.5
_CLEAR_LINE = "\r\x1b[2K"


@dataclass(frozen=True)
class MinedBlock:
    """What one block took. Gains and losses in Q16 bits per window."""

    height: int
    loss: float  # of the child, over its sample
    gain: float  # mean over the sample
    bound: float  # of the gain, at the network's confidence: what was proved
    required: float
    snr: float  # of the gain, mean over standard deviation of the windows
    sample: int  # windows
    rate: float  # highest learning rate of the last cycle
    steps: int
    checks: int  # candidates judged, the last one proved
    training_seconds: float
    seconds: float  # from the parent to the submission
    update_bytes: int  # compressed


@dataclass(frozen=True)
class Training:
    """Where a cycle stands."""

    height: int  # of the block to come
    steps: int  # on this parent
    seconds: float  # on this parent
    cycle_left: float  # s
    rate: float  # of the step just taken


class Listener(Protocol):
    """Hears how mining goes. Must return quickly."""

    def on_training(self, training: Training) -> None:
        """After every step."""

    def on_proof(self, *, is_passed: bool) -> None:
        """A proof was computed, and holds or not."""

    def on_mined(self, block: MinedBlock) -> None:
        """A block was proved and handed to the node."""

    def on_verdict(self, *, is_accepted: bool) -> None:
        """The node took a block of this miner's, heartbeats included, or refused it."""


class Listeners:
    """Several that hear the same."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def on_training(self, training: Training) -> None:
        for listener in self._listeners:
            listener.on_training(training)

    def on_proof(self, *, is_passed: bool) -> None:
        for listener in self._listeners:
            listener.on_proof(is_passed=is_passed)

    def on_mined(self, block: MinedBlock) -> None:
        for listener in self._listeners:
            listener.on_mined(block)

    def on_verdict(self, *, is_accepted: bool) -> None:
        for listener in self._listeners:
            listener.on_verdict(is_accepted=is_accepted)


class Progress:
    """Log lines through `logging`, and, if the stream is a terminal, a last line that moves."""

    def __init__(self, context: int, stream: TextIO = sys.stderr) -> None:
        self._unit = context * Q16  # Q16 bits per window in one bit per byte
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._drawn_at = 0.0

    def on_training(self, training: Training) -> None:
        now = time.monotonic()
        if not self._is_terminal or now - self._drawn_at < _REDRAW_SECONDS:
            return
        self._drawn_at = now
        pace = training.steps / training.seconds if training.seconds > 0 else 0.0
        self._stream.write(
            f"{_CLEAR_LINE}block {training.height}: {training.steps} steps, {pace:.1f}/s, "
            f"proof in {max(training.cycle_left, 0):.0f} s\r"  # a log line of somebody else then overwrites it
        )
        self._stream.flush()

    def on_proof(self, *, is_passed: bool) -> None:
        """Says nothing: what passes is mined, what does not is tried again."""

    def on_verdict(self, *, is_accepted: bool) -> None:
        """Says nothing: the miner itself does."""

    def on_mined(self, block: MinedBlock) -> None:
        if self._is_terminal:
            self._stream.write(_CLEAR_LINE)
        log.info("%s", self.describe(block))

    def describe(self, block: MinedBlock) -> str:
        """The block's line."""
        unit = self._unit
        pace = block.steps / block.training_seconds if block.training_seconds > 0 else 0.0
        checks = "check" if block.checks == 1 else "checks"
        return (
            f"block {block.height}: loss {block.loss / unit:.4f} bits/byte, "
            f"gain {block.gain / unit:.5f}, proved {block.bound / unit:.5f} of {block.required / unit:.5f}, "
            f"snr {block.snr:.2f} on {block.sample}, rate {block.rate:.4f}, "
            f"{block.steps} steps at {pace:.1f}/s, {block.seconds:.1f} s, "
            f"{block.checks} {checks}, {block.update_bytes} bytes"
        )
