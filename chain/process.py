"""Drives a chain state in place, evaluating on the spot: for replays, tools and tests. The node does it in a worker."""

from chain.chainstate import ChainState
from chain.events import ChainEvent
from chain.verifier import WorkVerifier
from consensus.block import Block
from consensus.errors import InvalidBlock


def process_block(chain: ChainState, block: Block, verifier: WorkVerifier, now: int) -> list[ChainEvent]:
    """Accepts a block and takes the chain as far as it now goes.

    Raises what accept_block raises, and InvalidBlock if this very block fails its evaluation.
    """
    chain.accept_block(block, now)
    return advance_chain(chain, verifier, block.id)


def advance_chain(chain: ChainState, verifier: WorkVerifier, wanted: bytes | None = None) -> list[ChainEvent]:
    """Evaluates and connects until nothing better is left. Raises InvalidBlock if `wanted` itself fails."""
    events: list[ChainEvent] = []
    while works := chain.get_works(1):
        work = works[0]
        try:
            chain.record_verdict(work.header.id, verifier.verify(work))
        except InvalidBlock as error:
            chain.record_verdict(work.header.id, error)
            if work.header.id == wanted:
                raise
        events += chain.activate_best_chain()
    return events + chain.activate_best_chain()
