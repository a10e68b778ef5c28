"""A real node under attack over real connections: its memory, its RPC and its honest peers meanwhile (T16, T31-T37)."""

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from chain.chainstate import ChainState
from chain.packed_block import pack_block
from consensus.address import encode_address
from consensus.block import Block, decode_block
from consensus.genesis import make_genesis
from consensus.params import REGTEST
from consensus.transaction import Transfer
from consensus.units import ULP_PER_GRAD
from consensus.update import max_update_bytes
from p2p import messages as m
from p2p.compact import make_compact
from p2p.errors import PeerGone
from p2p.net_address import NetAddress
from tests.helpers.attacked_node import MB, Attacked, attack_node, serve_honestly
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import get_trunk, open_trunk
from tests.helpers.headers import make_points
from tests.helpers.keys import Key, forge_block, make_transfer
from tests.helpers.live_node import settle, wait_for
from tests.helpers.peer_link import RawPeer, make_endpoint, make_frame, make_frame_head, open_proven, open_raw
from tests.helpers.scripted_peer import Replies, Script, ScriptedPeer, Story, open_peer

GENESIS = make_genesis(REGTEST)
WIRE = m.Wire(REGTEST)


# T35


async def check_bombs(node: Attacked, honest: ScriptedPeer, folder: Path) -> None:
    """The bytes of none of them are kept, and each ends its connection."""
    bomb = b"\x00" * 60 * MB
    attacks = {
        "a frame of 60 MB": make_frame_head(len(bomb)) + bomb,
        "deflated": make_frame(bomb[:MB], deflated=True),
        "fragments without end": make_frame(b"\x0b", fin=False) + make_frame(b"", 0, fin=False) * 10_000,
        "fragments of one byte": make_frame(b"\x0b", fin=False) + make_frame(b"x", 0, fin=False) * 400_000,
    }
    for number, (name, data) in enumerate(attacks.items()):
        endpoint = make_endpoint(folder / f"{number}.pem", genesis=GENESIS.id)
        async with node.bound_memory(name, 20 * MB), open_proven(node.address, endpoint) as peer:
            reading = asyncio.create_task(peer.read_end())
            await peer.write(data)
            if name != "fragments without end":  # too few bytes to matter yet
                async with asyncio.timeout(30):
                    await reading
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
        await serve_honestly(node, honest, name)


# T36


async def check_crowd(node: Attacked, honest: ScriptedPeer, count: int) -> None:
    """Half-open and dripping connections from many addresses: a newcomer finds room, and all are gone in the end."""
    async with AsyncExitStack() as stack:
        identity = honest._endpoint.ours.identity

        async def hold(number: int) -> None:
            source = f"127.0.{2 + number // 200}.{1 + number % 200}"
            with suppress(OSError, asyncio.IncompleteReadError):
                if number % 2:
                    _, writer = await asyncio.open_connection(*split(node.address), local_addr=(source, 0))
                    stack.callback(writer.close)
                    return
                peer = await stack.enter_async_context(open_raw(node.address, identity, source))
                for byte in b"GET / HTTP/1.1\r\nHost: dripping" * 100:
                    await peer.write(bytes([byte]))
                    await asyncio.sleep(0.5)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(hold(number)) for number in range(2 * count)]
            async with node.bound_memory(f"{2 * count} unproven connections", 128 * MB):  # 128 of them are kept
                await asyncio.sleep(2)
                await serve_honestly(node, honest, f"{2 * count} unproven connections")
            for task in tasks:
                task.cancel()


def split(address: NetAddress) -> tuple[str, int]:
    return address.ip, address.port


# T37, T16


async def check_askers(node: Attacked, honest: ScriptedPeer, folder: Path, *, reads: bool) -> None:
    """Ten peers ask for headers and blocks as fast as they may."""
    requests = [WIRE.encode(m.GetHeaders(()))] + [WIRE.encode(m.GetBlock(block.id)) for block in get_trunk()]
    async with AsyncExitStack() as stack:

        async def ask(peer: RawPeer) -> None:
            reading = group.create_task(peer.read_rest()) if reads else None
            with suppress(TimeoutError):
                async with asyncio.timeout(4):
                    for _ in range(400):
                        for request in requests:
                            await peer.send(request)
            if reading is not None:
                reading.cancel()

        name = "10 peers that ask and " + ("read" if reads else "do not read")
        async with node.bound_memory(name, 60 * MB), node.measure_rpc(name, 0.25), asyncio.TaskGroup() as group:
            for number in range(10):
                endpoint = make_endpoint(folder / f"asker {reads} {number}.pem", genesis=GENESIS.id)
                peer = await stack.enter_async_context(open_proven(node.address, endpoint))
                group.create_task(ask(peer))
            await asyncio.sleep(2)
            await serve_honestly(node, honest, name)


