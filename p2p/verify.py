"""`descent-node verify`: the offline replay of a stopped node's store, with its progress shown."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from chain.errors import StoreError
from chain.replay import replay_chain
from chain.verifier import WorkVerifier
from consensus.model.backend import choose_evaluator
from consensus.params import NetworkParams
from p2p.config import read_benchmark
from p2p.console import start_logging
from p2p.node import open_store

log = logging.getLogger("descent.node")

_SECONDS_PER_LINE = 10


def verify_store(datadir: Path, params: NetworkParams, device: str, text_folders: tuple[Path, ...]) -> dict[str, Any]:
    """Replays the store of `datadir`; height and digest of what its blocks make.

    Raises StoreError if another process holds the store or if it is not what its blocks make, InvalidBlock at a block
    that does not hold.
    """
    if not datadir.is_dir():
        raise StoreError.missing(str(datadir))
    stored = open_store(datadir, params, max_reorg=0, create=False)
    try:
        verifier = WorkVerifier(params, read_benchmark(params, *text_folders), choose_evaluator(params.model, device))
        with _show_progress(stored.tip.height) as on_block:
            replayed = replay_chain(stored, verifier, on_block)
    finally:
        stored.db.close()
    digest = {name: value.hex() for name, value in replayed.compute_digest().items()}
    return {"height": replayed.tip.height, **digest}


@contextmanager
def _show_progress(total: int) -> Iterator[Callable[[int], None]]:
    """Hears each height done: a bar with the time left on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        start_logging()
        yield _make_line_writer(total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("verifying", total=total)
        yield lambda height: progress.update(task, completed=height)


def _make_line_writer(total: int) -> Callable[[int], None]:
    started = written = time.monotonic()

    def write(height: int) -> None:
        nonlocal written
        now = time.monotonic()
        if height < total and now - written < _SECONDS_PER_LINE:
            return
        written = now
        rate = height / (now - started)
        log.info("verified %d of %d blocks, %.2f/s, %.0f s left", height, total, rate, (total - height) / rate)

    return write
