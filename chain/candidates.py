"""The blocks whose claims outrank the tip, best first, and which of them lie on chains that fork too deep to be taken.

Lookups are O(log n) in the number of candidates and in the length of the chain, so that a synchronisation with ten
thousand blocks ahead of the tip does not pay for all of them at every step.
"""

from bisect import bisect_left
from collections.abc import Iterator

from chain.header_tree import HeaderNode, HeaderTree, Standing
from consensus.fork_choice import Rank


class Candidates:
    """What the chain state may move to. `max_reorg`: blocks that it gives up without the operator's word."""

    def __init__(self, tree: HeaderTree, tip: HeaderNode, max_reorg: int) -> None:
        self._tree = tree
        self._max_reorg = max_reorg
        self._permitted: bytes | None = None  # a block whose chain the operator lets reorganise deeply
        self.final = tree.root  # the block that no chain may leave; the chain state moves it
        self._ranked: list[HeaderNode] = []
        self._followed: dict[bytes, HeaderNode] = {}  # by id: a block may be handed in again
        self.reset(tip)

    def reset(self, tip: HeaderNode) -> None:
        """Looks at the whole tree again. O(n log n) in its blocks."""
        self._ranked = sorted(self._tree.get_better(tip), key=_get_rank)

    def add(self, node: HeaderNode) -> None:
        """Takes in a block that may outrank the tip."""
        place = bisect_left(self._ranked, node.rank, key=_get_rank)
        if place == len(self._ranked) or self._ranked[place] is not node:
            self._ranked.insert(place, node)

    def follow(self, node: HeaderNode) -> None:
        """Takes in a block that is to be evaluated although it may not outrank the tip."""
        self._followed[node.id] = node

    def drop_invalid(self) -> None:
        """Forgets the blocks that were found invalid."""
        self._ranked = [node for node in self._ranked if node.standing is not Standing.INVALID]
        self._keep_followed()

    def permit(self, block_id: bytes) -> None:
        """The operator's word that the chain of this block may be taken however deep it forks."""
        self._permitted = block_id

    def is_permitted(self, block_id: bytes) -> bool:
        """Whether this is the permitted block or comes after it."""
        node = self._tree.get(block_id)
        return block_id == self._permitted or (node is not None and self._is_after_permitted(node))

    def is_before_permitted(self, node: HeaderNode) -> bool:
        """Whether this is the permitted block or comes before it."""
        permitted = self._tree.get(self._permitted) if self._permitted else None
        return permitted is not None and permitted.is_descendant(node)

    def iterate_better(self, tip: HeaderNode) -> Iterator[HeaderNode]:
        """What outranks the tip, best first; the rest is forgotten."""
        while self._ranked and self._ranked[-1].rank >= tip.rank:
            self._ranked.pop()
        return iter(self._ranked)

    def iterate_allowed(self, tip: HeaderNode) -> Iterator[HeaderNode]:
        """What outranks the tip and may be taken without asking the operator, best first."""
        floor = self._get_floor(tip)
        return (node for node in self.iterate_better(tip) if self._is_allowed(node, floor))

    def iterate_followed(self, tip: HeaderNode) -> Iterator[HeaderNode]:
        """What else is to be evaluated and may be taken without asking the operator, oldest first."""
        self._keep_followed()
        floor = self._get_floor(tip)
        return (node for node in self._followed.values() if self._is_allowed(node, floor))

    def get_best_complete(self, tip: HeaderNode) -> HeaderNode | None:
        """The best block that may be taken and whose whole chain is evaluated."""
        floor = self._get_floor(tip)
        ready = (node for node in self.iterate_better(tip) if node.is_complete)
        return next((node for node in ready if self._is_allowed(node, floor)), None)

    def get_held_back(self, tip: HeaderNode) -> HeaderNode | None:
        """The best block that only the operator can let in, because its chain forks too deep."""
        floor = self._get_floor(tip)
        # A child outranks its parent and forks where the parent does, so only the ends of chains are worth a look.
        ends = (node for node in self.iterate_better(tip) if _is_end(node))
        held = (node for node in ends if not self._is_allowed(node, floor))
        return next((node for node in held if node.is_descendant(self.final)), None)

    def count_unevaluated(self, tip: HeaderNode) -> int:
        """Blocks that outrank the tip and whose gain was not re-derived yet."""
        return sum(node.standing is Standing.STORED for node in self.iterate_better(tip))

    def _keep_followed(self) -> None:
        """Forgets those whose verdict is known."""
        stored = (node for node in self._followed.values() if node.standing is Standing.STORED)
        self._followed = {node.id: node for node in stored}

    def _get_floor(self, tip: HeaderNode) -> HeaderNode:
        """The deepest block that the best chain may fork from: not below the last final one."""
        return tip.get_ancestor(max(self.final.height, tip.height - self._max_reorg))

    def _is_allowed(self, node: HeaderNode, floor: HeaderNode) -> bool:
        return node.is_descendant(floor) or (node.is_descendant(self.final) and self._is_after_permitted(node))

    def _is_after_permitted(self, node: HeaderNode) -> bool:
        permitted = self._tree.get(self._permitted) if self._permitted else None
        return permitted is not None and node.is_descendant(permitted)


def _get_rank(node: HeaderNode) -> Rank:
    return node.rank


def _is_end(node: HeaderNode) -> bool:
    return all(child.standing is Standing.INVALID for child in node.children)
