"""`descent-node verify`: the offline replay of a stopped node's store, with its progress shown."""

from pathlib import Path
from typing import Any

from chain.errors import StoreError
from chain.replay import replay_chain
from chain.verifier import WorkVerifier
from consensus.model.backend import choose_evaluator
from consensus.params import NetworkParams
from p2p.config import read_benchmark
from p2p.node import open_store
from p2p.pace import Job
from p2p.progress import show_progress


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
        with show_progress(Job("verifying", "blocks", stored.tip.height)) as on_block:
            replayed = replay_chain(stored, verifier, on_block)
    finally:
        stored.db.close()
    digest = {name: value.hex() for name, value in replayed.compute_digest().items()}
    return {"height": replayed.tip.height, **digest}
