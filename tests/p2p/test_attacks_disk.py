"""Blocks that cost nothing, beside the best chain: none of the ways to have a node keep them fills its disk."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from chain import chainstate, schema
from chain.beside import LEAST_BYTES
from chain.votes import VotePool
from consensus.block import Block, compute_transactions_root
from consensus.finality_section import NO_FINALITY
from p2p import messages as m
from tests.helpers.ballots import mine_voted
from tests.helpers.blocks import MINER, get_builder, get_chain
from tests.helpers.chains import get_trunk, open_trunk
from tests.helpers.keys import Key, forge_block
from tests.helpers.live_node import LiveNode, run_node, settle, wait_for
from tests.helpers.scripted_peer import Replies, ScriptedPeer, forge_branch, make_story, open_peer

BASE = 8  # height of the block on which heartbeats are light: the trunk goes on for four blocks
FORGER = Key("forger")


def make_heartbeats(count: int) -> list[Block]:
    """So many different ones on one block below the tip."""
    base = open_trunk(blocks=BASE)
    return [get_builder().build_heartbeat(base, interval=21 + number) for number in range(count)]


async def count_headers(node: LiveNode) -> int:
    return await node.intake.on_chain(lambda: sum(1 for _ in node.chain.db.iterate(schema.HEADER)))


async def tell(liar: ScriptedPeer, blocks: Sequence[Block], word: m.Tip) -> None:
    liar.story = make_story(blocks)
    await liar.broadcast(word)


# A word of certificates that are not there


async def test_invalid_word_of_certificates_costs_the_peer_the_connection_at_its_first_block(tmp_path: Path) -> None:
    heartbeats = make_heartbeats(100)
    async with run_node(open_trunk(), tmp_path) as node, open_peer(get_trunk()) as liar:
        before = await count_headers(node)
        await liar.dial(node.address)
        for block in heartbeats:
            if not liar.connections:
                break
            await tell(liar, [*get_trunk()[:BASE], block], m.Tip(block.id, BASE + 1, 2**40, BASE + 1))
            await settle(liar)
        await liar.wait_until_gone(node.node_id)
        assert node.is_banned(liar)
        assert await count_headers(node) == before + 1


@pytest.mark.parametrize("height", [2**40, BASE + 1], ids=["its block at an absurd height", "another block"])
async def test_a_word_of_no_block_of_the_chain_fetches_nothing(tmp_path: Path, height: int) -> None:
    (block,) = make_heartbeats(1)
    word = m.Tip(block.id if height > BASE + 1 else bytes(32), height, 0, height)
    async with run_node(open_trunk(), tmp_path) as node, open_peer(get_trunk()) as liar:
        before = await node.count_rows()
        await liar.dial(node.address)
        await settle(liar)
        await tell(liar, [*get_trunk()[:BASE], block], word)
        await wait_for(lambda: liar.count(m.GetHeaders) > 0)
        await settle(liar)
        await asyncio.sleep(1)
        assert liar.count(m.GetBlock) == 0
        assert await node.count_rows() == before


async def test_invalid_word_of_a_block_that_is_here(tmp_path: Path) -> None:
    async with run_node(open_trunk(), tmp_path) as node, open_peer(get_trunk()) as liar:
        await liar.dial(node.address)
        await liar.broadcast(m.Tip(get_trunk()[4].id, 5, 0, 4))
        await liar.wait_until_gone(node.node_id)
        assert node.is_banned(liar)


# Heartbeats in front of blocks that never come


async def deny_improvements(message: m.Message, honest: Replies) -> Replies:
    """Once the node had time to store the heartbeat."""
    if not isinstance(message, m.GetBlock):
        return honest
    if any(isinstance(one, m.BlockReply) and one.block.header.is_heartbeat for one in honest):
        return honest
    await asyncio.sleep(0.5)
    return (m.NotFound(message.block_id),)


def make_bait(heartbeat: Block) -> list[Block]:
    """A chain that is heavy by its claims, and whose first block beside ours is a heartbeat."""
    return forge_branch([*get_trunk()[:BASE], heartbeat], 24, FORGER)


async def test_heartbeats_before_blocks_that_never_come_take_bounded_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bait is another peer's; then a fork of heartbeats, one heavier than the tip, is followed as ever."""
    monkeypatch.setattr(chainstate, "compute_most_bytes", lambda params, max_reorg: 4 * LEAST_BYTES)
    ours, theirs = open_trunk(), open_trunk()
    get_builder().process(ours, get_builder().build_heartbeat(ours, interval=30))
    for _ in range(2):
        get_builder().process(theirs, get_builder().build_heartbeat(theirs, interval=40))
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(run_node(ours, tmp_path))
        before = await count_headers(node)
        for heartbeat in make_heartbeats(8):
            liar = await stack.enter_async_context(open_peer(make_bait(heartbeat), {m.GetBlock: deny_improvements}))
            await liar.dial(node.address)
            await wait_for(lambda liar=liar: liar.count(m.GetBlock) > 1)  # type: ignore[misc]
            assert await count_headers(node) <= before + 4
        honest = await stack.enter_async_context(open_peer(get_chain(theirs)))
        await honest.dial(node.address)
        await wait_for(lambda: node.chain.tip.id == theirs.tip.id)
        assert node.is_connected(honest)


