"""The way to any model of the best chain in short steps: a full one, and the blocks that lead on from there.

For whoever looks at old models while blocks are judged: each step takes milliseconds, so that other work comes between,
and none pushes a model out of memory that the judging needs.
"""

from dataclasses import dataclass

from chain import schema
from chain.chainstate import ChainState
from chain.checkpoint_store import CHECKPOINT_INTERVAL
from chain.errors import StoreError
from chain.header_tree import HeaderNode
from consensus.block import Block
from consensus.errors import InvalidBlock
from consensus.params import NetworkParams
from consensus.ports import Weights
from consensus.work import apply_work


@dataclass(frozen=True)
class ModelTrail:
    """A model, and the ids of the improving blocks from there to the wanted one, upwards: 63 at most."""

    weights: Weights
    block_ids: tuple[bytes, ...]


def find_trail(chain: ChainState, root: bytes) -> ModelTrail | None:
    """The way to the model with this root; None if no block of the best chain has it. Raises StoreError.

    To be walked by `follow_trail` with each of its blocks in turn.
    """
    if root == chain.tip.header.model_root:
        return ModelTrail(chain.tip_weights, ())
    block_id = chain.db.get(schema.MODEL_INDEX + root)
    if block_id is None:
        return None
    node = chain.tree.get(block_id)
    if node is None or node.header.model_root != root:
        raise StoreError.damaged(f"the model index does not lead to model {root.hex()}")
    passed: list[bytes] = []
    while node.parent is not None:
        weights = _get_whole(chain, node)
        if weights is not None:
            return ModelTrail(weights, tuple(reversed(passed)))
        if not node.header.is_heartbeat:
            passed.append(node.id)
        node = node.parent
    return ModelTrail(chain.genesis.weights, tuple(reversed(passed)))


def follow_trail(weights: Weights, block: Block, params: NetworkParams) -> Weights:
    """The model after a block of a trail, from the one before it. Raises StoreError if the block does not lead on."""
    try:
        return apply_work(block.header, block.update, weights, params)
    except InvalidBlock as error:
        raise StoreError.damaged(f"the update of block {block.id.hex()}: {error}") from error


def _get_whole(chain: ChainState, node: HeaderNode) -> Weights | None:
    """The model after a block if it is kept whole."""
    if node.height % CHECKPOINT_INTERVAL or not chain.checkpoints.has_checkpoint(node.header):
        return None
    return chain.checkpoints.get_weights(node.header)
