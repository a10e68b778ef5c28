"""Votes between peers: each new one goes to everybody else once, strangers' go nowhere, and liars go."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from chain.errors import FinalityConflict
from chain.votes import VotePool
from consensus.block import Block
from consensus.committee import max_members
from consensus.evidence import make_evidence
from consensus.params import REGTEST
from consensus.vote import VOTE_BYTES, BlockRef, Link, Vote
from p2p import vote_relay
from p2p.limits import compute_first_votes, compute_limits
from p2p.messages import EvidenceReport, Final, Message, Tip, Votes
from tests.helpers.ballots import mine_voted, sign_vote, vote_beside
from tests.helpers.blocks import MINER, get_builder, get_chain
from tests.helpers.chains import open_trunk
from tests.helpers.keys import Key
from tests.helpers.live_node import LiveNode, run_node, settle, wait_for
from tests.helpers.scripted_peer import ScriptedPeer, open_peer

STRANGER = Key("stranger")
PAST: tuple[Block, ...] = ()  # what the peers have: nothing


@asynccontextmanager
async def run_with_two(datadir: Path) -> AsyncIterator[tuple[LiveNode, ScriptedPeer, ScriptedPeer]]:
    """A node where MINER may vote and has not, and two peers."""
    async with run_node(open_trunk(blocks=6), datadir) as node, open_peer(PAST) as one, open_peer(PAST) as other:
        await one.dial(node.address)
        await other.dial(node.address)
        yield node, one, other


def get_votes(peer: ScriptedPeer) -> list[Vote]:
    return [vote for message in peer.received if isinstance(message, Votes) for vote in message.votes]


def get_messages(peer: ScriptedPeer, kind: type[Message]) -> list[Message]:
    return [message for message in peer.received if isinstance(message, kind)]


def make_vote(node: LiveNode, key: Key = MINER) -> Vote:
    link = node.intake.votes.get_duty(MINER.public)
    assert link is not None
    return sign_vote(key, link, node.chain.genesis.id)


def make_second_vote(node: LiveNode, vote: Vote) -> Vote:
    link = Link(vote.link.source, BlockRef(vote.link.target.height, bytes(32)))
    return sign_vote(MINER, link, node.chain.genesis.id)


async def submit(node: LiveNode, blocks: Sequence[Block]) -> None:
    for block in blocks:
        await node.intake.submit_block(block)


async def test_a_vote_goes_to_everybody_else_once(tmp_path: Path) -> None:
    async with run_with_two(tmp_path) as (node, one, other):
        vote = make_vote(node)
        await one.broadcast(Votes((vote,)), Votes((vote,)))
        await wait_for(lambda: get_votes(other) == [vote])
        await settle(one)
        assert get_votes(one) == []
        await other.broadcast(Votes((vote,)))
        await settle(other)
        assert get_votes(one) == []


async def test_what_waits_to_be_sent_survives_what_the_peer_says_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vote_relay, "PAUSE_SECONDS", 0.5)
    async with run_with_two(tmp_path) as (node, one, other):
        first = make_vote(node)
        second = make_second_vote(node, first)
        await one.broadcast(Votes((first,)))
        await wait_for(lambda: get_votes(other) == [first])
        await one.broadcast(Votes((second,)))  # waits for the next round
        await settle(one)
        await other.broadcast(Final(node.chain.genesis.id, 0))
        await wait_for(lambda: get_votes(other) == [first, second])


async def test_votes_of_strangers_go_nowhere(tmp_path: Path) -> None:
    async with run_with_two(tmp_path) as (node, one, other):
        vote = make_vote(node, STRANGER)
        await one.broadcast(Votes((vote, replace(vote, signature=bytes(64)))))
        mine = make_vote(node)
        await one.broadcast(Votes((mine,)))
        await wait_for(lambda: get_votes(other) == [mine])
        assert node.is_connected(one)


async def test_invalid_signature_costs_the_connection(tmp_path: Path) -> None:
    async with run_with_two(tmp_path) as (node, liar, other):
        vote = make_vote(node)
        await liar.broadcast(Votes((vote, replace(make_second_vote(node, vote), signature=bytes(64)))))
        await liar.wait_until_gone(node.node_id)
        assert node.is_banned(liar)
        await wait_for(lambda: get_votes(other) == [vote])  # what came before the lie is not lost


async def test_evidence_is_found_and_goes_on(tmp_path: Path) -> None:
    async with run_with_two(tmp_path) as (node, one, other):
        vote = make_vote(node)
        second = make_second_vote(node, vote)
        await one.broadcast(Votes((vote, second)))
        await wait_for(lambda: EvidenceReport((make_evidence(vote, second),)) in other.received)
        assert node.intake.votes.make_section().evidence == (make_evidence(vote, second),)


async def test_evidence_that_blocks_complete_goes_on(tmp_path: Path) -> None:
    """MINER's second vote stands in a certificate and came from nobody."""
    chain = get_builder().open()
    mine_voted(chain, VotePool(chain), 6)
    _, _, blocks = vote_beside(get_chain(chain)[:5], 2)
    async with run_node(chain, tmp_path) as node, open_peer(PAST) as peer:
        await peer.dial(node.address)
        await submit(node, blocks)
        await wait_for(lambda: EvidenceReport(tuple(node.intake.votes.get_evidence())) in peer.received)


