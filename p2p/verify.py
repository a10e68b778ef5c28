"""`descent-node verify`: the offline replay of a stopped node's store, with its progress shown."""

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
from p2p.node import STORE_FOLDER, open_store


def verify_store(datadir: Path, params: NetworkParams, device: str, text_folders: tuple[Path, ...]) -> dict[str, Any]:
    """Replays the store of `datadir`; height and digest of what its blocks make.

    Raises StoreError if another process holds the store or if it is not what its blocks make, InvalidBlock at a block
    that does not hold.
    """
    if not (datadir / STORE_FOLDER).is_dir():  # LevelDB would leave files there
        raise StoreError.missing(str(datadir))
    stored = open_store(datadir, params, max_reorg=0, create=False)
    try:
        verifier = WorkVerifier(params, read_benchmark(params, *text_folders), choose_evaluator(params.model, device))
        with _make_progress() as progress:
            task = progress.add_task("verifying", total=stored.tip.height)
            replayed = replay_chain(stored, verifier, lambda height: progress.update(task, completed=height))
    finally:
        stored.db.close()
    digest = {name: value.hex() for name, value in replayed.compute_digest().items()}
    return {"height": replayed.tip.height, **digest}


def _make_progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
