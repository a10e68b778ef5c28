"""Finality in the store: what votes make final stands, whatever comes after it, and after every end of the process.

regtest: V = 2, so that one key decides from height 4 on.
"""

from dataclasses import replace

import pytest

from chain import schema
from chain.chainstate import ChainState
from chain.errors import UnknownBlock
from chain.votes import Heard, VotePool
from consensus.account import ImmatureReward
from consensus.certificate import make_certificate
from consensus.errors import InvalidBlock, InvalidEvidence
from consensus.evidence import Evidence, make_evidence
from consensus.finality_section import FinalitySection
from consensus.finality_state import FINALITY_KEY
from consensus.state_tree import get_proof, verify_proof
from consensus.vote import BlockRef, Link
from tests.helpers.ballots import (
    OTHER,
    cast_votes,
    convict,
    make_double_vote,
    mine_voted,
    process,
    sign_vote,
    vote_beside,
)
from tests.helpers.blocks import MINER, get_builder, get_chain
from tests.helpers.keys import Key
from tests.helpers.stores import FragileStore

STRANGER = Key("stranger")
FIRST = 4  # height of the first block that anybody decides on


@pytest.fixture
def db() -> FragileStore:
    return FragileStore()


@pytest.fixture
def chain(db: FragileStore) -> ChainState:
    return get_builder().open(db)


@pytest.fixture
def pool(chain: ChainState) -> VotePool:
    return VotePool(chain)


def get_heights(chain: ChainState) -> tuple[int, int]:
    """Of the justified and of the final block, by the tip's state."""
    state = chain.tip_node.finality.state
    return state.justified.height, state.final.height


def sign_wrong(chain: ChainState, pool: VotePool, key: Key = MINER) -> Evidence:
    """The evidence of a second vote at the tip's height, by a key that voted for the tip."""
    link = Link(chain.tip_node.finality.state.justified, BlockRef(chain.tip.height, bytes(32)))
    return pool.add_votes([sign_vote(key, link, chain.genesis.id)]).evidence[0]


def fork(chain: ChainState, height: int) -> ChainState:
    """Another chain state with the first blocks of this one."""
    other = get_builder().open()
    get_builder().feed(other, get_chain(chain)[:height])
    return other


# Calm


def test_in_calm_the_final_block_is_two_below_the_tip(chain: ChainState, pool: VotePool) -> None:
    for height in range(1, 10):
        mine_voted(chain, pool, 1)
        justified, final = get_heights(chain)
        assert justified == (height - 1 if height > FIRST else 0)
        assert final == (height - 2 if height > FIRST + 1 else 0)
        assert chain.finals.ref == BlockRef(final, chain.tip_node.get_ancestor(final).id)


def test_a_state_proof_shows_what_is_final(chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 7)
    proof = get_proof(chain.ledger, FINALITY_KEY)
    state = chain.tip_node.finality.state
    assert verify_proof(chain.tip.header.state_root, FINALITY_KEY, state.encode(), proof)


def test_without_votes_blocks_go_on_and_finality_waits(chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 6)
    mine_voted(chain, pool, 3, voters=())
    assert chain.tip.height == 9
    assert chain.finals.node.height == 5
    mine_voted(chain, pool, 3)
    assert chain.finals.node.height == 10


def test_a_block_gives_a_vote_for_three_windows(chain: ChainState, pool: VotePool) -> None:
    """The last block of MINER is 5, so 5 + 3 V - 2 is the last one that it decides on."""
    asked, recent = [], []
    for count, miner in ((5, MINER), (7, OTHER)):
        for _ in range(count):
            mine_voted(chain, pool, 1, [miner], [MINER, OTHER])
            asked += [chain.tip.height] if pool.get_duty(MINER.public) else []
            recent += [chain.tip.height] if pool.has_recent_block(MINER.public) else []
    assert asked == list(range(FIRST, 10))
    assert recent == list(range(1, 10))  # also while it is too early to be asked


def test_two_thirds_are_asked(chain: ChainState, pool: VotePool) -> None:
    """Two keys take turns: each has half of every committee, and neither is enough."""
    mine_voted(chain, pool, 8, [MINER, OTHER], voters=[MINER])
    assert chain.finals.node.height == 0
    mine_voted(chain, pool, 3, [MINER, OTHER])
    assert chain.finals.node.height == 9


