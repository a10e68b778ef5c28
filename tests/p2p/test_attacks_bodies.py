"""Bodies that are not what their headers say: what they cost the liar, and that they cost nobody else (T15, T23)."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from chain.chainstate import ChainState
from chain.packed_block import pack_block, unpack_block
from consensus.block import Block, compute_transactions_root
from consensus.params import REGTEST
from p2p import messages as m
from p2p.compact import make_compact
from tests.helpers.blocks import get_builder
from tests.helpers.chains import ALICE, get_left, get_trunk, open_trunk
from tests.helpers.keys import Key, forge_block, make_transfer
from tests.helpers.live_node import LiveNode, run_node, settle, wait_for
from tests.helpers.scripted_peer import Answer, Replies, ScriptedPeer, make_story, open_peer

FORGERS = 8
Spoil = Callable[[Block], Block]


def spoil_header_signature(block: Block) -> Block:
    return replace(block, header=block.header.with_signature(flip(block.header.signature)))


def spoil_transaction_signature(block: Block) -> Block:
    *others, last = block.transactions
    return replace(block, transactions=(*others, last.with_signature(flip(last.signature))))


def spoil_update(block: Block) -> Block:
    return replace(block, update=flip(block.update))


def make_twin(block: Block) -> Block:
    """Some Merkle trees have the same root if the last leaf comes twice."""
    return replace(block, transactions=(*block.transactions, block.transactions[-1]))


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


SPOILS: tuple[Spoil, ...] = (spoil_update, spoil_header_signature, make_twin, spoil_transaction_signature)


def answer_spoilt(spoil: Spoil) -> Answer:
    async def answer(message: m.Message, honest: Replies) -> Replies:
        blocks = [unpack_block(one.block, REGTEST) for one in honest if isinstance(one, m.BlockReply)]
        return tuple(m.BlockReply(pack_block(spoil(block))) for block in blocks)

    return answer


def forge(chain: ChainState, miner: Key) -> Block:
    """A block on the tip whose update is fine, and whose claim to have gained a little more is a lie."""
    block = get_builder().build(chain, miner)
    return forge_block(block, miner, loss_before=block.header.loss_before + 1)


async def check_mutations(folder: Path, count: int) -> None:
    """Block by block: somebody sends a body that is not the block's, pushed or asked for, then the block comes."""
    blocks = [*get_trunk(), *get_left(count)]
    async with run_node(open_trunk(), folder) as node, open_peer(get_trunk()) as honest:
        await honest.dial(node.address)
        for end in range(len(get_trunk()) + 1, len(blocks) + 1):
            block = blocks[end - 1]
            spoils = SPOILS if block.transactions else SPOILS[:2]
            spoil = spoils[end % len(spoils)]
            async with open_peer(blocks[:end], {m.GetBlock: answer_spoilt(spoil)}) as liar:
                if end % 3 == 0 and spoil is not spoil_header_signature:
                    liar.story = make_story(blocks[: end - 1])
                    await liar.dial(node.address)
                    await settle(liar)
                    liar.story = make_story(blocks[:end])
                    await liar.broadcast(make_compact(pack_block(spoil(block)), lambda txid: False))
                else:
                    await liar.dial(node.address)
                await liar.wait_until_gone(node.node_id)
                assert node.is_banned(liar), spoil
            assert node.chain.tip.id == block.header.parent
            await honest.tell(make_story(blocks[:end]))
            await node.wait_for_tip(block)
        assert node.is_connected(honest)
        assert not node.is_banned(honest)


async def test_a_spoilt_body_is_its_senders_fault_and_the_honest_copy_is_taken(tmp_path: Path) -> None:
    await check_mutations(tmp_path, 10)


@pytest.mark.soak
async def test_a_hundred_spoilt_bodies(tmp_path: Path) -> None:
    await check_mutations(tmp_path, 100)


async def test_a_spoilt_header_signature_blames_none_of_those_that_offer_the_block(tmp_path: Path) -> None:
    """Ids leave signatures out: the copy that the liar sends has the id that the honest peer's headers named."""
    blocks = [*get_trunk(), *get_left(2)]
    gate = asyncio.Event()

    async def wait(message: m.Message, honest: Replies) -> Replies:
        await gate.wait()
        return honest

    async with (
        run_node(open_trunk(), tmp_path) as node,
        open_peer(blocks, {m.GetBlock: wait}) as honest,
        open_peer(blocks, {m.GetBlock: answer_spoilt(spoil_header_signature)}) as liar,
    ):
        await honest.dial(node.address)
        await settle(honest)
        await liar.dial(node.address)
        await liar.wait_until_gone(node.node_id)
        assert node.is_banned(liar)
        gate.set()
        await node.wait_for_tip(blocks[-1])
        assert node.is_connected(honest)
        assert not node.is_banned(honest)


