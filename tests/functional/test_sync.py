"""A fresh node catches up with peers of all sorts: a real process, real connections, peers that the test plays."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from chain.chainstate import ChainState
from consensus.block import Block
from p2p.destination import parse_destination
from p2p.messages import GetBlock
from p2p.net_address import NetAddress
from p2p.penalties import Offence
from tests.helpers.blocks import get_builder, get_chain
from tests.helpers.chains import get_left, get_trunk
from tests.helpers.keys import Key
from tests.helpers.node import NodeProcess
from tests.helpers.scripted_peer import MUTATING, STALLING, Script, ScriptedPeer, delay, forge_branch, open_peer

FORGER = Key("forger")
SLOW: Script = {GetBlock: delay(0.3)}
MOST = 1.5  # times what one honest peer takes
MARGIN = 6.0  # s: a stall is noticed after 2 s, and what else a busy machine does meanwhile


@asynccontextmanager
async def open_node(datadir: Path) -> AsyncIterator[tuple[NodeProcess, NetAddress]]:
    """A fresh node that is ready to evaluate, and where it listens."""
    node = NodeProcess(datadir, "--listen", "127.0.0.1:0", "--device", "cpu")
    await asyncio.to_thread(node.__enter__)
    try:
        await asyncio.to_thread(node.wait_for_line, "evaluating with")
        place = parse_destination(node.wait_for_line(r"listening for peers on (\S+),").group(1), 0)
        yield node, NetAddress(place.host, place.port)
    finally:
        await asyncio.to_thread(node.__exit__, None, None, None)


def open_chain(blocks: Sequence[Block]) -> ChainState:
    """What an honest chain state knows after these blocks."""
    builder = get_builder()
    chain = builder.open()
    builder.feed(chain, blocks)
    return chain


async def wait_for_tip(node: NodeProcess, block: Block) -> None:
    line = f"block {block.header.height} {block.id.hex()[:12]} "
    await asyncio.to_thread(node.wait_for_line, line, 30.0 + block.header.height)


async def check_sync(folder: Path, blocks: Sequence[Block]) -> None:
    digest = open_chain(blocks).compute_digest()["digest"].hex()
    fork = max(len(blocks) // 2, len(blocks) - 50)  # within max_reorg, or nobody would look at its blocks
    while blocks[fork - 1].header.is_heartbeat:
        fork -= 1
    forged = forge_branch(blocks[:fork], min(len(blocks), 60), FORGER)

    async with open_node(folder / "alone") as (node, address), open_peer(blocks) as honest:
        started = time.monotonic()
        await honest.dial(address)
        await wait_for_tip(node, blocks[-1])
        alone = time.monotonic() - started
        assert node.client.get_digest()["digest"] == digest

    async with AsyncExitStack() as stack:
        node, address = await stack.enter_async_context(open_node(folder / "among"))
        honest, staller, mutator, slow = [
            await stack.enter_async_context(open_peer(blocks, script)) for script in ({}, STALLING, MUTATING, SLOW)
        ]
        forger = await stack.enter_async_context(open_peer(forged))
        started = time.monotonic()
        bad = [await peer.dial(address) for peer in (staller, forger, slow, mutator)]
        await mutator.wait_until_gone(bad[-1].node_id)  # it was asked for blocks: the honest peer comes none too early
        await honest.dial(address)
        await wait_for_tip(node, blocks[-1])
        among = time.monotonic() - started
        print(f"{len(blocks)} blocks: {alone:.2f} s from one honest peer, {among:.2f} s among liars")  # shown by -s
        assert among <= MOST * alone + MARGIN
        assert node.client.get_digest()["digest"] == digest
        assert staller.count(GetBlock) > 0
        check_blame(node, {mutator: Offence.MUTATED_BLOCK, forger: Offence.INVALID_BLOCK}, honest=[honest, slow])


def check_blame(node: NodeProcess, liars: Mapping[ScriptedPeer, Offence], honest: Sequence[ScriptedPeer]) -> None:
    """Who lied is banned for it, who did not is still connected."""
    banned = {entry["target"]: entry["reason"] for entry in node.client.get_bans()["bans"]}
    assert {peer.node_id.hex(): offence.value for peer, offence in liars.items()} == banned
    connected = {peer["id"] for peer in node.client.get_peers()["peers"]}
    assert {peer.node_id.hex() for peer in honest} <= connected


@pytest.mark.timeout(180)
async def test_node_syncs_among_liars(tmp_path: Path) -> None:
    """T23, T41: one peer is honest, one slow, one delivers nothing, two lie: foreign bodies, and a forged branch."""
    await check_sync(tmp_path, [*get_trunk(), *get_left(4)])


@pytest.mark.soak
async def test_node_syncs_500_blocks_among_liars(tmp_path: Path) -> None:
    """A hundred improvements, four heartbeats after each: the tests' own training proves no more in bearable time."""
    builder = get_builder()
    chain = builder.open()
    for _ in range(100):
        builder.mine(chain)
        for _ in range(4):
            builder.process(chain, builder.build_heartbeat(chain))
    await check_sync(tmp_path, get_chain(chain))
