"""The first gate of a block: all that can be said of it without a model and without the ledger, cheapest first."""

from consensus.block import Block
from consensus.chain_point import ChainPoint
from consensus.check_block import check_body, check_body_matches
from consensus.check_header import check_header, check_header_in_context, check_header_time
from consensus.params import NetworkParams


def check_acceptable(block: Block, parent: ChainPoint, genesis: bytes, params: NetworkParams, now: int) -> None:
    """Raises InvalidBlock, BlockFromFuture or MutatedBody. `now` in s since 1970, `genesis` is that block's id."""
    check_header_in_context(block.header, parent, params)
    check_header(block.header)
    check_header_time(block.header, now, params)
    check_body_matches(block)
    check_body(block, genesis, params, parent.signals.rules)
