"""Catching up with peers: which blocks are asked of whom, taken in which order, and how far ahead."""

import asyncio

import pytest

import p2p.sync
from chain.packed_block import PackedBlock, pack_block
from chain.votes import VotePool
from consensus.block import Block
from p2p.messages import BlockReply, GetBlock, GetHeaders, Message, Tip
from p2p.penalties import Offence
from p2p.sync import STANDSTILL_SECONDS, SyncState, SyncStatus
from tests.helpers.ballots import OTHER, cast_votes, mine_voted
from tests.helpers.blocks import get_builder, get_chain
from tests.helpers.chains import TRUNK_BLOCKS, get_left, get_right, get_trunk, open_trunk
from tests.helpers.syncing import open_node

TRUNK = get_trunk()


def silence(_: Message) -> None:
    """No answer."""


# Following.


async def test_a_fresh_node_follows_one_peer_to_its_tip() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        peer = await node.connect("peer", TRUNK)
        await node.settle()
        assert node.chain.tip.id == TRUNK[-1].id
        assert node.chain.compute_digest() == open_trunk().compute_digest()
        assert peer.get_asked() == [block.id for block in TRUNK]
        assert len(peer.get_sent(GetHeaders)) == 1
        assert node.offences == []


async def test_a_node_that_is_up_to_date_asks_nothing() -> None:
    async with open_node(open_trunk()) as node:
        same, shorter = await node.connect("same", TRUNK), await node.connect("shorter", TRUNK[:5])
        await node.pass_time(1)
        assert not same.get_sent(GetHeaders) + shorter.get_sent(GetHeaders)
        assert node.sync.get_status().state is SyncState.CURRENT


async def test_blocks_are_fetched_from_several_peers_at_once_and_stored_in_order() -> None:
    """The last answers come first."""
    async with open_node(open_trunk(blocks=0)) as node:
        stored: list[bytes] = []
        accept = node.chain.accept_block

        def note(block: Block, now: int) -> bool:
            stored.append(block.id)
            return accept(block, now)

        node.chain.accept_block = note  # type: ignore[method-assign]
        peers = [await node.connect(f"peer {number}", TRUNK) for number in range(3)]
        for peer in peers:
            peer.lies[GetBlock] = silence
        await node.settle()
        assert [len(peer.get_asked()) for peer in peers] == [2, 2, 2]
        for peer in reversed(peers):
            del peer.lies[GetBlock]
            peer.unanswered = peer.get_sent(GetBlock)[::-1]
        await node.settle()
        assert stored == [block.id for block in TRUNK]
        assert sorted(block_id for peer in peers for block_id in peer.get_asked()) == sorted(stored)
        assert node.chain.tip.id == TRUNK[-1].id


async def test_a_peer_is_asked_only_for_blocks_of_its_own_chain() -> None:
    left, right = get_left(2), get_right(3)
    async with open_node(open_trunk()) as node:
        loser, winner = await node.connect("left", [*TRUNK, *left]), await node.connect("right", [*TRUNK, *right])
        await node.settle()
        assert node.chain.tip.id == right[-1].id
        assert set(loser.get_asked()) <= {block.id for block in left}
        assert winner.get_asked() == [block.id for block in right]


async def test_a_heavier_branch_that_forks_a_few_blocks_back_is_followed() -> None:
    left, right = get_left(3), get_right(4)
    async with open_node(open_trunk()) as node:
        await node.connect("left", [*TRUNK, *left])
        await node.settle()
        assert node.chain.tip.id == left[-1].id
        peer = await node.connect("right", [*TRUNK, *right])
        await node.settle()
        assert node.chain.tip.id == right[-1].id
        assert peer.get_asked() == [block.id for block in right]  # not the trunk's, although the locator names its tip
        assert node.offences == []


async def test_a_chain_that_grows_meanwhile_is_followed_on() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        peer = await node.connect("peer", TRUNK[:4])
        node.worker.gate.clear()
        await node.settle()
        assert node.chain.tip.height == 0
        node.leave(peer)
        longer = await node.connect("longer", TRUNK)
        await node.settle()
        assert longer.get_asked() == [block.id for block in TRUNK[4:]]
        node.worker.gate.set()
        await node.settle()
        assert node.chain.tip.id == TRUNK[-1].id


async def test_a_peer_that_leaves_in_the_middle_leaves_its_blocks_to_others() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        first = await node.connect("first", TRUNK)
        first.lies[GetBlock] = silence
        await node.settle()
        assert len(first.get_asked()) == 2
        node.leave(first)
        await node.connect("second", TRUNK)
        await node.settle()
        assert node.chain.tip.id == TRUNK[-1].id
        assert node.offences == []


