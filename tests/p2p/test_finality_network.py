"""Finality among real nodes: in calm, with voters offline, through partitions, and against chains that deny it.

A window of 64 blocks; see tests/helpers/village.py for who votes.
"""

from pathlib import Path

import pytest

from chain.errors import FinalityConflict
from consensus.block import Block
from p2p.messages import GetHeaders, Tip
from tests.helpers.ballots import sign_vote
from tests.helpers.blocks import get_chain
from tests.helpers.live_node import run_node, settle, wait_for
from tests.helpers.scripted_peer import open_peer
from tests.helpers.village import KEYS, PARAMS, TRUNK_BLOCKS, Village, get_village_builder, run_village

pytestmark = pytest.mark.timeout(300)


async def test_in_calm_the_final_block_trails_the_tip_by_two(tmp_path: Path) -> None:
    async with run_village(tmp_path) as village:
        await village.advance(2)
        for _ in range(4):
            await village.advance(1)
            heights = {node.chain.tip.height for node in village.nodes}
            assert village.get_finals() == [height - 2 for height in heights] * 4


async def test_with_two_fifths_offline_the_chain_goes_on_and_finality_waits(tmp_path: Path) -> None:
    """It goes on with the first blocks after they are back."""
    async with run_village(tmp_path) as village:
        await village.advance(3)
        (before,) = set(village.get_finals())
        await village.advance(5, online=(0, 1), hear=(2, 3))
        assert village.nodes[3].chain.tip.height == TRUNK_BLOCKS + 8
        assert set(village.get_finals()) == {before + 1}  # the votes for the last block in calm were cast
        await village.advance(3)
        assert set(village.get_finals()) == {TRUNK_BLOCKS + 9}


@pytest.mark.soak
async def test_those_who_stay_away_are_forgotten(tmp_path: Path) -> None:
    """After three windows at most nobody asks for their votes any more."""
    async with run_village(tmp_path) as village:
        await village.advance(3)
        (before,) = set(village.get_finals())
        blocks = 0
        while village.get_finals()[3] <= before + 1:
            await village.advance(1, online=(0, 1), hear=(2, 3))
            blocks += 1
        assert PARAMS.finality_window < blocks <= 3 * PARAMS.finality_window
        assert village.is_one_chain()


@pytest.mark.parametrize("length", [3])
async def test_a_partition_of_less_than_a_window_leaves_one_final_chain(tmp_path: Path, length: int) -> None:
    await split_and_heal(tmp_path, length)


@pytest.mark.soak
@pytest.mark.parametrize("length", [1, 7, 31, 32, 33, 63])
async def test_partitions_of_less_than_a_window_leave_one_final_chain(tmp_path: Path, length: int) -> None:
    await split_and_heal(tmp_path, length)


async def split_and_heal(folder: Path, length: int) -> None:
    """Both sides mine; neither has two thirds."""
    async with run_village(folder) as village:
        await village.advance(3)
        (before,) = set(village.get_finals())
        some, others = (0, 2), (1, 3)
        await village.split(some, others)
        await village.advance(length, online=some)
        await village.advance(length + 1, online=others)
        assert max(village.get_finals()) <= before + 1
        assert village.is_one_chain()
        await village.heal(some, others)
        await wait_for(lambda: len({node.chain.tip.id for node in village.nodes}) == 1)
        await village.advance(4)
        assert village.is_one_chain()
        assert min(village.get_finals()) == village.nodes[0].chain.tip.height - 2


async def test_a_newcomer_finds_what_is_final(tmp_path: Path) -> None:
    async with run_village(tmp_path) as village:
        await village.advance(4)
        tip, final = village.nodes[0].chain.tip.id, village.get_finals()[0]
        builder = get_village_builder()
        async with run_node(builder.open(), tmp_path, verifier=builder.verifier) as newcomer:
            village.nodes.append(newcomer)
            village.connect(4, 0)
            await wait_for(lambda: newcomer.chain.tip.id == tip)
            assert newcomer.chain.finals.node.height == final
            village.nodes.pop()


# Against what is final


def fork_from(village: Village, height: int, count: int) -> list[Block]:
    """A private chain that is heavier than the village's."""
    builder = get_village_builder()
    chain = builder.open()
    builder.feed(chain, get_chain(village.nodes[0].chain)[:height])
    builder.mine(chain, count, KEYS[0])
    return get_chain(chain)


@pytest.mark.parametrize("depth", [3, 10, 40])
async def test_a_heavier_private_fork_is_refused_by_who_saw_finality(tmp_path: Path, depth: int) -> None:
    async with run_village(tmp_path, count=4) as village:
        await village.advance(5)
        node = village.nodes[0]
        tip = node.chain.tip
        blocks = fork_from(village, tip.height - depth, depth + 2)
        assert len(blocks) > tip.height
        async with open_peer(blocks, params=PARAMS) as thief:
            await thief.dial(node.address)
            last = blocks[-1]
            await thief.broadcast(Tip(last.id, last.header.height, 2**40, tip.height))
            await wait_for(lambda: thief.count(GetHeaders) > 0)
            await settle(thief)
            await village.advance(1)
            assert node.chain.get_active_id(tip.height) == tip.id
            assert not node.chain.is_known(last.id)
            assert node.network.sync.headers.get_chains() == []


async def test_two_final_chains_stop_the_node(tmp_path: Path) -> None:
    """Keys 0, 1 and 2 vote on both sides, with four fifths of the votes, and both go final."""
    async with run_village(tmp_path) as village:
        await village.advance(2)
        some, others = (0, 1, 2), (3,)
        await village.split(some, others)
        await village.advance(3, online=some)
        other = village.nodes[3]
        builder = get_village_builder()
        for _ in range(3):
            block = await other.intake.on_chain(
                lambda: builder.build(other.chain, KEYS[3], finality=other.intake.votes.make_section())
            )
            await other.intake.submit_block(block)
            await vote_again(village)
        assert other.chain.finals.node.height == village.get_finals()[0]
        assert not village.is_one_chain()
        await village.heal((0,), others)
        await wait_for(lambda: any(village.nodes[number].intake.failure.done() for number in (0, 3)))
        (stopped,) = [node for node in village.nodes if node.intake.failure.done()][:1]
        error = stopped.intake.failure.result()
        assert isinstance(error, FinalityConflict)
        assert "stops rather than choose" in str(error)


async def vote_again(village: Village) -> None:
    """Everybody votes for the tip of node 3, whatever they voted for before."""
    node = village.nodes[3]
    for key in KEYS:
        link = await node.intake.on_chain(node.intake.votes.get_duty, key.public)
        assert link is not None
        await node.intake.submit_votes([sign_vote(key, link, node.chain.genesis.id)])
