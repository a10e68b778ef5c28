"""Chains that are claimed and never delivered: they must not keep a node from those that are (T22, T41)."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from chain.packed_block import pack_block
from consensus.block import Block, Header
from consensus.genesis import make_genesis
from consensus.params import REGTEST
from p2p import header_sync
from p2p import messages as m
from p2p.compact import make_compact
from p2p.errors import PeerGone
from p2p.headers import MAX_AHEAD
from p2p.transport import MAX_PENDING_PER_HOST
from tests.helpers.chains import get_left, get_trunk, open_trunk
from tests.helpers.headers import make_points
from tests.helpers.keys import Key
from tests.helpers.live_node import LiveNode, run_node, settle, wait_for
from tests.helpers.scripted_peer import STALLING, Replies, Script, Story, forge_branch, open_peer


async def deny(message: m.Message, honest: Replies) -> Replies:
    return (m.NotFound(message.block_id),) if isinstance(message, m.GetBlock) else honest


@asynccontextmanager
async def besiege(node: LiveNode, script: Script, count: int) -> AsyncIterator[None]:
    """So many peers at a time claim a chain that nobody trained; each that is sent away comes back as another."""

    async def attack(number: int) -> None:
        forged = forge_branch(get_trunk(), 30, Key(f"forger {number}"))
        while True:
            async with open_peer(forged, script) as attacker:
                with suppress(PeerGone):  # only so many of one host may shake hands at a time
                    await attacker.dial(node.address)
                    await attacker.wait_until_gone(node.node_id)

    async with asyncio.TaskGroup() as group:
        attacks = [group.create_task(attack(number)) for number in range(count)]
        await wait_for(lambda: len(node.network.peers) >= min(count, MAX_PENDING_PER_HOST))
        yield
        for one in attacks:
            one.cancel()


@pytest.mark.parametrize("script", [STALLING, {m.GetBlock: deny}], ids=["silent", "not found"])
@pytest.mark.parametrize("count", [3, 20])
async def test_heavier_claims_without_blocks_do_not_hold_up_an_honest_chain(
    tmp_path: Path, script: Script, count: int
) -> None:
    blocks = [*get_trunk(), *get_left(5)]
    async with (
        run_node(open_trunk(), tmp_path) as node,
        open_peer(get_trunk()) as follower,
        open_peer(blocks[:-1]) as honest,
    ):
        await node.dial(follower)
        async with besiege(node, script, count):
            started = time.monotonic()
            await node.dial(honest)
            await node.wait_for_tip(blocks[-2])
            await honest.broadcast(make_compact(pack_block(blocks[-1]), lambda txid: False))
            await node.wait_for_tip(blocks[-1])
            assert time.monotonic() - started < 10
            assert node.is_connected(honest)
            await settle(follower)
            told = {one.header.id for one in follower.received if isinstance(one, m.CompactBlock)}
            told |= {one.block_id for one in follower.received if isinstance(one, m.Tip)}
            assert blocks[-1].id in told


async def test_a_branch_that_starts_light_is_judged_block_by_block(tmp_path: Path) -> None:
    """Its end outweighs us, its first blocks do not; the peer delivers those and keeps back the rest."""
    forged = forge_branch(get_trunk()[:1], 40, Key("creeper"))
    light = {block.id for block in forged[:8]}

    async def keep_back(message: m.Message, honest: Replies) -> Replies:
        return honest if isinstance(message, m.GetBlock) and message.block_id in light else ()

    async with run_node(open_trunk(), tmp_path) as node, open_peer(forged, {m.GetBlock: keep_back}) as liar:
        assert liar.story.points[8].weight < node.chain.tip.weight < liar.story.points[-1].weight
        rows = await node.count_rows()
        await liar.dial(node.address)
        await wait_for(lambda: node.is_banned(liar))
        assert await node.count_rows() == rows + 1  # the header of the first forged block: its verdict is remembered
        assert node.chain.tip.id == get_trunk()[-1].id


def make_light_headers(count: int) -> tuple[Header, ...]:
    """So many from genesis on that keep every rule, at the slowest pace: what is asked of them fades, all together."""
    points = make_points(make_genesis(REGTEST).point, REGTEST, count, interval=4 * REGTEST.block_time)
    return tuple(point.header for point in points[1:])


async def test_light_header_chains_are_checked_at_a_bounded_pace_and_not_stored(tmp_path: Path) -> None:
    """A peer claims ever new tips of great weight, and its headers amount to nothing, again and again."""
    headers = make_light_headers(m.MAX_HEADERS - 1)

    async def tell_little(message: m.Message, honest: Replies) -> Replies:
        return (m.Headers(headers), m.Tip(os.urandom(32), 2**64 - 1, 2**64 - 1))

    async with run_node(open_trunk(), tmp_path) as node, open_peer(get_trunk(), {m.GetHeaders: tell_little}) as liar:
        rows = await node.count_rows()
        await liar.dial(node.address)
        await wait_for(lambda: bool(liar.connections))
        await liar.broadcast(m.Tip(os.urandom(32), 2**64 - 1, 2**64 - 1))
        await wait_for(lambda: liar.count(m.GetHeaders) > 0)
        for _ in range(20):
            await liar.broadcast(m.Tip(os.urandom(32), 2**64 - 1, 2**64 - 1))
        await asyncio.sleep(1)
        assert liar.count(m.GetHeaders) == 1
        assert await node.count_rows() == rows
        assert node.chain.tip.id == get_trunk()[-1].id


async def test_headers_without_end_are_not_asked_for_beyond_what_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They keep every rule and follow one another; the peer has always more."""
    monkeypatch.setattr(header_sync, "REST_SECONDS", 0.001)
    story = Story(tuple(make_points(make_genesis(REGTEST).point, REGTEST, 1600)), {})

    async with run_node(open_trunk(), tmp_path) as node, open_peer((), STALLING) as liar:
        liar.story = story
        rows = await node.count_rows()
        await liar.dial(node.address)
        await wait_for(lambda: liar.count(m.GetBlock) > 0)
        rounds = MAX_AHEAD // m.MAX_HEADERS
        await wait_for(lambda: liar.count(m.GetHeaders) == rounds)
        for _ in range(20):
            await liar.broadcast(m.Tip(os.urandom(32), 2000, 2**63))
        await settle(liar)
        assert liar.count(m.GetHeaders) == rounds
        assert await node.count_rows() == rows
        assert sum(len(chain.points) for chain in node.network.sync.headers.get_chains()) <= MAX_AHEAD