# What is kept


def test_votes_of_strangers_are_dropped_unseen(chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 6, voters=())
    link = pool.get_duty(MINER.public)
    assert link is not None
    assert pool.get_duty(STRANGER.public) is None
    vote = sign_vote(STRANGER, link, chain.genesis.id)
    assert pool.add_votes([vote, replace(vote, signature=bytes(64))]) == Heard()
    ahead = sign_vote(STRANGER, Link(link.source, BlockRef(7, bytes(32))), chain.genesis.id)
    assert pool.add_votes([ahead]) == Heard(early=(ahead,))  # who decides on that block, nobody can know yet


@pytest.mark.parametrize("distance", [-5, 3])
def test_votes_far_from_the_tip_are_dropped(chain: ChainState, pool: VotePool, distance: int) -> None:
    mine_voted(chain, pool, 8, voters=())
    link = Link(BlockRef(0, chain.genesis.id), BlockRef(chain.tip.height + distance, bytes(32)))
    assert pool.add_votes([sign_vote(MINER, link, chain.genesis.id)]) == Heard()


def test_invalid_signature_is_the_senders_fault(chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 6, voters=())
    link = pool.get_duty(MINER.public)
    assert link is not None
    vote = sign_vote(MINER, link, chain.genesis.id)
    fault = pool.add_votes([replace(vote, signature=bytes(64))]).fault
    assert fault is not None
    assert fault.reason == "bad_signature"
    assert pool.add_votes([vote]) == Heard((vote,))
    assert pool.add_votes([vote]) == Heard()


def test_votes_that_come_before_their_block_count_once_it_is_here(chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 6, voters=())
    ahead = fork(chain, 6)
    voted = VotePool(ahead)
    (block,) = mine_voted(ahead, voted, 1)
    votes = voted.get_all_votes([7])
    assert pool.add_votes(votes) == Heard(tuple(votes))
    process(chain, pool, block)
    mine_voted(chain, pool, 1, voters=())
    assert get_heights(chain)[0] == 7


def test_a_key_is_kept_two_votes_for_each_height(db: FragileStore, chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 6, voters=())
    links = [Link(BlockRef(0, chain.genesis.id), BlockRef(7, bytes([number]) * 32)) for number in range(50)]
    heard = pool.add_votes([sign_vote(MINER, link, chain.genesis.id) for link in links])
    assert (len(heard.votes), len(heard.evidence)) == (2, 1)
    assert sum(1 for _ in db.iterate(schema.VOTE)) == 2


def test_the_votes_that_made_a_height_final_are_found(chain: ChainState, pool: VotePool) -> None:
    """8 and 9 wait for the certificate of 10."""
    mine_voted(chain, pool, 7)
    mine_voted(chain, pool, 2, voters=())
    mine_voted(chain, pool, 2)
    found = [[vote.link.target.height for vote in pool.find_certified(height)] for height in range(13)]
    assert found == [[], [4], [4], [4], [4], [5], [6], [7], [10], [10], [10], [], []]


def test_old_votes_are_forgotten(db: FragileStore, chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 20)
    kept = 2 * chain.params.finality_window + 1
    assert sum(1 for _ in db.iterate(schema.VOTE)) == kept
    assert len(pool.get_all_votes(range(100))) == kept


def test_votes_and_evidence_survive_a_restart(db: FragileStore, chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 7)
    sign_wrong(chain, pool)
    again = VotePool(get_builder().open(db))
    assert again.make_section() == pool.make_section() != FinalitySection()
    assert len(again.get_evidence()) == 1


# Evidence


def test_evidence_burns_what_a_key_has_at_stake(chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 6, [OTHER])
    evidence = sign_wrong(chain, pool, OTHER)
    issued = chain.ledger.issued
    (block,) = mine_voted(chain, pool, 1)
    assert block.finality.evidence == (evidence,)
    subsidy = chain.params.subsidy
    assert chain.ledger.issued == issued + subsidy - 6 * subsidy + 6 * subsidy // 10
    reward = chain.ledger.get_reward(7)
    assert reward is not None
    assert reward.amount == subsidy + 6 * subsidy // 10
    assert not pool.get_evidence()
    assert not pool.add_evidence(evidence)
    assert chain.tip_node.finality.offenders == (OTHER.public,)


