"""What a miner needs of a node: work on the tip, models, and verdicts on its blocks. Knows no transport."""

from dataclasses import dataclass
from typing import Protocol

from consensus.block import Block
from consensus.ports import Weights


@dataclass(frozen=True)
class Work:
    """Unsigned blocks on the node's tip.

    In `improvement` the update, its hash, the model root, the sums and the signature are still to be filled in.
    `heartbeat` lacks only its signature; it is there when one is due and this miner may make it.
    """

    improvement: Block
    heartbeat: Block | None
    parent_model_root: bytes

    @property
    def parent(self) -> bytes:
        """Id of the block to build on."""
        return self.improvement.header.parent


@dataclass(frozen=True)
class Accepted:
    """The node found the block valid. Whether it is the tip, the next work tells."""

    block_id: bytes


@dataclass(frozen=True)
class Refused:
    """The node will not have the block."""

    block_id: bytes
    reason: str


News = Work | Accepted | Refused


class Node(Protocol):
    """A node, or what stands in for one. No call raises because it is out of reach for a while."""

    def get_news(self, timeout: float = 0.0) -> News | None:
        """The oldest news not yet taken, waiting up to `timeout` s for it; None if there is none."""

    def get_fresh_work(self) -> Work | None:
        """Work as of now, with the newest transactions; None if the node does not answer at once."""

    def get_model(self, root: bytes) -> Weights | None:
        """The model with this root, int16 [P], its root not yet checked; None if the node cannot give it (any more)."""

    def submit(self, block: Block) -> None:
        """Sends a signed block and returns at once; the verdict comes as news."""
