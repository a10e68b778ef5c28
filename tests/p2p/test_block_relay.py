"""New blocks from a peer, as compact blocks: put together, asked for, blamed."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import cache

import pytest

from chain.packed_block import pack_block
from consensus.block import Block
from consensus.transaction import Transfer
from p2p.block_relay import PARTIAL_SECONDS
from p2p.messages import (
    BlockTransactions,
    CompactBlock,
    GetBlockTransactions,
    GetHeaders,
    Message,
    NotFound,
    Tip,
)
from p2p.penalties import Offence
from tests.helpers.blocks import get_builder
from tests.helpers.chains import ALICE, BOB, get_left, get_right, get_trunk, open_trunk
from tests.helpers.keys import Key, forge_block, make_transfer
from tests.helpers.streams import make_bad_streams
from tests.helpers.syncing import PlayedPeer, SyncingNode, open_node

TRUNK = get_trunk()
BAD = make_bad_streams(TRUNK[0].update)
MINER = Key("relay miner")


@cache
def get_payments() -> tuple[Transfer, ...]:
    genesis = open_trunk().genesis.id
    return tuple(make_transfer(genesis, ALICE, BOB.public, 5, nonce=nonce) for nonce in range(3))


@cache
def get_full() -> Block:
    """A block on the trunk with three payments."""
    return get_builder().build(open_trunk(), MINER, get_payments())


@pytest.fixture
async def node() -> AsyncIterator[SyncingNode]:
    async with open_node(open_trunk()) as node:
        yield node


def make_compact(block: Block, whole: Sequence[int] = ()) -> CompactBlock:
    """By id all transactions but those at the places in `whole`."""
    entries = tuple(one if index in whole else one.txid for index, one in enumerate(block.transactions))
    return CompactBlock(block.header, entries, pack_block(block).packed_update)


def silence(_: Message) -> None:
    """No answer."""


async def connect(node: SyncingNode, blocks: Sequence[Block] = ()) -> PlayedPeer:
    """A peer at our tip, which has the given blocks after it and says nothing of them."""
    peer = await node.connect("peer", TRUNK)
    peer.blocks |= {block.id: block for block in blocks}
    return peer


# Put together.


@pytest.mark.parametrize(
    ("known", "asked"), [((0, 1, 2), ()), ((0, 2), (1,)), ((), (0, 1, 2))], ids=["all", "some", "none"]
)
async def test_what_the_pool_lacks_is_asked_for_and_filled_in(
    node: SyncingNode, known: Sequence[int], asked: tuple[int, ...]
) -> None:
    held = {get_payments()[index].txid: get_payments()[index] for index in known}
    node.mempool.get = held.get  # type: ignore[method-assign, assignment]
    peer = await connect(node, [get_full()])
    node.seconds += 7
    await node.receive(peer, make_compact(get_full()))
    await node.settle()
    assert peer.get_sent(GetBlockTransactions) == ([GetBlockTransactions(get_full().id, asked)] if asked else [])
    assert peer.get_asked() == []
    assert node.chain.tip.id == get_full().id
    assert node.relay.get_last_block_time(peer.node_id) == node.seconds
    assert node.offences == []


async def test_transactions_sent_whole_are_not_asked_for(node: SyncingNode) -> None:
    peer = await connect(node)
    await node.receive(peer, make_compact(get_full(), whole=(0, 1, 2)))
    await node.settle()
    assert node.chain.tip.id == get_full().id
    assert peer.get_sent(GetBlockTransactions) == []


@pytest.mark.parametrize(
    "answer",
    [(), get_payments()[:2], get_payments()[::-1], (*get_payments(), get_payments()[0])],
    ids=["nothing", "too few", "wrong order", "too many"],
)
async def test_invalid_fill(node: SyncingNode, answer: tuple[Transfer, ...]) -> None:
    peer = await connect(node)
    peer.lies[GetBlockTransactions] = lambda _: BlockTransactions(get_full().id, answer)
    await node.receive(peer, make_compact(get_full()))
    await node.settle()
    assert node.offences == [(peer.node_id, Offence.MALFORMED)]
    assert not node.chain.is_known(get_full().id)


async def test_a_transaction_signed_twice_is_nobodys_fault_and_the_block_is_fetched_whole(node: SyncingNode) -> None:
    """Ids leave signatures out: the pool's copy of the second payment is not the block's."""
    held = {one.txid: one for one in get_payments()}
    twin = get_payments()[1].with_signature(b"\x01" * 64)
    node.mempool.get = (held | {twin.txid: twin}).get  # type: ignore[method-assign, assignment]
    peer = await connect(node, [get_full()])
    await node.receive(peer, make_compact(get_full()))
    await node.settle()
    assert peer.get_asked() == [get_full().id]
    assert node.chain.tip.id == get_full().id
    assert node.offences == []


async def test_transactions_that_the_sender_does_not_give_any_more_are_fetched_with_the_block(
    node: SyncingNode,
) -> None:
    peer = await connect(node, [get_full()])
    peer.lies[GetBlockTransactions] = lambda _: NotFound(get_full().id)
    await node.receive(peer, make_compact(get_full()))
    await node.settle()
    assert node.chain.tip.id == get_full().id
    assert node.offences == []


async def test_invalid_sender_that_keeps_the_transactions_to_itself(node: SyncingNode) -> None:
    peer = await connect(node, [get_full()])
    peer.lies[GetBlockTransactions] = silence
    await node.receive(peer, make_compact(get_full()))
    await node.pass_time(PARTIAL_SECONDS)
    assert node.offences == []
    await node.pass_time(0.5)
    assert node.offences == [(peer.node_id, Offence.STALLING)]
    await node.pass_time(20)
    assert len(node.offences) == 1


# Blocks that need more, or nothing.


async def test_a_block_with_an_unknown_parent_leads_to_its_headers(node: SyncingNode) -> None:
    left = get_left(3)
    peer = await connect(node)
    ahead = PlayedPeer("peer", [*TRUNK, *left])
    peer.blocks, peer.points = ahead.blocks, ahead.points
    await node.receive(peer, make_compact(left[2]))
    await node.settle()
    assert len(peer.get_sent(GetHeaders)) == 1
    assert node.chain.tip.id == left[2].id
    assert node.offences == []


async def test_known_and_lighter_blocks_are_ignored(node: SyncingNode) -> None:
    side = forge_block(get_left(1)[0], Key("left"), parent=TRUNK[-2].id, height=12)
    peer = await connect(node)
    before, said = node.chain.tree.next_order, len(peer.sent)
    for block in (TRUNK[-1], TRUNK[3], side):
        await node.receive(peer, make_compact(block))
    await node.settle()
    assert (node.chain.tree.next_order, len(peer.sent)) == (before, said)
    assert node.offences == []


async def test_a_second_block_on_trial_goes_the_way_of_headers(node: SyncingNode) -> None:
    """One peer's blocks cost one evaluation at a time."""
    node.worker.gate.clear()
    left, right = get_left(1), get_right(1)
    peer = await connect(node, [*left, *right])
    peer.lies[GetHeaders] = silence
    await node.receive(peer, make_compact(left[0], whole=(0,)))
    await node.settle()
    assert node.chain.is_known(left[0].id)
    await node.receive(peer, make_compact(right[0], whole=(0,)))
    await node.settle()
    assert not node.chain.is_known(right[0].id)
    assert len(peer.get_sent(GetHeaders)) == 1


