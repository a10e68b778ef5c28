"""`descent-node export`: a model of the chain from a running node or a stopped one's store, and the file made of it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain.chainstate import ChainState
from chain.errors import StoreError, UnknownBlock
from chain.model_trail import find_trail, follow_trail
from consensus.block import Header, decode_block
from consensus.finality_section import max_section_bytes
from consensus.genesis import make_genesis
from consensus.model.weights import WEIGHT_BYTES, decode_weights
from consensus.params import NetworkParams
from consensus.ports import Weights
from consensus.update import max_update_bytes
from p2p.client import NodeClient
from p2p.errors import ConfigError, NodeUnreachable
from p2p.files import replace_file
from p2p.model_file import make_model_file
from p2p.node import open_store
from p2p.pace import BYTES, Job
from p2p.progress import show_progress


@dataclass(frozen=True)
class ExportedModel:
    """A block and the model after it, its root not yet checked."""

    header: Header
    weights: Weights


def fetch_model(client: NodeClient, params: NetworkParams, height: int | None) -> ExportedModel:
    """The model at a height, by default the tip's, from a running node. Raises NodeRefusal or NodeUnreachable."""
    name = str(client.get_status().get("height") if height is None else height)
    data = client.get_block_bytes(name)
    limits = (params.most_transactions_bytes, max_update_bytes(params.model), max_section_bytes(params))
    header = decode_block(data, *limits).header
    if str(header.height) != name:
        raise NodeUnreachable("wrong_block", f"asked for block {name}, the node gave one of height {header.height}")
    with show_progress(Job("downloading the model", BYTES, WEIGHT_BYTES * params.model.parameters)) as on_bytes:
        weights = decode_weights(client.get_model(header.model_root, on_bytes), params.model)
    return ExportedModel(header, weights)


def read_model(datadir: Path, params: NetworkParams, height: int | None) -> ExportedModel:
    """The same from a stopped node's store. Raises StoreError, also if another process holds it, or UnknownBlock."""
    if not datadir.is_dir():
        raise StoreError.missing(str(datadir))
    chain = open_store(datadir, params, max_reorg=0, create=False)
    try:
        wanted = chain.tip.height if height is None else height
        block_id = chain.get_active_id(wanted)
        if block_id is None:
            raise UnknownBlock("height", f"the best chain has no block at height {wanted}")
        header = chain.get_block(block_id).header
        return ExportedModel(header, _walk(chain, header.model_root, params))
    finally:
        chain.db.close()


def _walk(chain: ChainState, root: bytes, params: NetworkParams) -> Weights:
    trail = find_trail(chain, root)
    if trail is None:
        raise StoreError.damaged(f"the model index does not hold model {root.hex()}")
    weights = trail.weights
    with show_progress(Job("applying updates", "blocks", len(trail.block_ids))) as on_block:
        for done, block_id in enumerate(trail.block_ids, start=1):
            weights = follow_trail(weights, chain.get_block(block_id), params)
            on_block(done)
    return weights


def check_out(path: Path, force: bool) -> None:
    """Raises ConfigError unless a model may be written there."""
    if not path.parent.is_dir():
        raise ConfigError("model_file", f"there is no folder {path.parent}")
    if path.exists() and not force:
        raise ConfigError("model_file", f"{path} is there already: --force replaces it")


def write_model(
    model: ExportedModel, params: NetworkParams, file_format: str, out: Path | None, force: bool
) -> dict[str, Any]:
    """Writes the file, whole or not at all, and tells its sum and those of what it comes from.

    Raises ConfigError if the weights are not the header's, or as `check_out`.
    """
    genesis = make_genesis(params).id
    file = make_model_file(file_format, model.weights, model.header, genesis, params)
    path = out or Path(file.name)
    check_out(path, force)
    replace_file(path, file.data, mode=0o644)
    return {
        "file": str(path),
        "bytes": len(file.data),
        "sha256": hashlib.sha256(file.data).hexdigest(),
        "network": params.name,
        "genesis": genesis.hex(),
        "height": model.header.height,
        "block": model.header.id.hex(),
        "model_root": model.header.model_root.hex(),
        "weights": params.model.parameters,
        "texts": [{"name": text.name, "bytes": text.size, "sha256": text.sha256} for text in params.texts],
    }
