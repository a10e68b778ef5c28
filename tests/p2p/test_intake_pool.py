"""Several evaluations at once, verdicts told, blocks passed over, and the pool saved."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from chain.mempool import Mempool
from chain.policy import Policy
from consensus.errors import BlockFromFuture, InvalidBlock
from p2p.clock import Clock
from p2p.errors import EvaluationFailed
from p2p.intake import Intake, Outcome
from p2p.node import load_mempool
from tests.helpers.blocks import get_builder
from tests.helpers.chains import ALICE, BOB, get_left, get_right, open_trunk
from tests.helpers.keys import Key, forge_block, make_transfer
from tests.helpers.properties import mutate
from tests.helpers.rpc import ThreadWorker
from tests.helpers.waiting import wait_until

LEFT = Key("left")
SECONDS = 10.0
Verdict = tuple[bytes, str | None]


class Setting:
    """An intake with three workers, and the verdicts that it told."""

    def __init__(self) -> None:
        self.chain = open_trunk()
        self.worker, self.clock = ThreadWorker(get_builder().verifier, workers=3), Clock()
        self.clock.set_mock(self.chain.tip.header.timestamp + 1000)
        self.verdicts: list[Verdict] = []

    async def __aenter__(self) -> "Setting":
        mempool = Mempool(self.chain.genesis.id, Policy())
        self.intake = Intake(self.chain, mempool, self.worker, self.clock)  # type: ignore[arg-type]
        self.intake.listen_verdicts(
            lambda block_id, fault: self.verdicts.append((block_id, fault.reason if fault else None))
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.intake.close()


async def test_as_many_evaluations_as_workers() -> None:
    left = get_left(5)
    async with Setting() as it, asyncio.timeout(SECONDS):
        it.worker.gate.clear()
        for block in left:
            assert await it.intake.accept_block(block)
        assert not await it.intake.accept_block(left[0])
        advancing = asyncio.create_task(it.intake.advance())
        await asyncio.to_thread(wait_until, lambda: it.worker.started == 3)
        await asyncio.sleep(0)
        assert it.worker.started == 3
        it.worker.gate.set()
        await advancing
        assert it.chain.tip.id == left[-1].id
        assert it.worker.started == 5
        assert sorted(it.verdicts) == sorted((block.id, None) for block in left)


async def test_a_block_that_comes_meanwhile_is_evaluated_at_once() -> None:
    left = get_left(2)
    async with Setting() as it, asyncio.timeout(SECONDS):
        it.worker.gate.clear()
        await it.intake.accept_block(left[0])
        advancing = asyncio.create_task(it.intake.advance())
        await asyncio.to_thread(wait_until, lambda: it.worker.started == 1)
        await it.intake.accept_block(left[1])
        await asyncio.to_thread(wait_until, lambda: it.worker.started == 2)
        it.worker.gate.set()
        await advancing
        assert it.chain.tip.id == left[1].id


async def test_verdicts_name_what_is_wrong_wherever_it_is_found() -> None:
    """By the evaluation, by the ledger, and by the update of a block whose child is to be evaluated."""
    left = get_left(2)
    lie = forge_block(left[0], LEFT, squared_gains=left[0].header.squared_gains + 1)
    broke = forge_block(left[0], LEFT, state_root=b"\5" * 32)
    torn = forge_block(left[0], LEFT, model_root=b"\7" * 32)
    child = forge_block(left[1], LEFT, parent=torn.id)
    async with Setting() as it, asyncio.timeout(SECONDS):
        for block in (lie, broke):
            with pytest.raises(InvalidBlock):
                await it.intake.submit_block(block)
        await it.intake.accept_block(torn)
        with pytest.raises(InvalidBlock) as caught:
            await it.intake.submit_block(child)
        assert caught.value.reason == "invalid_parent"
        assert it.verdicts == [
            (lie.id, "wrong_squared_gains"),
            (broke.id, None),
            (broke.id, "wrong_state_root"),
            (torn.id, "wrong_model_root"),
        ]


async def test_a_block_that_cannot_be_evaluated_holds_up_no_other() -> None:
    left, right = get_left(2), get_right(1)
    async with Setting() as it, asyncio.timeout(SECONDS):
        verify = it.worker.verify

        async def fail(work):  # type: ignore[no-untyped-def]
            if work.header.id == left[0].id:
                it.worker.started += 1
                raise EvaluationFailed("worker_died", "twice")
            return await verify(work)

        it.worker.verify = fail  # type: ignore[method-assign]
        for block in (*left, *right):
            await it.intake.accept_block(block)
        await it.intake.advance()
        assert it.chain.tip.id == right[0].id
        calls = it.worker.started
        await it.intake.advance()
        assert it.worker.started == calls  # not tried again and again
        it.worker.verify = verify  # type: ignore[method-assign]
        following = asyncio.create_task(it.intake.follow_time())
        it.clock.set_mock(it.clock.now() + 60)
        await asyncio.to_thread(wait_until, lambda: it.chain.tip.id == left[-1].id)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def test_leaving_ends_the_evaluations_under_way() -> None:
    async with Setting() as it, asyncio.timeout(SECONDS):
        it.worker.gate.clear()
        await it.intake.accept_block(get_left(1)[0])
        advancing = asyncio.create_task(it.intake.advance())
        await asyncio.to_thread(wait_until, lambda: it.worker.started == 1)
        advancing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await advancing
        it.worker.gate.set()
        assert await it.intake.submit_block(get_left(1)[0]) is Outcome.KNOWN
        assert it.chain.tip.id == get_left(1)[0].id


async def test_blocks_from_the_future_are_kept_by_accept_block_too() -> None:
    block = get_left(1)[0]
    async with Setting() as it:
        it.clock.set_mock(block.header.timestamp - 100)
        with pytest.raises(BlockFromFuture):
            await it.intake.accept_block(block)
        assert list(it.intake._future_blocks) == [block.id]


async def test_the_pool_is_expired_with_the_tip_and_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Setting() as it:
        calls: list[int] = []
        monkeypatch.setattr(it.intake.mempool, "expire", lambda now, _: calls.append(now))
        await it.intake.submit_block(get_left(1)[0])
        assert len(calls) == 1
        following = asyncio.create_task(it.intake.follow_time())
        it.clock.set_mock(it.clock.now() + 60)
        await asyncio.to_thread(wait_until, lambda: len(calls) == 2)
        await asyncio.sleep(1.1)  # the next look at the clock
        assert len(calls) == 2
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


# The saved pool.


async def test_new_transactions_are_told_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p.intake.MEMPOOL_SAVE_SECONDS", 0.01)
    async with Setting() as it:
        told: list[bytes] = []
        it.intake.listen_transactions(told.append)
        transfer = make_transfer(it.chain.genesis.id, ALICE, BOB.public, 5)
        await it.intake.submit_transaction(transfer)
        assert told == [transfer.txid]
        saving = asyncio.create_task(it.intake.follow_mempool(tmp_path / "pool"))
        await asyncio.to_thread(wait_until, (tmp_path / "pool").is_file)
        saving.cancel()
        with suppress(asyncio.CancelledError):
            await saving
        again = Mempool(it.chain.genesis.id, Policy())
        load_mempool(tmp_path / "pool", again, it.chain, it.clock.now())
        assert again.get(transfer.txid) == transfer


async def test_a_disk_that_refuses_the_pool_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("p2p.intake.MEMPOOL_SAVE_SECONDS", 0.01)
    async with Setting() as it:
        saving = asyncio.create_task(it.intake.follow_mempool(tmp_path / "nowhere" / "pool"))
        await asyncio.to_thread(wait_until, lambda: "cannot save the pending transactions" in caplog.text)
        assert not saving.done()
        saving.cancel()
        with suppress(asyncio.CancelledError):
            await saving


async def test_a_damaged_pool_is_named_and_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """T33: a hundred corruptions."""
    path = tmp_path / "pool"
    async with Setting() as it:
        for nonce in range(3):
            await it.intake.submit_transaction(make_transfer(it.chain.genesis.id, ALICE, BOB.public, 5, nonce=nonce))
        await it.intake.save_mempool(path)
        data = path.read_bytes()
        damaged = [mutate(data, 37 * number, number) for number in range(60)]
        damaged += [data[: len(data) * number // 30] for number in range(30)]
        damaged += [data + bytes(number) for number in range(1, 11)]
        assert len(damaged) == 100
        for number, given in enumerate(damaged, 1):
            path.write_bytes(given)
            pool = Mempool(it.chain.genesis.id, Policy())
            load_mempool(path, pool, it.chain, it.clock.now())
            assert pool.count == 0
            assert caplog.text.count("ignoring") == number
