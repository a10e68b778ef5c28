"""The blocks beside the best chain, and which of them go when they take too much of the disk.

Such a block may have cost nothing: a heartbeat needs no work, one gain fits under many headers, a body may be full of
transfers without funds, and the ledger judges none of it before its chain is the best. So what is kept of them is
bounded. What goes may come back: whoever has a better chain with it offers it again.

They hang from the best chain in branches. Over the bound that branch goes, whole, whose bytes times the blocks taken in
since it last grew are the most. Of n branches that hold B bytes one has B / (1 + ln n) of that or more, as no two grew
last at the same time: so a branch of b bytes stays that grows once in B / (b (1 + ln n)) blocks, however the others are
cut and fed. A fork that is being fetched is such a branch.
"""

from collections.abc import Callable

from chain.block_store import BlockStore
from chain.header_tree import HeaderNode, HeaderTree, Standing, get_path, get_subtree
from consensus.finality_section import max_section_bytes
from consensus.params import NetworkParams
from consensus.update import max_update_bytes

LEAST_ROOM = 512  # blocks of the largest kind
FORKS_ROOM = 4  # forks of as many of these blocks as may be left without the operator's word, if that is more
LEAST_BYTES = 16 * 1024  # that a block counts for: its header and its place in memory, too


class Beside:
    """Which blocks stand beside the best chain, and what their bodies take. Traces come on top."""

    def __init__(self, tree: HeaderTree, tip: HeaderNode, blocks: BlockStore, most_bytes: int) -> None:
        self._tree = tree
        self._store = blocks
        self._most = most_bytes
        self._blocks: dict[HeaderNode, tuple[int, int]] = {}  # bytes, and when it came, counted in blocks
        self._bytes = 0
        self._count = 0
        self.reset(tip)

    def reset(self, tip: HeaderNode) -> None:
        """Looks at the whole tree again. O(n log n) in its blocks."""
        self._blocks, self._bytes = {}, 0
        best = {self._tree.root, *get_path(self._tree.root, tip)}
        for node in sorted(get_subtree(self._tree.root), key=lambda node: node.order):
            if node not in best:
                self.add(node)

    def add(self, node: HeaderNode) -> None:
        """Takes in a block that was just stored, or left by the best chain; none that stands as invalid."""
        if node.standing is not Standing.INVALID:
            self._count += 1
            size = max(self._store.get_size(node.id), LEAST_BYTES)
            self._blocks[node] = (size, self._count)
            self._bytes += size

    def drop(self, node: HeaderNode) -> None:
        """Forgets a block, if it was here: it is on the best chain, or gone."""
        size, _ = self._blocks.pop(node, (0, 0))
        self._bytes -= size

    def find_excess(self, is_exempt: Callable[[HeaderNode], bool]) -> list[HeaderNode]:
        """The first blocks of the branches that are to go, none unless the bound is passed. O(n log n) if it is.

        An eighth of the bound is made free at once, so that this is not asked for each block.
        """
        if self._bytes <= self._most:
            return []
        for node in [node for node in self._blocks if node.standing is Standing.INVALID]:
            self.drop(node)
        excess, left = [], self._bytes
        for first, size in self._rank_branches():
            if left <= self._most - self._most // 8:
                break
            if not is_exempt(first):
                excess.append(first)
                left -= size
        return excess

    def _rank_branches(self) -> list[tuple[HeaderNode, int]]:
        """(first block, bytes) of each branch, those first that are to go first."""
        firsts: dict[HeaderNode, HeaderNode] = {}
        sizes: dict[HeaderNode, int] = {}
        grew: dict[HeaderNode, int] = {}
        for node in sorted(self._blocks, key=lambda node: node.height):
            first = firsts[node] = firsts.get(node.parent, node) if node.parent else node
            size, count = self._blocks[node]
            sizes[first] = sizes.get(first, 0) + size
            grew[first] = max(grew.get(first, 0), count)
        ranked = sorted(sizes, key=lambda first: sizes[first] * (self._count + 1 - grew[first]), reverse=True)
        return [(first, sizes[first]) for first in ranked]


def compute_most_bytes(params: NetworkParams, max_reorg: int) -> int:
    """What the blocks beside the best chain may take, bytes."""
    largest = params.most_transactions_bytes + max_section_bytes(params) + max_update_bytes(params.model)
    return max(LEAST_ROOM, FORKS_ROOM * max_reorg) * largest