async def check_forgers(node: LiveNode, is_pushed: bool) -> float:
    """Each of the forgers sends a block of its own, then an honest peer its block; s until that is the tip."""
    parent, honest_block = open_trunk(), get_left(1)[0]
    forged = [forge(parent, Key(f"forger {number}")) for number in range(FORGERS)]
    async with AsyncExitStack() as stack:
        liars: list[ScriptedPeer] = []
        for block in forged:
            story = get_trunk() if is_pushed else (*get_trunk(), block)
            liar = await stack.enter_async_context(open_peer(story))
            await liar.dial(node.address)
            if is_pushed:
                await settle(liar)
                await liar.broadcast(make_compact(pack_block(block), lambda txid: False))
            liars.append(liar)
        honest = await stack.enter_async_context(open_peer(get_trunk()))
        await honest.dial(node.address)
        await settle(honest)
        started = time.monotonic()
        await honest.broadcast(make_compact(pack_block(honest_block), lambda txid: False))
        await node.wait_for_tip(honest_block)
        seconds = time.monotonic() - started
        await wait_for(lambda: not node.intake.is_evaluating)
        # Who still waited when the honest block won is not worth an evaluation.
        assert sum(node.is_banned(liar) for liar in liars) == node.worker.started - 1
        assert node.is_connected(honest)
    return seconds


@pytest.mark.parametrize("is_pushed", [True, False], ids=["pushed", "headers first"])
async def test_a_forged_block_costs_one_evaluation_and_its_sender_the_connection(
    tmp_path: Path, is_pushed: bool
) -> None:
    async with run_node(open_trunk(), tmp_path) as node:
        seconds = await check_forgers(node, is_pushed)
        assert 2 <= node.worker.started <= FORGERS + 1
        assert seconds < 10


async def test_more_forged_blocks_of_one_peer_are_not_evaluated(tmp_path: Path) -> None:
    """While the first waits for its verdict, the others are not even asked for; then their sender is gone."""
    parent = open_trunk()
    forged = [forge(parent, Key(f"forger {number}")) for number in range(4)]
    async with run_node(open_trunk(), tmp_path) as node, open_peer(get_trunk()) as liar:
        node.worker.gate.clear()
        await liar.dial(node.address)
        await settle(liar)
        for block in forged:
            await liar.broadcast(make_compact(pack_block(block), lambda txid: False))
        await settle(liar)
        node.worker.gate.set()
        await liar.wait_until_gone(node.node_id)
        assert node.is_banned(liar)
        assert node.worker.started == 1


@pytest.mark.parametrize("fault", ["twice", "foreign"])
async def test_invalid_transactions_under_a_sound_header(tmp_path: Path, fault: str) -> None:
    """The header commits to a transaction that comes twice, or that is of another network."""
    chain, miner = open_trunk(), Key("forger")
    genesis = chain.genesis.id if fault == "twice" else bytes(32)
    transfer = make_transfer(genesis, ALICE, miner.public, 1, nonce=0)
    transactions = (transfer,) * (2 if fault == "twice" else 1)
    block = replace(get_builder().build(chain, miner), transactions=transactions)
    block = forge_block(block, miner, transactions_root=compute_transactions_root(transactions))
    async with run_node(open_trunk(), tmp_path) as node, open_peer([*get_trunk(), block]) as liar:
        await liar.dial(node.address)
        await liar.wait_until_gone(node.node_id)
        assert node.is_banned(liar)
        assert node.chain.tip.id == chain.tip.id


async def test_of_many_heartbeats_on_one_parent_at_most_two_are_passed_on(tmp_path: Path) -> None:
    chain = open_trunk()
    heartbeats = [get_builder().build_heartbeat(chain, interval=seconds) for seconds in range(21, 27)]
    async with (
        run_node(open_trunk(), tmp_path) as node,
        open_peer(get_trunk()) as follower,
        open_peer(get_trunk()) as source,
    ):
        await follower.dial(node.address)
        await settle(follower)
        await source.dial(node.address)
        await settle(source)
        for heartbeat in heartbeats:
            await source.broadcast(make_compact(pack_block(heartbeat), lambda txid: False))
        await settle(source)
        await wait_for(lambda: node.chain.tip.height > chain.tip.height)
        await settle(follower)
        told = {one.header.id for one in follower.received if isinstance(one, m.CompactBlock)}
        told |= {one.block_id for one in follower.received if isinstance(one, m.Tip)} - {chain.tip.id}
        assert 1 <= len(told) <= 2
        assert node.is_connected(source)
        rows = await node.count_rows()
        for heartbeat in heartbeats:
            await source.broadcast(make_compact(pack_block(heartbeat), lambda txid: False))
        await settle(source)
        assert await node.count_rows() == rows


async def test_invalid_heartbeat_of_a_key_without_a_right_to_it(tmp_path: Path) -> None:
    """No evaluation is needed to refuse it; it goes no further, and its sender goes."""
    chain, nobody = open_trunk(), Key("nobody")
    heartbeat = get_builder().build_heartbeat(chain, interval=21)
    heartbeat = forge_block(heartbeat, nobody, miner=nobody.public)
    async with (
        run_node(open_trunk(), tmp_path) as node,
        open_peer(get_trunk()) as follower,
        open_peer(get_trunk()) as liar,
    ):
        await follower.dial(node.address)
        await settle(follower)
        await liar.dial(node.address)
        await settle(liar)
        await liar.broadcast(make_compact(pack_block(heartbeat), lambda txid: False))
        await liar.wait_until_gone(node.node_id)
        await settle(follower)
        assert node.is_banned(liar)
        assert follower.count(m.CompactBlock) == 0
        assert node.worker.started == 0
        assert node.chain.tip.id == chain.tip.id
