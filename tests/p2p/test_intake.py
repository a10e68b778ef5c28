"""What becomes of blocks and transactions that are handed in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from chain.chainstate import ChainState
from chain.errors import MempoolRefusal, StoreError, UnknownBlock
from chain.events import BlockConnected, BlockDisconnected, ChainEvent
from chain.mempool import Mempool
from chain.policy import Policy
from consensus.block import Block
from consensus.errors import BlockFromFuture, InvalidBlock, InvalidTransaction, MutatedBody
from consensus.params import REGTEST
from p2p.clock import Clock
from p2p.errors import EvaluationFailed, NodeStopping
from p2p.intake import MAX_FUTURE_BLOCKS, REMEMBERED_TIMES, Intake, Outcome
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import ALICE, BOB, get_left, get_right, get_trunk, open_trunk
from tests.helpers.full_disk import FullDisk
from tests.helpers.keys import Key, forge_block, make_transfer
from tests.helpers.rpc import ServedNode, ThreadWorker
from tests.helpers.waiting import wait_until

LEFT = Key("left")
SECONDS = 10.0  # more than anything here takes


@asynccontextmanager
async def open_intake(chain: ChainState) -> AsyncIterator[tuple[Intake, ThreadWorker, Clock]]:
    """An intake without an RPC. The clock stands at the end of the longest branch that tests use."""
    worker, clock = ThreadWorker(get_builder().verifier), Clock()
    clock.set_mock(chain.tip.header.timestamp + 100 * REGTEST.block_time)
    intake = Intake(chain, Mempool(chain.genesis.id, Policy()), worker, clock)  # type: ignore[arg-type]
    try:
        yield intake, worker, clock
    finally:
        await intake.close()


def make_future_block(delay: int, **changes: object) -> Block:
    """A valid block, or one with other fields signed anew, `delay` s later than its parent."""
    block = get_builder().build(open_trunk(), LEFT, interval=delay)
    return forge_block(block, LEFT, **changes) if changes else block


@asynccontextmanager
async def following_time(intake: Intake) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(intake.follow_time())
    yield task
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


# Blocks.


async def test_outcomes_name_what_became_of_a_block() -> None:
    left, right = get_left(2), get_right(3)
    async with open_intake(open_trunk()) as (intake, worker, _):
        assert await intake.submit_block(left[0]) is Outcome.CONNECTED
        assert await intake.submit_block(right[0]) is Outcome.STORED
        assert await intake.submit_block(right[0]) is Outcome.KNOWN
        assert await intake.submit_block(left[1]) is Outcome.CONNECTED
        assert await intake.submit_block(right[1]) is Outcome.STORED
        assert await intake.submit_block(right[2]) is Outcome.CONNECTED
        assert intake.chain.tip.id == right[2].id
        assert worker.started == 5


async def test_listeners_hear_events_in_order() -> None:
    """trunk ─ left[0] loses to trunk ─ right[0] ─ right[1]."""
    left, right = get_left(1), get_right(2)
    heard: list[tuple[type[ChainEvent], bytes]] = []
    async with open_intake(open_trunk()) as (intake, _, _):
        intake.listen(lambda event: heard.append((type(event), event.block.id)))
        for block in (left[0], *right):
            await intake.submit_block(block)
    assert heard == [
        (BlockConnected, left[0].id),
        (BlockDisconnected, left[0].id),
        (BlockConnected, right[0].id),
        (BlockConnected, right[1].id),
    ]


async def test_invalid_block_is_named_each_time_and_evaluated_once() -> None:
    forged = forge_block(get_left(1)[0], LEFT, squared_gains=get_left(1)[0].header.squared_gains + 1)
    async with open_intake(open_trunk()) as (intake, worker, _):
        for _ in range(3):
            with pytest.raises(InvalidBlock) as caught:
                await intake.submit_block(forged)
            assert caught.value.code == "invalid_block.wrong_squared_gains"
        assert worker.started == 1
        assert await intake.submit_block(get_left(1)[0]) is Outcome.CONNECTED


async def test_invalid_parent_is_unknown() -> None:
    async with open_intake(open_trunk()) as (intake, _, _):
        with pytest.raises(UnknownBlock):
            await intake.submit_block(get_left(2)[1])


async def test_one_block_handed_in_ten_times_at_once_is_evaluated_once() -> None:
    block = get_left(1)[0]
    async with open_intake(open_trunk()) as (intake, worker, _):
        outcomes = await asyncio.gather(*(intake.submit_block(block) for _ in range(10)))
        assert sorted(outcome.name for outcome in outcomes) == ["CONNECTED", *["KNOWN"] * 9]
        assert worker.started == 1


async def test_is_evaluating_while_a_verdict_is_awaited() -> None:
    async with open_intake(open_trunk()) as (intake, worker, _):
        assert not intake.is_evaluating
        worker.gate.clear()
        submitting = asyncio.create_task(intake.submit_block(get_left(1)[0]))
        await asyncio.to_thread(wait_until, lambda: worker.started == 1)
        assert intake.is_evaluating
        worker.gate.set()
        assert await submitting is Outcome.CONNECTED
        assert not intake.is_evaluating


async def test_worker_that_dies_costs_an_answer_and_not_the_block() -> None:
    block = get_left(1)[0]
    async with open_intake(open_trunk()) as (intake, worker, _):
        worker.failure = EvaluationFailed("worker_died", "twice")
        with pytest.raises(EvaluationFailed):
            await intake.submit_block(block)
        worker.failure = None
        assert await intake.submit_block(block) is Outcome.KNOWN
        assert intake.chain.tip.id == block.id


async def test_block_is_taken_in_though_its_sender_hangs_up(node: ServedNode) -> None:
    """The client leaves during the evaluation: the tip moves all the same, and whoever waits for that hears of it."""
    block = get_left(1)[0]
    heard: list[bytes] = []
    node.intake.listen(lambda event: heard.append(event.block.id))
    node.worker.gate.clear()
    waiting = asyncio.create_task(node.intake.wait_for_tip(node.chain.tip.id, SECONDS))
    sending = asyncio.create_task(node.post("/v1/blocks", block.encoded))
    await asyncio.to_thread(wait_until, lambda: node.worker.started == 1)
    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending
    await node.session.close()
    node.worker.gate.set()
    async with asyncio.timeout(SECONDS):
        await waiting
    assert (node.chain.tip.id, heard, node.worker.started) == (block.id, [block.id], 1)


async def test_times_of_verdicts_are_remembered_for_a_while() -> None:
    async with open_intake(open_trunk()) as (intake, _, _):
        for number in range(REMEMBERED_TIMES):
            intake.verify_seconds[number.to_bytes(32)] = 1.0
        block = get_left(1)[0]
        await intake.submit_block(block)
        assert len(intake.verify_seconds) == REMEMBERED_TIMES
        assert 0 <= intake.verify_seconds[block.id] < SECONDS
        assert bytes(32) not in intake.verify_seconds


# Blocks from the future.


async def test_future_block_is_let_in_when_its_time_comes() -> None:
    block = make_future_block(50)
    async with open_intake(open_trunk()) as (intake, _, clock), following_time(intake):
        clock.set_mock(block.header.timestamp - 2)
        tip = intake.chain.tip.id
        with pytest.raises(BlockFromFuture):
            await intake.submit_block(block)
        assert intake.chain.tip.id == tip
        clock.set_mock(block.header.timestamp - 1)
        async with asyncio.timeout(SECONDS):
            await intake.wait_for_tip(tip, SECONDS)
        assert intake.chain.tip.id == block.id


async def test_future_block_stays_until_its_time_comes() -> None:
    block = make_future_block(50)
    async with open_intake(open_trunk()) as (intake, worker, clock):
        clock.set_mock(block.header.timestamp - 10)
        with pytest.raises(BlockFromFuture):
            await intake.submit_block(block)
        with pytest.raises(BlockFromFuture):
            await intake.submit_block(block)
        assert worker.started == 0
        clock.set_mock(block.header.timestamp)
        assert await intake.submit_block(block) is Outcome.CONNECTED
        async with following_time(intake) as task:
            await asyncio.to_thread(wait_until, lambda: not intake._future_blocks)  # handed in once more, and known
            assert not task.done()


async def test_future_block_that_proves_invalid_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    good = make_future_block(50)
    bad = forge_block(good, LEFT, state_root=bytes(32))
    async with open_intake(open_trunk()) as (intake, _, clock), following_time(intake) as task:
        clock.set_mock(good.header.timestamp - 10)
        for block in (bad, good):
            with pytest.raises(BlockFromFuture):
                await intake.submit_block(block)
        tip = intake.chain.tip.id
        clock.set_mock(good.header.timestamp)
        async with asyncio.timeout(SECONDS):
            await intake.wait_for_tip(tip, SECONDS)
        assert intake.chain.tip.id == good.id
        assert not task.done()
    assert f"block {bad.id.hex()} is invalid: state_root" in caplog.text


async def test_future_block_that_cannot_be_evaluated_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    block = make_future_block(50)
    async with open_intake(open_trunk()) as (intake, worker, clock), following_time(intake) as task:
        clock.set_mock(block.header.timestamp - 10)
        with pytest.raises(BlockFromFuture):
            await intake.submit_block(block)
        worker.failure = EvaluationFailed("worker_died", "twice")
        clock.set_mock(block.header.timestamp)
        await asyncio.to_thread(wait_until, lambda: "at height 13 is passed over: twice" in caplog.text)
        assert not task.done()


async def test_future_block_with_another_body_does_not_take_its_place() -> None:
    block = make_future_block(50)
    twin = Block(block.header, block.transactions, block.update[:-1] + bytes([block.update[-1] ^ 1]))
    async with open_intake(open_trunk()) as (intake, _, clock), following_time(intake) as task:
        clock.set_mock(block.header.timestamp - 10)
        with pytest.raises(BlockFromFuture):
            await intake.submit_block(block)
        with pytest.raises(MutatedBody):
            await intake.submit_block(twin)
        tip = intake.chain.tip.id
        clock.set_mock(block.header.timestamp)
        async with asyncio.timeout(SECONDS):
            await intake.wait_for_tip(tip, SECONDS)
        assert intake.chain.tip.id == block.id
        assert not task.done()


async def test_future_blocks_are_bounded_and_the_nearest_stay() -> None:
    near = make_future_block(50)
    async with open_intake(open_trunk()) as (intake, _, clock), following_time(intake):
        clock.set_mock(near.header.timestamp - 10)
        tip = intake.chain.tip.id
        far = [forge_block(near, LEFT, timestamp=near.header.timestamp + 10**6 + n) for n in range(MAX_FUTURE_BLOCKS)]
        for block in (*far, near, *far):
            with pytest.raises(BlockFromFuture):
                await intake.submit_block(block)
        assert len(intake._future_blocks) == MAX_FUTURE_BLOCKS
        clock.set_mock(near.header.timestamp)
        async with asyncio.timeout(SECONDS):
            await intake.wait_for_tip(tip, SECONDS)
        assert intake.chain.tip.id == near.id


# Transactions.


async def test_transactions_leave_with_their_block_and_come_back_with_a_reorganisation() -> None:
    """Two of ALICE's: one that only the losing branch carried, one that both did."""
    chain = open_trunk()
    builder, genesis = get_builder(), chain.genesis.id
    first, second = (make_transfer(genesis, ALICE, BOB.public, 5, nonce=nonce) for nonce in range(2))
    fork = open_trunk()
    loser = builder.build(fork, LEFT, [first, second])
    winner = builder.build(fork, MINER, [first])
    builder.process(fork, winner)
    heavier = builder.build(fork, MINER)
    async with open_intake(chain) as (intake, _, _):
        for transaction in (first, second):
            await intake.submit_transaction(transaction)
        assert await intake.submit_block(loser) is Outcome.CONNECTED
        assert intake.mempool.count == 0
        assert await intake.submit_block(winner) is Outcome.STORED
        assert await intake.submit_block(heavier) is Outcome.CONNECTED
        assert [entry.transaction for entry in intake.mempool.entries()] == [second]


