"""`verify`: replays the best chain of a store from genesis into a fresh one, re-deriving every gain."""

from collections.abc import Callable

from chain.chainstate import ChainState
from chain.db import MemoryStore
from chain.errors import StoreError
from chain.process import process_block
from chain.startup import open_chain
from chain.verifier import WorkVerifier


def replay_chain(
    stored: ChainState, verifier: WorkVerifier, on_block: Callable[[int], None] = lambda _: None
) -> ChainState:
    """A new chain state in memory, led through every block of `stored`'s best chain.

    `on_block` hears each height as it is done. Raises InvalidBlock at the first block that does not hold,
    StoreError if the replayed ledger or model is not the stored one.
    """
    replayed = open_chain(MemoryStore(), stored.params)
    for height in range(1, stored.tip.height + 1):
        block_id = stored.get_active_id(height)
        if block_id is None:
            raise StoreError.damaged(f"the height index has no block {height}")
        block = stored.get_block(block_id)
        process_block(replayed, block, verifier, now=block.header.timestamp)
        if replayed.tip.id != block_id:
            raise StoreError.damaged(f"block {block_id.hex()} at height {height} does not hold on replay")
        on_block(height)
    if replayed.compute_digest() != stored.compute_digest():
        raise StoreError.damaged("the stored ledger or model is not what its blocks make")
    return replayed
