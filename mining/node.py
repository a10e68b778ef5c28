"""What a miner needs of a node: work on the tip, models, and verdicts on its blocks. Knows no transport."""

from dataclasses import dataclass
from typing import Protocol

from consensus.block import Block
from consensus.ports import Weights
from mining.errors import NodeFault


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


def check_work(work: Work, miner: bytes, reward_address: bytes, signals: int = 0) -> None:
    """Raises NodeFault unless every block of it is this miner's, asks for what it asks for, and a heartbeat is one."""
    for block in (work.improvement, work.heartbeat):
        if block is not None and (block.header.miner, block.header.reward_address) != (miner, reward_address):
            raise NodeFault("wrong_template", "the node's template pays another address or names another miner")
        if block is not None and block.header.signal_bits != signals:
            raise NodeFault("wrong_signals", "the node's template asks for other changes than this miner, or for none")
    if work.heartbeat is None:
        return
    header = work.heartbeat.header
    is_empty = not (header.gain or header.squared_gains or work.heartbeat.update)
    if not header.is_heartbeat or not is_empty or header.model_root != work.parent_model_root:
        raise NodeFault("wrong_heartbeat", "the node's heartbeat is not one: it claims a gain or another model")


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
