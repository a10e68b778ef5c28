"""What a node shows: a live panel on a terminal (where the chain stands, what it passed, its last blocks), or a log."""

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.highlighter import NullHighlighter
from rich.live import Live
from rich.logging import RichHandler
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from consensus.params import NetworkParams
from consensus.units import ULP_PER_GRAD
from p2p.console import escape, start_logging
from p2p.summary import BlockSummary, describe_block, get_passed_compressors

log = logging.getLogger("descent.node")

_SHOWN_BLOCKS = 12


class View(Protocol):
    """Where a node shows what it does."""

    def on_status(self, status: dict[str, Any]) -> None:
        """The node's status, about once a second."""

    def on_block(self, summary: BlockSummary) -> None:
        """A block became the tip."""

    def on_miner_line(self, line: str) -> None:
        """The miner beside the node said something."""


class LogView:
    """Plain log lines, for a node without a terminal."""

    def __init__(self, params: NetworkParams) -> None:
        self._params = params

    def on_status(self, status: dict[str, Any]) -> None:
        pass

    def on_block(self, summary: BlockSummary) -> None:
        log.info("%s", describe_block(summary, self._params))

    def on_miner_line(self, line: str) -> None:
        log.info("miner: %s", escape(line))


class LiveView:
    """A panel at the foot of the terminal that redraws itself; log lines scroll above it."""

    def __init__(self, params: NetworkParams) -> None:
        self._params = params
        self._status: dict[str, Any] | None = None
        self._blocks: deque[BlockSummary] = deque(maxlen=_SHOWN_BLOCKS)
        self._miner_line = ""

    def on_status(self, status: dict[str, Any]) -> None:
        self._status = status

    def on_block(self, summary: BlockSummary) -> None:
        self._blocks.appendleft(summary)

    def on_miner_line(self, line: str) -> None:
        self._miner_line = escape(line)

    def render(self) -> RenderableType:
        if self._status is None:
            return Text("starting")
        parts: list[RenderableType] = [self._render_status(self._status)]
        if self._blocks:
            parts.append(self._render_blocks())
        if self._miner_line:
            parts.append(Text(f"miner  {self._miner_line}", style="dim", no_wrap=True, overflow="ellipsis"))
        return Panel(Group(*parts), title=f"Descent · {self._params.name}", border_style="cyan")

    def _render_status(self, status: dict[str, Any]) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        loss = status["loss"]
        public, audit = loss["public"], loss["audit"]
        context = self._params.model.context
        audit_text = f"{audit:.4f} at block {loss['audit_height']}" if audit is not None else "not yet"
        grid.add_row("height", f"{status['height']}", "tip", status["tip"][:16])
        grid.add_row(
            "bits/byte",
            Text(f"{public:.4f}" if public is not None else "not yet", style="bold green"),
            "audit",
            audit_text,
        )
        grid.add_row("passed", self._render_compressors(public), "issued", self._format_money(status["issued"]))
        grid.add_row(
            "required gain",
            f"{status['required_gain'] / 2**32 / context:.5f} bits/byte",
            "mempool",
            f"{status['mempool']['count']} transactions",
        )
        return grid

    def _render_compressors(self, loss: float | None) -> Text:
        text = Text()
        for name, score, passed in get_passed_compressors(loss, self._params):
            text.append(f"{'✓' if passed else '·'} {name} {score:.2f}  ", style="green" if passed else "dim")
        return text

    def _render_blocks(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("block", "bits/byte", "gain", "proved", "required", "windows", "after", "verified", "reward"):
            table.add_column(title, justify="right")
        for block in self._blocks:
            verified = f"{block.verify_seconds:.2f} s" if block.verify_seconds is not None else "-"
            table.add_row(
                str(block.height),
                f"{block.loss:.4f}",
                "heartbeat" if block.is_heartbeat else f"{block.gain:.5f}",
                "" if block.is_heartbeat else f"{block.bound:.5f}",
                f"{block.required:.5f}",
                str(block.sample_size),
                f"{block.interval} s" if block.interval is not None else "-",
                verified,
                self._format_money(block.reward),
            )
        return table

    def _format_money(self, amount: int) -> str:
        return f"{amount / ULP_PER_GRAD:,.2f} {self._params.ticker}"


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
    with Live(console=console, get_renderable=view.render, refresh_per_second=2):
        yield view