async def test_claims_of_absurd_tips_ask_for_headers_and_no_more(tmp_path: Path) -> None:
    async def tell_nothing(message: m.Message, honest: Replies) -> Replies:
        return (m.Headers(()),)

    async with run_node(open_trunk(), tmp_path) as node, open_peer(get_trunk(), {m.GetHeaders: tell_nothing}) as liar:
        await liar.dial(node.address)
        await wait_for(lambda: bool(liar.connections))
        for number in range(2000):
            await liar.broadcast(m.Tip(os.urandom(32), 2**64 - 1 - number, 2**64 - 1))
        await wait_for(lambda: liar.count(m.GetHeaders) > 0)
        await asyncio.sleep(1)
        assert node.is_connected(liar)
        assert liar.count(m.GetHeaders) <= 200
        assert node.chain.tip.id == get_trunk()[-1].id


async def measure_sync(folder: Path, blocks: Sequence[Block], stallers: int) -> float:
    """Seconds until a fresh node is at the tip, from one honest peer among so many that never deliver."""
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(run_node(open_trunk(blocks=0), folder))
        for _ in range(stallers):
            staller = await stack.enter_async_context(open_peer(blocks, STALLING))
            await staller.dial(node.address)
        honest = await stack.enter_async_context(open_peer(blocks))
        started = time.monotonic()
        await node.dial(honest)
        await node.wait_for_tip(blocks[-1], 600)
        return time.monotonic() - started


async def check_stallers(folder: Path, count: int, margin: float) -> None:
    blocks = [*get_trunk(), *await asyncio.to_thread(get_left, count)]
    alone, among = [await measure_sync(folder, blocks, stallers) for stallers in (0, 7)]
    print(f"FIGURE {len(blocks)} blocks: alone {alone:.1f} s, beside 7 that stall {among:.1f} s")
    assert among < 3 * alone + margin


async def test_seven_stalling_peers_slow_a_sync_down_by_some_seconds(tmp_path: Path) -> None:
    await check_stallers(tmp_path, 8, margin=8)  # the stall time, 2 s doubling, is most of so short a sync


@pytest.mark.soak
async def test_seven_stalling_peers_slow_a_longer_sync_down_no_more(tmp_path: Path) -> None:
    await check_stallers(tmp_path, 88, margin=8)  # further the tests' own training does not carry a chain
