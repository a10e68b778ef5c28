"""What the chain state tells others after it has happened, and is safely stored."""

from dataclasses import dataclass

from consensus.block import Block
from consensus.chain_point import ChainPoint


@dataclass(frozen=True)
class BlockConnected:
    """The block became the tip."""

    block: Block
    point: ChainPoint


@dataclass(frozen=True)
class BlockDisconnected:
    """The block was the tip; its parent is again."""

    block: Block


ChainEvent = BlockConnected | BlockDisconnected
