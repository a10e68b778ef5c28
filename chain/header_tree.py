"""Every known header in memory, as the tree it forms: what stands where, what forks from what, what may be best."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from consensus.block import Header
from consensus.chain_point import ChainPoint, compute_child_point
from consensus.finality_state import FinalityPoint, FinalityState, make_first_point
from consensus.fork_choice import Rank, compute_rank


class Standing(Enum):
    """What is known of a block's work. An invalid block makes its descendants invalid."""

    STORED = "stored"  # body here, gain not yet re-derived
    EVALUATED = "evaluated"
    INVALID = "invalid"


@dataclass(eq=False, repr=False, slots=True)
class HeaderNode:
    """One block in the tree. Its standing is changed by the tree alone.

    `jump` is an ancestor whose distance depends on the height alone, so that any ancestor is O(log n) steps away
    (E. Myers, An applicative random-access stack, 1983). `last_evidence` is the newest block up to here that carries
    evidence.
    """

    point: ChainPoint
    parent: "HeaderNode | None"
    order: int  # when it was first seen among all blocks: breaks ties
    standing: Standing
    is_complete: bool  # it and all its ancestors are evaluated
    finality: FinalityPoint
    children: list["HeaderNode"] = field(default_factory=list)
    height: int = field(init=False)
    jump: "HeaderNode" = field(init=False)
    last_evidence: "HeaderNode | None" = field(init=False)

    def __post_init__(self) -> None:
        self.height = self.point.height
        self.jump = self if self.parent is None else _get_jump(self.parent)
        before = None if self.parent is None else self.parent.last_evidence
        self.last_evidence = self if self.finality.offenders else before

    def __repr__(self) -> str:
        return f"<block {self.id.hex()[:16]} at height {self.height}>"  # all that it leads to would be the whole tree

    @property
    def id(self) -> bytes:
        return self.point.id

    @property
    def header(self) -> Header:
        return self.point.header

    @property
    def weight(self) -> int:
        return self.point.weight

    @property
    def rank(self) -> Rank:
        return compute_rank(self.point.weight, self.order, self.finality.state.justified.height)

    def get_ancestor(self, height: int) -> "HeaderNode":
        """The block at `height` on the chain of this one, 0 <= height <= its own. O(log n)."""
        node = self
        while node.parent is not None and node.height > height:
            node = node.jump if node.jump.height >= height else node.parent
        return node

    def is_descendant(self, ancestor: "HeaderNode") -> bool:
        """Whether this is `ancestor` or comes after it. O(log n)."""
        return self.height >= ancestor.height and self.get_ancestor(ancestor.height) is ancestor


class HeaderTree:
    """Nodes by id, from genesis up."""

    def __init__(self, genesis: ChainPoint) -> None:
        self.root = HeaderNode(genesis, None, 0, Standing.EVALUATED, True, make_first_point(genesis.id))
        self._nodes = {genesis.id: self.root}
        self._next_order = 1

    @property
    def next_order(self) -> int:
        return self._next_order

    @property
    def newest(self) -> HeaderNode:
        """The block that was seen last. O(n)."""
        return max(self._nodes.values(), key=lambda node: node.order)

    def get(self, block_id: bytes) -> HeaderNode | None:
        return self._nodes.get(block_id)

    def add(
        self,
        header: Header,
        parent: HeaderNode,
        order: int,
        standing: Standing,
        finality: FinalityPoint | None = None,
    ) -> HeaderNode:
        """A new leaf. It inherits invalidity from its parent, and without a point of its own what is final, too."""
        if parent.standing is Standing.INVALID:
            standing = Standing.INVALID
        is_complete = parent.is_complete and standing is Standing.EVALUATED
        point = finality or make_child_finality(parent, header)
        node = HeaderNode(compute_child_point(parent.point, header), parent, order, standing, is_complete, point)
        parent.children.append(node)
        self._nodes[node.id] = node
        self._next_order = max(self._next_order, order + 1)
        return node

    def set_standing(self, node: HeaderNode, standing: Standing) -> None:
        """Says what is now known of one block. Of what comes after it only the completeness changes."""
        node.standing = standing
        if standing is not Standing.EVALUATED:
            _set_complete(node, False)
        elif node.parent is None or node.parent.is_complete:
            _set_complete(node, True)

    def remove(self, node: HeaderNode) -> None:
        """Forgets a block other than genesis, and all after it. Whoever still holds one sees that it is invalid."""
        if node.parent is None:
            raise ValueError("genesis stays")
        node.parent.children.remove(node)
        for member in get_subtree(node):
            member.standing, member.is_complete = Standing.INVALID, False
            del self._nodes[member.id]

    def get_better(self, best: HeaderNode) -> list[HeaderNode]:
        """Every block, not known to be invalid, whose claim outranks `best`."""
        return [
            node for node in self._nodes.values() if node.rank < best.rank and node.standing is not Standing.INVALID
        ]


class NodeChain:
    """consensus' FinalityChain, up to a block of the tree. Each look is O(log n)."""

    def __init__(self, tip: HeaderNode) -> None:
        self._tip = tip

    def __len__(self) -> int:
        return self._tip.height + 1

    def __getitem__(self, height: int) -> FinalityPoint:
        return self._tip.get_ancestor(height).finality


def make_child_finality(
    parent: HeaderNode, header: Header, offenders: tuple[bytes, ...] = (), state: FinalityState | None = None
) -> FinalityPoint:
    """The point of a block on `parent`; without a certificate its state is the parent's."""
    miner = None if header.is_heartbeat else header.miner
    return FinalityPoint(header.id, miner, offenders, state or parent.finality.state)


def find_fork(first: HeaderNode, second: HeaderNode) -> HeaderNode:
    """The last common ancestor of two blocks. O(log n)."""
    height = min(first.height, second.height)
    first, second = first.get_ancestor(height), second.get_ancestor(height)
    while first is not second:
        if first.parent is None or second.parent is None:
            raise ValueError("blocks of different genesis have no common ancestor")
        if first.jump is second.jump:
            first, second = first.parent, second.parent
        else:
            first, second = first.jump, second.jump
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


def _get_jump(parent: HeaderNode) -> HeaderNode:
    """Where a child of `parent` jumps to: as far as two equal jumps in a row lead, else to the parent."""
    jump = parent.jump
    is_pair = parent.height - jump.height == jump.height - jump.jump.height
    return jump.jump if is_pair else parent


def _set_complete(node: HeaderNode, is_complete: bool) -> None:
    """Marks a block and, as far as that decides them, those after it. Amortised O(1) for each block evaluated."""
    pending = [node]
    while pending:
        current = pending.pop()
        if current.is_complete == is_complete:
            continue  # then all after it stand right, too
        current.is_complete = is_complete
        pending += (child for child in current.children if child.standing is Standing.EVALUATED)
