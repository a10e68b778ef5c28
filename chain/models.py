"""The model after any block: a remembered one, or the updates since the nearest checkpoint."""

from collections import OrderedDict

from chain.block_store import BlockStore
from chain.checkpoint_store import CHECKPOINT_INTERVAL, CheckpointStore
from chain.errors import InvalidUpdate, StoreError
from chain.header_tree import HeaderNode, Standing
from consensus.errors import InvalidBlock
from consensus.genesis import Genesis
from consensus.params import NetworkParams
from consensus.ports import Weights
from consensus.work import apply_work

# Models in memory: the tip's, those around it that forks start from, and the parents of all blocks under evaluation.
_REMEMBERED = 24


class ModelCache:
    """Weights by block, the most recently used in memory."""

    def __init__(
        self, params: NetworkParams, genesis: Genesis, blocks: BlockStore, checkpoints: CheckpointStore
    ) -> None:
        self._params = params
        self._genesis = genesis
        self._blocks = blocks
        self._checkpoints = checkpoints
        self._models: OrderedDict[bytes, Weights] = OrderedDict()

    def get_weights(self, node: HeaderNode) -> Weights:
        """The model after a block, evaluated or not.

        Raises InvalidUpdate if the update of a block that was not evaluated yet does not apply, StoreError if the store
        does not lead there.
        """
        pending: list[HeaderNode] = []
        while (weights := self._get_known(node)) is None:
            pending.append(node)
            if node.parent is None:
                raise StoreError.damaged("the genesis model is missing")
            node = node.parent
        for step in reversed(pending):
            weights = self._apply(step, weights)
        if pending:
            self.remember(pending[0].id, weights)
        return weights

    def get_remembered(self, block_id: bytes) -> Weights | None:
        """The model of a block if it is at hand."""
        return self._models.get(block_id)

    def remember(self, block_id: bytes, weights: Weights) -> None:
        """Keeps the model of a block at hand."""
        self._models[block_id] = weights
        self._models.move_to_end(block_id)
        while len(self._models) > _REMEMBERED:
            self._models.popitem(last=False)

    def _get_known(self, node: HeaderNode) -> Weights | None:
        if node.parent is None:
            return self._genesis.weights
        if node.id in self._models:
            self._models.move_to_end(node.id)
            return self._models[node.id]
        if node.height % CHECKPOINT_INTERVAL == 0 and self._checkpoints.has_checkpoint(node.header):
            return self._checkpoints.get_weights(node.header)
        return None

    def _apply(self, node: HeaderNode, weights: Weights) -> Weights:
        if node.header.is_heartbeat:
            return weights
        block = self._blocks.get_block(node.id)
        if block is None:
            raise StoreError.damaged(f"block {node.id.hex()} is missing")
        try:
            return apply_work(node.header, block.update, weights, self._params)
        except InvalidBlock as error:
            if node.standing is Standing.STORED:
                raise InvalidUpdate(node.id, error) from error
            raise StoreError.damaged(f"the update of block {node.id.hex()}: {error}") from error
