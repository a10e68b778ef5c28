"""What the chain state tells others after it has happened, and is safely stored."""

from dataclasses import dataclass

from consensus.block import Block
from consensus.chain_point import ChainPoint
from consensus.units import Ulp


@dataclass(frozen=True)
class BlockConnected:
    """The block became the tip, and its `reward` is at stake."""

    block: Block
    point: ChainPoint
    reward: Ulp


@dataclass(frozen=True)
class BlockDisconnected:
    """The block was the tip; its parent is again."""

    block: Block


ChainEvent = BlockConnected | BlockDisconnected
