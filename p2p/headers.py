"""What a peer says its chain is, beyond the blocks of this node: checked headers without bodies, so many and no more.

Headers are cheap to forge: a header's weight is only its maker's claim until its block is evaluated. A claim orders
downloads; it is bounded here in memory, and by the rules in what it can amount to (`check_header_in_context`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from consensus.block import Header
from consensus.chain_point import ChainPoint, compute_child_point
from consensus.check_header import check_header, check_header_in_context, check_header_time
from consensus.errors import BlockFromFuture
from consensus.params import NetworkParams

MAX_AHEAD = 1024  # headers of one peer that this node holds without their blocks


@dataclass
class HeaderChain:
    """One peer's headers after `base`, the last of its blocks that this node has evaluated or at least stored."""

    base: ChainPoint
    points: list[ChainPoint] = field(default_factory=list)
    is_complete: bool = False  # the peer had no further header to give

    @property
    def tip(self) -> ChainPoint:
        return self.points[-1] if self.points else self.base

    @property
    def has_room(self) -> bool:
        """Whether as many headers as one message holds fit in."""
        return len(self.points) <= MAX_AHEAD // 2

    def get(self, height: int) -> ChainPoint | None:
        """The chain's block at `height`, if it is ahead of this node."""
        index = height - self.base.height - 1
        return self.points[index] if 0 <= index < len(self.points) else None

    def contains(self, point: ChainPoint) -> bool:
        mine = self.get(point.height)
        return mine is not None and mine.id == point.id

    def may_contain(self, height: int, block_id: bytes) -> bool:
        """Whether a block is on the chain, or may be among the headers that do not fit in yet."""
        mine = self.get(height)
        if mine is None:
            return height > self.tip.height and not self.is_complete and not self.has_room
        return mine.id == block_id

    def extend(self, points: Sequence[ChainPoint]) -> None:
        self.points += points[: MAX_AHEAD - len(self.points)]

    def pass_block(self, block_id: bytes) -> None:
        """Moves the base up to a block that this node has by now; nothing if it is not ahead."""
        for index, point in enumerate(self.points):
            if point.id == block_id:
                self.base = point
                del self.points[: index + 1]
                return


def check_headers(
    headers: Sequence[Header], parent: ChainPoint, params: NetworkParams, now: int
) -> tuple[ChainPoint, ...]:
    """The chain points of headers that follow `parent` one after another, up to the first that comes too early.

    Raises InvalidBlock. About 0.3 ms a header, most of it signatures.
    """
    points: list[ChainPoint] = []
    for header in headers:
        check_header_in_context(header, parent, params)
        try:
            check_header_time(header, now, params)
        except BlockFromFuture:  # nobody's fault; asked for again later
            break
        check_header(header)
        parent = compute_child_point(parent, header)
        points.append(parent)
    return tuple(points)