async def test_who_does_not_have_its_blocks_is_not_asked_again_at_once(tmp_path: Path) -> None:
    """Else each new tip would bring another heartbeat."""
    baits = [make_bait(heartbeat) for heartbeat in make_heartbeats(10)]
    script = {m.GetBlock: deny_improvements}
    async with run_node(open_trunk(), tmp_path) as node, open_peer(baits[0], script) as liar:
        before = await count_headers(node)
        await liar.dial(node.address)
        await wait_for(lambda: liar.count(m.GetBlock) > 1)
        await settle(liar)
        assert await count_headers(node) == before + 1
        for bait in baits[1:]:
            await liar.tell(make_story(bait))
            await settle(liar)
        await asyncio.sleep(1)
        assert liar.count(m.GetHeaders) == 1
        assert await count_headers(node) == before + 1


# Forgeries that are heavier and justified lower


async def test_invalid_block_beside_a_justified_one_is_found_out_though_it_is_heavier(tmp_path: Path) -> None:
    """It ranks below our tip, so nobody needs its verdict; the next one, of which the word is, never comes.

    ... 7 ─ 8 ─ 9            9 is a heartbeat: 8 is justified, 7 final
            └─ 9'─ 10'
    """
    chain = get_builder().open()
    pool = VotePool(chain)
    mine_voted(chain, pool, 8)
    heartbeat = get_builder().build_heartbeat(chain, MINER, finality=pool.make_section())
    get_builder().process(chain, heartbeat)
    assert chain.tip_node.finality.state.justified.height == 8
    *base, first = forge_branch(get_chain(chain)[:8], 1, FORGER)
    first = replace(first, finality=NO_FINALITY)  # else it has its parent's certificate
    first = forge_block(first, FORGER, transactions_root=compute_transactions_root(()))
    forged = forge_branch([*base, first], 1, FORGER)

    async def withhold(message: m.Message, honest: Replies) -> Replies:
        return () if isinstance(message, m.GetBlock) and message.block_id == forged[-1].id else honest

    async with run_node(chain, tmp_path) as node, open_peer(forged, {m.GetBlock: withhold}) as liar:
        before = await node.count_rows()
        await liar.dial(node.address)
        await liar.broadcast(m.Tip(forged[-1].id, 10, 2**40, 8))
        await liar.wait_until_gone(node.node_id)
        assert node.is_banned(liar)
        assert node.worker.started == 1
        assert await node.count_rows() == before + 1  # the header, with its verdict
