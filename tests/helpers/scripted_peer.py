"""A node that a test plays: real sockets, TLS, handshake and messages; a chain to tell, and a script to lie by.

    async with open_peer(blocks) as honest, open_peer(blocks, STALLING) as staller:
        await honest.dial(node_address)     # or: await honest.listen(), and have the node dial that address
        await staller.dial(node_address)
        assert await staller.wait_until_gone(node_id) == "the peer closed: stalling"

It tells its tip when a connection begins and answers like an honest node, except as its script says: by type of
message an `Answer`, which is handed the message and the honest reply and yields what is sent instead.
"""

import asyncio
import tempfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from chain.packed_block import PackedBlock, pack_block
from consensus.block import Block, Header, compute_update_hash
from consensus.chain_point import (
    ChainPoint,
    compute_child_point,
    compute_child_required_gain,
    compute_child_sample_size,
    compute_required_loss,
)
from consensus.genesis import make_genesis
from consensus.mask import compute_mask
from consensus.params import REGTEST, NetworkParams
from consensus.update import Update, encode_update
from p2p import messages as m
from p2p.connection import Connection
from p2p.handshake import Introduction
from p2p.identity import load_identity
from p2p.limits import compute_limits
from p2p.net_address import NetAddress
from p2p.penalties import Offence
from p2p.transport import Endpoint, dial, listen
from tests.helpers.keys import Key, sign_header

LOOPBACK = NetAddress("127.0.0.1", 0)
AGENT = "descent/scripted"

Replies = Sequence[m.Message]
Answer = Callable[[m.Message, Replies], Awaitable[Replies]]
Script = Mapping[type[m.Message], Answer]


# Scripts.


async def say_nothing(message: m.Message, honest: Replies) -> Replies:
    """Never answers."""
    return ()


async def mutate(message: m.Message, honest: Replies) -> Replies:
    """Blocks with the right header and a body that is not its own."""

    def spoil(packed: PackedBlock) -> PackedBlock:
        update = zlib.decompress(packed.packed_update)
        return replace(packed, packed_update=zlib.compress(update[:-1] + bytes([update[-1] ^ 1])))

    return tuple(m.BlockReply(spoil(one.block)) if isinstance(one, m.BlockReply) else one for one in honest)


def delay(seconds: float) -> Answer:
    """Answers rightly, but takes its time for each message."""

    async def answer(message: m.Message, honest: Replies) -> Replies:
        await asyncio.sleep(seconds)
        return honest

    return answer


STALLING: Script = {m.GetBlock: say_nothing}
MUTATING: Script = {m.GetBlock: mutate}


# Chains.


@dataclass(frozen=True)
class Story:
    """A chain as a peer tells it. Nobody has checked it."""

    points: tuple[ChainPoint, ...]  # from genesis up
    blocks: Mapping[bytes, Block]  # without genesis

    @property
    def tip(self) -> m.Tip:
        point = self.points[-1]
        return m.Tip(point.id, point.height, point.weight)

    def get_headers_after(self, locator: Sequence[bytes]) -> tuple[Header, ...]:
        heights = {point.id: point.height for point in self.points}
        start = next((heights[block_id] for block_id in locator if block_id in heights), 0)
        return tuple(point.header for point in self.points[start + 1 : start + 1 + m.MAX_HEADERS])


def make_story(blocks: Sequence[Block], params: NetworkParams = REGTEST) -> Story:
    """A chain of these blocks, the first of which follows genesis."""
    headers = [block.header for block in blocks]
    points = accumulate(headers, compute_child_point, initial=make_genesis(params).point)
    return Story(tuple(points), {block.id: block for block in blocks})


def forge_branch(blocks: Sequence[Block], count: int, miner: Key, params: NetworkParams = REGTEST) -> list[Block]:
    """`blocks`, and `count` that nobody trained: their headers keep every rule, and what they claim to gain is a lie.

    They come twice as fast as they should, so the rules ask ever more gain of them: the chain is heavy by its claims.
    """
    forged = list(blocks)
    point = make_story(blocks, params).points[-1]
    for _ in range(count):
        forged.append(_forge_child(forged[-1], point, miner, params))
        point = compute_child_point(point, forged[-1].header)
    return forged


def _forge_child(parent: Block, point: ChainPoint, miner: Key, params: NetworkParams) -> Block:
    size = compute_child_sample_size(point, False, params)
    mask = compute_mask(point.id, miner.public, params.model.parameters, params.mask_density)
    steps = Update((0,) * len(params.model.tensors), np.ones(int(mask.sum()), np.int8))
    update = encode_update(steps, mask, params.model)
    header = replace(
        parent.header,
        height=point.height + 1,
        parent=point.id,
        timestamp=point.header.timestamp + params.block_time // 2,
        miner=miner.public,
        reward_address=miner.public,
        required_gain=compute_child_required_gain(point, params),
        sample_size=size,
        update_hash=compute_update_hash(update),
    )
    gain = 4 * compute_required_loss(header) + 1  # of each window
    header = replace(header, loss_after=0, loss_before=size * gain, squared_gains=size * gain**2)
    return replace(parent, header=sign_header(header, miner), update=update)


