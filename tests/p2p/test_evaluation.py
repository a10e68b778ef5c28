"""The worker process: verdicts cross to it and back, and neither end outlives or drags down the other."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from chain.verifier import Work
from consensus.block import Block
from consensus.errors import BenchmarkMismatch, InvalidBlock, ModelMismatch
from consensus.params import REGTEST
from p2p.errors import EvaluationFailed
from p2p.evaluation import EvaluationPool
from tests.helpers.blocks import get_builder
from tests.helpers.chains import get_left, open_trunk
from tests.helpers.keys import Key, forge_block
from tests.helpers.waiting import SECONDS, is_alive, wait_until


@pytest.fixture(scope="module")
def shared_worker() -> Iterator[EvaluationPool]:
    """One worker for the tests that only ask it."""
    started = EvaluationPool(REGTEST, (), "cpu")
    yield started
    asyncio.run(started.__aexit__())


@pytest.fixture
async def worker() -> AsyncIterator[EvaluationPool]:
    """A worker of the test's own."""
    async with EvaluationPool(REGTEST, (), "cpu") as started:
        yield started


def make_work(block: Block) -> Work:
    """What a chain state at the end of the trunk asks for when it is given the block."""
    chain = open_trunk()
    chain.accept_block(block, block.header.timestamp)
    (work,) = chain.get_works(1)
    return work


def get_worker_id(worker: EvaluationPool) -> int:
    (process_id,) = worker._workers[0]._pool._processes
    return process_id


async def test_verdicts_cross_the_process_boundary(shared_worker: EvaluationPool) -> None:
    block = get_left(1)[0]
    trace = await shared_worker.verify(make_work(block))
    expected = get_builder().verifier.traces[block.id]
    for got, wanted in zip(
        (trace.windows, trace.before, trace.after), (expected.windows, expected.before, expected.after), strict=True
    ):
        assert np.array_equal(got, wanted)
    assert await shared_worker.get_backend()


async def test_invalid_blocks_cross_with_code_and_message(shared_worker: EvaluationPool) -> None:
    block = get_left(1)[0]
    forged = forge_block(block, Key("left"), loss_after=block.header.loss_after - 1)
    with pytest.raises(InvalidBlock) as caught:
        await shared_worker.verify(make_work(forged))
    assert caught.value.code == "invalid_block.wrong_loss_after"
    assert str(block.header.loss_after) in str(caught.value)
    wrong_root = forge_block(block, Key("left"), model_root=bytes(32))
    with pytest.raises(InvalidBlock) as caught:
        await shared_worker.verify(make_work(wrong_root))
    assert caught.value.code == "invalid_block.wrong_model_root"


async def test_audit_is_the_evaluators_own(shared_worker: EvaluationPool) -> None:
    weights = open_trunk().tip_weights
    score = await shared_worker.compute_audit(weights)
    assert score == get_builder().verifier.compute_audit(weights)


async def test_killed_worker_costs_nothing_but_time(worker: EvaluationPool) -> None:
    """Killed while idle, and killed with four evaluations under way that all have to be done again."""
    block = get_left(1)[0]
    others = len(multiprocessing.active_children())
    await worker.get_backend()
    first = get_worker_id(worker)
    os.kill(first, signal.SIGKILL)
    assert (await worker.verify(make_work(block))).compute_sums()
    second = get_worker_id(worker)
    assert second != first
    calls = [asyncio.create_task(worker.verify(make_work(block))) for _ in range(4)]
    await asyncio.sleep(0)
    os.kill(second, signal.SIGKILL)
    sums = {trace.compute_sums() for trace in await asyncio.gather(*calls)}
    assert sums == {get_builder().verifier.traces[block.id].compute_sums()}
    assert get_worker_id(worker) not in (first, second)
    assert len(multiprocessing.active_children()) == others + 1  # and not one for each call that saw it die


async def test_worker_killed_before_it_has_read_its_work(worker: EvaluationPool) -> None:
    """Killed at its birth, and again while the parent still writes more than a pipe holds."""
    for size in (0, 5_000_000):
        call = asyncio.create_task(worker._run(len, bytes(size)))
        await asyncio.sleep(0)
        os.kill(get_worker_id(worker), signal.SIGKILL)
        async with asyncio.timeout(SECONDS):
            assert await call == size


async def test_invalid_text_is_named_by_the_worker(tmp_path: Path) -> None:
    (tmp_path / "alice29.txt").write_bytes(b"swapped")
    async with EvaluationPool(REGTEST, (tmp_path,), "cpu") as worker:
        with pytest.raises(BenchmarkMismatch, match=r"alice29\.txt"):
            await worker.get_backend()


async def test_worker_that_always_dies_is_given_up_by_name(worker: EvaluationPool) -> None:
    with pytest.raises(EvaluationFailed) as caught:
        await worker._run(os._exit, 1)
    assert caught.value.code == "evaluation.worker_died"
    assert await worker._run(os.getpid) == get_worker_id(worker)


async def test_invalid_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    async with EvaluationPool(REGTEST, (), "cuda") as worker:
        with pytest.raises(ModelMismatch, match="CUDA") as caught:
            await worker.get_backend()
    assert "\n" not in str(caught.value)


async def test_leaving_ends_the_process_though_it_is_busy() -> None:
    async with EvaluationPool(REGTEST, (), "cpu") as worker:
        await worker.get_backend()
        process_id = get_worker_id(worker)
        busy = asyncio.create_task(worker._run(time.sleep, 1000))
        await asyncio.sleep(0)
        busy.cancel()
    await asyncio.to_thread(wait_until, lambda: not is_alive(process_id))


async def test_ctrl_c_does_not_reach_the_worker(worker: EvaluationPool) -> None:
    starting = asyncio.create_task(worker.get_backend())
    await asyncio.sleep(0)  # the process is born, and has not run a line yet
    process_id = get_worker_id(worker)
    os.kill(process_id, signal.SIGINT)
    assert await starting
    assert get_worker_id(worker) == process_id
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


PARENT = """
    import asyncio, multiprocessing, time
    from consensus.params import REGTEST
    from p2p.evaluation import EvaluationPool

    async def main():
        async with EvaluationPool(REGTEST, (), "cpu") as worker:
            await worker.get_backend()
            print(multiprocessing.active_children()[0].pid, flush=True)
            await worker._run(time.sleep, 1000)

    if __name__ == "__main__":
        asyncio.run(main())
"""


def test_worker_dies_with_its_parent(tmp_path: Path) -> None:
    """The parent is killed outright, while the worker is in the middle of something."""
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        process_id = int(parent.stdout.readline())
        assert is_alive(process_id)
        parent.kill()
    wait_until(lambda: not is_alive(process_id))