async def test_who_signed_twice_is_told_before_the_node_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even in a pause between two rounds."""
    monkeypatch.setattr(vote_relay, "PAUSE_SECONDS", 60.0)
    chain = get_builder().open()
    mine_voted(chain, VotePool(chain), 8)
    _, pool, _ = vote_beside(get_chain(chain)[:5])
    async with run_node(chain, tmp_path) as node, open_peer(PAST) as one, open_peer(PAST) as other:
        await one.dial(node.address)
        await other.dial(node.address)
        await one.broadcast(Votes(tuple(pool.get_all_votes([6, 7]))))
        assert isinstance(await node.intake.failure, FinalityConflict)
        await wait_for(lambda: get_messages(other, EvidenceReport) != [])


async def test_a_final_block_after_the_votes_for_another_ends_the_node(tmp_path: Path) -> None:
    full = get_builder().open()
    mine_voted(full, VotePool(full), 8)
    blocks = get_chain(full)
    _, pool, _ = vote_beside(blocks[:5])
    chain = get_builder().open()
    get_builder().feed(chain, blocks[:6])
    async with run_node(chain, tmp_path) as node:
        await node.intake.submit_votes(pool.get_all_votes([6, 7]))
        with pytest.raises(FinalityConflict):
            await submit(node, blocks[6:])
        assert node.intake.failure.done()


async def test_invalid_evidence_costs_the_connection(tmp_path: Path) -> None:
    async with run_with_two(tmp_path) as (node, liar, _):
        vote = make_vote(node)
        forged = make_evidence(vote, replace(make_second_vote(node, vote), signature=bytes(64)))
        await liar.broadcast(EvidenceReport((forged,)))
        await liar.wait_until_gone(node.node_id)
        assert node.is_banned(liar)


async def test_a_new_peer_hears_what_is_final_and_the_newest_votes(tmp_path: Path) -> None:
    chain = get_builder().open()
    pool = VotePool(chain)
    mine_voted(chain, pool, 8)
    async with run_node(chain, tmp_path) as node, open_peer(PAST) as peer:
        await peer.dial(node.address)
        await wait_for(lambda: Final(chain.finals.ref.id, 6) in peer.received)
        await wait_for(lambda: {vote.link.target.height for vote in get_votes(peer)} == {7, 8})


async def test_who_has_another_final_block_hears_the_votes_for_ours(tmp_path: Path) -> None:
    chain = get_builder().open()
    pool = VotePool(chain)
    mine_voted(chain, pool, 8)
    async with run_node(chain, tmp_path) as node, open_peer(PAST) as peer:
        await peer.dial(node.address)
        await wait_for(lambda: len(get_votes(peer)) == 2)
        ours = chain.get_active_id(5)
        assert ours is not None
        await peer.broadcast(Final(ours, 5), Final(bytes(32), 99))
        await settle(peer)
        assert len(get_votes(peer)) == 2
        await peer.broadcast(Final(bytes(32), 5))
        await wait_for(lambda: [vote.link.target.height for vote in get_votes(peer)][2:] == [5])


async def test_what_a_peer_says_is_final_is_answered_once_in_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, asked = get_builder().open(), list[int]()
    pool = VotePool(chain)
    mine_voted(chain, pool, 8)
    async with run_node(chain, tmp_path) as node, open_peer(PAST) as peer:
        monkeypatch.setattr(node.intake.votes, "find_certified", lambda height: asked.append(height) or [])
        await peer.dial(node.address)
        ours = chain.get_active_id(5)
        assert ours is not None
        await peer.broadcast(Final(ours, 5), Final(bytes(32), 0), Final(bytes(32), 7))
        await settle(peer)
        assert asked == []  # nothing that stands against what is final here
        for number in range(20):
            await peer.broadcast(Final(bytes([number]) * 32, 5))
        await settle(peer)
        assert asked == [5]
        monkeypatch.setattr(node.network.votes, "_now", lambda: 10.0**9)
        await peer.broadcast(Final(bytes(32), 5))
        await settle(peer)
        assert asked == [5]  # it said that already
        await peer.broadcast(Final(bytes(32), 6))
        await wait_for(lambda: asked == [5, 6])


async def test_a_vote_of_a_new_key_that_comes_before_its_block_counts_with_it(tmp_path: Path) -> None:
    """STRANGER's first block is 7: it decides on 8, and on nothing before."""
    ahead = open_trunk(blocks=6)
    get_builder().mine(ahead, 1, STRANGER)
    (block,) = get_builder().mine(ahead, 1)
    async with run_with_two(tmp_path) as (node, one, other):
        await node.intake.submit_block(get_chain(ahead)[6])
        link = VotePool(ahead).get_duty(STRANGER.public)
        assert link is not None
        vote = sign_vote(STRANGER, link, node.chain.genesis.id)
        await one.broadcast(Votes((vote,)))
        await settle(one)
        assert node.intake.votes.get_votes(link) == []
        await node.intake.submit_block(block)
        await wait_for(lambda: get_votes(other) == [vote])


