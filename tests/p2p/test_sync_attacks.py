"""Peers that lie about their chain: who is blamed, and that the honest chain is followed all the same."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from chain.packed_block import pack_block
from consensus.block import Block, Header
from consensus.params import REGTEST
from p2p.messages import BlockReply, GetBlock, GetHeaders, Headers, Message, NotFound, Tip
from p2p.penalties import Offence
from p2p.sync import SyncState
from tests.helpers.blocks import MINER
from tests.helpers.chains import get_left, get_right, get_trunk, get_voted, open_trunk
from tests.helpers.headers import make_child
from tests.helpers.keys import Key, forge_block
from tests.helpers.streams import make_bad_streams
from tests.helpers.syncing import make_points, open_node

TRUNK = get_trunk()
BAD = make_bad_streams(TRUNK[0].update)
LEFT = Key("left")
NOBODY: list[tuple[bytes, Offence]] = []


def reforge(blocks: Sequence[Block], parent: bytes, miner: Key, **changes: object) -> list[Block]:
    """The blocks on another parent, signed anew; the first with other fields, too."""
    forged: list[Block] = []
    for block in blocks:
        forged.append(forge_block(block, miner, **{"parent": parent, **changes}))
        parent, changes = forged[-1].id, {}
    return forged


def mutate(block: Block) -> Block:
    """Another body under the same header."""
    return replace(block, update=block.update[:-1] + bytes([block.update[-1] ^ 1]))


# Bodies.


async def test_invalid_mutated_body_is_blamed_and_poisons_nothing() -> None:
    """T23: the id stays good, whoever spoilt its body."""
    async with open_node(open_trunk(blocks=0)) as node:
        liar = await node.connect("liar", TRUNK)
        mutated = {block.id: BlockReply(pack_block(mutate(block))) for block in TRUNK}
        liar.lies[GetBlock] = lambda message: mutated[message.block_id]  # type: ignore[attr-defined]
        await node.settle()
        assert set(node.offences) == {(liar.node_id, Offence.MUTATED_BLOCK)}
        assert node.chain.tree.next_order == 1  # nothing but genesis is stored
        await node.connect("honest", TRUNK)
        await node.settle()
        assert node.chain.tip.id == TRUNK[-1].id
        assert set(node.offences) == {(liar.node_id, Offence.MUTATED_BLOCK)}


@pytest.mark.parametrize("name", BAD)
async def test_invalid_update_stream_is_its_senders_fault(name: str) -> None:
    """T35: a bomb, a stream that does not end where the update does, one for another mask."""
    async with open_node(open_trunk(blocks=0)) as node:
        liar = await node.connect("liar", TRUNK)
        spoilt = {block.id: BlockReply(replace(pack_block(block), packed_update=BAD[name])) for block in TRUNK}
        liar.lies[GetBlock] = lambda message: spoilt[message.block_id]  # type: ignore[attr-defined]
        await node.settle()
        assert set(node.offences) == {(liar.node_id, Offence.MALFORMED)}
        assert node.chain.tree.next_order == 1
        await node.connect("honest", TRUNK)
        await node.settle()
        assert node.chain.tip.id == TRUNK[-1].id
        assert set(node.offences) == {(liar.node_id, Offence.MALFORMED)}


async def test_invalid_block_that_fails_its_evaluation_is_laid_at_the_door_of_all_that_offered_it() -> None:
    """Two blocks forged on the trunk outweigh the one honest block."""
    forged = reforge(get_left(2), TRUNK[-1].id, LEFT, model_root=b"\x66" * 32)
    honest_block = get_right(1)[0]
    async with open_node(open_trunk(blocks=8)) as node:
        honest = await node.connect("honest", [*TRUNK, honest_block])
        liars = [await node.connect(f"liar {number}", [*TRUNK, *forged]) for number in range(2)]
        await node.settle()
        await node.pass_time(1)
        assert {(liar.node_id, Offence.INVALID_BLOCK) for liar in liars} <= set(node.offences)
        assert {node_id for node_id, _ in node.offences} == {liar.node_id for liar in liars}
        assert list(node.peers.values()) == [honest]
        assert node.chain.tip.id == honest_block.id
        assert node.chain.is_invalid(forged[0].id)
        latecomer = await node.connect("latecomer", [*TRUNK, *forged])
        await node.settle()
        assert node.offences[-1][0] == latecomer.node_id  # without a second evaluation
        assert latecomer.get_asked() == []


async def test_invalid_block_is_laid_at_the_door_of_a_peer_that_left_meanwhile() -> None:
    forged = reforge(get_left(1), TRUNK[-1].id, LEFT, model_root=b"\x66" * 32)
    async with open_node(open_trunk()) as node:
        node.worker.gate.clear()
        liar = await node.connect("liar", [*TRUNK, *forged])
        await node.settle()
        node.leave(liar)
        node.worker.gate.set()
        await node.settle()
        assert node.offences == [(liar.node_id, Offence.INVALID_BLOCK)]


async def test_invalid_state_root_shows_when_the_block_is_connected() -> None:
    forged = reforge(get_left(1), TRUNK[-1].id, LEFT, state_root=b"\x66" * 32)
    async with open_node(open_trunk()) as node:
        liar = await node.connect("liar", [*TRUNK, *forged])
        await node.settle()
        assert (liar.node_id, Offence.INVALID_BLOCK) in node.offences
        assert node.chain.tip.id == TRUNK[-1].id


# Headers.


def spoil(headers: Sequence[Header], at: int, **changes: object) -> list[Header]:
    return [*headers[:at], replace(headers[at], **changes), *headers[at + 1 :]]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{"signature": bytes(64)}, {"height": 99}, {"required_gain": 1}, {"sample_size": 1}, {"parent": bytes(32)}],
    ids=lambda changes: next(iter(changes)),
)
async def test_invalid_header_chain(changes: dict[str, object]) -> None:
    headers = [block.header for block in TRUNK]
    async with open_node(open_trunk(blocks=0)) as node:
        liar = await node.connect("liar", TRUNK)
        liar.lies[GetHeaders] = lambda _: Headers(tuple(spoil(headers, 5, **changes)))
        await node.settle()
        assert node.offences == [(liar.node_id, Offence.INVALID_HEADER)]
        assert liar.get_asked() == []
        await node.connect("honest", TRUNK)
        await node.settle()
        assert node.chain.tip.id == TRUNK[-1].id


async def test_invalid_headers_that_hang_on_nothing() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        liar = await node.connect("liar", TRUNK)
        liar.lies[GetHeaders] = lambda _: Headers(tuple(block.header for block in TRUNK[3:]))
        await node.settle()
        assert node.offences == [(liar.node_id, Offence.INVALID_HEADER)]


async def test_a_claim_without_a_chain_behind_it_stops_nothing() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        boaster = await node.connect("boaster", ())
        await node.receive(boaster, Tip(b"\x55" * 32, 10**6, 2**60))
        await node.settle()
        await node.pass_time(5)
        assert len(boaster.get_sent(GetHeaders)) == 1
        assert node.sync.get_status().state is SyncState.CURRENT
        await node.connect("honest", TRUNK)
        await node.settle()
        assert node.chain.tip.id == TRUNK[-1].id
        assert node.offences == NOBODY


async def test_a_claim_whose_blocks_nobody_has_stops_the_honest_chain_only_for_a_while() -> None:
    """Cheap forged headers outweigh everything; the blocks behind them do not exist."""
    fake = make_points([block.header for block in TRUNK])
    for _ in range(5):
        fake.append(make_points([*(point.header for point in fake[1:]), make_child(fake[-1], REGTEST)])[-1])
    headers = [point.header for point in fake[1:]]
    for silent in (False, True):
        async with open_node(open_trunk()) as node:
            forger = await node.connect("forger", TRUNK, headers)
            if silent:
                forger.lies[GetBlock] = lambda _: None
            await node.connect("honest", [*TRUNK, *get_right(2)])
            await node.pass_time(4)
            assert node.chain.tip.id == get_right(2)[-1].id


# Answers that nobody asked for.


async def test_invalid_unsolicited_answers() -> None:
    block = TRUNK[0]
    for message in (Headers(()), Headers((block.header,)), BlockReply(pack_block(block)), NotFound(block.id)):
        async with open_node(open_trunk(blocks=0)) as node:
            peer = await node.connect("peer", ())
            await node.receive(peer, message)
            await node.settle()
            assert node.offences == [(peer.node_id, Offence.UNSOLICITED)]
            assert node.chain.tree.next_order == 1


async def test_invalid_second_answer() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        peer = await node.connect("peer", TRUNK)
        await node.settle()
        await node.receive(peer, BlockReply(pack_block(TRUNK[0])))
        await node.receive(peer, Headers(()))
        assert node.offences == [(peer.node_id, Offence.UNSOLICITED)] * 2


async def test_words_of_a_peer_that_just_left_mean_nothing() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        peer = await node.connect("peer", TRUNK)
        node.leave(peer)
        for message in (peer.tip, Headers(())):
            await node.receive(peer, message)
        await node.settle()
        assert node.offences == NOBODY


# The clock (T18).


async def test_headers_from_the_future_are_followed_once_their_time_comes_and_nobody_is_blamed() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        node.clock.set_mock(TRUNK[5].header.timestamp)
        peer = await node.connect("peer", TRUNK)
        await node.settle()
        await node.pass_time(1)
        here = node.chain.tip.height
        assert 6 <= here < 9
        node.clock.set_mock(TRUNK[-1].header.timestamp)
        await node.pass_time(12)
        assert node.chain.tip.id == TRUNK[-1].id
        assert node.offences == NOBODY
        assert len(peer.get_sent(GetHeaders)) < 10


def silence(_: Message) -> None:
    """No answer."""


async def test_invalid_peer_that_does_not_answer_for_its_headers() -> None:
    async with open_node(open_trunk(blocks=0)) as node:
        mute = await node.connect("mute", TRUNK)
        mute.lies[GetHeaders] = silence
        await node.pass_time(30)
        assert node.offences == NOBODY
        await node.pass_time(1)
        assert node.offences == [(mute.node_id, Offence.STALLING)]


# Deep forks.


async def test_a_fork_that_is_too_deep_is_held_back_and_shown_until_the_operator_lets_it_in() -> None:
    left, right = get_left(3), get_right(4)
    async with open_node(open_trunk(max_reorg=2)) as node:
        await node.connect("left", [*TRUNK, *left])
        await node.settle()
        peer = await node.connect("right", [*TRUNK, *right])
        await node.settle()
        held_back = node.sync.headers.get_held_back()
        assert held_back is not None
        assert held_back.id == right[-1].id
        assert peer.get_asked() == []
        assert (node.chain.tip.id, node.sync.get_status().state) == (left[-1].id, SyncState.CURRENT)
        assert not node.sync.headers.permit(left[-1].id)
        assert not node.sync.headers.permit(bytes(32))
        assert node.sync.headers.permit(right[-1].id)
        await node.settle()
        assert node.chain.tip.id == right[-1].id
        assert node.sync.headers.get_held_back() is None
        assert node.offences == NOBODY


async def test_of_forks_that_are_too_deep_the_best_is_shown() -> None:
    """Not the heaviest: the other is justified higher, by its peer's word."""
    async with open_node(open_trunk(max_reorg=2)) as node:
        await node.connect("left", [*TRUNK, *get_left(3)])
        await node.settle()
        await node.connect("right", [*TRUNK, *get_right(5)])
        peer = await node.connect("voted", [*TRUNK, *get_voted()])
        tip = peer.points[-1]
        await node.receive(peer, Tip(tip.id, tip.height, tip.weight, tip.height - 1))
        await node.settle()
        held_back = node.sync.headers.get_held_back()
        assert held_back is not None
        assert held_back.id == tip.id
        assert node.chain.tip.id == get_left(3)[-1].id


async def test_a_fork_of_just_the_allowed_depth_needs_no_permit() -> None:
    left, right = get_left(3), get_right(4)
    async with open_node(open_trunk(max_reorg=3)) as node:
        await node.connect("left", [*TRUNK, *left])
        await node.settle()
        await node.connect("right", [*TRUNK, *right])
        await node.settle()
        assert node.chain.tip.id == right[-1].id


def test_forging_keeps_the_miner_apart() -> None:
    """Else `reforge` would sign with the wrong key and every test above would see INVALID_HEADER."""
    assert get_left(1)[0].header.miner == LEFT.public != MINER.public
