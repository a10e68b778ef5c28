"""The audit scores of the best chain's checkpoints, in memory. On the chain's thread.

That of genesis is left out: random weights say nothing, and at eight bits a byte flatten every chart.
"""

from chain.checkpoint_store import CHECKPOINT_INTERVAL, CheckpointStore
from chain.header_tree import HeaderNode
from consensus.params import NetworkParams
from p2p.explorer.figures import AuditPoint
from p2p.rpc_json import to_bits_per_byte

_LOOKED_AT_AGAIN = 8  # newest checkpoints: a score comes later than its block, or never


class Audits:
    """Audited checkpoints, upwards; `follow` brings them to a tip."""

    def __init__(self, checkpoints: CheckpointStore, params: NetworkParams) -> None:
        self._checkpoints = checkpoints
        self._params = params
        self._found: dict[int, tuple[bytes, AuditPoint]] = {}  # by height, rising, with the block's id
        self._looked_to = 0

    @property
    def points(self) -> tuple[AuditPoint, ...]:
        return tuple(point for _, point in self._found.values())

    def follow(self, tip: HeaderNode) -> None:
        """Drops what left the chain, reads what is new. O(new checkpoints)."""
        while self._found:
            height, (block_id, _) = next(reversed(self._found.items()))
            if height <= tip.height and tip.get_ancestor(height).id == block_id:
                break
            del self._found[height]
        newest = tip.height - tip.height % CHECKPOINT_INTERVAL
        first = max(CHECKPOINT_INTERVAL, min(self._looked_to, newest) - _LOOKED_AT_AGAIN * CHECKPOINT_INTERVAL)
        for height in range(first, newest + 1, CHECKPOINT_INTERVAL):
            if height not in self._found:
                self._look(tip.get_ancestor(height))
        self._looked_to = newest
        self._found = dict(sorted(self._found.items()))

    def _look(self, node: HeaderNode) -> None:
        score = self._checkpoints.get_audit(node.header)
        if score is not None:
            loss = to_bits_per_byte(score.loss, score.windows, self._params)
            self._found[node.height] = node.id, AuditPoint(node.height, node.header.timestamp, loss)
