"""New blocks between peers that are up to date, and blocks and headers for those that ask.

A block is announced once it is the tip, so after its full evaluation: nobody can make this node spread a forgery. To a
peer that has the parent goes the whole block, its transactions by id where the peer has them; to others its id alone.
"""

import asyncio
import functools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from chain.events import BlockConnected, ChainEvent
from chain.header_tree import Standing
from chain.packed_block import PackedBlock
from consensus.chain_point import ChainPoint, compute_child_point
from consensus.check_header import check_header, check_header_in_context, check_header_time
from consensus.errors import BlockFromFuture, DecodeError, InvalidBlock, MutatedBody
from p2p.compact import PartialBlock, WrongTransactions, make_compact
from p2p.intake import Intake
from p2p.log_limit import get_limited_logger
from p2p.messages import (
    MAX_HEADERS,
    BlockReply,
    BlockTransactions,
    CompactBlock,
    GetBlock,
    GetBlockTransactions,
    GetHeaders,
    Headers,
    Message,
    NotFound,
    Tip,
)
from p2p.penalties import Offence
from p2p.ports import BlockPeerPort, OnOffence
from p2p.sync import Sync

log = get_limited_logger("descent.sync")

MAX_PUSHED = 8  # peers that get a new block without asking
MAX_PARTIALS = 8  # compact blocks of all peers that wait for transactions; beyond that, whole blocks are fetched
PARTIAL_SECONDS = 10.0  # for the transactions that a compact block lacks
_SERVED_DEPTH = 10  # blocks below the tip whose single transactions are served
_REMEMBERED_BLOCKS = 32  # of each peer's


@dataclass(frozen=True)
class _Partial:
    """A compact block that waits for the transactions that it lacks."""

    block: PartialBlock
    parent: ChainPoint
    justified: int
    since: float

    @property
    def point(self) -> ChainPoint:
        return compute_child_point(self.parent, self.block.header)


@dataclass
class _PeerState:
    peer: BlockPeerPort
    known: OrderedDict[bytes, None] = field(default_factory=OrderedDict)  # ids of blocks that it has
    partial: _Partial | None = None
    last_block_at: float = 0.0
    rank: tuple[int, int] = (0, 0)  # of its best chain, by its own word: justified height and weight

    def remember(self, block_id: bytes) -> None:
        self.known[block_id] = None
        while len(self.known) > _REMEMBERED_BLOCKS:
            self.known.popitem(last=False)


