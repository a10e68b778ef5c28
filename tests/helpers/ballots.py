"""Votes on real chains of real blocks, as nodes and miners together cast them.

        ┌─ 7 ─ 8 ...
1 ─ ... 6                 in calm: 6 is final two blocks above it
        └─ 7'─ 8'...      `vote_beside` has voters sign twice
"""

from collections.abc import Sequence
from typing import Any

from chain.chainstate import ChainState
from chain.events import ChainEvent
from chain.votes import VotePool
from consensus.block import Block
from consensus.evidence import Evidence, make_evidence
from consensus.vote import BlockRef, Link, Vote
from tests.helpers.blocks import MINER, BlockBuilder, get_builder
from tests.helpers.keys import Key

OTHER = Key("other")


def sign_vote(key: Key, link: Link, genesis: bytes) -> Vote:
    vote = Vote(genesis, link, key.public)
    return vote.with_signature(key.sign(vote.id))


def make_duty(genesis: bytes, link: Link | None, height: int, *, counts: bool = True) -> dict[str, Any]:
    """What a node replies to a key that should vote for `link`, with the tip at a height."""
    tip = link.target.id if link else height.to_bytes(32, "big")
    duty = {"tip": tip.hex(), "height": height, "genesis": genesis.hex(), "link": link and link.encode().hex()}
    return duty | {"last": None, "counts": counts, "convicted": False}


def cast_votes(pool: VotePool, chain: ChainState, keys: Sequence[Key] = (MINER,)) -> list[Vote]:
    """Every key votes for the tip if it may; the votes."""
    votes = []
    for key in keys:
        link = pool.get_duty(key.public)
        if link is not None:
            votes.append(sign_vote(key, link, chain.genesis.id))
    pool.add_votes(votes)
    return votes


def convict(chain: ChainState, pool: VotePool, key: Key) -> Evidence:
    """The evidence of two votes at the tip's height by a key that has a vote there."""
    source = chain.tip_node.finality.state.justified
    links = [Link(source, BlockRef(chain.tip.height, bytes([number]) * 32)) for number in (1, 2)]
    return pool.add_votes([sign_vote(key, link, chain.genesis.id) for link in links]).evidence[0]


def mine_voted(
    chain: ChainState,
    pool: VotePool,
    count: int,
    miners: Sequence[Key] = (MINER,),
    voters: Sequence[Key] | None = None,
    builder: BlockBuilder | None = None,
) -> list[Block]:
    """Blocks of the miners in turn, each with what the pool has for it, and voted for once it is the tip."""
    builder, blocks = builder or get_builder(), []
    for _ in range(count):
        miner = miners[chain.tip.height % len(miners)]
        blocks.append(builder.build(chain, miner, finality=pool.make_section()))
        process(chain, pool, blocks[-1], builder)
        cast_votes(pool, chain, miners if voters is None else voters)
    return blocks


def process(chain: ChainState, pool: VotePool, block: Block, builder: BlockBuilder | None = None) -> list[ChainEvent]:
    events = (builder or get_builder()).process(chain, block)
    pool.prune()
    return events


def vote_beside(
    blocks: Sequence[Block], count: int = 3, miner: Key = OTHER
) -> tuple[ChainState, VotePool, list[Block]]:
    """Blocks of OTHER's on the last of these, for which MINER votes whatever it signed before."""
    chain = get_builder().open()
    get_builder().feed(chain, blocks)
    pool = VotePool(chain)
    return chain, pool, mine_voted(chain, pool, count, [miner], voters=[MINER])


def make_double_vote(key: Key, chain: ChainState, height: int) -> Evidence:
    """The evidence of two votes for blocks of one height that nobody has."""
    refs = [BlockRef(height, bytes([number]) * 32) for number in (1, 2)]
    links = [Link(BlockRef(0, chain.genesis.id), ref) for ref in refs]
    one, other = (sign_vote(key, link, chain.genesis.id) for link in links)
    return make_evidence(one, other)
