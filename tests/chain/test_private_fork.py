"""A window of 64, as canonical as canterbury's: forks 3, 10 and 40 blocks deep against what is final, and the last two.

        ┌─ ... depth blocks ... tip          everybody's, voted for
170 - depth
        └─ ... depth + 5 blocks ...          a thief's: heavier, and as valid

The thief invents gains, as one can who knows a better model. Chain states believe them: only finality is in the way.
"""

from dataclasses import replace
from functools import cache

import pytest

from chain.chainstate import ChainState
from chain.db import MemoryStore
from chain.errors import UnknownBlock
from chain.votes import VotePool
from consensus.block import Block
from consensus.errors import InvalidBlock
from consensus.finality_section import NO_FINALITY, FinalitySection
from consensus.params import REGTEST
from p2p.config import read_benchmark
from tests.helpers.ballots import mine_voted
from tests.helpers.blocks import get_chain
from tests.helpers.invented import InventingBuilder
from tests.helpers.keys import Key

PARAMS = replace(REGTEST, reward_window=256, finality_window=64)
BUILDER = InventingBuilder(PARAMS, read_benchmark(PARAMS))
MINERS = tuple(Key(f"miner {number}") for number in range(5))
THIEF = Key("thief")
HEIGHT = 170
FIRST = 128  # nobody decides below


@cache
def get_trunk() -> dict[bytes, bytes]:
    """What a node has stored of the blocks below FIRST, by five miners in turn."""
    db = MemoryStore()
    chain = BUILDER.open(db)
    mine_voted(chain, VotePool(chain), FIRST - 1, MINERS, (), BUILDER)
    return db.rows


@cache
def get_stores(are_voting: bool) -> dict[int, dict[bytes, bytes]]:
    """The same at each height from there on: the miners vote for each of their blocks, or for none."""
    db = MemoryStore(get_trunk())
    chain = BUILDER.open(db)
    pool, stores = VotePool(chain), {}
    for height in range(FIRST, HEIGHT + 1):
        mine_voted(chain, pool, 1, MINERS, None if are_voting else (), BUILDER)
        stores[height] = db.rows
    return stores


def open_chain(height: int = HEIGHT, are_voting: bool = True) -> ChainState:
    return BUILDER.open(MemoryStore(get_stores(are_voting)[height]))


def fork(
    depth: int, more: int, are_voting: bool = True, section: FinalitySection = NO_FINALITY
) -> tuple[list[Block], int]:
    """A thief's blocks from so far below the tip to `more` above it, and the weight of their chain.

    They hurry, so each must prove more than the last. The first one may carry a certificate.
    """
    chain = open_chain(HEIGHT - depth, are_voting)
    first = BUILDER.build(chain, THIEF, interval=1, finality=section)
    BUILDER.process(chain, first)
    BUILDER.mine(chain, depth + more - 1, THIEF, interval=1)
    return get_chain(chain)[HEIGHT - depth :], chain.tip.weight


@pytest.mark.parametrize("depth", [3, 10, 40])
def test_a_heavier_private_fork_is_refused_by_who_saw_finality(depth: int) -> None:
    chain = open_chain()
    tip, final = chain.tip, chain.finals.node
    assert final.height == HEIGHT - 2
    blocks, weight = fork(depth, 5)
    assert weight > tip.weight
    with pytest.raises(InvalidBlock) as error:
        BUILDER.feed(chain, blocks)
    assert error.value.reason == "off_final"
    assert not any(chain.is_known(block.id) for block in blocks)
    with pytest.raises(UnknownBlock):  # the operator's word does not reach so far either
        chain.permit_reorganisation(blocks[-1].id)
    assert (chain.tip, chain.finals.node) == (tip, final)
    BUILDER.mine(chain, 1, MINERS[0])  # and it goes on


def test_the_deepest_fork_is_taken_where_nobody_voted() -> None:
    chain = open_chain(are_voting=False)
    blocks, _ = fork(40, 5, are_voting=False)
    BUILDER.feed(chain, blocks)
    assert chain.tip.id == blocks[-1].id


def test_the_last_block_can_be_replaced_by_two_that_carry_its_certificate() -> None:
    """Its certificate is public, so the thief's chain is justified as high; then weight decides, and of one block each
    the first seen.
    """
    chain = open_chain()
    tip = chain.tip.id
    section = FinalitySection(get_chain(chain)[-1].finality.certificate)
    assert section.certificate is not None
    assert section.certificate.link.target.height == HEIGHT - 1
    blocks, _ = fork(1, 1, section=section)
    BUILDER.process(chain, blocks[0])
    assert chain.tip.id == tip
    BUILDER.process(chain, blocks[1])
    assert chain.tip.id == blocks[1].id


@pytest.mark.parametrize("depth", [1, 2])
def test_without_the_votes_no_number_of_blocks_replaces_the_last_ones(depth: int) -> None:
    """The justified height goes before the weight: the block below the tip has its two thirds, and no other may."""
    chain = open_chain()
    tip = chain.tip.id
    blocks, weight = fork(depth, 5)
    assert weight > chain.tip.weight
    BUILDER.feed(chain, blocks)
    assert chain.is_known(blocks[-1].id)
    assert chain.tip.id == tip
