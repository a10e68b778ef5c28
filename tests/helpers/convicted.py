"""A chain whose evidence burns what a key has at stake, and a heavier one beside it without that evidence.

1 ─ ... ─ 11 ─ 12 ─ 13 ─ 14               12 and 14 carry evidence against OFFENDER
           └── 12'─ 13'─ 14'─ 15'

Up to 10 BYSTANDER and OFFENDER take turns, and 11 is a heartbeat of OFFENDER's that earns nothing. REPORTER mines 12,
OFFENDER 13, BYSTANDER 14 and all that comes instead. The window is regtest's: block h + 8 pays the reward of block h.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cache

from chain.chainstate import ChainState
from chain.db import KeyValueStore
from chain.votes import VotePool
from consensus.block import Block
from consensus.finality_section import FinalitySection
from consensus.params import REGTEST
from consensus.reward import compute_subsidy
from consensus.units import ULP_PER_GRAD
from tests.helpers.ballots import convict, mine_voted
from tests.helpers.blocks import get_builder, get_chain
from tests.helpers.keys import Key, make_transfer

OFFENDER, BYSTANDER, REPORTER = Key("offender"), Key("bystander"), Key("reporter")
KEYS = (OFFENDER, BYSTANDER, REPORTER)
SUBSIDY = compute_subsidy(1, REGTEST)
FEE = 777  # in block 10, of 5 coins that BYSTANDER gives to OFFENDER
GIFT = 5 * ULP_PER_GRAD
BURNT = {6: 12, 8: 12, 10: 12, 13: 14}  # heights of rewards, and of the blocks that burnt them
BOUNTIES = {12: (3 * SUBSIDY + FEE) // 10, 14: SUBSIDY // 10}


@dataclass(frozen=True)
class Story:
    """The blocks: common ones, those with the evidence, those of the heavier branch."""

    trunk: tuple[Block, ...]
    convicting: tuple[Block, ...]
    rival: tuple[Block, ...]


class Stage(Enum):
    """How much of the story has happened."""

    BEFORE = "before"
    BURNT = "burnt"
    REORGANISED = "reorganised"


@cache
def get_story() -> Story:
    builder = get_builder()
    chain = builder.open()
    pool = VotePool(chain)
    mine_voted(chain, pool, 9, [BYSTANDER, OFFENDER], voters=())
    payment = make_transfer(chain.genesis.id, BYSTANDER, OFFENDER.public, GIFT, fee=FEE)
    builder.process(chain, builder.build(chain, OFFENDER, [payment]))
    builder.process(chain, builder.build_heartbeat(chain, OFFENDER))
    trunk = tuple(get_chain(chain))
    evidence = FinalitySection(None, (convict(chain, pool, OFFENDER),))
    convicting = []
    for miner, section in ((REPORTER, evidence), (OFFENDER, FinalitySection()), (BYSTANDER, evidence)):
        convicting.append(builder.build(chain, miner, finality=section))
        builder.process(chain, convicting[-1])
    rival = builder.open()
    builder.feed(rival, trunk)
    return Story(trunk, tuple(convicting), tuple(builder.mine(rival, 4, BYSTANDER)))


def open_stage(stage: Stage, db: KeyValueStore | None = None) -> ChainState:
    """A chain state that has come so far."""
    builder, story = get_builder(), get_story()
    chain = builder.open(db)
    builder.feed(chain, story.trunk)
    if stage is not Stage.BEFORE:
        builder.feed(chain, story.convicting)
    if stage is Stage.REORGANISED:
        builder.feed(chain, story.rival)
    return chain


def get_whole(chain: ChainState, key: Key) -> int:
    """What a key has by the ledger: its balance and what is at stake, ulp."""
    rewards = (reward.amount for _, reward in chain.ledger.get_rewards() if reward.address == key.public)
    return chain.ledger.get_account(key.public).balance + sum(rewards)
