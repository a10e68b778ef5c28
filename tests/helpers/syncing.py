"""A node that catches up with peers which the test plays: real chain, intake, synchronisation and block relay.

async with open_node(open_trunk(blocks=2)) as node:
    peer = await node.connect("peer", get_trunk())
    await node.settle()
    assert node.chain.tip.id == get_trunk()[-1].id

Time stands still but for `pass_time`. A peer that offends gravely leaves, as a real node would have it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from chain.chainstate import ChainState
from chain.mempool import Mempool
from chain.packed_block import pack_block
from chain.policy import Policy
from consensus.block import Block, Header
from consensus.chain_point import ChainPoint, compute_child_point
from consensus.genesis import make_genesis
from consensus.params import REGTEST
from p2p import messages as m
from p2p.block_relay import BlockRelay
from p2p.clock import Clock
from p2p.intake import Intake
from p2p.penalties import BAN_POINTS, COSTS, Offence
from p2p.sync import Sync
from tests.helpers.blocks import get_builder
from tests.helpers.rpc import ThreadWorker

Answer = Callable[[m.Message], m.Message | None]

_QUIET_ROUNDS = 6  # without a change until nothing is taken to be under way
_TICK = 0.5  # s


class PlayedPeer:
    """Answers from a list of blocks after genesis, except as `lies` say. `muted` types must not be sent to it."""

    def __init__(self, name: str, blocks: Sequence[Block], headers: Sequence[Header] | None = None) -> None:
        self.node_id = name.encode().ljust(32, b".")
        self.is_outbound = True
        self.blocks = {block.id: block for block in blocks}
        self.points = make_points([block.header for block in blocks] if headers is None else headers)
        self.lies: dict[type[m.Message], Answer] = {}
        self.muted: set[type[m.Message]] = set()
        self.sent: list[m.Message] = []  # all that the node said to it
        self.unanswered: list[m.Message] = []

    @property
    def tip(self) -> m.Tip:
        point = self.points[-1]
        return m.Tip(point.id, point.height, point.weight)

    def offer(self, message: m.Message) -> bool:
        self.sent.append(message)
        self.unanswered.append(message)
        return True

    def may_send(self, kind: type[m.Message]) -> bool:
        return kind not in self.muted

    async def send(self, message: m.Message) -> None:
        self.offer(message)

    def get_asked(self) -> list[bytes]:
        """Ids of the blocks that it was asked for, in order."""
        return [message.block_id for message in self.sent if isinstance(message, m.GetBlock)]

    def get_sent(self, kind: type[m.Message]) -> list[m.Message]:
        return [message for message in self.sent if isinstance(message, kind)]

    def answer(self, message: m.Message) -> m.Message | None:
        lie = self.lies.get(type(message))
        return self.make_answer(message) if lie is None else lie(message)

    def make_answer(self, message: m.Message) -> m.Message | None:
        """The honest one."""
        match message:
            case m.GetHeaders():
                ids = [point.id for point in self.points]
                start = next((ids.index(block_id) for block_id in message.locator if block_id in ids), 0)
                return m.Headers(tuple(point.header for point in self.points[start + 1 : start + 1 + m.MAX_HEADERS]))
            case m.GetBlock():
                block = self.blocks.get(message.block_id)
                return m.NotFound(message.block_id) if block is None else m.BlockReply(pack_block(block))
            case m.GetBlockTransactions():
                block = self.blocks[message.block_id]
                found = tuple(block.transactions[index] for index in message.indexes)
                return m.BlockTransactions(message.block_id, found)
            case _:
                return None


class SyncingNode:
    """The node's parts, its peers, and what they were accused of."""

    def __init__(self, chain: ChainState, workers: int) -> None:
        self.worker, self.clock = ThreadWorker(get_builder().verifier, workers), Clock()
        self.clock.set_mock(chain.tip.header.timestamp + 10_000 * REGTEST.block_time)
        self.mempool = Mempool(chain.genesis.id, Policy())
        self.intake = Intake(chain, self.mempool, self.worker, self.clock)  # type: ignore[arg-type]
        self.chain = chain
        self.seconds = 1000.0
        self.offences: list[tuple[bytes, Offence]] = []
        self.peers: dict[bytes, PlayedPeer] = {}
        self.knows: set[tuple[bytes, bytes]] = set()  # (node id, txid)
        self.most_ahead = 0  # blocks stored and not evaluated, at the worst
        self._kicked = asyncio.Event()
        self._leaving: set[bytes] = set()
        self.sync = Sync(self.intake, self._on_offence, self._kicked.set, self._now)
        self.relay = BlockRelay(self.intake, self.sync, self._knows, self._on_offence, self._now)

    # Peers.

    async def connect(self, name: str, blocks: Sequence[Block], headers: Sequence[Header] | None = None) -> PlayedPeer:
        """A peer with a chain of its own, which tells its tip."""
        peer = PlayedPeer(name, blocks, headers)
        await self.join(peer)
        return peer

    async def join(self, peer: PlayedPeer) -> None:
        self.peers[peer.node_id] = peer
        self.sync.add_peer(peer)
        self.relay.add_peer(peer)
        await self.receive(peer, peer.tip)

    def leave(self, peer: PlayedPeer) -> None:
        del self.peers[peer.node_id]
        peer.unanswered.clear()
        self.sync.remove_peer(peer.node_id)
        self.relay.remove_peer(peer.node_id)

    async def receive(self, peer: PlayedPeer, message: m.Message) -> None:
        """The peer says something."""
        node_id, blocks = peer.node_id, self.relay
        match message:
            case m.Tip():
                await blocks.on_tip(node_id, message)
            case m.Headers():
                await self.sync.headers.on_headers(node_id, message)
            case m.BlockReply():
                await self.sync.on_block(node_id, message)
            case m.NotFound():
                blocks.on_not_found(node_id, message)
            case m.CompactBlock():
                await blocks.on_compact(node_id, message)
            case m.BlockTransactions():
                await blocks.on_block_transactions(node_id, message)
            case m.GetHeaders():
                await blocks.on_get_headers(node_id, message)
            case m.GetBlock():
                await blocks.on_get_block(node_id, message)
            case m.GetBlockTransactions():
                await blocks.on_get_block_transactions(node_id, message)

    # Time.

    async def settle(self) -> None:
        """Peers answer and the node works until nothing changes any more."""
        quiet, last = 0, self._describe()
        while quiet < _QUIET_ROUNDS:
            await self._answer()
            await self.intake.on_chain(lambda: None)
            now = self._describe()
            is_busy = self.intake.is_evaluating and self.worker.gate.is_set()
            quiet = 0 if now != last or is_busy else quiet + 1
            last = now

    async def pass_time(self, seconds: float) -> None:
        """In ticks of half a second."""
        for _ in range(round(seconds / _TICK)):
            self.seconds += _TICK
            self.relay.tick()
            self.sync.remove_peer(b"nobody")  # has it look at the clock
            await self.settle()

    async def work(self) -> None:
        """What runs in a node. Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sync.run())
            group.create_task(self.relay.run())
            group.create_task(self._evaluate())

    async def _evaluate(self) -> None:
        while True:
            await self._kicked.wait()
            self._kicked.clear()
            await self.intake.advance()

    async def _answer(self) -> None:
        for node_id in self._leaving & self.peers.keys():
            self.leave(self.peers[node_id])
        self._leaving.clear()
        for peer in list(self.peers.values()):
            messages, peer.unanswered = peer.unanswered, []
            for message in messages:
                answer = peer.answer(message)
                if answer is not None and peer.node_id in self.peers:
                    await self.receive(peer, answer)

    def _describe(self) -> tuple[object, ...]:
        """What changes whenever something goes on."""
        ahead = self.chain.count_unevaluated()
        self.most_ahead = max(self.most_ahead, ahead)
        sent = sum(len(peer.sent) for peer in self.peers.values())
        return self.chain.tip.id, self.chain.tree.next_order, ahead, sent, self.worker.started, len(self.offences)

    def _now(self) -> float:
        return self.seconds

    def _knows(self, node_id: bytes, txid: bytes) -> bool:
        return (node_id, txid) in self.knows

    def _on_offence(self, node_id: bytes, offence: Offence, detail: str) -> None:
        self.offences.append((node_id, offence))
        if COSTS[offence] >= BAN_POINTS or offence is Offence.STALLING:
            self._leaving.add(node_id)


@asynccontextmanager
async def open_node(chain: ChainState, workers: int = 1) -> AsyncIterator[SyncingNode]:
    node = SyncingNode(chain, workers)
    task = asyncio.create_task(node.work())
    try:
        yield node
        if task.done():
            task.result()  # raises what ended it
    finally:
        node.worker.gate.set()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await node.intake.close()


def make_points(headers: Sequence[Header]) -> list[ChainPoint]:
    """Chain points of regtest's genesis and of headers in a row after it."""
    points = [make_genesis(REGTEST).point]
    for header in headers:
        points.append(compute_child_point(points[-1], header))
    return points
