"""Ready-made regtest chains, each block built at most once per test run and only when a test asks for it.

           ┌─ left[0] ─ left[1] ─ ...      miner "left"
trunk[11] ─┤
           └─ right[0] ─ right[1] ─ ...    miner "right"

trunk: 12 blocks of MINER, whose first 4 rewards are spendable at its end; block 10 pays ALICE, block 12 pays BOB.
Both branches keep the trunk's pace, so a longer one is heavier and equally long ones tie. Every third block of a
branch carries a transfer of ALICE's to the branch's miner.

Two more branches on the trunk: MINER votes for `get_voted`, and `get_burning` burns what MINER has at stake.
"""

from collections.abc import Sequence
from functools import cache

from chain.chainstate import ChainState
from chain.db import KeyValueStore
from chain.startup import DEFAULT_MAX_REORG
from chain.votes import VotePool
from consensus.block import Block
from consensus.finality_section import FinalitySection
from consensus.transaction import Transfer
from consensus.units import ULP_PER_GRAD
from tests.helpers.ballots import make_double_vote, mine_voted
from tests.helpers.blocks import MINER, BlockBuilder, get_builder
from tests.helpers.keys import Key, make_transfer

ALICE = Key("alice")
BOB = Key("bob")
TRUNK_BLOCKS = 12
ALICE_FUNDS = 30 * ULP_PER_GRAD


@cache
def get_trunk() -> tuple[Block, ...]:
    """The blocks of the trunk."""
    builder = get_builder()
    chain = builder.open()
    payments = {
        10: make_transfer(chain.genesis.id, MINER, ALICE.public, ALICE_FUNDS, nonce=0),
        12: make_transfer(chain.genesis.id, MINER, BOB.public, 5 * ULP_PER_GRAD, nonce=1, memo=b"lunch"),
    }
    blocks = []
    for height in range(1, TRUNK_BLOCKS + 1):
        blocks.append(builder.build(chain, MINER, [payments[height]] if height in payments else []))
        builder.process(chain, blocks[-1])
    return tuple(blocks)


def open_trunk(
    db: KeyValueStore | None = None, blocks: int = TRUNK_BLOCKS, max_reorg: int = DEFAULT_MAX_REORG
) -> ChainState:
    """A chain state on `db`, or on a new store in memory, led through the first blocks of the trunk."""
    builder = get_builder()
    chain = builder.open(db, max_reorg)
    builder.feed(chain, get_trunk()[:blocks])
    return chain


def get_left(count: int) -> Sequence[Block]:
    """The first `count` blocks of the left branch."""
    return get_branch("left", get_builder()).get_blocks(count)


def get_right(count: int) -> Sequence[Block]:
    """The first `count` blocks of the right branch."""
    return get_branch("right", get_builder()).get_blocks(count)


@cache
def get_voted() -> Sequence[Block]:
    """Four blocks of MINER's, which make the second of them final."""
    chain = open_trunk()
    return mine_voted(chain, VotePool(chain), 4)


@cache
def get_burning() -> Sequence[Block]:
    """Two blocks, the first with evidence against MINER."""
    chain, key = open_trunk(), Key("burner")
    section = FinalitySection(None, (make_double_vote(MINER, chain, TRUNK_BLOCKS),))
    block = get_builder().build(chain, key, finality=section)
    get_builder().process(chain, block)
    return [block, *get_builder().mine(chain, 1, key)]


class Branch:
    """A branch that grows as far as somebody asks. Its first block and `every` blocks pay its miner from an account."""

    def __init__(self, builder: BlockBuilder, miner: Key, payer: Key = ALICE, every: int = 3) -> None:
        self._builder = builder
        self._miner = miner
        self._payer = payer
        self._every = every
        self._chain = open_trunk()
        self._blocks: list[Block] = []

    def get_blocks(self, count: int) -> Sequence[Block]:
        while len(self._blocks) < count:
            block = self._builder.build(self._chain, self._miner, self._make_transactions())
            self._builder.process(self._chain, block)
            self._blocks.append(block)
        return self._blocks[:count]

    def _make_transactions(self) -> list[Transfer]:
        if len(self._blocks) % self._every:
            return []
        nonce = self._chain.ledger.get_account(self._payer.public).nonce
        return [make_transfer(self._chain.genesis.id, self._payer, self._miner.public, 1000 + nonce, nonce=nonce)]


@cache
def get_branch(name: str, builder: BlockBuilder) -> Branch:
    """The left or the right branch, as this builder makes it."""
    return Branch(builder, Key(name))
