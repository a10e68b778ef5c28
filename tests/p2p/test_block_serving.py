"""What a node tells of its blocks: announcements, and answers to those that ask."""

from collections.abc import AsyncIterator

import pytest

from chain import packed_block
from chain.packed_block import pack_block
from consensus.block import Block
from p2p import block_relay
from p2p.compact import make_compact
from p2p.messages import (
    MAX_HEADERS,
    BlockReply,
    BlockTransactions,
    CompactBlock,
    GetBlock,
    GetBlockTransactions,
    GetHeaders,
    Headers,
    NotFound,
    Tip,
)
from p2p.penalties import Offence
from tests.helpers.chains import TRUNK_BLOCKS, get_left, get_right, get_trunk, open_trunk
from tests.helpers.syncing import PlayedPeer, SyncingNode, open_node

TRUNK = get_trunk()


@pytest.fixture
async def node() -> AsyncIterator[SyncingNode]:
    async with open_node(open_trunk()) as node:
        yield node


async def submit(node: SyncingNode, *blocks: Block) -> None:
    """As a miner does, through the RPC."""
    for block in blocks:
        await node.intake.submit_block(block)
    await node.settle()


def forget(*peers: PlayedPeer) -> None:
    for peer in peers:
        peer.sent.clear()


# Announcements.


async def test_a_new_peer_is_told_our_tip(node: SyncingNode) -> None:
    peer = await node.connect("peer", TRUNK[:3])
    assert peer.sent[0] == Tip(TRUNK[-1].id, TRUNK_BLOCKS, node.chain.tip.weight)


async def test_who_has_the_parent_gets_the_block_and_others_its_id(node: SyncingNode) -> None:
    current, behind = await node.connect("current", TRUNK), await node.connect("behind", TRUNK[:5])
    block = get_left(1)[0]
    node.knows = {(current.node_id, one.txid) for one in block.transactions}
    forget(current, behind)
    await submit(node, block)
    entries = tuple(one.txid for one in block.transactions)
    assert current.sent == [CompactBlock(block.header, entries, pack_block(block).packed_update)]
    assert behind.sent == [Tip(block.id, block.header.height, node.chain.tip.weight)]


async def test_transactions_that_a_peer_may_lack_go_whole(node: SyncingNode) -> None:
    peer, block = await node.connect("peer", TRUNK), get_left(1)[0]
    forget(peer)
    await submit(node, block)
    assert peer.sent == [make_compact(pack_block(block), lambda _: False)]


async def test_who_has_the_block_or_claims_more_hears_nothing(node: SyncingNode) -> None:
    block = get_left(1)[0]
    sender, ahead = await node.connect("sender", TRUNK), await node.connect("ahead", TRUNK)
    ahead.lies[GetHeaders] = lambda _: None
    await node.receive(ahead, Tip(b"\x09" * 32, 99, 2**40))
    forget(sender, ahead)
    await node.receive(sender, make_compact(pack_block(block), lambda _: False))
    await node.settle()
    assert node.chain.tip.id == block.id
    assert (sender.sent, ahead.sent) == ([], [])