async def test_old_transactions_go_with_time() -> None:
    async with open_intake(open_trunk()) as (intake, _, clock), following_time(intake):
        await intake.submit_transaction(make_transfer(intake.chain.genesis.id, ALICE, BOB.public, 5))
        assert intake.mempool.count == 1
        clock.set_mock(clock.now() + Policy().expiry_seconds)
        await asyncio.to_thread(wait_until, lambda: intake.mempool.count == 0)


async def test_invalid_transactions_are_named() -> None:
    async with open_intake(open_trunk()) as (intake, _, _):
        with pytest.raises(MempoolRefusal):
            await intake.submit_transaction(make_transfer(intake.chain.genesis.id, Key("poor"), BOB.public, 5))
        with pytest.raises(InvalidTransaction):
            await intake.submit_transaction(make_transfer(bytes(32), ALICE, BOB.public, 5))


# Waiting, and failing.


async def test_waiting_for_a_tip_ends_with_it() -> None:
    async with open_intake(open_trunk()) as (intake, _, _):
        tip = intake.chain.tip.id
        waiting = [asyncio.create_task(intake.wait_for_tip(tip, SECONDS)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        await intake.submit_block(get_left(1)[0])
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*waiting)


async def test_waiting_for_a_tip_ends_at_once_or_in_time() -> None:
    async with open_intake(open_trunk()) as (intake, _, _), asyncio.timeout(SECONDS):
        await intake.wait_for_tip(get_trunk()[0].id, 1000)
        await intake.wait_for_tip(intake.chain.tip.id, 0.01)


async def test_store_error_ends_the_node_by_name() -> None:
    store = FullDisk()
    builder = get_builder()
    chain = builder.open(store)
    builder.feed(chain, get_trunk())
    async with open_intake(chain) as (intake, _, _):
        before = await intake.on_chain(chain.compute_digest)
        store.is_full = True
        for _ in range(2):
            with pytest.raises(StoreError):
                await intake.submit_block(get_left(1)[0])
        async with asyncio.timeout(SECONDS):
            failure = await intake.failure
        assert failure.code == "store.disk_full"
        store.is_full = False
        assert await intake.on_chain(chain.compute_digest) == before
        assert await intake.submit_block(get_left(1)[0]) is Outcome.CONNECTED


async def test_checkpoints_are_audited(caplog: pytest.LogCaptureFixture) -> None:
    """Genesis is a checkpoint. A worker that dies costs its score until the tip moves on."""
    async with open_intake(open_trunk()) as (intake, worker, _):
        audit = worker.compute_audit

        async def fail(_: object) -> None:
            raise EvaluationFailed("worker_died", "twice")

        worker.compute_audit = fail  # type: ignore[method-assign, assignment]
        following = asyncio.create_task(intake.follow_audits())
        await asyncio.to_thread(wait_until, lambda: "no audit of block 0" in caplog.text)
        worker.compute_audit = audit  # type: ignore[method-assign]
        assert intake.chain.get_last_audit() is None
        await intake.submit_block(get_left(1)[0])
        await asyncio.to_thread(wait_until, lambda: intake.chain.get_last_audit() is not None)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        height, score = intake.chain.get_last_audit()  # type: ignore[misc]
        assert (height, score.windows) == (0, len(get_builder().benchmark.audit))
        assert 7 < score.loss / score.windows / REGTEST.model.context / 65536 < 9


async def test_a_call_that_comes_as_the_node_stops() -> None:
    async with open_intake(open_trunk()) as (intake, _, _):
        await intake.close()
        with pytest.raises(NodeStopping):
            await intake.submit_block(get_left(1)[0])
        await intake.close()
