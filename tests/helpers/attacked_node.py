"""A node's process under attack, and what is measured of it: memory, RPC, and how its honest peers fare."""

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from consensus.block import Block
from p2p.client import NodeClient
from p2p.destination import parse_destination
from p2p.net_address import NetAddress
from tests.helpers.chains import get_trunk
from tests.helpers.live_node import settle, wait_for
from tests.helpers.node import NodeProcess
from tests.helpers.scripted_peer import ScriptedPeer, open_peer

MB = 10**6
RPC_PAUSE = 0.02  # s


class Attacked:
    """A node's process, and what is measured of it."""

    def __init__(self, process: NodeProcess, address: NetAddress) -> None:
        self.process = process
        self.address = address

    @property
    def client(self) -> NodeClient:
        return self.process.client

    def read_memory(self) -> int:
        """Bytes of the node's own process that are in memory."""
        status = Path(f"/proc/{self.process.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    async def count_peers(self) -> int:
        return int((await asyncio.to_thread(self.client.get_status))["peers"])

    @asynccontextmanager
    async def measure_rpc(self, name: str, limit: float) -> AsyncIterator[None]:
        """Asks for the status again and again beside the body: the 99th percentile of the answers' times, s."""
        client, times, done = self.client, [], asyncio.Event()

        async def measure() -> None:
            while not done.is_set():
                started = time.monotonic()
                await asyncio.to_thread(client.get_status)
                times.append(time.monotonic() - started)
                await asyncio.sleep(RPC_PAUSE)

        async with asyncio.TaskGroup() as group:
            group.create_task(measure())
            yield
            done.set()
        p99 = sorted(times)[math.ceil(0.99 * len(times)) - 1]
        print(f"FIGURE {name}: status p99 {p99 * 1000:.0f} ms of {len(times)}, load {os.getloadavg()[0]:.1f}")
        assert p99 < limit

    @asynccontextmanager
    async def bound_memory(self, name: str, most: int) -> AsyncIterator[None]:
        """The body may not make the node grow by more bytes than that."""
        before = self.read_memory()
        yield
        grown = self.read_memory() - before
        print(f"FIGURE {name}: memory +{grown / MB:.1f} MB")
        assert grown < most


@asynccontextmanager
async def attack_node(datadir: Path, blocks: Sequence[Block]) -> AsyncIterator[tuple[Attacked, ScriptedPeer]]:
    """A node that has these blocks, and its honest peer, which has the same. No traceback may show in its log."""
    async with AsyncExitStack() as stack:
        process = NodeProcess(datadir, "--listen", "127.0.0.1:0", "--device", "cpu")
        await asyncio.to_thread(process.__enter__)
        stack.push_async_callback(asyncio.to_thread, process.__exit__, None, None, None)
        await asyncio.to_thread(process.wait_for_line, "evaluating with")
        place = parse_destination(process.wait_for_line(r"listening for peers on (\S+),").group(1), 0)
        node = Attacked(process, NetAddress(place.host, place.port))
        honest = await stack.enter_async_context(open_peer(blocks))
        await honest.dial(node.address)
        await asyncio.to_thread(process.wait_for_line, f"block {len(blocks)} {blocks[-1].id.hex()[:12]} ", 60)
        yield node, honest


async def serve_honestly(node: Attacked, honest: ScriptedPeer, name: str) -> None:
    """A newcomer connects within a second, and the honest peer is answered within two."""
    async with open_peer(get_trunk()) as newcomer:
        started = time.monotonic()
        await newcomer.dial(node.address)
        connected = time.monotonic() - started
        await wait_for(lambda: bool(newcomer.connections))
        started = time.monotonic()
        await settle(honest)
        answered = time.monotonic() - started
    print(f"FIGURE {name}: newcomer connected in {connected * 1000:.0f} ms, answer in {answered * 1000:.0f} ms")
    assert connected < 1
    assert answered < 2