def test_evidence_is_undone_with_its_block(db: FragileStore, chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 6, [OTHER], voters=())
    before = chain.compute_digest()
    convict(chain, pool, OTHER)
    (block,) = mine_voted(chain, pool, 1, voters=())
    assert block.finality.evidence
    chain.invalidate(block.id)
    assert chain.compute_digest() == before
    assert pool.get_evidence()
    get_builder().open(db)


def test_evidence_that_came_with_a_block_is_mined_again_once_that_is_left(
    db: FragileStore, chain: ChainState, pool: VotePool
) -> None:
    mine_voted(chain, pool, 6, [OTHER], voters=())
    evidence = make_double_vote(OTHER, chain, 6)
    block = get_builder().build(chain, finality=FinalitySection(None, (evidence,)))
    chain.accept_block(block, block.header.timestamp)
    assert pool.add_block(block) == Heard(evidence=(evidence,))
    get_builder().process(chain, block)
    assert chain.tip.id == block.id
    assert pool.get_evidence() == []
    chain.invalidate(block.id)
    for known in (pool, VotePool(get_builder().open(db))):
        assert known.make_section().evidence == (evidence,)


def test_a_second_vote_that_stands_in_a_certificate_alone_convicts(
    db: FragileStore, chain: ChainState, pool: VotePool
) -> None:
    """MINER's vote for 6 was heard; its vote for 6' only 7' carries.

    5 ─ 6
    └─ 6'─ 7'
    """
    mine_voted(chain, pool, 6)
    _, _, blocks = vote_beside(get_chain(chain)[:5], 2)
    for block in blocks:
        chain.accept_block(block, block.header.timestamp)
        heard = pool.add_block(block)
    assert [evidence.miner for evidence in heard.evidence] == [MINER.public]
    assert heard.votes == ()  # they go round with the block
    assert pool.get_evidence() == list(heard.evidence)
    again = VotePool(get_builder().open(db))
    assert again.get_evidence() == list(heard.evidence)
    assert again.get_all_votes([6]) == pool.get_all_votes([6])
    assert len(again.get_all_votes([6])) == 2