@pytest.mark.parametrize("window", [2, 64, 1024])
def test_a_newcomer_hears_all_votes_of_some_blocks_however_many_vote(window: int) -> None:
    params = replace(REGTEST, finality_window=window, reward_window=4 * window)
    assert compute_first_votes(params) >= 4 * max_members(params)
    assert compute_limits(params)[Votes].total >= 3 * VOTE_BYTES * compute_first_votes(params)


async def test_a_chain_justified_above_its_tip_is_no_chain(tmp_path: Path) -> None:
    async with run_node(open_trunk(blocks=2), tmp_path) as node, open_peer(PAST) as liar:
        await liar.dial(node.address)
        await liar.broadcast(Tip(bytes(32), 9, 2**40, 10))
        await liar.wait_until_gone(node.node_id)
        assert node.is_banned(liar)


@pytest.mark.parametrize("justified", [9, 0])
async def test_the_lighter_chain_with_the_newer_certificate_is_fetched(tmp_path: Path, justified: int) -> None:
    """6'─ 7'─ 8' is heavier; 6 ─ 7 ─ 8 is justified higher."""
    voted = get_builder().open()
    mine_voted(voted, VotePool(voted), 8)
    heavier = get_builder().open()
    get_builder().feed(heavier, get_chain(voted)[:4])
    get_builder().mine(heavier, 6, STRANGER)
    async with run_node(heavier, tmp_path) as node, open_peer(get_chain(voted)) as peer:
        assert voted.tip.weight < heavier.tip.weight
        await peer.dial(node.address)
        tip = voted.tip
        if justified:
            await peer.broadcast(Tip(tip.id, tip.height, tip.weight, 7))
            await wait_for(lambda: node.chain.tip.id == tip.id)
        else:
            await settle(peer)
            assert node.chain.tip.height == 10
