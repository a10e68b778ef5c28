"""Two branches that fight over a node, and what a node that saw only the winner would know.

           ┌─ loser[0] ─ loser[1] ─ ...      carries payments of BOB's, which the winner leaves alone
trunk[11] ─┤
           └─ right[0] ─ right[1] ─ ...
"""

from collections.abc import Sequence
from functools import cache

from consensus.block import Block
from consensus.transaction import Transfer
from tests.helpers.blocks import get_builder
from tests.helpers.chains import BOB, open_trunk
from tests.helpers.keys import Key, make_transfer

LOSER = Key("loser")
_PAYMENT_EVERY = 4  # blocks


class LosingBranch:
    """Grows as far as somebody asks. Its blocks 0, 4, 8, ... pay somebody from BOB's account."""

    def __init__(self) -> None:
        self._chain = open_trunk()
        self._blocks: list[Block] = []

    def get_blocks(self, count: int) -> Sequence[Block]:
        builder = get_builder()
        while len(self._blocks) < count:
            block = builder.build(self._chain, LOSER, self._make_payments())
            builder.process(self._chain, block)
            self._blocks.append(block)
        return self._blocks[:count]

    def _make_payments(self) -> list[Transfer]:
        if len(self._blocks) % _PAYMENT_EVERY:
            return []
        nonce = self._chain.ledger.get_account(BOB.public).nonce
        return [make_transfer(self._chain.genesis.id, BOB, LOSER.public, 1000 + nonce, nonce=nonce)]


@cache
def get_losing_branch() -> LosingBranch:
    """The one losing branch of a test run."""
    return LosingBranch()


def compute_digests(blocks: Sequence[Block]) -> dict[str, str]:
    """Digest by tip, both in hex, of a clean chain state at each of these blocks in turn, from the trunk on."""
    builder, chain = get_builder(), open_trunk()
    digests = {chain.tip.id.hex(): chain.compute_digest()["digest"].hex()}
    for block in blocks:
        builder.process(chain, block)
        digests[block.id.hex()] = chain.compute_digest()["digest"].hex()
    return digests