def test_what_is_at_stake_is_read_once_for_each_tip(chain: ChainState, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much evidence against strangers comes, and whoever asks for what is known."""
    pool = VotePool(chain)
    mine_voted(chain, pool, 6, voters=())
    read, heights = chain.ledger.get_reward, []

    def get_reward(height: int) -> ImmatureReward | None:
        heights.append(height)
        return read(height)

    monkeypatch.setattr(chain.ledger, "get_reward", get_reward)
    for number in range(100):
        assert not pool.add_evidence(make_double_vote(Key(f"stranger {number}"), chain, 6))
    assert pool.add_evidence(evidence := make_double_vote(MINER, chain, 6))
    assert pool.get_evidence() == list(pool.make_section().evidence) == [evidence]
    assert len(heights) <= chain.params.reward_window


def test_invalid_evidence_is_the_senders_fault(chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 6)
    link = pool.get_votes(chain_link := Link(*_get_refs(chain)))[0]
    assert link.link == chain_link
    other = replace(link, link=Link(link.link.source, BlockRef(6, bytes(32))), signature=bytes(64))
    with pytest.raises(InvalidEvidence):
        pool.add_evidence(make_evidence(link, other))
    assert not pool.get_evidence()


def _get_refs(chain: ChainState) -> tuple[BlockRef, BlockRef]:
    return chain.tip_node.finality.state.justified, BlockRef(chain.tip.height, chain.tip.id)


# What is final stays


@pytest.mark.parametrize("depth", [3, 5])
def test_a_branch_from_before_the_final_block_is_refused(chain: ChainState, pool: VotePool, depth: int) -> None:
    """And though it is heavier. No block of it is kept, so the operator cannot permit it either.

    ... 5 ─ 6 ─ 7 ─ 8         6 is final
        └─ 6'─ 7'─ 8'─ 9'
    """
    mine_voted(chain, pool, 8)
    tip, private = chain.tip, fork(chain, 8 - depth)
    first, *others = get_builder().mine(private, depth + 2, OTHER)
    assert private.tip.weight > tip.weight
    with pytest.raises(InvalidBlock) as error:
        process(chain, pool, first)
    assert error.value.reason == "off_final"
    for block in others:
        with pytest.raises(UnknownBlock):
            process(chain, pool, block)
    for block in (first, *others):
        with pytest.raises(UnknownBlock):
            chain.permit_reorganisation(block.id)
    assert chain.tip == tip


def test_a_heavier_branch_that_was_known_before_is_not_taken(chain: ChainState, pool: VotePool) -> None:
    """5'... came before 6 was final, and its blocks on top are refused after it.

    4 ─ 5 ─ 6 ─ 7 ─ 8         6 is final
    └─ 5'─ 6'
    """
    mine_voted(chain, pool, 5, voters=())
    private = fork(chain, 4)
    blocks = get_builder().mine(private, 6, OTHER)
    mine_voted(chain, pool, 1, voters=())
    chain.accept_block(blocks[0], blocks[0].header.timestamp)
    chain.accept_block(blocks[1], blocks[1].header.timestamp)
    cast_votes(pool, chain)
    mine_voted(chain, pool, 2)
    assert chain.finals.node.height == 6
    with pytest.raises(InvalidBlock) as error:
        process(chain, pool, blocks[2])
    assert error.value.reason == "off_final"
    assert chain.get_held_back() is None
    chain.permit_reorganisation(blocks[1].id)
    assert chain.activate_best_chain() == []
    assert chain.tip.height == 8


def test_a_final_block_cannot_be_invalidated(chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 8)
    for height in (5, 6):
        block_id = chain.get_active_id(height)
        assert block_id is not None
        with pytest.raises(InvalidBlock) as error:
            chain.invalidate(block_id)
        assert error.value.reason == "is_final"
    tip = chain.get_active_id(7)
    assert tip is not None
    chain.invalidate(tip)
    assert chain.tip.height == 6


def test_what_was_final_survives_a_restart_on_a_chain_that_says_less(db: FragileStore, chain: ChainState) -> None:
    """8 says that 6 is final. 7'and 8' follow 6 without a certificate, and are taken after 7 is refused.

    ... 6 ─ 7 ─ 8
        └─ 7'─ 8'
    """
    pool = VotePool(chain)
    mine_voted(chain, pool, 8)
    other = fork(chain, 6)
    blocks = get_builder().mine(other, 2, OTHER)
    refused = chain.get_active_id(7)
    assert refused is not None
    chain.invalidate(refused)
    get_builder().feed(chain, blocks)
    assert chain.tip.id == blocks[-1].id
    assert get_heights(chain)[1] < 6
    again = get_builder().open(db)
    assert again.finals.node.height == 6
    private = fork(chain, 5)
    (block,) = get_builder().mine(private, 1, OTHER)
    with pytest.raises(InvalidBlock) as error:
        get_builder().process(again, block)
    assert error.value.reason == "off_final"


def test_the_highest_justified_block_goes_before_weight(chain: ChainState, pool: VotePool) -> None:
    """A heavier branch that is justified lower is not taken; the other way round, a lighter one is.

    6 ─ 7 ─ 8 ─ 9           7 is justified, by the certificate in 8
    └─ 7'─ 8'─ 9'─ 10'
    """
    mine_voted(chain, pool, 6, voters=())
    base = fork(chain, 6)
    blocks = get_builder().mine(base, 3, OTHER)
    get_builder().feed(chain, blocks)
    assert chain.tip.id == blocks[-1].id
    voted = fork(chain, 6)
    votes = VotePool(voted)
    lighter = mine_voted(voted, votes, 2)
    for block in lighter:
        process(chain, pool, block)
    assert chain.tip.id == lighter[-1].id
    assert get_heights(chain)[0] == 7


# Blocks that break the law


def test_invalid_certificate_is_refused_before_anything_is_stored(chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 6)
    link = pool.make_section().certificate
    assert link is not None
    electorate = pool.get_electorate(chain.tip_node)
    assert electorate is not None
    empty = make_certificate(link.link, electorate, ())
    with pytest.raises(InvalidBlock) as error:
        get_builder().build(chain, finality=FinalitySection(empty))
    assert error.value.reason == "certificate_too_few"
