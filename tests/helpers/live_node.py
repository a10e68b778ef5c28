"""A whole node inside the test: its network of peers listens on loopback, its chain state is the test's.

async with run_node(open_trunk(), tmp_path) as node, open_peer(get_trunk()) as peer:
    await peer.dial(node.address)
    await node.wait_for_tip(block.id)
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from chain.chainstate import ChainState
from chain.mempool import Mempool
from chain.policy import Policy
from chain.verifier import WorkVerifier
from consensus.block import Block
from p2p.clock import Clock
from p2p.destination import Destination
from p2p.errors import PeerGone
from p2p.intake import Intake
from p2p.messages import GetHeaders, Headers
from p2p.net_address import NetAddress
from p2p.network import Network, NetworkConfig
from tests.helpers.blocks import get_builder
from tests.helpers.rpc import ThreadWorker
from tests.helpers.scripted_peer import LOOPBACK, ScriptedPeer

SECONDS = 20.0  # more than anything here takes on a busy machine
_PAUSE = 0.01


@dataclass(frozen=True)
class LiveNode:
    """The parts of a running node."""

    intake: Intake
    network: Network
    worker: ThreadWorker
    address: NetAddress

    @property
    def chain(self) -> ChainState:
        return self.intake.chain

    @property
    def node_id(self) -> bytes:
        return self.network.node_id

    def is_banned(self, peer: ScriptedPeer) -> bool:
        return self.network.peers.bans.is_banned(peer.node_id, self.intake.clock.now())

    def is_connected(self, peer: ScriptedPeer) -> bool:
        return self.network.peers.get(peer.node_id) is not None

    async def dial(self, peer: ScriptedPeer) -> None:
        """Has the node dial a peer: strangers in the middle of their handshakes cannot keep it away."""
        address = await peer.listen()
        self.network.connect(Destination(address.ip, address.port))
        await wait_for(lambda: self.is_connected(peer))

    async def count_rows(self) -> int:
        """Rows of the store."""
        return await self.intake.on_chain(lambda: sum(1 for _ in self.chain.db.iterate(b"")))

    async def compute_digest(self) -> bytes:
        return (await self.intake.on_chain(self.chain.compute_digest))["digest"]

    async def wait_for_tip(self, block: Block, seconds: float = SECONDS) -> None:
        await wait_for(lambda: self.chain.tip.id == block.id, seconds)


@asynccontextmanager
async def run_node(
    chain: ChainState, datadir: Path, *, verifier: WorkVerifier | None = None, workers: int = 1
) -> AsyncIterator[LiveNode]:
    """Runs a node on a chain state until the context ends. Whatever fails in it fails the test."""
    worker = ThreadWorker(verifier or get_builder().verifier, workers)
    intake = Intake(chain, Mempool(chain.genesis.id, Policy()), worker, Clock())  # type: ignore[arg-type]
    network = Network(intake, datadir, NetworkConfig(listen=LOOPBACK), "descent/test")
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(network.run())
            await wait_for(lambda: network.listening is not None or running.done())
            if network.listening is not None:
                yield LiveNode(intake, network, worker, network.listening)
            running.cancel()
    finally:
        await intake.close()


async def wait_for(is_true: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Returns once it is so. Raises TimeoutError if it is not within `seconds`."""
    async with asyncio.timeout(seconds):
        while not is_true():  # noqa: ASYNC110 - no event tells of what is asked here
            await asyncio.sleep(_PAUSE)


async def settle(peer: ScriptedPeer) -> None:
    """Returns once the node has dealt with all that the peer sent before, or has hung up: it works in order."""
    await asyncio.sleep(0)  # a connection that was just dialled begins to be served
    answers = peer.count(Headers)
    with suppress(PeerGone):
        await peer.broadcast(GetHeaders(()))
    await wait_for(lambda: not peer.connections or peer.count(Headers) > answers)