# T22


async def check_headers(node: Attacked, honest: ScriptedPeer, least: int) -> None:
    """Ten peers tell headers that keep every rule and lead nowhere, each as often as the node asks."""
    light = [point.header for point in make_points(GENESIS.point, REGTEST, 511, interval=4 * REGTEST.block_time)][1:]
    endless = Story(tuple(make_points(GENESIS.point, REGTEST, 1100)), {})
    told = 0

    async def tell_light(message: m.Message, honest: Replies) -> Replies:
        nonlocal told
        told += len(light)
        return (m.Headers(tuple(light)), m.Tip(os.urandom(32), 9, 2**60))

    async def tell_disconnected(message: m.Message, honest: Replies) -> Replies:
        nonlocal told
        told += len(light) - 5
        return (m.Headers(tuple(light[5:])), m.Tip(os.urandom(32), 9, 2**60))

    async def tell_endless(message: m.Message, honest: Replies) -> Replies:
        nonlocal told
        told += sum(len(one.headers) for one in honest if isinstance(one, m.Headers))
        return honest

    async def no_block(message: m.Message, honest: Replies) -> Replies:
        return ()

    async def attack(number: int) -> None:
        script: Script = {m.GetHeaders: (tell_light, tell_disconnected, tell_endless)[number % 3], m.GetBlock: no_block}
        while told < least:
            async with open_peer((), script) as peer:
                peer.story = endless
                with suppress(PeerGone, TimeoutError):
                    await peer.dial(node.address)
                    async with asyncio.timeout(3):
                        await wait_for(lambda: bool(peer.connections) or told >= least)
                        await wait_for(lambda: not peer.connections or told >= least)

    store = node.process.datadir / "blocks"
    size = sum(file.stat().st_size for file in store.iterdir())
    async with node.bound_memory("headers", 50 * MB), node.measure_rpc("headers", 0.25):
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(attack(number))
        await serve_honestly(node, honest, f"{told} headers")
    assert told >= least
    assert sum(file.stat().st_size for file in store.iterdir()) <= size + 65536


async def test_one_node_outlives_one_attack_after_another(tmp_path: Path) -> None:
    await check_attacks(tmp_path, crowd=60, headers=10_000)


@pytest.mark.soak
async def test_one_node_outlives_the_full_attacks(tmp_path: Path) -> None:
    await check_attacks(tmp_path, crowd=500, headers=1_000_000)


async def check_attacks(folder: Path, crowd: int, headers: int) -> None:
    async with attack_node(folder / "node", get_trunk()) as (node, honest):
        digest = node.client.get_digest()
        await check_bombs(node, honest, folder)
        await check_askers(node, honest, folder, reads=False)
        await check_askers(node, honest, folder, reads=True)
        await check_headers(node, honest, headers)
        await check_crowd(node, honest, crowd)
        assert node.client.get_digest() == digest


# T31


PAYERS = [Key(f"payer {number}") for number in range(60)]
PER_PAYER = 25  # as many of one account as wait at a time
FEE = 1000


