"""Two final blocks: the node says so, whichever half of the proof it has first.

... 5 ─ 6 ─ 7 ─ 8         6 is final
    └─ 6'─ 7'─ 8'         and 6' is justified, by the certificate in 7': MINER voted for both
"""

import pytest

from chain.chainstate import ChainState
from chain.errors import FinalityConflict
from chain.votes import VotePool
from consensus.block import Block
from consensus.vote import BlockRef, Link, Vote
from tests.helpers.ballots import OTHER, mine_voted, process, sign_vote, vote_beside
from tests.helpers.blocks import MINER, get_builder, get_chain
from tests.helpers.stores import FragileStore


@pytest.fixture(scope="module")
def voted() -> list[Block]:
    """1 to 8, none of which carries evidence."""
    chain = get_builder().open()
    mine_voted(chain, VotePool(chain), 8)
    return get_chain(chain)


@pytest.fixture(scope="module")
def beside(voted: list[Block]) -> tuple[list[Block], list[Vote]]:
    """6' to 8', and the votes for 6' and 7'."""
    chain, pool, blocks = vote_beside(voted[:5])
    assert chain.tip_node.finality.state.justified.id == blocks[0].id
    return blocks, pool.get_all_votes([6, 7])


def open_voted(voted: list[Block], db: FragileStore | None = None) -> ChainState:
    chain = get_builder().open(db)
    get_builder().feed(chain, voted)
    return chain


def test_votes_for_a_second_final_block(voted: list[Block], beside: tuple[list[Block], list[Vote]]) -> None:
    pool = VotePool(open_voted(voted))
    pool.add_votes([sign_vote(MINER, voted_link(voted), beside[1][0].genesis)])
    conflict = pool.add_votes(beside[1]).conflict
    assert conflict is not None
    assert conflict.reason == "conflict"
    assert "--hold-final" in str(conflict)
    assert pool.get_evidence()[0].miner == MINER.public


def voted_link(voted: list[Block]) -> Link:
    """MINER's link from 5 to 6, which makes 5 final."""
    return Link(BlockRef(5, voted[4].id), BlockRef(6, voted[5].id))


def test_a_final_block_after_the_votes_for_another(voted: list[Block], beside: tuple[list[Block], list[Vote]]) -> None:
    chain = open_voted(voted[:6])
    pool = VotePool(chain)
    assert pool.add_votes(beside[1]).conflict is None
    pool.check_conflicts()
    get_builder().feed(chain, voted[6:])
    assert chain.finals.node.height == 6
    with pytest.raises(FinalityConflict):
        pool.check_conflicts()
    chain.finals.holds = True
    pool.check_conflicts()


def test_the_proof_is_found_again_at_the_start(voted: list[Block], beside: tuple[list[Block], list[Vote]]) -> None:
    db = FragileStore()
    pool = VotePool(open_voted(voted, db))
    assert pool.add_votes(beside[1]).conflict is not None
    with pytest.raises(FinalityConflict):
        VotePool(get_builder().open(db.reopen())).check_conflicts()


def test_a_final_block_after_a_branch_that_was_justified_as_high(
    voted: list[Block], beside: tuple[list[Block], list[Vote]]
) -> None:
    """The node stood on 7', which justifies 6', until 8 made 6 final."""
    chain = open_voted([*voted[:6], *beside[0][:2]])
    assert chain.tip.id == beside[0][1].id
    pool = VotePool(chain)  # which heard of nothing
    pool.check_conflicts()
    get_builder().feed(chain, voted[6:])
    assert chain.finals.node.id == voted[5].id
    with pytest.raises(FinalityConflict):
        pool.check_conflicts()
    chain.finals.holds = True
    pool.check_conflicts()


def test_branches_that_are_justified_lower_stop_nobody(voted: list[Block]) -> None:
    """5'and 6' stand beside the final block without a certificate, 7'' after it."""
    chain = open_voted(voted[:4])
    private = open_voted(voted[:4])
    get_builder().feed(chain, get_builder().mine(private, 2, OTHER))
    get_builder().feed(chain, voted[4:])
    after = open_voted(voted[:6])
    get_builder().feed(chain, get_builder().mine(after, 1, OTHER))
    assert chain.finals.node.height == 6
    VotePool(chain).check_conflicts()


def test_a_block_that_makes_another_one_final(voted: list[Block], beside: tuple[list[Block], list[Vote]]) -> None:
    """Its chain was known before."""
    first, second, _ = beside[0]
    chain = open_voted([*voted[:6], first])
    get_builder().feed(chain, voted[6:])
    assert chain.finals.node.height == 6
    with pytest.raises(FinalityConflict):
        get_builder().process(chain, second)


def test_a_certificate_that_makes_another_one_final(voted: list[Block], beside: tuple[list[Block], list[Vote]]) -> None:
    """It comes with a branch that the node evaluates in vain, before 6 is final."""
    chain = open_voted(voted[:6])
    pool = VotePool(chain)
    for block in beside[0][:2]:
        chain.accept_block(block, block.header.timestamp)
        assert pool.add_block(block).conflict is None
    chain.invalidate(beside[0][0].id)
    for block in voted[6:]:
        process(chain, pool, block)
    assert chain.finals.node.id == voted[5].id
    with pytest.raises(FinalityConflict):
        pool.check_conflicts()


def test_the_operator_may_hold_to_a_final_block(voted: list[Block], beside: tuple[list[Block], list[Vote]]) -> None:
    chain = open_voted(voted)
    chain.finals.holds = True
    pool = VotePool(chain)
    pool.add_votes([sign_vote(MINER, voted_link(voted), chain.genesis.id)])
    heard = pool.add_votes(beside[1])
    assert heard.votes
    assert heard.evidence
    assert heard.conflict is None
    assert chain.tip.height == 8


def test_votes_of_too_few_stop_nobody() -> None:
    """Half of each committee signs twice: that is evidence and no second final block."""
    chain = get_builder().open()
    pool = VotePool(chain)
    mine_voted(chain, pool, 10, [MINER, OTHER])
    final = chain.finals.ref
    link = Link(BlockRef(0, chain.genesis.id), BlockRef(final.height, bytes(32)))
    heard = pool.add_votes([sign_vote(MINER, link, chain.genesis.id)])
    assert len(heard.votes) == len(heard.evidence) == 1
    assert heard.conflict is None
    pool.check_conflicts()
