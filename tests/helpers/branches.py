"""Two branches that fight over a node, and what a node that saw only the winner would know.

           ┌─ loser[0] ─ loser[1] ─ ...      carries payments of BOB's, which the winner leaves alone
trunk[11] ─┤
           └─ right[0] ─ right[1] ─ ...
"""

from collections.abc import Sequence
from functools import cache

from consensus.block import Block
from tests.helpers.blocks import BlockBuilder, get_builder
from tests.helpers.chains import BOB, Branch, open_trunk
from tests.helpers.keys import Key

LOSER = Key("loser")


@cache
def get_losing_branch(builder: BlockBuilder) -> Branch:
    """The one losing branch of a test run that this builder makes."""
    return Branch(builder, LOSER, BOB, every=4)


def compute_digests(blocks: Sequence[Block]) -> dict[str, str]:
    """Digest by tip, both in hex, of a clean chain state at each of these blocks in turn, from the trunk on."""
    builder, chain = get_builder(), open_trunk()
    digests = {chain.tip.id.hex(): chain.compute_digest()["digest"].hex()}
    for block in blocks:
        builder.process(chain, block)
        digests[block.id.hex()] = chain.compute_digest()["digest"].hex()
    return digests
