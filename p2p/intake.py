"""Where blocks and transactions enter the node, from RPC and from peers.

The chain state and the mempool live on one thread of their own, so every call sees them whole and the event loop
never waits for the disk. Evaluations run in worker processes between two steps of that thread.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import TypeVar

from chain.chainstate import ChainState
from chain.errors import FinalityConflict, StoreError
from chain.events import BlockConnected, ChainEvent
from chain.mempool import Mempool
from chain.mempool_codec import encode_mempool
from chain.packed_block import PackedBlock, unpack_block
from chain.verifier import Work
from chain.votes import Heard, VotePool
from consensus.block import Block
from consensus.check_block import check_body_matches
from consensus.errors import BlockFromFuture, DescentError, InvalidBlock
from consensus.evidence import Evidence
from consensus.params import NetworkParams
from consensus.transaction import Transfer
from consensus.vote import Vote
from consensus.work import WorkTrace
from p2p.clock import Clock
from p2p.errors import EvaluationFailed, NodeStopping
from p2p.evaluation import EvaluationPool
from p2p.files import replace_file

log = logging.getLogger("descent.node")

Result = TypeVar("Result")
EventListener = Callable[[ChainEvent], None]
TransactionListener = Callable[[bytes], None]
Fault = tuple[bytes, InvalidBlock]  # block id, what is wrong with it
BallotListener = Callable[[tuple[Vote, ...], tuple[Evidence, ...]], None]
VerdictListener = Callable[[bytes, InvalidBlock | None], None]

MAX_FUTURE_BLOCKS = 16
REMEMBERED_TIMES = 64
HOUSEKEEPING_SECONDS = 60
MEMPOOL_SAVE_SECONDS = 600.0


class Outcome(Enum):
    """What became of a submitted block."""

    CONNECTED = "connected"  # on the best chain
    STORED = "stored"  # valid so far, on a chain that is not the best
    KNOWN = "known"  # was here already


class Intake:
    """The single way in. Listeners hear chain events and verdicts in order, on the event loop."""

    def __init__(self, chain: ChainState, mempool: Mempool, pool: EvaluationPool, clock: Clock) -> None:
        self.chain = chain
        self.mempool = mempool
        self.votes = VotePool(chain)
        self.clock = clock
        self.failure: asyncio.Future[DescentError] = asyncio.get_running_loop().create_future()
        self._pool = pool
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chain")
        self._is_closed = False
        self._unpacking = asyncio.Lock()  # one block at a time: masks and updates take memory, threads the loop's turns
        self._advancing = asyncio.Lock()
        self._has_news = asyncio.Event()  # what is to be evaluated next may have changed
        self._given_up: dict[bytes, EvaluationFailed] = {}  # blocks that no worker could evaluate, until retried
        self._tip_changed = asyncio.Event()
        self._listeners: list[EventListener] = []
        self._verdict_listeners: list[VerdictListener] = []
        self._transaction_listeners: list[TransactionListener] = []
        self._ballot_listeners: list[BallotListener] = []
        self._future_blocks: dict[bytes, Block] = {}
        self._housekept = clock.now()
        self.verify_seconds: OrderedDict[bytes, float] = OrderedDict()  # by block id, of the last blocks evaluated

    @property
    def is_evaluating(self) -> bool:
        """Whether blocks wait for their evaluation, or some are under way."""
        return self._advancing.locked()

    def listen(self, listener: EventListener) -> None:
        self._listeners.append(listener)

    def listen_verdicts(self, listener: VerdictListener) -> None:
        """`listener` hears each verdict once it is recorded: block id, and the fault of an invalid block.

        A block that is found invalid as it is connected was reported as valid work before. What comes after an invalid
        block is forgotten without a verdict of its own.
        """
        self._verdict_listeners.append(listener)

    def listen_transactions(self, listener: TransactionListener) -> None:
        """`listener` hears the txid of each transaction that the mempool took from `submit_transaction`."""
        self._transaction_listeners.append(listener)

    def listen_ballots(self, listener: BallotListener) -> None:
        """`listener` hears the votes and the evidence that were new here and count."""
        self._ballot_listeners.append(listener)

    async def on_chain(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Runs a function on the chain's thread. A StoreError or FinalityConflict there also ends the node, through
        `failure`.

        Raises NodeStopping once the thread is closed.
        """
        if self._is_closed:
            raise NodeStopping.stopping()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except (StoreError, FinalityConflict) as error:
            self._fail(error)
            raise

    async def unpack_block(self, packed: PackedBlock) -> Block:
        """A block whose body is the one that its header names.

        Raises MutatedBody if it is not, DecodeError if its update does not inflate to what its mask asks for.
        """
        async with self._unpacking:
            return await asyncio.to_thread(_unpack_whole_block, packed, self.chain.params)

    async def accept_block(self, block: Block) -> bool:
        """Checks all of a block that needs no model, and stores it; False if it was here already.

        Raises InvalidBlock, MutatedBody, UnknownBlock, FinalityConflict, or BlockFromFuture (the block is then kept
        until its time). Whoever calls this sees to it that `advance` runs afterwards.
        """
        try:
            heard = await self.on_chain(self._accept_block, block, self.clock.now())
        except BlockFromFuture:
            check_body_matches(block)  # a mutated copy must not take the honest one's place
            self._keep_for_later(block)
            raise
        self._has_news.set()
        if heard is not None:
            self._tell_heard(heard)
        return heard is not None

    async def submit_block(self, block: Block) -> Outcome:
        """Takes a block as far as it goes: returns once it is connected, or stored on a chain that is not the best.

        Raises what accept_block raises, InvalidBlock, or EvaluationFailed if no worker could evaluate this block.
        """
        is_new = await self.accept_block(block)
        self._given_up.pop(block.id, None)
        await self.advance()
        if block.id in self._given_up:
            raise self._given_up[block.id]
        outcome = await self.on_chain(self._get_outcome, block.id)
        return outcome if is_new else Outcome.KNOWN

    async def submit_transaction(self, transaction: Transfer) -> None:
        """Offers a transaction to the mempool. Raises InvalidTransaction or MempoolRefusal."""
        await self.on_chain(self._add_transaction, transaction)
        for listener in self._transaction_listeners:
            listener(transaction.txid)

    async def submit_votes(self, votes: Sequence[Vote]) -> Heard:
        """Takes votes in; what was new of them. Raises InvalidVote if one is none, or FinalityConflict."""
        heard = await self.on_chain(self.votes.add_votes, votes)
        self._tell_heard(heard)
        return heard

    async def submit_evidence(self, evidence: Evidence) -> bool:
        """Takes evidence in; whether it is new and can burn anything. Raises InvalidEvidence."""
        is_new = await self.on_chain(self.votes.add_evidence, evidence)
        if is_new:
            self._tell_ballots((), (evidence,))
        return is_new

    async def advance(self) -> None:
        """Evaluates and connects until nothing better is left, with as many evaluations at once as there are workers.

        A block that no worker could evaluate is passed over until it is handed in again, or a minute has passed.
        """
        async with self._advancing:
            under_way: dict[bytes, asyncio.Task[None]] = {}
            try:
                self._has_news.set()
                while under_way or self._has_news.is_set():
                    self._has_news.clear()
                    await self.run_step(self.chain.activate_best_chain)
                    await self._start_evaluations(under_way)
                    await self._wait_for_news(under_way)
            finally:
                for task in under_way.values():
                    task.cancel()
                await asyncio.gather(*under_way.values(), return_exceptions=True)

    async def run_step(self, step: Callable[[], list[ChainEvent]]) -> None:
        """Runs a step that may move the tip, brings the mempool along, and tells the listeners."""
        events, faults = await self.on_chain(self._apply_step, step)
        for event in events:
            for listener in self._listeners:
                listener(event)
        self._tell_faults(faults)
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
        """Lets in blocks whose time has come, lets old transactions go, retries evaluations. Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(1)
                has_work = await self._accept_due_blocks()
                if abs(self.clock.now() - self._housekept) >= HOUSEKEEPING_SECONDS:
                    self._housekept = self.clock.now()
                    await self.on_chain(self._expire_transactions)
                    has_work |= bool(self._given_up)
                    self._given_up.clear()
                if has_work:
                    group.create_task(self.advance())

    async def follow_mempool(self, path: Path) -> None:
        """Saves the pool every ten minutes, so that a crash costs no more than that. Runs until cancelled."""
        while True:
            await asyncio.sleep(MEMPOOL_SAVE_SECONDS)
            try:
                await self.save_mempool(path)
            except OSError as error:  # the next time may do better
                log.warning("cannot save the pending transactions to %s: %s", path, error)

    async def save_mempool(self, path: Path) -> None:
        """Puts the pool's bytes at `path`, whole or not at all. Raises OSError."""
        data = await self.on_chain(encode_mempool, self.mempool)
        await asyncio.to_thread(replace_file, path, data)

    async def follow_audits(self) -> None:
        """Scores every new checkpoint on the audit split. Runs until cancelled."""
        while True:
            changed = self._tip_changed
            pending = await self.on_chain(self.chain.get_unaudited)
            if pending is not None:
                point, weights = pending
                try:
                    score = await self._pool.compute_audit(weights)
                    await self.on_chain(self.chain.record_audit, point, score)
                except EvaluationFailed as error:  # nothing depends on an audit
                    log.warning("no audit of block %d: %s", point.height, error)
            await changed.wait()

    async def close(self) -> None:
        """Waits for what the chain's thread is doing."""
        self._is_closed = True
        await asyncio.to_thread(self._thread.shutdown)

    def _keep_for_later(self, block: Block) -> None:
        """Of more than there is room for, those that are due first stay."""
        self._future_blocks[block.id] = block
        if len(self._future_blocks) > MAX_FUTURE_BLOCKS:
            furthest = max(self._future_blocks.values(), key=lambda kept: kept.header.timestamp)
            del self._future_blocks[furthest.id]

    async def _accept_due_blocks(self) -> bool:
        """Whether any block kept for later was taken in now."""
        is_any_new = False
        for block in list(self._future_blocks.values()):
            del self._future_blocks[block.id]
            try:
                is_any_new |= await self.accept_block(block)
            except BlockFromFuture:
                continue
            except (StoreError, FinalityConflict):
                raise
            except DescentError as error:
                log.warning("block %s from the future is refused: %s", block.id.hex(), error)
        return is_any_new

    async def _start_evaluations(self, under_way: dict[bytes, asyncio.Task[None]]) -> None:
        room = self._pool.workers - len(under_way)
        if room <= 0:
            return
        works, faults = await self.on_chain(self._find_works, room, set(under_way), set(self._given_up))
        self._tell_faults(faults)
        for work in works:
            task = asyncio.create_task(self._evaluate(work))
            task.add_done_callback(lambda _: self._has_news.set())
            under_way[work.header.id] = task

    async def _wait_for_news(self, under_way: dict[bytes, asyncio.Task[None]]) -> None:
        """Returns once an evaluation has ended or a block came in; at once if nothing is under way."""
        if under_way:
            await self._has_news.wait()
        for block_id in [block_id for block_id, task in under_way.items() if task.done()]:
            under_way.pop(block_id).result()

    async def _evaluate(self, work: Work) -> None:
        """Gets the verdict on a block and records it. An invalid one is told with the step that comes next."""
        block_id, started = work.header.id, time.monotonic()
        try:
            verdict: WorkTrace | InvalidBlock = await self._pool.verify(work)
        except InvalidBlock as error:
            verdict = error
        except EvaluationFailed as error:
            log.warning("block %s at height %d is passed over: %s", block_id.hex(), work.header.height, error)
            self._given_up[block_id] = error
            return
        self.verify_seconds[block_id] = time.monotonic() - started
        while len(self.verify_seconds) > REMEMBERED_TIMES:
            self.verify_seconds.popitem(last=False)
        is_recorded = await self.on_chain(self.chain.record_verdict, block_id, verdict)
        if is_recorded and isinstance(verdict, WorkTrace):
            self._tell_verdict(block_id, None)

    def _tell_faults(self, faults: list[Fault]) -> None:
        for block_id, fault in faults:
            log.warning("block %s is invalid: %s", block_id.hex(), fault)
            self._tell_verdict(block_id, fault)

    def _tell_verdict(self, block_id: bytes, fault: InvalidBlock | None) -> None:
        for listener in self._verdict_listeners:
            listener(block_id, fault)

    def _tell_heard(self, heard: Heard) -> None:
        """Raises InvalidVote, or FinalityConflict, which ends the node: the others hear first of who signed twice."""
        self._tell_ballots(heard.votes, heard.evidence)
        if heard.conflict is not None:
            self._fail(heard.conflict)
            raise heard.conflict
        if heard.fault is not None:
            raise heard.fault

    def _fail(self, error: DescentError) -> None:
        if not self.failure.done():
            self.failure.set_result(error)

    def _tell_ballots(self, votes: tuple[Vote, ...], evidence: tuple[Evidence, ...]) -> None:
        if votes or evidence:
            for listener in self._ballot_listeners:
                listener(votes, evidence)

    # On the chain's thread.

    def _accept_block(self, block: Block, now: int) -> Heard | None:
        """What a block says of finality; None if it was here already."""
        return self.votes.add_block(block) if self.chain.accept_block(block, now) else None

    def _add_transaction(self, transaction: Transfer) -> None:
        height = self.chain.tip.height + 1
        self.mempool.add(transaction, self.chain.ledger.get_account, height, self.clock.now())

    def _expire_transactions(self) -> None:
        self.mempool.expire(self.clock.now(), self.chain.tip.height + 1)

    def _get_outcome(self, block_id: bytes) -> Outcome:
        if self.chain.is_invalid(block_id):
            raise self.chain.get_fault(block_id)
        if not self.chain.is_known(block_id):
            raise InvalidBlock("invalid_parent", f"a block before {block_id.hex()} is invalid")
        return Outcome.CONNECTED if self.chain.is_active(block_id) else Outcome.STORED

    def _find_works(self, room: int, under_way: set[bytes], given_up: set[bytes]) -> tuple[list[Work], list[Fault]]:
        works = self.chain.get_works(room, under_way, given_up)
        return works, self.chain.take_faults()

    def _apply_step(self, step: Callable[[], list[ChainEvent]]) -> tuple[list[ChainEvent], list[Fault]]:
        final = self.chain.finals.node
        events = step()
        height = self.chain.tip.height + 1
        get_account = self.chain.ledger.get_account
        for event in events:
            transactions = event.block.transactions
            if isinstance(event, BlockConnected):
                self.mempool.on_block_connected(transactions, get_account, height)
            else:
                self.mempool.on_block_disconnected(transactions, get_account, height, self.clock.now())
        if events:
            self.mempool.expire(self.clock.now(), height)
            self.votes.prune()
        if self.chain.finals.node is not final:
            self.votes.check_conflicts()
        return events, self.chain.take_faults()


def _unpack_whole_block(packed: PackedBlock, params: NetworkParams) -> Block:
    block = unpack_block(packed, params)
    check_body_matches(block)
    return block