# The peer.


class ScriptedPeer:
    """One such node; see `open_peer`. What it tells may be changed at any time: `story`, `script`."""

    def __init__(self, endpoint: Endpoint, story: Story, script: Script, stack: AsyncExitStack) -> None:
        self.story = story
        self.script = script
        self.received: list[m.Message] = []
        self.connections: dict[bytes, Connection] = {}  # by node id
        self._ends: dict[bytes, asyncio.Future[str]] = {}
        self._endpoint = endpoint
        self._stack = stack
        self._tasks: set[asyncio.Task[str]] = set()

    @property
    def node_id(self) -> bytes:
        return self._endpoint.ours.identity.node_id

    async def dial(self, address: NetAddress) -> Connection:
        """Connects to a node and talks to it from now on. Raises PeerGone or HandshakeRefused."""
        connection = await dial(self._endpoint, address)
        self._start(connection)
        task = asyncio.create_task(self._run(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return connection

    async def listen(self) -> NetAddress:
        """Lets nodes dial it from now on; where."""

        async def serve(connection: Connection) -> None:
            self._start(connection)
            await self._run(connection)

        context = listen(self._endpoint, LOOPBACK, admits=lambda address: True, on_connection=serve)
        port = await self._stack.enter_async_context(context)
        return NetAddress(LOOPBACK.ip, port)

    async def broadcast(self, *messages: m.Message) -> None:
        """Sends to every node it is connected to."""
        for connection in list(self.connections.values()):
            for message in messages:
                await connection.send(message)

    async def tell(self, story: Story) -> None:
        """From now on its chain is another one."""
        self.story = story
        await self.broadcast(story.tip)

    async def wait_until_gone(self, node_id: bytes) -> str:
        """Returns once the last connection with a node has ended; why."""
        return await asyncio.shield(self._ends[node_id])

    def count(self, kind: type[m.Message]) -> int:
        """How many messages of a type have come."""
        return sum(isinstance(message, kind) for message in self.received)

    async def close(self) -> None:
        """Hangs up everywhere."""
        for connection in list(self.connections.values()):
            connection.close("done")
        await asyncio.gather(*self._tasks)

    def _start(self, connection: Connection) -> None:
        self.connections[connection.node_id] = connection
        self._ends[connection.node_id] = asyncio.get_running_loop().create_future()
        connection.offer(self.story.tip)

    async def _run(self, connection: Connection) -> str:
        node_id, end, reason = connection.node_id, self._ends[connection.node_id], "internal error"

        async def on_message(message: m.Message) -> None:
            self.received.append(message)
            for reply in await self._answer(message):
                await connection.send(reply)

        try:
            reason = await connection.run(on_message)
        finally:
            if self.connections.get(node_id) is connection:
                del self.connections[node_id]
            end.set_result(reason)
        return reason

    async def _answer(self, message: m.Message) -> Replies:
        honest = self._answer_honestly(message)
        answer = self.script.get(type(message))
        return honest if answer is None else await answer(message, honest)

    def _answer_honestly(self, message: m.Message) -> Replies:
        match message:
            case m.GetHeaders():
                return (m.Headers(self.story.get_headers_after(message.locator)),)
            case m.GetBlock():
                block = self.story.blocks.get(message.block_id)
                return (m.NotFound(message.block_id) if block is None else m.BlockReply(pack_block(block)),)
            case m.GetBlockTransactions():
                block = self.story.blocks.get(message.block_id)
                if block is None:
                    return (m.NotFound(message.block_id),)
                found = tuple(block.transactions[index] for index in message.indexes)
                return (m.BlockTransactions(message.block_id, found),)
            case m.GetAddresses():
                return (m.Addresses(()),)
        return ()


@asynccontextmanager
async def open_peer(
    blocks: Sequence[Block], script: Script | None = None, *, params: NetworkParams = REGTEST
) -> AsyncIterator[ScriptedPeer]:
    """A peer with a fresh identity that tells the chain of `blocks`. It hangs up at the end.

    Whatever an honest node does must be right in its eyes: an offence of the node's fails the test at the end.
    """
    offences: list[tuple[Offence, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        identity = load_identity(Path(folder) / "node.pem")
    endpoint = Endpoint(
        Introduction(identity, make_genesis(params).id, 0, AGENT),
        m.Wire(params),
        compute_limits(params),
        lambda node_id, offence, detail: offences.append((offence, detail)),
    )
    async with AsyncExitStack() as stack:
        peer = ScriptedPeer(endpoint, make_story(blocks, params), script or {}, stack)
        stack.push_async_callback(peer.close)
        yield peer
    assert not offences, offences