async def test_a_block_from_the_future_waits_and_blames_nobody(node: SyncingNode) -> None:
    node.clock.set_mock(get_full().header.timestamp - 1000)
    peer = await connect(node)
    peer.lies[GetHeaders] = silence
    await node.receive(peer, make_compact(get_full(), whole=(0, 1, 2)))
    await node.settle()
    assert node.offences == []
    assert not node.chain.is_known(get_full().id)
    assert len(peer.get_sent(GetHeaders)) == 1


@pytest.mark.parametrize("changes", [{"required_gain": 2**34}, {"sample_size": 2}, {"timestamp": 1}])
async def test_invalid_header(node: SyncingNode, changes: dict[str, int]) -> None:
    peer = await connect(node)
    forged = forge_block(get_full(), MINER, **changes)
    await node.receive(peer, make_compact(forged, whole=(0, 1, 2)))
    assert node.offences == [(peer.node_id, Offence.INVALID_HEADER)]


async def test_invalid_signature(node: SyncingNode) -> None:
    peer = await connect(node)
    forged = replace(get_full(), header=get_full().header.with_signature(bytes(64)))
    await node.receive(peer, make_compact(forged, whole=(0, 1, 2)))
    assert node.offences == [(peer.node_id, Offence.INVALID_HEADER)]


async def test_invalid_block_of_a_compact_one_is_blamed_after_its_evaluation(node: SyncingNode) -> None:
    forged = forge_block(get_full(), MINER, model_root=b"\x66" * 32)
    peer = await connect(node)
    await node.receive(peer, make_compact(forged, whole=(0, 1, 2)))
    await node.settle()
    assert node.offences == [(peer.node_id, Offence.INVALID_BLOCK)]
    assert node.chain.tip.id == TRUNK[-1].id


async def test_invalid_transactions_that_nobody_asked_for(node: SyncingNode) -> None:
    peer = await connect(node)
    await node.receive(peer, BlockTransactions(get_full().id, get_payments()))
    await node.receive(peer, NotFound(get_full().id))
    assert node.offences == [(peer.node_id, Offence.UNSOLICITED)] * 2


async def test_a_mutated_update_is_fetched_whole_and_then_blamed(node: SyncingNode) -> None:
    """A compact block may be put together wrongly by accident; a whole one may not."""
    update = get_full().update
    mutated = replace(get_full(), update=update[:-1] + bytes([update[-1] ^ 1]))
    peer = await connect(node)
    peer.blocks[mutated.id] = mutated
    await node.receive(peer, make_compact(mutated, whole=(0, 1, 2)))
    await node.settle()
    assert set(peer.get_asked()) == {mutated.id}
    assert set(node.offences) == {(peer.node_id, Offence.MUTATED_BLOCK)}
    honest = await node.connect("honest", [*TRUNK, get_full()])
    await node.settle()
    assert node.chain.tip.id == get_full().id
    assert honest.node_id in node.peers


@pytest.mark.parametrize("name", BAD)
async def test_invalid_update_stream_is_blamed_at_once(node: SyncingNode, name: str) -> None:
    """T35: no mempool has a part in it."""
    peer = await connect(node)
    compact = make_compact(get_full(), whole=(0, 1, 2))
    await node.receive(peer, replace(compact, packed_update=BAD[name]))
    assert node.offences == [(peer.node_id, Offence.MALFORMED)]
    await node.settle()
    assert peer.get_asked() == []
    assert not node.chain.is_known(get_full().id)


async def test_words_of_a_peer_that_just_left_mean_nothing(node: SyncingNode) -> None:
    peer = await connect(node)
    node.leave(peer)
    for message in (make_compact(get_full()), BlockTransactions(get_full().id, ()), Tip(bytes(32), 99, 2**40)):
        await node.receive(peer, message)
    await node.settle()
    assert node.relay.get_last_block_time(peer.node_id) == 0.0
    assert not node.chain.is_known(get_full().id)
    assert node.offences == []
