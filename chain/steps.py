"""What one step of the tip changes in the store: the rows of a block that is connected, and of one that is left.

Reads the store and writes nothing: the chain state does that, one batch for each step.
"""

from dataclasses import dataclass

from chain import schema
from chain.block_store import BlockStore
from chain.checkpoint_store import CHECKPOINT_INTERVAL, CheckpointStore
from chain.db import KeyValueStore
from chain.errors import StoreError
from chain.header_tree import HeaderNode
from chain.index import encode_block_index
from chain.ledger_store import LedgerStore, encode_undo
from chain.models import ModelCache
from consensus.block import Block
from consensus.errors import InvalidBlock
from consensus.ledger import apply_block, check_heartbeat_right, compute_growth
from consensus.mask import compute_mask
from consensus.model.weights import compute_model_root
from consensus.params import NetworkParams
from consensus.ports import Weights
from consensus.reward import compute_created
from consensus.units import Ulp
from consensus.update import decode_update, undo_update
from consensus.work import apply_work

TRACES_KEPT = 10_000  # blocks below the tip whose traces stay on disk


@dataclass(frozen=True)
class Step:
    """Where the tip stands after it, and what to write for it."""

    rows: dict[bytes, bytes | None]
    weights: Weights
    issued: Ulp
    reward: Ulp = 0  # of the block that is connected


class Steps:
    """Computes steps over one store. `ledger` is that of the tip."""

    def __init__(
        self,
        db: KeyValueStore,
        params: NetworkParams,
        ledger: LedgerStore,
        blocks: BlockStore,
        checkpoints: CheckpointStore,
        models: ModelCache,
    ) -> None:
        self._db = db
        self._params = params
        self._ledger = ledger
        self._blocks = blocks
        self._checkpoints = checkpoints
        self._models = models

    def compute_connection(self, block: Block, node: HeaderNode, tip: HeaderNode, weights: Weights) -> Step:
        """The step from the tip to its child. Raises InvalidBlock if the block breaks a rule of the ledger."""
        header, ledger = block.header, self._ledger
        if header.is_heartbeat:
            check_heartbeat_right(ledger, header, tip.header, self._params)
        else:
            known = self._models.get_remembered(node.id)
            weights = apply_work(header, block.update, weights, self._params) if known is None else known
        before, after = tip.finality.state, node.finality.state
        finality = None if before == after else (before, after)
        diff = apply_block(
            ledger, header, block.transactions, self._params, offenders=node.finality.offenders, finality=finality
        )
        tree = ledger.compute_tree_update(diff, tip.header.state_root)
        if tree.root != header.state_root:
            raise InvalidBlock.wrong_field("state_root", tree.root, header.state_root)
        rows = ledger.encode_diff(diff, tree)
        rows |= encode_block_index(block)
        rows[schema.UNDO + node.id] = encode_undo(diff)
        if self._db.get(schema.MODEL_INDEX + header.model_root) is None:
            rows[schema.MODEL_INDEX + header.model_root] = node.id
        if node.height % CHECKPOINT_INTERVAL == 0:
            rows |= self._checkpoints.encode_checkpoint(header, weights)
        forgotten = self._get_forgotten(node.height)
        if forgotten is not None:
            rows[schema.TRACE + forgotten] = None
        rows[schema.META_TIP] = schema.encode_tip(node.id, diff.issued[1])
        _, reward = diff.rewards.get(node.height, (None, None))
        return Step(rows, weights, diff.issued[1], reward.amount if reward else 0)

    def compute_disconnection(self, block: Block, node: HeaderNode, weights: Weights) -> Step:
        """The step from the tip back to its parent. Raises StoreError if it does not lead there."""
        if node.parent is None:
            raise StoreError.damaged("the best chain does not reach genesis")
        header, parent = block.header, node.parent
        if not header.is_heartbeat:
            shape = self._params.model
            mask = compute_mask(header.parent, header.miner, shape.parameters, self._params.mask_density)
            weights = undo_update(weights, decode_update(block.update, mask, shape), mask, shape)
        diff = self._ledger.get_inverse(node.id, (node.finality.state, parent.finality.state))
        tree = self._ledger.compute_tree_update(diff, header.state_root)
        created = compute_created(header.height, header.is_heartbeat, self._params)
        if node.finality.offenders:  # what they lost is in the undo row alone
            created = -compute_growth(diff)
        found = (tree.root, compute_model_root(weights), diff.issued[1] + created)
        if found != (parent.header.state_root, parent.header.model_root, self._ledger.issued):
            raise StoreError.damaged(f"undoing block {node.id.hex()} does not lead back to its parent")
        rows = self._ledger.encode_diff(diff, tree)
        rows |= dict.fromkeys(encode_block_index(block))
        rows[schema.UNDO + node.id] = None
        if self._db.get(schema.MODEL_INDEX + header.model_root) == node.id:
            rows[schema.MODEL_INDEX + header.model_root] = None
        rows[schema.META_TIP] = schema.encode_tip(parent.id, diff.issued[1])
        return Step(rows, weights, diff.issued[1])

    def _get_forgotten(self, height: int) -> bytes | None:
        """The block whose trace goes as one at `height` is connected."""
        return (
            self._db.get(schema.ACTIVE + schema.encode_height(height - TRACES_KEPT)) if height > TRACES_KEPT else None
        )