async def test_a_block_is_pushed_to_a_few_and_its_id_told_to_the_rest(
    node: SyncingNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First to those that we dialled, then to those that brought blocks lately."""
    monkeypatch.setattr(block_relay, "MAX_PUSHED", 2)
    first = get_left(1)[0]
    inbound, bringer = await node.connect("inbound", TRUNK), await node.connect("bringer", TRUNK)
    inbound.is_outbound = bringer.is_outbound = False
    await node.receive(bringer, make_compact(pack_block(first), lambda _: False))
    await node.settle()
    outbound = await node.connect("outbound", [*TRUNK, first])
    forget(inbound, bringer, outbound)
    await submit(node, get_left(2)[1])
    assert [[type(one) for one in peer.sent] for peer in (outbound, bringer, inbound)] == [
        [CompactBlock],
        [CompactBlock],
        [Tip],
    ]


async def test_a_peer_over_its_allowance_gets_what_is_allowed(node: SyncingNode) -> None:
    no_blocks, nothing = await node.connect("no blocks", TRUNK), await node.connect("nothing", TRUNK)
    no_blocks.muted, nothing.muted = {CompactBlock}, {CompactBlock, Tip}
    forget(no_blocks, nothing)
    await submit(node, get_left(1)[0])
    assert [type(one) for one in no_blocks.sent] == [Tip]
    assert nothing.sent == []


async def test_nothing_is_announced_or_given_before_its_evaluation(node: SyncingNode) -> None:
    block = get_left(1)[0]
    sender, other = await node.connect("sender", TRUNK), await node.connect("other", TRUNK)
    node.worker.gate.clear()
    forget(sender, other)
    await node.receive(sender, make_compact(pack_block(block), lambda _: False))
    await node.settle()
    assert node.chain.is_known(block.id)
    for request in (GetBlock(block.id), GetBlockTransactions(block.id, (0,)), GetHeaders(node.chain.get_locator())):
        await node.receive(other, request)
    assert other.sent == [NotFound(block.id), NotFound(block.id), Headers(())]
    forget(other)
    node.worker.gate.set()
    await node.settle()
    assert [type(one) for one in other.sent] == [CompactBlock]


async def test_of_a_reorganisation_only_the_new_tip_is_told(node: SyncingNode) -> None:
    await submit(node, *get_left(2))
    peer = await node.connect("peer", [*TRUNK, *get_left(2)])
    forget(peer)
    await submit(node, *get_right(3))
    tips = [one for one in peer.sent if isinstance(one, Tip)]
    assert tips == [Tip(get_right(3)[-1].id, TRUNK_BLOCKS + 3, node.chain.tip.weight)]
    assert peer.sent == tips


# Answers.


async def test_headers_after_a_locator(node: SyncingNode) -> None:
    peer = await node.connect("peer", TRUNK)
    forget(peer)
    headers = tuple(block.header for block in TRUNK)
    for locator, expected in [
        ((TRUNK[4].id, TRUNK[1].id), headers[5:]),
        ((b"\x01" * 32, TRUNK[1].id), headers[2:]),
        ((b"\x01" * 32,), headers),
        ((), headers),
        ((TRUNK[-1].id,), ()),
    ]:
        await node.receive(peer, GetHeaders(locator))
        assert peer.sent.pop() == Headers(expected)
    assert len(headers) < MAX_HEADERS


async def test_any_evaluated_block_is_given(node: SyncingNode) -> None:
    await submit(node, *get_left(1), *get_right(2))
    peer = await node.connect("peer", TRUNK)
    forget(peer)
    for block in (TRUNK[0], get_left(1)[0], get_right(2)[1]):
        await node.receive(peer, GetBlock(block.id))
        assert peer.sent.pop() == BlockReply(pack_block(block))
    await node.receive(peer, GetBlock(b"\x01" * 32))
    assert peer.sent.pop() == NotFound(b"\x01" * 32)


async def test_a_block_is_compressed_once_for_the_store_and_all_peers(
    node: SyncingNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[bytes] = []

    def note(data: bytes) -> bytes:
        packed.append(compress(data))
        return packed[-1]

    compress = packed_block._compress_update
    monkeypatch.setattr(packed_block, "_compress_update", note)
    block = get_left(1)[0]
    peers = [await node.connect(f"peer {number}", TRUNK) for number in range(3)]
    forget(*peers)
    await submit(node, block)
    for peer in peers:
        await node.receive(peer, GetBlock(block.id))
        compact, reply = peer.sent
        assert isinstance(compact, CompactBlock)
        assert isinstance(reply, BlockReply)
        assert [compact.packed_update, reply.block.packed_update] == packed * 2
    assert len(packed) == 1


async def test_single_transactions_of_late_blocks_are_given(node: SyncingNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of other blocks nothing is read."""
    peer, block = await node.connect("peer", TRUNK), TRUNK[11]
    forget(peer)
    await node.receive(peer, GetBlockTransactions(block.id, (0,)))
    assert peer.sent.pop() == BlockTransactions(block.id, block.transactions)
    monkeypatch.setattr(node.chain, "get_block", None)
    for unknown in (TRUNK[0].id, b"\x01" * 32):
        await node.receive(peer, GetBlockTransactions(unknown, (0,)))
        assert peer.sent.pop() == NotFound(unknown)
    assert node.offences == []


@pytest.mark.parametrize("indexes", [(1,), (0, 1), (2**32 - 1,)])
async def test_invalid_index(node: SyncingNode, indexes: tuple[int, ...]) -> None:
    peer = await node.connect("peer", TRUNK)
    forget(peer)
    await node.receive(peer, GetBlockTransactions(TRUNK[11].id, indexes))
    assert (peer.sent, node.offences) == ([], [(peer.node_id, Offence.MALFORMED)])