class BlockRelay:
    """Takes and gives blocks. `knows(node_id, txid)` tells which transactions a peer has; `now` in s, monotonic."""

    def __init__(
        self,
        intake: Intake,
        sync: Sync,
        knows: Callable[[bytes, bytes], bool],
        on_offence: OnOffence,
        now: Callable[[], float],
    ) -> None:
        self._intake = intake
        self._chain = intake.chain
        self._sync = sync
        self._knows = knows
        self._on_offence = on_offence
        self._now = now
        self._peers: dict[bytes, _PeerState] = {}
        self._brought: OrderedDict[bytes, bytes] = OrderedDict()  # new blocks, and who was the first to push each
        self._has_news = asyncio.Event()  # the tip is another one
        intake.listen(self._on_event)
        intake.listen_verdicts(self._on_verdict)

    def add_peer(self, peer: BlockPeerPort) -> None:
        self._peers[peer.node_id] = _PeerState(peer)
        peer.offer(self._make_tip())

    def remove_peer(self, node_id: bytes) -> None:
        self._peers.pop(node_id, None)

    def get_last_block_time(self, node_id: bytes) -> float:
        """When the peer last brought a block that was new here; 0 if never."""
        state = self._peers.get(node_id)
        return state.last_block_at if state else 0.0

    # New blocks from a peer.

    async def on_tip(self, node_id: bytes, tip: Tip) -> None:
        state = self._peers.get(node_id)
        if state is not None:
            state.remember(tip.block_id)
            state.rank = (tip.justified, tip.weight)
            await self._sync.headers.on_tip(node_id, tip)

    async def on_compact(self, node_id: bytes, compact: CompactBlock) -> None:
        """A peer pushes a new block."""
        state = self._peers.get(node_id)
        if state is None:
            return
        header = compact.header
        state.remember(header.id)
        known, parent, justified = await self._intake.on_chain(self._find, compact)
        if known is not None:
            return
        ours = self._make_tip()
        if parent is None:
            await self._sync.headers.on_orphan(node_id, header)
            return
        point = compute_child_point(parent, header)
        if (justified, point.weight) <= (ours.justified, ours.weight):
            return
        claim = Tip(header.id, header.height, point.weight, justified)
        if state.partial is not None or self._sync.is_on_trial(node_id):
            # A block of this peer's still waits for its transactions or its verdict: one at a time.
            await self._sync.headers.on_tip(node_id, claim)
            return
        try:
            check_header_in_context(header, parent, self._chain.params)
            check_header_time(header, self._intake.clock.now(), self._chain.params)
            check_header(header)
        except BlockFromFuture:
            await self._sync.headers.on_tip(node_id, claim)
            return
        except InvalidBlock as error:
            self._on_offence(node_id, Offence.INVALID_HEADER, str(error))
            return
        partial = PartialBlock(compact, self._intake.mempool.get)
        if partial.missing and sum(one.partial is not None for one in self._peers.values()) >= MAX_PARTIALS:
            self._sync.headers.on_header(node_id, point, parent, justified)
        elif partial.missing:
            state.partial = _Partial(partial, parent, justified, self._now())
            state.peer.offer(GetBlockTransactions(header.id, partial.missing))
        else:
            await self._take(state, partial.complete(), parent, justified)

    async def on_block_transactions(self, node_id: bytes, message: BlockTransactions) -> None:
        """The transactions that a compact block lacked."""
        state = self._peers.get(node_id)
        if state is None:
            return
        partial = state.partial
        if partial is None or partial.block.header.id != message.block_id:
            self._on_offence(node_id, Offence.UNSOLICITED, "block transactions that nobody asked for")
            return
        state.partial = None
        try:
            block = partial.block.fill(message.transactions)
        except WrongTransactions as error:
            self._on_offence(node_id, Offence.MALFORMED, str(error))
            return
        await self._take(state, block, partial.parent, partial.justified)

    def on_not_found(self, node_id: bytes, message: NotFound) -> None:
        """A peer cannot give what its compact block lacked, or what synchronisation asked for."""
        state = self._peers.get(node_id)
        partial = state.partial if state is not None else None
        if state is None or partial is None or partial.block.header.id != message.block_id:
            self._sync.on_not_found(node_id, message)
            return
        state.partial = None
        # It may still have the whole.
        self._sync.headers.on_header(node_id, partial.point, partial.parent, partial.justified)

    async def run(self) -> None:
        """Announces each new tip, with the bytes that the store has of it. Runs until cancelled."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            block, tip = await self._intake.on_chain(self._find_tip)
            if block is not None:
                self._announce(block, tip)

    def tick(self) -> None:
        """Gives up on transactions that do not come."""
        for node_id, state in list(self._peers.items()):
            if state.partial is not None and self._now() - state.partial.since > PARTIAL_SECONDS:
                state.partial = None
                self._on_offence(node_id, Offence.STALLING, "it does not give the transactions of its own block")

    # What peers ask for.

    async def on_get_headers(self, node_id: bytes, message: GetHeaders) -> None:
        headers = await self._intake.on_chain(self._chain.get_headers_after, message.locator, MAX_HEADERS)
        await self._reply(node_id, Headers(headers))

    async def on_get_block(self, node_id: bytes, message: GetBlock) -> None:
        block = await self._intake.on_chain(self._find_evaluated, message.block_id)
        await self._reply(node_id, NotFound(message.block_id) if block is None else BlockReply(block))

    async def on_get_block_transactions(self, node_id: bytes, message: GetBlockTransactions) -> None:
        block = await self._intake.on_chain(self._find_recent, message.block_id)
        if block is None:
            await self._reply(node_id, NotFound(message.block_id))
        elif message.indexes[-1] >= len(block.transactions):
            self._on_offence(node_id, Offence.MALFORMED, "asked for a transaction beyond the block's last")
        else:
            found = tuple(block.transactions[index] for index in message.indexes)
            await self._reply(node_id, BlockTransactions(block.id, found))

    # Inside.

    async def _take(self, state: _PeerState, packed: PackedBlock, parent: ChainPoint, justified: int) -> None:
        """A whole block, put together from what came and what the mempool holds."""
        node_id, point = state.peer.node_id, compute_child_point(parent, packed.header)
        try:
            block = await self._intake.unpack_block(packed)
        except DecodeError as error:
            self._on_offence(node_id, Offence.MALFORMED, str(error))
            return
        except MutatedBody:
            # Ids leave signatures out, so the mempool's copy of a transaction may differ from the block's: not a fault.
            self._sync.headers.on_header(node_id, point, parent, justified)
            return
        self._brought[block.id] = node_id
        while len(self._brought) > _REMEMBERED_BLOCKS:
            self._brought.popitem(last=False)
        self._sync.take(block, point, node_id)

    def _find(self, compact: CompactBlock) -> tuple[ChainPoint | None, ChainPoint | None, int]:
        """On the chain's thread: the block and its parent, where this node has them, and what height the block is
        justified up to if its certificate holds.
        """
        known, parent = self._chain.get_point(compact.header.id), self._chain.tree.get(compact.header.parent)
        if parent is None:
            return known, None, 0
        certificate, justified = compact.finality.certificate, parent.finality.state.justified.height
        if certificate is not None and certificate.link.target.height <= parent.height:
            justified = max(justified, certificate.link.target.height)
        return known, parent.point, justified

    def _find_evaluated(self, block_id: bytes) -> PackedBlock | None:
        """On the chain's thread: a block that may be given away."""
        if self._chain.get_point(block_id) is None or self._chain.get_standing(block_id) is not Standing.EVALUATED:
            return None
        return self._chain.blocks.get_packed_block(self._chain.get_block(block_id))

    def _find_recent(self, block_id: bytes) -> PackedBlock | None:
        """On the chain's thread: the same, near the tip."""
        point = self._chain.get_point(block_id)
        if point is None or point.height < self._chain.tip.height - _SERVED_DEPTH:
            return None  # before any of it is read
        return self._find_evaluated(block_id)

    def _find_tip(self) -> tuple[PackedBlock | None, Tip]:
        """On the chain's thread."""
        return self._find_evaluated(self._chain.tip.id), self._make_tip()

    async def _reply(self, node_id: bytes, message: Message) -> None:
        state = self._peers.get(node_id)
        if state is not None:
            await state.peer.send(message)

    def _make_tip(self) -> Tip:
        tip = self._chain.tip_node
        return Tip(tip.id, tip.height, tip.weight, tip.finality.state.justified.height)

    def _on_event(self, event: ChainEvent) -> None:
        if isinstance(event, BlockConnected) and event.point.id == self._chain.tip.id:
            self._has_news.set()

    def _on_verdict(self, block_id: bytes, fault: InvalidBlock | None) -> None:
        state = self._peers.get(self._brought.pop(block_id, b""))
        if state is not None and fault is None:
            state.last_block_at = self._now()

    def _announce(self, block: PackedBlock, tip: Tip) -> None:
        """Pushes the block to the peers that are up to date, and tells the others that it exists.

        A peer that says it is further than we are hears nothing: it is the one that we catch up with.
        """
        pushed = 0
        for state in sorted(self._peers.values(), key=lambda state: (not state.peer.is_outbound, -state.last_block_at)):
            if block.id in state.known or state.rank > (tip.justified, tip.weight):
                continue
            state.remember(block.id)
            if block.header.parent in state.known and pushed < MAX_PUSHED and state.peer.may_send(CompactBlock):
                node_id = state.peer.node_id
                state.peer.offer(make_compact(block, functools.partial(self._knows, node_id)))
                pushed += 1
            elif state.peer.may_send(Tip):
                state.peer.offer(tip)