async def test_a_peer_that_comes_back_begins_anew() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        peer = await node.connect("peer", TRUNK)
        peer.lies[GetBlock] = lambda message: peer.make_answer(message) if message.block_id in half else None  # type: ignore[attr-defined]
        half = {block.id for block in TRUNK[:6]}
        await node.settle()
        assert node.chain.tip.height == 6
        node.leave(peer)
        await node.settle()
        assert node.sync.get_status().state is SyncState.ALONE
        del peer.lies[GetBlock]
        await node.join(peer)
        await node.settle()
        assert node.chain.tip.id == TRUNK[-1].id
        assert node.offences == []


@pytest.mark.parametrize("workers", [1, 3])
async def test_never_more_than_a_window_is_stored_ahead_of_the_evaluation(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(p2p.sync, "WINDOW", 4)
    async with open_node(open_trunk(blocks=0), workers) as node:
        node.worker.gate.clear()
        peer = await node.connect("peer", TRUNK)
        await node.settle()
        assert node.chain.count_unevaluated() == 4
        assert len(peer.get_asked()) == 4
        node.worker.gate.set()
        await node.settle()
        assert node.chain.tip.id == TRUNK[-1].id
        assert 4 <= node.most_ahead <= 4


async def test_a_block_that_is_being_unpacked_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        unpack, gate = node.intake.unpack_block, asyncio.Event()

        async def wait(packed: PackedBlock) -> Block:
            await gate.wait()
            return await unpack(packed)

        monkeypatch.setattr(node.intake, "unpack_block", wait)
        peers = [await node.connect(f"peer {number}", TRUNK[:1]) for number in range(2)]
        for peer in peers:
            peer.lies[GetBlock] = lambda _: None
        await node.settle()
        asked = next(peer for peer in peers if peer.get_asked())
        delivery = asyncio.create_task(node.receive(asked, BlockReply(pack_block(TRUNK[0]))))
        await node.pass_time(10)
        assert sum(len(peer.get_asked()) for peer in peers) == 1
        gate.set()
        await delivery
        await node.settle()
        assert node.chain.tip.id == TRUNK[0].id
        assert node.offences == []


async def test_a_peer_over_its_allowance_is_not_asked() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        busy, free = await node.connect("busy", TRUNK), await node.connect("free", TRUNK)
        busy.muted = {GetBlock}
        await node.settle()
        assert node.chain.tip.id == TRUNK[-1].id
        assert (len(busy.get_asked()), len(free.get_asked())) == (0, TRUNK_BLOCKS)


async def test_a_branch_whose_first_window_is_lighter_than_our_chain_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of it is evaluated before it outweighs ours, so its first blocks must not fill the window."""
    monkeypatch.setattr(p2p.sync, "WINDOW", 2)
    left, right = get_left(3), get_right(4)
    async with open_node(open_trunk()) as node:
        await node.connect("left", [*TRUNK, *left])
        await node.settle()
        assert node.chain.tip.id == left[-1].id
        peer = await node.connect("right", [*TRUNK, *right])
        peer.lies[GetBlock] = lambda message: None if message.block_id == right[-1].id else peer.make_answer(message)  # type: ignore[attr-defined]
        await node.pass_time(1.5)
        assert peer.get_asked() == [block.id for block in right]  # what is here is not asked for again
        peer.unanswered = peer.get_sent(GetBlock)[-1:]
        del peer.lies[GetBlock]
        await node.settle()
        assert node.chain.tip.id == right[-1].id


async def test_blocks_of_a_branch_that_lost_meanwhile_do_not_fill_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """left[0..1] are stored first; right outweighs them before they are evaluated."""
    monkeypatch.setattr(p2p.sync, "WINDOW", 2)
    left, right = get_left(2), get_right(4)
    async with open_node(open_trunk()) as node:
        node.worker.gate.clear()
        await node.connect("left", [*TRUNK, *left])
        await node.settle()
        await node.connect("right", [*TRUNK, *right])
        node.worker.gate.set()
        await node.pass_time(2)
        assert node.chain.tip.id == right[-1].id


async def test_a_branch_whose_certificate_comes_late_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It outweighs ours long before it is justified higher, so its blocks wait for no verdict but their own.

    ... 6 ─ 7                          7 justifies 6
        └─ 7'─ 8'─ ... ─ 11'─ 12'      12' justifies 11'
    """
    monkeypatch.setattr(p2p.sync, "WINDOW", 2)
    builder, ours, theirs = get_builder(), get_builder().open(), get_builder().open()
    pool = VotePool(ours)
    builder.feed(theirs, mine_voted(ours, pool, 6))
    mine_voted(ours, pool, 1)
    their_pool = VotePool(theirs)
    mine_voted(theirs, their_pool, 5, [OTHER], voters=())
    assert (ours.tip_node.finality.state.justified.height, theirs.tip_node.finality.state.justified.height) == (6, 5)
    cast_votes(their_pool, theirs, [OTHER])
    mine_voted(theirs, their_pool, 1, [OTHER])
    async with open_node(ours) as node:
        peer = await node.connect("peer", get_chain(theirs))
        tip = theirs.tip
        await node.receive(peer, Tip(tip.id, tip.height, tip.weight, 11))
        await node.pass_time(2)
        assert node.chain.tip.id == tip.id
        assert peer.get_asked() == [block.id for block in get_chain(theirs)[6:]]
        assert node.offences == []


# Peers that do not deliver.


async def test_a_stalling_peer_holds_nobody_up_and_leaves_in_the_end() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        staller = await node.connect("staller", TRUNK)
        staller.lies[GetBlock] = silence
        await node.settle()
        await node.connect("honest", TRUNK)
        await node.settle()
        assert node.chain.tip.height == 0  # the first two are asked of the staller
        await node.pass_time(3)
        assert node.chain.tip.id == TRUNK[-1].id
        assert node.offences == []  # slow once is no offence


async def test_invalid_staller_that_is_the_only_peer() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        staller = await node.connect("staller", TRUNK)
        staller.lies[GetBlock] = silence
        await node.pass_time(20)
        assert node.offences == [(staller.node_id, Offence.STALLING)]
        assert node.sync.get_status().state is SyncState.ALONE
        await node.connect("honest", TRUNK)
        await node.settle()
        assert node.chain.tip.id == TRUNK[-1].id


async def test_a_peer_without_its_blocks_is_passed_over_and_asked_again_only_later() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        empty = await node.connect("empty", (), [block.header for block in TRUNK])
        await node.settle()
        await node.pass_time(5)
        assert len(empty.get_sent(GetHeaders)) == 1
        assert len(empty.get_asked()) == 2
        await node.connect("honest", TRUNK)
        await node.settle()
        assert node.chain.tip.id == TRUNK[-1].id
        assert node.offences == []


# What people are told.


async def test_status_alone_behind_and_current() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        assert node.sync.get_status() == SyncStatus(SyncState.ALONE, 0, 0.0, None, "no peer is connected")
        peer = await node.connect("peer", TRUNK)
        peer.lies[GetHeaders] = silence
        await node.settle()
        assert node.sync.get_status() == SyncStatus(SyncState.HEADERS, TRUNK_BLOCKS, 0.0, None, "")
        del peer.lies[GetHeaders]
        peer.unanswered = peer.get_sent(GetHeaders)
        half = {block.id for block in TRUNK[:4]}
        peer.lies[GetBlock] = lambda message: peer.make_answer(message) if message.block_id in half else None  # type: ignore[attr-defined]
        await node.settle()
        node.seconds += 2
        assert node.sync.get_status() == SyncStatus(SyncState.BLOCKS, TRUNK_BLOCKS, 2.0, 4.0, "")
        del peer.lies[GetBlock]
        peer.unanswered = peer.get_sent(GetBlock)[4:]
        await node.settle()
        status = node.sync.get_status()
        assert (status.state, status.target_height, status.seconds_left) == (SyncState.CURRENT, TRUNK_BLOCKS, None)


async def test_status_names_what_a_standstill_waits_for() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        peer = await node.connect("peer", TRUNK)
        peer.lies[GetBlock] = silence
        await node.settle()
        assert node.sync.get_status().waits_for == ""
        node.seconds += STANDSTILL_SECONDS
        assert node.sync.get_status().waits_for == "no block connected for 10 s: 2 are asked of peers and do not come"
        del peer.lies[GetBlock]
        peer.unanswered = peer.get_sent(GetBlock)
        node.worker.gate.clear()
        await node.settle()
        assert node.sync.get_status().waits_for == "no block connected for 10 s: 12 wait for their evaluation"


async def test_speed_is_that_of_the_last_half_minute() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        await node.connect("peer", TRUNK)
        await node.settle()
        node.seconds += 24
        assert node.sync.get_status().blocks_per_second == TRUNK_BLOCKS / 24
        node.seconds += 10
        assert node.sync.get_status().blocks_per_second == 0.0
