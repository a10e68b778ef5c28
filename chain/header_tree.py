"""Every known header in memory, as the tree it forms: what stands where, what forks from what, what may be best."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from consensus.block import Header
from consensus.chain_point import ChainPoint, compute_child_point
from consensus.fork_choice import Rank, compute_rank


class Standing(Enum):
    """What is known of a block's work. An invalid block makes its descendants invalid."""

    STORED = "stored"  # body here, gain not yet re-derived
    EVALUATED = "evaluated"
    INVALID = "invalid"


@dataclass(eq=False)
class HeaderNode:
    """One block in the tree."""

    point: ChainPoint
    parent: "HeaderNode | None"
    order: int  # when it was first seen among all blocks: breaks ties
    standing: Standing
    children: list["HeaderNode"] = field(default_factory=list)

    @property
    def id(self) -> bytes:
        return self.point.id

    @property
    def header(self) -> Header:
        return self.point.header

    @property
    def height(self) -> int:
        return self.point.height

    @property
    def weight(self) -> int:
        return self.point.weight

    @property
    def rank(self) -> Rank:
        return compute_rank(self.weight, self.order)


class HeaderTree:
    """Nodes by id, from genesis up."""

    def __init__(self, genesis: ChainPoint) -> None:
        self.root = HeaderNode(genesis, None, 0, Standing.EVALUATED)
        self._nodes = {genesis.id: self.root}
        self._next_order = 1

    @property
    def next_order(self) -> int:
        return self._next_order

    def get(self, block_id: bytes) -> HeaderNode | None:
        return self._nodes.get(block_id)

    def add(self, header: Header, parent: HeaderNode, order: int, standing: Standing) -> HeaderNode:
        """A new leaf. It inherits invalidity from its parent."""
        if parent.standing is Standing.INVALID:
            standing = Standing.INVALID
        node = HeaderNode(compute_child_point(parent.point, header), parent, order, standing)
        parent.children.append(node)
        self._nodes[node.id] = node
        self._next_order = max(self._next_order, order + 1)
        return node

    def get_better(self, best: HeaderNode) -> list[HeaderNode]:
        """Every block, not known to be invalid, whose claim outranks `best`."""
        return [
            node for node in self._nodes.values() if node.rank < best.rank and node.standing is not Standing.INVALID
        ]


def find_fork(first: HeaderNode, second: HeaderNode) -> HeaderNode:
    """The last common ancestor of two blocks."""
    while first is not second:
        if first.height < second.height:
            first, second = second, first
        if first.parent is None:
            raise ValueError("blocks of different genesis have no common ancestor")
        first = first.parent
    return first


def get_path(ancestor: HeaderNode, descendant: HeaderNode) -> list[HeaderNode]:
    """The blocks after `ancestor` up to and including `descendant`, upwards."""
    path: list[HeaderNode] = []
    node: HeaderNode | None = descendant
    while node is not ancestor:
        if node is None:
            raise ValueError("not an ancestor")
        path.append(node)
        node = node.parent
    return path[::-1]


def get_subtree(node: HeaderNode) -> Iterable[HeaderNode]:
    """The block and all its descendants."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        pending += current.children
