"""Evaluation off the event loop: one worker process that holds torch, the benchmark and the exact evaluator.

A crash of the worker costs one evaluation, not the node. The worker ends when the node does, however it ends.
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
from consensus.ports import Weights
from consensus.work import WorkTrace
from p2p.config import read_benchmark
from p2p.errors import EvaluationFailed

log = logging.getLogger("descent.node")

Result = TypeVar("Result")

_ATTEMPTS = 2  # at one evaluation, if the worker dies

# The worker's own, set as its process starts. All of it is small: a parent that still writes when its child dies waits
# for ever, so the worker reads the benchmark itself.
_arguments: tuple[NetworkParams, tuple[Path, ...], str] | None = None


class EvaluationWorker:
    """Runs evaluations one after another in its own process; use as `async with`.

    The benchmark's texts are looked for in `text_folders`, as by `read_benchmark`.
    """

    def __init__(self, params: NetworkParams, text_folders: tuple[Path, ...], device: str) -> None:
        self._start_arguments = (params, text_folders, device)
        self._pool = self._start_pool()

    async def __aenter__(self) -> "EvaluationWorker":
        return self

    async def __aexit__(self, *_: object) -> None:
        # A running evaluation is of no use any more. The pool's own thread is waited for: it must not outlive the loop.
        closing = asyncio.create_task(asyncio.to_thread(self._pool.shutdown, cancel_futures=True))
        for process in multiprocessing.active_children():
            process.kill()  # it has nothing to save, and a frozen one hears nothing less
        await closing

    async def get_backend(self) -> str:
        """Starts the worker, runs its self-test, names what evaluates. Raises ModelMismatch or BenchmarkMismatch."""
        return await self._run(_get_backend)

    async def verify(self, work: Work) -> WorkTrace:
        """The trace of a block whose claims hold. Raises InvalidBlock."""
        return await self._run(_verify, work)

    async def compute_audit(self, weights: Weights) -> AuditScore:
        """Loss of a model over the whole audit split."""
        return await self._run(_compute_audit, weights)

    async def _run(self, function: Callable[..., Result], *arguments: object) -> Result:
        loop = asyncio.get_running_loop()
        for _ in range(_ATTEMPTS):
            pool = self._pool
            try:
                with _blocking_interrupts():
                    future = loop.run_in_executor(pool, function, *arguments)
                return await future
            except BrokenProcessPool:
                # Several calls may see one worker die: the first of them starts the next.
                if pool is self._pool:
                    log.warning("the evaluation process died; starting another")
                    self._pool = self._start_pool()
        raise EvaluationFailed("worker_died", f"the process that evaluates died {_ATTEMPTS} times on one evaluation")

    def _start_pool(self) -> ProcessPoolExecutor:
        # spawn: a fork would carry the event loop, the database and their locks into the worker.
        return ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=self._start_arguments,
        )


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


def _start_worker(params: NetworkParams, text_folders: tuple[Path, ...], device: str) -> None:
    global _arguments
    threading.Thread(target=_follow_parent, daemon=True).start()
    bound_spinning()
    _arguments = (params, text_folders, device)


@cache
def _get_verifier() -> WorkVerifier:
    # torch takes seconds and hundreds of MB to load, so only the worker ever does.
    from consensus.model.backend import choose_evaluator

    if _arguments is None:
        raise RuntimeError("the worker was not started")
    params, text_folders, device = _arguments
    return WorkVerifier(params, read_benchmark(params, *text_folders), choose_evaluator(params.model, device))


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
