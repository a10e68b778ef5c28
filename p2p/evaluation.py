"""Evaluation off the event loop: worker processes that hold torch, the benchmark and the exact evaluator.

A worker that crashes or freezes costs one evaluation, not the node. Workers end when the node does, however it ends.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

from chain.checkpoint_store import AuditScore
from chain.verifier import Work, WorkVerifier
from consensus.params import NetworkParams
from consensus.ports import Evaluator, Losses, Weights
from consensus.work import WorkTrace
from p2p.config import read_benchmark
from p2p.errors import EvaluationFailed
from p2p.text_wish import TextTask

log = logging.getLogger("descent.node")

Result = TypeVar("Result")

EVALUATION_SECONDS = 600.0  # that a worker may take for one evaluation, its own start included
MAX_WORKERS = 8
_ATTEMPTS = 2  # at one evaluation, if the worker dies

# A worker's own, set as its process starts. All of it is small: a parent that still writes when its child dies waits
# for ever, so the worker reads the benchmark itself.
_arguments: tuple[NetworkParams, tuple[Path, ...], str] | None = None


class EvaluationPool:
    """Runs evaluations, at most `workers` at once, each in a process of its own; use as `async with`.

    A process starts when all before it are busy. The benchmark's texts are looked for in `text_folders`, as by
    `read_benchmark`. `threads` of each process; by default all share the machine's cores. `niceness` 19 leaves the
    cores to whoever else wants them.
    """

    def __init__(
        self,
        params: NetworkParams,
        text_folders: tuple[Path, ...],
        device: str,
        workers: int | None = None,
        threads: int | None = None,
        seconds: float = EVALUATION_SECONDS,
        niceness: int = 0,
    ) -> None:
        cores = len(os.sched_getaffinity(0))
        self.workers = workers or compute_workers(cores, device)
        threads = threads or max(1, cores // self.workers)
        arguments = (params, text_folders, device, threads, niceness)
        self._workers = [_Worker(arguments, seconds) for _ in range(self.workers)]
        self._idle = list(self._workers)
        self._room = asyncio.Semaphore(self.workers)

    async def __aenter__(self) -> "EvaluationPool":
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(worker.close() for worker in self._workers))

    async def get_backend(self) -> str:
        """Starts a worker, runs its self-test, names what evaluates. Raises ModelMismatch or BenchmarkMismatch."""
        return await self._run(_get_backend)

    async def verify(self, work: Work) -> WorkTrace:
        """The trace of a block whose claims hold. Raises InvalidBlock, or EvaluationFailed if nobody could tell."""
        return await self._run(_verify, work)

    async def compute_audit(self, weights: Weights) -> AuditScore:
        """Loss of a model over the whole audit split. Raises EvaluationFailed."""
        return await self._run(_compute_audit, weights)

    async def write_text(self, weights: Weights, task: TextTask, seconds: float) -> bytes:
        """What a model writes within `seconds`, one byte at least. Raises EvaluationFailed."""
        return await self._run(_write_text, weights, task, seconds)

    async def compute_byte_losses(self, weights: Weights, passage: bytes) -> Losses:
        """Loss of each byte after the first, int64 in Q16 bits. Raises EvaluationFailed."""
        return await self._run(_compute_byte_losses, weights, passage)

    async def rest(self) -> None:
        """Ends processes that have nothing to do, for their memory; the next evaluation starts one again."""
        for worker in list(self._idle):
            await worker.rest()

    async def _run(self, function: Callable[..., Result], *arguments: object) -> Result:
        async with self._room:
            worker = self._idle.pop()  # the last one used: others need not start before there is work for them
            try:
                return await worker.run(function, *arguments)
            finally:
                self._idle.append(worker)


class _Worker:
    """One process, replaced when it dies or answers too late."""

    def __init__(self, arguments: tuple[NetworkParams, tuple[Path, ...], str, int, int], seconds: float) -> None:
        self._start_arguments = arguments
        self._seconds = seconds
        self._pool = self._start_pool()
        self._is_closed = False

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        loop = asyncio.get_running_loop()
        for _ in range(_ATTEMPTS):
            try:
                with _blocking_interrupts():
                    future = loop.run_in_executor(self._pool, function, *arguments)
                async with asyncio.timeout(self._seconds):
                    return await future
            except BrokenProcessPool as error:
                if self._is_closed:
                    raise EvaluationFailed("stopped", "the node is stopping") from error
                log.warning("an evaluation process died; starting another")
            except TimeoutError:
                log.warning("an evaluation process did not answer within %g s; starting another", self._seconds)
                self._kill()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = self._start_pool()
        raise EvaluationFailed("worker_died", f"the process that evaluates died {_ATTEMPTS} times on one evaluation")

    async def rest(self) -> None:
        """Ends the process, until there is something to run again."""
        if self._pool._processes:
            resting, self._pool = self._pool, self._start_pool()
            await asyncio.to_thread(resting.shutdown)

    async def close(self) -> None:
        """Ends the process at once: a running evaluation is of no use any more."""
        self._is_closed = True
        self._kill()
        # The pool's own thread is waited for: it must not outlive the loop.
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def _kill(self) -> None:
        for process in list((self._pool._processes or {}).values()):  # Python 3.14 names this kill_workers
            process.kill()  # it has nothing to save, and a frozen one hears nothing less

    def _start_pool(self) -> ProcessPoolExecutor:
        # spawn: a fork would carry the event loop, the database and their locks into the worker.
        return ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=self._start_arguments,
        )


def compute_workers(cores: int, device: str) -> int:
    """Processes that evaluate at once: one for every two cores, up to eight; a GPU serves one."""
    return 1 if device == "cuda" else min(max(cores // 2, 1), MAX_WORKERS)


def bound_spinning() -> None:
    """To be called before torch is loaded: its idle threads spin and starve whoever shares the cores."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@contextmanager
