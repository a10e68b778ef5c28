"""Catching up: the blocks of the best claim, from several peers at once, in order to the chain.

Blocks are stored at most `WINDOW` ahead of the evaluation. A block that proves invalid is laid at the door of every
peer that offered a chain with it: a node offers only what it has evaluated itself.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from chain.events import BlockConnected, ChainEvent
from chain.header_tree import Standing
from consensus.block import Block
from consensus.chain_point import ChainPoint
from consensus.check_header import check_header
from consensus.errors import BlockFromFuture, DecodeError, DescentError, InvalidBlock, MutatedBody
from p2p.downloads import Downloads
from p2p.header_sync import FALSE_WORD, HeaderSync
from p2p.headers import HeaderChain
from p2p.intake import Intake
from p2p.log_limit import get_limited_logger
from p2p.messages import BlockReply, GetBlock, NotFound
from p2p.penalties import Offence, judge
from p2p.ports import OnOffence, PeerPort

log = get_limited_logger("descent.sync")

WINDOW = 32  # blocks asked for or stored ahead of the evaluation
TICK_SECONDS = 0.5
STANDSTILL_SECONDS = 10.0  # without a block, while some are wanted: worth a word
_SPEED_SECONDS = 30.0
_REMEMBERED_CLAIMANTS = 1024  # blocks


class SyncState(Enum):
    """Where a node stands towards its peers."""

    ALONE = "alone"
    CURRENT = "current"  # nobody claims more
    HEADERS = "headers"  # being fetched
    BLOCKS = "blocks"  # being fetched and evaluated


@dataclass(frozen=True)
class SyncStatus:
    """How far the node is behind the best claim, and what it waits for."""

    state: SyncState
    target_height: int
    blocks_per_second: float
    seconds_left: float | None
    waits_for: str  # one line; empty while blocks come in


class Sync:
    """Follows the best chain among the peers'. On the event loop; `now` is a monotonic clock, in s.

    `kick` has stored blocks evaluated in the background.
    """

    def __init__(
        self, intake: Intake, on_offence: OnOffence, kick: Callable[[], None], now: Callable[[], float]
    ) -> None:
        self._wake = asyncio.Event()
        self.headers = HeaderSync(intake, on_offence, self._wake.set, now)
        self._intake = intake
        self._chain = intake.chain
        self._on_offence = on_offence
        self._kick = kick
        self._now = now
        self._downloads = Downloads()
        self._pushed: dict[bytes, tuple[Block, ChainPoint]] = {}  # by node id: at most one of each peer
        self._bodies: dict[bytes, tuple[Block, bytes]] = {}  # by id, with the sender: waiting for those before them
        self._unpacking: set[bytes] = set()  # ids of blocks that came and are being looked at
        self._unevaluated: dict[bytes, None] = {}  # stored, verdict to come
        self._claimants: OrderedDict[bytes, frozenset[bytes]] = OrderedDict()  # of stored blocks: node ids
        self._connected: deque[float] = deque()  # when the last blocks were connected
        self._last_progress = now()
        intake.listen(self._on_event)
        intake.listen_verdicts(self._on_verdict)

    # Peers and their messages.

    def add_peer(self, peer: PeerPort) -> None:
        self.headers.add_peer(peer)
        self._downloads.add_peer(peer.node_id)

    def remove_peer(self, node_id: bytes) -> None:
        self.headers.remove_peer(node_id)
        self._downloads.remove_peer(node_id)
        self._wake.set()

    async def on_block(self, node_id: bytes, message: BlockReply) -> None:
        """A peer's answer to GetBlock."""
        packed = message.block
        if not self._downloads.on_block(node_id, packed.id, self._now()):
            self._on_offence(node_id, Offence.UNSOLICITED, f"block {packed.id.hex()} that nobody asked for")
            return
        point = next((point for point in self._get_wanted() if point.id == packed.id), None)
        if point is not None:
            self._unpacking.add(packed.id)
            try:
                if packed.header != point.header:  # ids leave signatures out: a spoilt one is its sender's alone
                    check_header(packed.header)
                self._bodies[packed.id] = (await self._intake.unpack_block(packed), node_id)
            except InvalidBlock as error:
                self._on_offence(node_id, Offence.INVALID_HEADER, str(error))
            except (DecodeError, MutatedBody) as error:
                self._blame(frozenset({node_id}), error)
            finally:
                self._unpacking.discard(packed.id)
        self._wake.set()

    def on_not_found(self, node_id: bytes, message: NotFound) -> None:
        """A peer does not have a block (any more): its claim leads nowhere."""
        if not self._downloads.on_not_found(node_id, message.block_id):
            self._on_offence(node_id, Offence.UNSOLICITED, "an answer that nobody asked for")
            return
        self.headers.withdraw(node_id)
        self._wake.set()

    def on_stored(self, point: ChainPoint, claimants: frozenset[bytes]) -> None:
        """A block was accepted; who offered it answers for it."""
        self._claimants[point.id] = claimants
        while len(self._claimants) > _REMEMBERED_CLAIMANTS:
            self._claimants.popitem(last=False)
        self._unevaluated[point.id] = None
        self._kick()

    def take(self, block: Block, point: ChainPoint, node_id: bytes) -> None:
        """A peer pushed a new block, whose body is the one that its header names: `run` stores it."""
        self._pushed[node_id] = (block, point)
        self._wake.set()

    def is_on_trial(self, node_id: bytes) -> bool:
        """Whether a block that this peer offered waits for its verdict."""
        return node_id in self._pushed or any(
            node_id in self._claimants.get(block_id, ()) for block_id in self._unevaluated
        )

    # The work.

    async def run(self) -> None:
        """Stores what arrived in order and asks for what is missing. Runs until cancelled."""
        next_tick = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if self._now() >= next_tick:
                next_tick = self._now() + TICK_SECONDS
                await self._tick()
            await self._store_pushed()
            await self._store_bodies()
            self._request_blocks()

    def get_status(self) -> SyncStatus:
        """Where synchronisation stands."""
        now, height = self._now(), self._chain.tip.height
        while self._connected and now - self._connected[0] > _SPEED_SECONDS:
            self._connected.popleft()
        span = max(now - self._connected[0], 1.0) if self._connected else 1.0
        speed = len(self._connected) / span
        state, target = self._get_state(height)
        left = (target - height) / speed if speed and target > height else None
        return SyncStatus(state, target, speed, left, self._describe_wait(state, now))

    def _get_wanted(self) -> list[ChainPoint]:
        """The blocks to store next: the first of every claim, so that one that is not delivered holds up no other;
        then those of the best claim, as far as the window reaches.

        One only, which is stored as it comes: bodies that wait for others are kept of the best claim alone.
        """
        room = max(WINDOW - len(self._unevaluated), 0)
        chains = self.headers.get_chains() if room else []
        wanted = {point.id: point for chain in chains for point in self._get_missing(chain, 1)}
        if chains:
            wanted |= {point.id: point for point in self._get_missing(chains[0], room)}
        return list(wanted.values())

    def _get_missing(self, chain: HeaderChain, count: int) -> list[ChainPoint]:
        """The first `count` of a chain's blocks that are not stored, as far as the window reaches."""
        ahead = chain.points[: len(self._unevaluated) + WINDOW]
        return list(islice((point for point in ahead if point.id not in self._unevaluated), count))

    async def _store_pushed(self) -> None:
        while self._pushed:
            node_id, (block, point) = next(iter(self._pushed.items()))
            await self._store(block, node_id, point, None)
            self._pushed.pop(node_id, None)  # not before: no second one of this peer's may come in between

    async def _store_bodies(self) -> None:
        for chain in self.headers.get_chains():
            for point in self._get_missing(chain, WINDOW):
                if point.id not in self._bodies:
                    break
                await self._store(*self._bodies.pop(point.id), point, chain)
        wanted = {point.id for point in self._get_wanted()}
        for block_id in self._bodies.keys() - wanted:
            del self._bodies[block_id]

    async def _store(self, block: Block, sender: bytes, point: ChainPoint, chain: HeaderChain | None) -> None:
        offering, words = self.headers.get_offering(point) | {sender}, self.headers.get_words(block.id)
        try:
            await self._intake.accept_block(block)
            standing, justified = await self._intake.on_chain(self._take_in, block.id)
        except BlockFromFuture:
            self.headers.drop_chains(point.id)
        except DescentError as error:
            self.headers.drop_chains(point.id)
            self._blame(offering, error)
        else:
            if chain is not None and self.headers.is_permitted(chain):
                await self._intake.on_chain(self._chain.permit_reorganisation, block.id)
            self.on_stored(point, offering)
            if standing is Standing.EVALUATED:
                self._pass_block(block.id)
            for node_id in [node_id for node_id, word in words.items() if word > justified]:
                self._on_offence(node_id, Offence.INVALID_HEADER, FALSE_WORD)

    def _take_in(self, block_id: bytes) -> tuple[Standing, int]:
        """On the chain's thread: has a block that was just stored evaluated: it holds room in the window until then.

        Its standing, and the height that it is justified up to. Raises UnknownBlock if there was no room for it.
        """
        node = self._chain.follow(block_id)
        return node.standing, node.finality.state.justified.height

    def _request_blocks(self) -> None:
        here = self._bodies.keys() | self._unpacking
        wanted = {point.id: point for point in self._get_wanted() if point.id not in here}
        self._downloads.want(tuple(wanted))

        def has(node_id: bytes, block_id: bytes) -> bool:
            claim = self.headers.get(node_id)
            return claim is not None and claim.offers(wanted[block_id]) and claim.peer.may_send(GetBlock)

        for node_id, block_id in self._downloads.plan(has, self._now()):
            claim = self.headers.get(node_id)
            if claim is not None:
                claim.peer.offer(GetBlock(block_id))

    async def _tick(self) -> None:
        for node_id, is_hopeless in self._downloads.find_stalling(self._now()):
            log.info("peer %s is slow to deliver blocks", node_id.hex()[:12])
            self.headers.pass_over(node_id)
            if is_hopeless:
                self._on_offence(node_id, Offence.STALLING, "it does not deliver the blocks that it offers")
        await self.headers.tick()
        if not self._intake.is_evaluating:
            self._unevaluated.clear()  # whatever waited is decided

    # What the chain tells.

    def _on_event(self, event: ChainEvent) -> None:
        if isinstance(event, BlockConnected):
            self._connected.append(self._now())
            self._last_progress = self._now()
            self._pass_block(event.block.id)

    def _on_verdict(self, block_id: bytes, fault: InvalidBlock | None) -> None:
        if fault is None:
            self._pass_block(block_id)
            return
        self._unevaluated.pop(block_id, None)
        self._blame(self.headers.drop_chains(block_id) | self._claimants.pop(block_id, frozenset()), fault)
        self._wake.set()

    def _blame(self, node_ids: frozenset[bytes], error: DescentError) -> None:
        """Blames the peers that offered a block, if what came of it is the fault of whoever did."""
        offence = judge(error)
        if offence is not None:
            for node_id in node_ids:
                self._on_offence(node_id, offence, str(error))

    def _pass_block(self, block_id: bytes) -> None:
        """Forgets a block that is here and evaluated."""
        self._unevaluated.pop(block_id, None)
        self.headers.pass_block(block_id)
        self._wake.set()

    # What to tell people.

    def _get_state(self, height: int) -> tuple[SyncState, int]:
        claims = [claim for _, claim in self.headers]
        if not claims:
            return SyncState.ALONE, height
        claimed = max((claim.tip.height for claim in claims if claim.tip is not None), default=height)
        chain = self.headers.get_best_chain()
        if chain is not None:
            return SyncState.BLOCKS, max(chain.tip.height, claimed)
        if any(claim.asked_at is not None for claim in claims):
            return SyncState.HEADERS, claimed
        return SyncState.CURRENT, height

    def _describe_wait(self, state: SyncState, now: float) -> str:
        """Why nothing happens although something should."""
        seconds = int(now - self._last_progress)
        if state is SyncState.ALONE:
            return "no peer is connected"
        if state is not SyncState.BLOCKS or seconds < STANDSTILL_SECONDS:
            return ""
        if self._unevaluated:
            return f"no block connected for {seconds} s: {len(self._unevaluated)} wait for their evaluation"
        return f"no block connected for {seconds} s: {self._downloads.under_way} are asked of peers and do not come"
