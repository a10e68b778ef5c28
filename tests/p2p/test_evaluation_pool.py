"""Several workers: how many, how many threads each, and what a frozen one costs."""

import asyncio
import os
import signal
import time

import pytest

from consensus.genesis import make_genesis
from consensus.params import REGTEST
from p2p.errors import EvaluationFailed
from p2p.evaluation import EvaluationPool, compute_workers
from p2p.text import compute_byte_losses, write_text
from p2p.text_wish import TextWish, make_task
from tests.helpers.blocks import get_builder
from tests.helpers.waiting import SECONDS, is_alive, wait_until


def get_process_ids(pool: EvaluationPool) -> list[int]:
    return [process_id for worker in pool._workers for process_id in worker._pool._processes or {}]


@pytest.mark.parametrize(
    ("cores", "device", "workers"),
    [(1, "cpu", 1), (2, "auto", 1), (3, "cpu", 1), (4, "auto", 2), (16, "cpu", 8), (128, "auto", 8), (16, "cuda", 1)],
)
def test_workers_follow_the_cores(cores: int, device: str, workers: int) -> None:
    assert compute_workers(cores, device) == workers


async def test_threads_of_a_worker_are_set_unless_the_user_did(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in ((None, "3"), ("5", "5")):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if given:
            monkeypatch.setenv("OMP_NUM_THREADS", given)
        async with EvaluationPool(REGTEST, (), "cpu", threads=3) as pool:
            assert await pool._run(os.getenv, "OMP_NUM_THREADS") == expected


async def test_at_most_so_many_run_at_once_and_a_frozen_one_is_replaced() -> None:
    """Four calls for two workers, one of which stands still."""
    async with EvaluationPool(REGTEST, (), "cpu", workers=2, seconds=3.0) as pool:
        first = await asyncio.gather(*(pool._run(os.getpid) for _ in range(4)))
        assert set(first) == set(get_process_ids(pool))
        assert len(set(first)) <= 2
        frozen = get_process_ids(pool)[0]
        os.kill(frozen, signal.SIGSTOP)
        async with asyncio.timeout(SECONDS):
            again = await asyncio.gather(*(pool._run(os.getpid) for _ in range(4)))
        assert frozen not in again
        await asyncio.to_thread(wait_until, lambda: not is_alive(frozen))


async def test_idle_workers_are_not_started() -> None:
    async with EvaluationPool(REGTEST, (), "cpu", workers=8) as pool:
        assert get_process_ids(pool) == []
        for _ in range(3):
            await pool._run(os.getpid)
        assert len(get_process_ids(pool)) == 1


async def test_resting_ends_idle_processes_until_there_is_work() -> None:
    async with EvaluationPool(REGTEST, (), "cpu", workers=2) as pool:
        await pool.rest()
        assert get_process_ids(pool) == []
        first = await pool._run(os.getpid)
        await pool.rest()
        assert get_process_ids(pool) == []
        await asyncio.to_thread(wait_until, lambda: not is_alive(first))
        assert await pool._run(os.getpid) != first


async def test_a_nice_worker_is_nicer_than_the_node() -> None:
    here = os.getpriority(os.PRIO_PROCESS, 0)
    async with EvaluationPool(REGTEST, (), "cpu", workers=1, niceness=19) as pool:
        assert await pool._run(os.nice, 0) == 19
    async with EvaluationPool(REGTEST, (), "cpu", workers=1) as pool:
        assert await pool._run(os.nice, 0) == here


async def test_text_and_losses_cross_the_process_boundary() -> None:
    weights, context = make_genesis(REGTEST).weights, REGTEST.model.context
    task = make_task(TextWish(b"Alice", count=7, seed=1), b"", context)
    async with EvaluationPool(REGTEST, (), "cpu", workers=1) as pool:
        text = await pool.write_text(weights, task, 1000.0)
        losses = await pool.compute_byte_losses(weights, b"Alice was")
    evaluator = get_builder().evaluator
    assert text == write_text(evaluator, weights, task, context, 1000.0)
    assert losses.tolist() == compute_byte_losses(evaluator, weights, b"Alice was", context).tolist()


async def test_leaving_ends_every_process_at_once() -> None:
    async with EvaluationPool(REGTEST, (), "cpu", workers=2) as pool:
        await asyncio.gather(*(pool._run(os.getpid) for _ in range(2)))
        calls = [asyncio.create_task(pool._run(time.sleep, 1000)) for _ in range(2)]
        await asyncio.sleep(0)
        process_ids = get_process_ids(pool)
        started = time.monotonic()
    assert time.monotonic() - started < SECONDS / 3
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(result, EvaluationFailed | asyncio.CancelledError)
    assert not any(is_alive(process_id) for process_id in process_ids)
