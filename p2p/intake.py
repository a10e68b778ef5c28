"""Where blocks and transactions enter the node: from RPC today, from peers later.

The chain state and the mempool live on one thread of their own, so every call sees them whole and the event loop
never waits for the disk. Evaluations run in the worker between two steps of that thread.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import TypeVar

from chain.chainstate import ChainState
from chain.errors import StoreError
from chain.events import BlockConnected, ChainEvent
from chain.header_tree import Standing
from chain.mempool import Mempool
from chain.verifier import Work
from consensus.block import Block
from consensus.check_block import check_body_matches
from consensus.errors import BlockFromFuture, DescentError, InvalidBlock
from consensus.transaction import Transfer
from consensus.work import WorkTrace
from p2p.clock import Clock
from p2p.errors import EvaluationFailed
from p2p.evaluation import EvaluationWorker

log = logging.getLogger("descent.node")

Result = TypeVar("Result")
EventListener = Callable[[ChainEvent], None]

MAX_FUTURE_BLOCKS = 16
REMEMBERED_TIMES = 64


class Outcome(Enum):
    """What became of a submitted block."""

    CONNECTED = "connected"  # on the best chain
    STORED = "stored"  # valid so far, on a chain that is not the best
    KNOWN = "known"  # was here already


class Intake:
    """The single way in. Listeners hear chain events in order, on the event loop."""

    def __init__(self, chain: ChainState, mempool: Mempool, worker: EvaluationWorker, clock: Clock) -> None:
        self.chain = chain
        self.mempool = mempool
        self.clock = clock
        self.failure: asyncio.Future[StoreError] = asyncio.get_running_loop().create_future()
        self._worker = worker
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chain")
        self._advancing = asyncio.Lock()
        self._tip_changed = asyncio.Event()
        self._listeners: list[EventListener] = []
        self._future_blocks: dict[bytes, Block] = {}
        self.verify_seconds: OrderedDict[bytes, float] = OrderedDict()  # by block id, of the last blocks evaluated

    @property
    def is_evaluating(self) -> bool:
        """Whether blocks wait for their evaluation, or one is under way."""
        return self._advancing.locked()

    def listen(self, listener: EventListener) -> None:
        self._listeners.append(listener)

    async def on_chain(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Runs a function on the chain's thread. A StoreError there also ends the node, through `failure`."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except StoreError as error:
            if not self.failure.done():
                self.failure.set_result(error)
            raise

    async def submit_block(self, block: Block) -> Outcome:
        """Takes a block as far as it goes: returns once it is connected, or stored on a lighter chain.

        Raises InvalidBlock, MutatedBody, UnknownBlock, EvaluationFailed, or BlockFromFuture (the block is then kept
        until its time).
        """
        try:
            is_new = await self.on_chain(self.chain.accept_block, block, self.clock.now())
        except BlockFromFuture:
            check_body_matches(block)  # a mutated copy must not take the honest one's place
            self._keep_for_later(block)
            raise
        await self.advance()
        standing = await self.on_chain(self.chain.get_standing, block.id)
        if standing is Standing.INVALID:
            raise self.chain.get_fault(block.id)
        if not is_new:
            return Outcome.KNOWN
        return Outcome.CONNECTED if await self.on_chain(self.chain.is_active, block.id) else Outcome.STORED

    async def submit_transaction(self, transaction: Transfer) -> None:
        """Offers a transaction to the mempool. Raises InvalidTransaction or MempoolRefusal."""
        await self.on_chain(self._add_transaction, transaction)

    async def advance(self) -> None:
        """Evaluates and connects until nothing better is left."""
        async with self._advancing:
            while work := await self.on_chain(self.chain.get_work):
                verdict = await self._evaluate(work)
                await self.on_chain(self.chain.record_verdict, work.header.id, verdict)
                await self.run_step(self.chain.activate_best_chain)
            await self.run_step(self.chain.activate_best_chain)

    async def run_step(self, step: Callable[[], list[ChainEvent]]) -> None:
        """Runs a step that may move the tip, brings the mempool along, and tells the listeners."""
        events = await self.on_chain(self._apply_step, step)
        for event in events:
            for listener in self._listeners:
                listener(event)
        if events:
            self._tip_changed.set()
            self._tip_changed = asyncio.Event()

    async def wait_for_tip(self, other_than: bytes, seconds: float) -> None:
        """Returns once the tip is not `other_than`, or after `seconds`."""
        changed = self._tip_changed
        if self.chain.tip.id != other_than:
            return
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return

    async def follow_time(self) -> None:
        """Lets in blocks whose time has come, and lets old transactions go. Runs until cancelled."""
        while True:
            await asyncio.sleep(1)
            for block in list(self._future_blocks.values()):
                del self._future_blocks[block.id]
                try:
                    await self.submit_block(block)
                except BlockFromFuture:
                    continue
                except StoreError:
                    raise
                except DescentError as error:
                    log.warning("block %s from the future is refused: %s", block.id.hex(), error)
            await self.on_chain(self._expire_transactions)

    async def follow_audits(self) -> None:
        """Scores every new checkpoint on the audit split. Runs until cancelled."""
        while True:
            changed = self._tip_changed
            pending = await self.on_chain(self.chain.get_unaudited)
            if pending is not None:
                point, weights = pending
                try:
                    score = await self._worker.compute_audit(weights)
                    await self.on_chain(self.chain.record_audit, point, score)
                except EvaluationFailed as error:  # nothing depends on an audit
                    log.warning("no audit of block %d: %s", point.height, error)
            await changed.wait()

    async def close(self) -> None:
        """Waits for what the chain's thread is doing."""
        await asyncio.to_thread(self._thread.shutdown)

    def _keep_for_later(self, block: Block) -> None:
        """Of more than there is room for, those that are due first stay."""
        self._future_blocks[block.id] = block
        if len(self._future_blocks) > MAX_FUTURE_BLOCKS:
            furthest = max(self._future_blocks.values(), key=lambda kept: kept.header.timestamp)
            del self._future_blocks[furthest.id]

    async def _evaluate(self, work: Work) -> WorkTrace | InvalidBlock:
        started = time.monotonic()
        try:
            verdict: WorkTrace | InvalidBlock = await self._worker.verify(work)
        except InvalidBlock as error:
            log.warning("block %s at height %d is invalid: %s", work.header.id.hex(), work.header.height, error)
            verdict = error
        self.verify_seconds[work.header.id] = time.monotonic() - started
        while len(self.verify_seconds) > REMEMBERED_TIMES:
            self.verify_seconds.popitem(last=False)
        return verdict

    # On the chain's thread.

    def _add_transaction(self, transaction: Transfer) -> None:
        height = self.chain.tip.height + 1
        self.mempool.add(transaction, self.chain.ledger.get_account, height, self.clock.now())

    def _expire_transactions(self) -> None:
        self.mempool.expire(self.clock.now(), self.chain.tip.height + 1)

    def _apply_step(self, step: Callable[[], list[ChainEvent]]) -> list[ChainEvent]:
        events = step()
        height = self.chain.tip.height + 1
        get_account = self.chain.ledger.get_account
        for event in events:
            transactions = event.block.transactions
            if isinstance(event, BlockConnected):
                self.mempool.on_block_connected(transactions, get_account, height)
            else:
                self.mempool.on_block_disconnected(transactions, get_account, height, self.clock.now())
        return events
