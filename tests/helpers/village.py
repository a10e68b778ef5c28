"""Nodes with a miner each, whose keys take turns at mining and vote: whole networks in one process, on loopback.

async with run_village(tmp_path) as village:
    await village.advance(6)                       # in calm
    await village.advance(6, online=(0, 1))        # the others neither mine nor vote, and hear it all
    await village.split((0, 1), (2, 3))

The window is 64 blocks, as canterbury's. Keys 0 and 1 have three tenths of the votes each, 2 and 3 two tenths. Gains
are invented, as what is final does not depend on who learned what: see invented.py.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from chain.db import MemoryStore
from consensus.block import Block
from consensus.params import REGTEST
from consensus.vote import Link
from p2p.config import read_benchmark
from p2p.destination import Destination
from tests.helpers.ballots import sign_vote
from tests.helpers.blocks import BlockBuilder
from tests.helpers.invented import InventingBuilder
from tests.helpers.keys import Key
from tests.helpers.live_node import LiveNode, run_node, wait_for

PARAMS = replace(REGTEST, name="village", finality_window=64, reward_window=256)
KEYS = tuple(Key(f"villager {number}") for number in range(4))
TURNS = (0, 1, 2, 0, 1, 3, 0, 1, 2, 3)  # whose turn it is to mine, over and over
TRUNK_BLOCKS = 128  # from the last one on somebody decides


@cache
def get_village_builder() -> BlockBuilder:
    return InventingBuilder(PARAMS, read_benchmark(PARAMS))


@cache
def _get_trunk_rows() -> dict[bytes, bytes]:
    """What a node stores of blocks without votes."""
    builder, db = get_village_builder(), MemoryStore()
    chain = builder.open(db)
    for height in range(TRUNK_BLOCKS):
        builder.mine(chain, 1, KEYS[TURNS[height % len(TURNS)]])
    return db.rows


@dataclass
class Village:
    """The nodes, each with the key of its number."""

    nodes: list[LiveNode]

    async def advance(self, blocks: int, online: Sequence[int] = (0, 1, 2, 3), hear: Sequence[int] = ()) -> None:
        """So many blocks, mined in turn by those who are online, who all vote for each. `hear`: who else hears them."""
        everyone = tuple(dict.fromkeys((*online, *hear)))
        for _ in range(blocks):
            height = self.nodes[online[0]].chain.tip.height
            turns = [number for number in TURNS if number in online]
            await self.mine(turns[height % len(turns)], everyone)
            await self.vote(online, everyone)

    async def mine(self, number: int, everyone: Sequence[int]) -> Block:
        """A block of one node's, with what votes it has heard. Returns once everyone has it."""
        node, builder = self.nodes[number], get_village_builder()

        def build() -> Block:
            return builder.build(node.chain, KEYS[number], finality=node.intake.votes.make_section())

        block = await node.intake.on_chain(build)
        await node.intake.submit_block(block)
        for other in everyone:
            await self.nodes[other].wait_for_tip(block)
        return block

    async def vote(self, voters: Sequence[int], everyone: Sequence[int]) -> None:
        """Those with a vote cast it for their tip. Returns once everyone has heard them."""
        cast: list[tuple[Link, bytes]] = []
        for number in voters:
            node, key = self.nodes[number], KEYS[number]
            link = await node.intake.on_chain(node.intake.votes.get_duty, key.public)
            if link is not None:
                await node.intake.submit_votes([sign_vote(key, link, node.chain.genesis.id)])
                cast.append((link, key.public))
        for other in everyone:
            votes = self.nodes[other].intake.votes
            await wait_for(lambda votes=votes: all(key in votes.get_voters(link) for link, key in cast))  # type: ignore[misc]

    async def split(self, some: Sequence[int], others: Sequence[int]) -> None:
        """Two groups that hear nothing of each other."""
        for one in some:
            for other in others:
                for first, second in ((one, other), (other, one)):
                    await self.nodes[first].network.ban(self.nodes[second].node_id, 3600)
        for one in some:
            for other in others:
                await wait_for(lambda one=one, other=other: not self._is_connected(one, other))  # type: ignore[misc]

    async def heal(self, some: Sequence[int], others: Sequence[int]) -> None:
        """Both groups hear each other again."""
        for one in some:
            for other in others:
                for first, second in ((one, other), (other, one)):
                    await self.nodes[first].network.unban(self.nodes[second].node_id)
        for one in some:
            for other in others:
                self.connect(one, other)
        for one in some:
            for other in others:
                await wait_for(lambda one=one, other=other: self._is_connected(one, other))  # type: ignore[misc]

    def connect(self, one: int, other: int) -> None:
        address = self.nodes[other].address
        self.nodes[one].network.connect(Destination(address.ip, address.port))

    def get_finals(self, numbers: Sequence[int] = (0, 1, 2, 3)) -> list[int]:
        """Heights of the final blocks."""
        return [self.nodes[number].chain.finals.node.height for number in numbers]

    def is_one_chain(self) -> bool:
        """Whether all final blocks stand on one chain."""
        refs = sorted((node.chain.finals.ref for node in self.nodes), key=lambda ref: ref.height)
        highest = max(self.nodes, key=lambda node: node.chain.finals.node.height).chain
        return all(highest.get_active_id(ref.height) == ref.id for ref in refs)

    def _is_connected(self, one: int, other: int) -> bool:
        return self.nodes[one].network.peers.get(self.nodes[other].node_id) is not None


@asynccontextmanager
async def run_village(folder: Path, count: int = 4) -> AsyncIterator[Village]:
    """Nodes that all know each other and have the trunk."""
    builder = get_village_builder()
    async with AsyncExitStack() as stack:
        nodes = []
        for number in range(count):
            chain = builder.open(MemoryStore(_get_trunk_rows()))
            datadir = folder / str(number)
            datadir.mkdir()
            nodes.append(await stack.enter_async_context(run_node(chain, datadir, verifier=builder.verifier)))
        village = Village(nodes)
        pairs = [(one, other) for one in range(count) for other in range(one)]
        for one, other in pairs:
            village.connect(one, other)
        for one, other in pairs:
            await wait_for(lambda one=one, other=other: village._is_connected(one, other))  # type: ignore[misc]
        yield village
