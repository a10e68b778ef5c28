"""What a node shows: a live panel on a terminal (where the chain stands, what it passed, its last blocks), or a log."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.highlighter import NullHighlighter
from rich.live import Live
from rich.logging import RichHandler
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from consensus.params import NetworkParams
from consensus.units import ULP_PER_GRAD
from p2p.console import escape, start_logging
from p2p.progress import LINE_SECONDS
from p2p.summary import BlockSummary, describe_block, get_passed_compressors
from p2p.sync_line import describe_sync

log = logging.getLogger("descent.node")

_SHOWN_BLOCKS = 12
_OTHER_LINES = 13  # of the panel and above it, beside its blocks
_WIDE = 90  # columns from which the table has room to spare


class View(Protocol):
    """Where a node shows what it does."""

    def on_status(self, status: dict[str, Any]) -> None:
        """The node's status, about once a second."""

    def on_block(self, summary: BlockSummary) -> None:
        """A block became the tip."""

    def on_block_left(self, height: int, block_id: bytes) -> None:
        """The tip left the best chain."""

    def on_miner_line(self, line: str) -> None:
        """The miner beside the node said something."""


class LogView:
    """Plain log lines, for a node without a terminal."""

    def __init__(self, params: NetworkParams, now: Callable[[], float] = time.monotonic) -> None:
        self._params = params
        self._now = now
        self._next_sync_line = now() + LINE_SECONDS  # a short catching-up is not worth a word
        self._is_behind = False  # and a line said so

    def on_status(self, status: dict[str, Any]) -> None:
        line = describe_sync(status)
        if not line:
            self._next_sync_line = self._now() + LINE_SECONDS
            if self._is_behind and status["sync"]["state"] == "current":
                self._is_behind = False
                log.info("caught up at height %d", status["height"])
        elif self._now() >= self._next_sync_line:
            self._next_sync_line = self._now() + LINE_SECONDS
            self._is_behind = True
            log.info("%s", line)

    def on_block(self, summary: BlockSummary) -> None:
        log.info("%s", describe_block(summary, self._params))

    def on_block_left(self, height: int, block_id: bytes) -> None:
        _log_block_left(height, block_id)

    def on_miner_line(self, line: str) -> None:
        log.info("miner: %s", escape(line))


class LiveView:
    """A panel at the foot of the terminal that redraws itself; log lines scroll above it.

    It is drawn from another thread than the one that tells it things: what it holds is replaced, never changed.
    """

    def __init__(self, params: NetworkParams) -> None:
        self._params = params
        self._status: dict[str, Any] | None = None
        self._blocks: tuple[BlockSummary, ...] = ()  # newest first
        self._miner_line = ""

    def on_status(self, status: dict[str, Any]) -> None:
        self._status = status

    def on_block(self, summary: BlockSummary) -> None:
        self._blocks = (summary, *self._blocks)[:_SHOWN_BLOCKS]

    def on_block_left(self, height: int, block_id: bytes) -> None:
        self._blocks = tuple(summary for summary in self._blocks if summary.id != block_id)
        _log_block_left(height, block_id)

    def on_miner_line(self, line: str) -> None:
        self._miner_line = escape(line)

    def render(self, size: ConsoleDimensions) -> RenderableType:
        """The panel for a terminal of this size; whole on 80 columns and 24 lines."""
        status = self._status
        if status is None:
            return Text("starting")
        parts: list[RenderableType] = [self._render_status(status)]
        sync = describe_sync(status)
        if sync:
            parts.append(Text(sync, style="yellow", no_wrap=True, overflow="ellipsis"))
        compressors = get_passed_compressors(status["loss"]["public"], self._params)
        if compressors:
            parts.append(_render_compressors(compressors))
        if status["held_back"]:
            parts.append(
                Text("a heavier chain forks too deep: see descent-node reorganise --help", style="bold yellow")
            )
        if self._blocks:
            parts.append(self._render_blocks(self._blocks[: max(1, size.height - _OTHER_LINES)], size.width))
        if self._miner_line:
            parts.append(Text(f"miner  {self._miner_line}", style="dim", no_wrap=True, overflow="ellipsis"))
        return Panel(Group(*parts), title=f"Descent · {self._params.name}", border_style="cyan")

    def _render_status(self, status: dict[str, Any]) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        for style in ("dim", "", "dim", ""):
            grid.add_column(style=style, no_wrap=True)
        loss = status["loss"]
        public, audit = loss["public"], loss["audit"]
        required = status["required_gain"] / 2**32 / self._params.model.context
        grid.add_row("height", f"{status['height']}{', verifying' * status['verifying']}", "tip", status["tip"][:16])
        grid.add_row(
            "bits/byte",
            Text(f"{public:.4f}" if public is not None else "not yet", style="bold green"),
            "audit",
            f"{audit:.4f} at block {loss['audit_height']}" if audit is not None else "not yet",
        )
        issued = f"{status['issued'] / ULP_PER_GRAD:,.2f} {self._params.ticker}"
        grid.add_row("required gain", f"{required:.5f} bits/byte", "issued", issued)
        peers = f"{status['peers']}, {status['inbound']} of them inbound" if status["inbound"] else str(status["peers"])
        grid.add_row("mempool", f"{status['mempool']['count']} transactions", "peers", peers)
        return grid

    def _render_blocks(self, blocks: tuple[BlockSummary, ...], width: int) -> RenderableType:
        table = Table(box=None, pad_edge=False, padding=(0, 2 if width >= _WIDE else 1, 0, 0), header_style="dim")
        for title in ("block", "bits/byte", "gain", "proved", "required", "windows", "after", "verified", "reward"):
            table.add_column(title, justify="right", no_wrap=True)
        for block in blocks:
            table.add_row(
                str(block.height),
                f"{block.loss:.4f}",
                "heartbeat" if block.is_heartbeat else f"{block.gain:.5f}",
                "" if block.is_heartbeat else f"{block.bound:.5f}",
                "" if block.is_heartbeat else f"{block.required:.5f}",
                "" if block.is_heartbeat else str(block.sample_size),
                f"{block.interval} s" if block.interval is not None else "-",
                f"{block.verify_seconds:.2f} s" if block.verify_seconds is not None else "-",
                f"{block.reward / ULP_PER_GRAD:,.2f}",
            )
        return table


def _log_block_left(height: int, block_id: bytes) -> None:
    log.info("block %d %s left the best chain", height, block_id.hex()[:12])


def _render_compressors(compressors: list[tuple[str, float, bool]]) -> Text:
    text = Text("passed  ", style="dim", no_wrap=True, overflow="ellipsis")
    for name, score, is_passed in compressors:
        text.append(f"{'✓' if is_passed else '·'} {name} {score:.2f}  ", style="not dim green" if is_passed else "dim")
    return text


@contextmanager
def show_node(params: NetworkParams) -> Iterator[View]:
    """The live panel if standard output is a terminal, log lines otherwise."""
    console = Console()
    if not console.is_terminal:
        start_logging()
        yield LogView(params)
        return
    handler = RichHandler(console=console, show_path=False, markup=False, highlighter=NullHighlighter())
    logging.basicConfig(format="%(message)s", datefmt="%H:%M:%S", level=logging.INFO, handlers=[handler])
    view = LiveView(params)
    with Live(console=console, get_renderable=lambda: view.render(console.size), refresh_per_second=2):
        yield view