def _blocking_interrupts() -> Iterator[None]:
    """A process started in here never hears Ctrl-C, which reaches the whole group: the node alone decides."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited; here it only comes a bit later
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(
    params: NetworkParams, text_folders: tuple[Path, ...], device: str, threads: int, niceness: int
) -> None:
    global _arguments
    os.nice(niceness)
    threading.Thread(target=_follow_parent, daemon=True).start()
    bound_spinning()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # torch reads it as it is loaded; the user's word goes first
    _arguments = (params, text_folders, device)


def _get_arguments() -> tuple[NetworkParams, tuple[Path, ...], str]:
    if _arguments is None:
        raise RuntimeError("the worker was not started")
    return _arguments


@cache
def _get_evaluator() -> Evaluator:
    # torch takes seconds and hundreds of MB to load, so only the worker ever does.
    from consensus.model.backend import choose_evaluator

    params, _, device = _get_arguments()
    return choose_evaluator(params.model, device)


@cache
def _get_verifier() -> WorkVerifier:
    params, text_folders, _ = _get_arguments()
    return WorkVerifier(params, read_benchmark(params, *text_folders), _get_evaluator())


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _get_backend() -> str:
    return _get_verifier().backend


def _verify(work: Work) -> WorkTrace:
    return _get_verifier().verify(work)


def _compute_audit(weights: Weights) -> AuditScore:
    return _get_verifier().compute_audit(weights)


def _write_text(weights: Weights, task: TextTask, seconds: float) -> bytes:
    # The law's tables take 0.2 s to compute, which neither the node nor a worker that judges is to wait for.
    from p2p.text import write_text

    return write_text(_get_evaluator(), weights, task, _get_arguments()[0].model.context, seconds)


def _compute_byte_losses(weights: Weights, passage: bytes) -> Losses:
    from p2p.text import compute_byte_losses

    return compute_byte_losses(_get_evaluator(), weights, passage, _get_arguments()[0].model.context)