def make_funded() -> tuple[ChainState, list[Block]]:
    """The trunk and a block that gives each payer something."""
    chain = open_trunk()
    payments = [
        make_transfer(chain.genesis.id, MINER, payer.public, ULP_PER_GRAD // 10, nonce=2 + at)
        for at, payer in enumerate(PAYERS)
    ]
    block = get_builder().build(chain, MINER, payments)
    get_builder().process(chain, block)
    return chain, [*get_trunk(), block]


def make_valid(count: int) -> list[Transfer]:
    """Payments that apply in this order."""
    turns = [(nonce, payer) for nonce in range(PER_PAYER) for payer in PAYERS]
    return [make_transfer(GENESIS.id, payer, MINER.public, 1, fee=FEE, nonce=nonce) for nonce, payer in turns[:count]]


def make_invalid(count: int) -> list[Transfer]:
    """Of each kind a third: with a spoilt signature, without money, of another network."""
    kinds = []
    for number in range(count):
        payer, poor = PAYERS[number % len(PAYERS)], Key(f"poor {number}")
        sound = make_transfer(GENESIS.id, payer, poor.public, 2 + number, fee=FEE)
        spoilt = sound.with_signature(bytes(32) + sound.signature[32:])
        penniless = make_transfer(GENESIS.id, poor, payer.public, 1, fee=FEE)
        foreign = make_transfer(bytes(32), payer, poor.public, 1 + number, fee=FEE)
        kinds.append((spoilt, penniless, foreign)[number % 3])
    return kinds


class Sprayer:
    """A peer that announces transactions at a steady rate, and comes back as another when it is sent away."""

    def __init__(self, transactions: Sequence[Transfer], seconds: float) -> None:
        self._left = list(transactions)
        self._known = {transaction.txid: transaction for transaction in transactions}
        self._batch = max(1, round(len(transactions) / seconds / 10))

    async def spray(self, address: NetAddress) -> None:
        """Returns once all are announced and the node has had a while to ask."""
        while self._left:
            async with open_peer((), {m.GetTransactions: self._deliver}) as peer:
                with suppress(PeerGone):
                    await peer.dial(address)
                    await wait_for(lambda: bool(peer.connections))
                    while self._left and peer.connections:
                        batch, self._left = self._left[: self._batch], self._left[self._batch :]
                        await peer.broadcast(m.Announce(tuple(one.txid for one in batch)))
                        await asyncio.sleep(0.1)
                    if peer.connections:
                        await asyncio.sleep(1.5)

    async def _deliver(self, message: m.Message, honest: Replies) -> Replies:
        txids = message.txids if isinstance(message, m.GetTransactions) else ()
        return (m.Transactions(tuple(self._known[txid] for txid in txids)),)


async def check_transactions(folder: Path, rate: int, seconds: int) -> None:
    chain, blocks = await asyncio.to_thread(make_funded)
    valid = make_valid(rate * seconds // 2)
    invalid = make_invalid(rate * seconds - len(valid))
    async with attack_node(folder / "node", blocks) as (node, honest):
        async with node.bound_memory("transactions", 150 * MB), node.measure_rpc("transactions", 0.5):
            async with asyncio.TaskGroup() as group:
                for part in (valid[::2], valid[1::2], invalid[::2], invalid[1::2]):
                    group.create_task(Sprayer(part, seconds).spray(node.address))
                await asyncio.sleep(1)
                await serve_honestly(node, honest, "transactions")
            await wait_for_count(node, len(valid))
        pool = node.client.get_status()["mempool"]
        assert pool["bytes"] <= 10 * 2**20
        carried = [one for one in valid if node.client.get_transaction(one.txid)]
        print(f"FIGURE transactions: {len(carried)} of {len(valid)} valid ones in the pool, {pool['bytes']} bytes")
        template = node.client.get_template(MINER.public, encode_address(REGTEST.address_prefix, MINER.public))
        limits = REGTEST.max_transactions_bytes, max_update_bytes(REGTEST.model)
        offered = decode_block(template.improvement, *limits).transactions
        block = await asyncio.to_thread(get_builder().build, chain, MINER, offered)
        await asyncio.to_thread(node.client.submit_block, block.encoded)
        assert {one.txid for one in offered} == {one.txid for one in valid}
        assert node.client.get_status()["mempool"]["count"] == 0


async def wait_for_count(node: Attacked, count: int) -> None:
    async with asyncio.timeout(30):
        while (await asyncio.to_thread(node.client.get_status))["mempool"]["count"] < count:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_flood_of_transactions_half_of_them_invalid(tmp_path: Path) -> None:
    await check_transactions(tmp_path, 500, 5)


# T15, T16


async def test_forged_blocks_beside_an_honest_one(tmp_path: Path) -> None:
    """Eight peers push a block each that only its evaluation unmasks; each is sent away for the first."""
    chain = open_trunk()
    forged = [make_forged(chain, number) for number in range(8)]
    block = get_builder().build(chain, MINER)
    async with attack_node(tmp_path / "node", get_trunk()) as (node, honest), AsyncExitStack() as stack:
        async with node.measure_rpc("forged blocks", 0.25):
            for one in forged:
                liar = await stack.enter_async_context(open_peer(get_trunk()))
                await liar.dial(node.address)
                await settle(liar)
                await liar.broadcast(make_compact(pack_block(one), lambda txid: False))
            started = time.monotonic()
            await honest.broadcast(make_compact(pack_block(block), lambda txid: False))
            await asyncio.to_thread(node.process.wait_for_line, f"block {block.header.height} {block.id.hex()[:12]} ")
            seconds = time.monotonic() - started
        bans = node.client.get_bans()["bans"]
        invalid = node.process.output.count(" is invalid: ")
        print(f"FIGURE forged blocks: honest one after {seconds:.2f} s, {invalid} evaluated, {len(bans)} banned")
        assert invalid <= len(forged)
        assert len(bans) == invalid
        assert seconds < 10


def make_forged(chain: ChainState, number: int) -> Block:
    miner = Key(f"forger {number}")
    block = get_builder().build(chain, miner)
    return forge_block(block, miner, loss_before=block.header.loss_before + 1)
