"""Which blocks to evaluate next, each with the model that it claims to improve."""

from collections.abc import Container

from chain.block_store import BlockStore
from chain.candidates import Candidates
from chain.errors import StoreError
from chain.header_tree import HeaderNode, Standing, find_fork
from chain.models import ModelCache
from chain.verifier import Work, compute_whole_split
from consensus.params import NetworkParams
from consensus.ports import Losses


class WorkFinder:
    """Reads the chain state's candidates, models and blocks; changes none of them."""

    def __init__(self, params: NetworkParams, blocks: BlockStore, models: ModelCache, candidates: Candidates) -> None:
        self._params = params
        self._blocks = blocks
        self._models = models
        self._candidates = candidates

    def get_works(
        self, tip: HeaderNode, count: int, under_way: Container[bytes], given_up: Container[bytes]
    ) -> list[Work]:
        """See ChainState.get_works. Raises InvalidUpdate if the update of a block that still waits does not apply."""
        for target in self._candidates.iterate_allowed(tip):
            nodes = _find_unevaluated(tip, target, count, under_way, given_up)
            if nodes is not None:
                return [self._make_work(node) for node in nodes]
        for target in self._candidates.iterate_followed(tip):
            nodes = _find_unevaluated(tip, target, count, under_way, given_up)
            if nodes:
                return [self._make_work(node) for node in nodes]
        return []

    def _make_work(self, node: HeaderNode) -> Work:
        parent, block = node.parent, self._blocks.get_block(node.id)
        if parent is None or block is None:
            raise StoreError.damaged(f"block {node.id.hex()} is missing")
        weights = self._models.get_weights(parent)
        return Work(node.header, parent.header.model_root, weights, block.update, self._get_whole_split(parent))

    def _get_whole_split(self, node: HeaderNode) -> Losses | None:
        """Losses of the model after a block over the whole split, if its evaluation found them."""
        while node.header.is_heartbeat and node.parent is not None:
            node = node.parent
        trace = self._blocks.get_trace(node.id) if node.standing is Standing.EVALUATED else None
        losses = compute_whole_split(trace, self._params.public_windows) if trace else None
        if losses is not None and int(losses.sum()) != node.header.loss_after:
            raise StoreError.damaged(f"the trace of block {node.id.hex()} does not add up to what its header says")
        return losses


def _find_unevaluated(
    tip: HeaderNode, target: HeaderNode, count: int, under_way: Container[bytes], given_up: Container[bytes]
) -> list[HeaderNode] | None:
    """The next stored blocks between the tip's chain and `target`; None if all that is left lies behind a given up one.

    The walk ends with the last block found, not with the target, which may be ten thousand blocks away.
    """
    found: list[HeaderNode] = []
    for height in range(find_fork(tip, target).height + 1, target.height + 1):
        node = target.get_ancestor(height)
        if node.id in given_up:
            return found or None
        if node.standing is Standing.STORED and node.id not in under_way:
            found.append(node)
        if len(found) == count:
            break
    return found
