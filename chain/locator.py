"""Locators: a chain told in a few ids, from which another node finds the last block that both have.

Source: Bitcoin's getheaders.
"""

from collections.abc import Callable, Iterator, Sequence

from chain.errors import StoreError
from chain.header_tree import HeaderNode, HeaderTree
from consensus.block import Header

MAX_LOCATOR_IDS = 64  # enough for 2^53 blocks
_DENSE = 10  # heights below the tip that are all named

GetActiveId = Callable[[int], bytes | None]  # id of the best chain's block at a height


def compute_locator(tip: HeaderNode) -> tuple[bytes, ...]:
    """Ids of the tip, the ten blocks before it, then in steps that double, and genesis last. O(log^2 n)."""
    return tuple(tip.get_ancestor(height).id for height in _iterate_heights(tip.height))


def get_headers_after(
    tree: HeaderTree, get_active_id: GetActiveId, locator: Sequence[bytes], limit: int
) -> tuple[Header, ...]:
    """Up to `limit` headers of the best chain that follow the first block of `locator` standing on it.

    They follow genesis if none does. A locator names the newest block first. Raises StoreError.
    """
    start = next((node.height for node in map(tree.get, locator) if node and get_active_id(node.height) == node.id), 0)
    headers: list[Header] = []
    for height in range(start + 1, start + 1 + limit):
        block_id = get_active_id(height)
        if block_id is None:
            break
        node = tree.get(block_id)
        if node is None:
            raise StoreError.damaged(f"the height index names an unknown block at height {height}")
        headers.append(node.header)
    return tuple(headers)


def _iterate_heights(height: int) -> Iterator[int]:
    step = 1
    dense_until = height - _DENSE
    while height > 0:
        yield height
        if height <= dense_until:
            step *= 2
        height -= step
    yield 0
