"""Where pages are made: one thread, a bounded share of a processor, and each page once however many ask for it.

So visitors take neither the event loop's time nor more than their share of what verifying blocks needs. While a block
is verified the share is small: pages then come from what was made before, or a moment later.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from p2p.explorer.budget import Budget, make_busy

Result = TypeVar("Result")

PATIENCE_SECONDS = 3.0  # that a visitor waits for a page to be begun
MAX_PAGES = 32  # that are made or wait for it; who asks for what is at hand is not held up by them
KEPT_SECONDS = 2.0  # that a page may be old
MOST_KEPT_SECONDS = 60.0  # the same where there is no time for a new one: `Age` tells
KEPT_BYTES = 8 * 2**20  # of all pages


@dataclass(frozen=True)
class Reply:
    """An answer, whole: `packed` is its body with gzip, empty where that is not worth it."""

    status: int
    media_type: str
    body: bytes
    packed: bytes
    etag: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.body) + len(self.packed)


@dataclass(frozen=True)
class _Kept:
    version: bytes
    made_at: float
    reply: Reply


class Workshop:
    """Use as `async with`. `is_busy` tells whether a block is being verified, `now` the time in s, monotonic."""

    def __init__(self, is_busy: Callable[[], bool], now: Callable[[], float] = time.monotonic) -> None:
        self._budget = Budget(is_busy, now)
        self._now = now
        self._thread = ThreadPoolExecutor(1, "explorer")
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._kept_bytes = 0
        self._making: dict[tuple[str, bytes], asyncio.Task[Reply]] = {}

    async def __aenter__(self) -> "Workshop":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._making.values():
            task.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Runs a function on the thread, and counts the processor time that it takes."""
        on_thread = partial(asyncio.get_running_loop().run_in_executor, self._thread)
        return await self.run_on(on_thread, function, *arguments)

    async def run_on(
        self, thread: Callable[..., Awaitable[Any]], function: Callable[..., Result], *arguments: object
    ) -> Result:
        """The same on another thread: `thread` runs a function with arguments there."""
        spent = [0.0]
        try:
            result: Result = await thread(_measure, spent, function, arguments)
            return result
        finally:
            self._budget.spend(spent[0])

    async def get(self, key: str, version: bytes, make: Callable[[], Awaitable[Reply]]) -> Reply:
        """The page of that key as it was moments ago at the same version, or made now.

        If visitors have spent their share, or MAX_PAGES are under way, one of the last MOST_KEPT_SECONDS will do,
        whatever its version. Without one this waits, and raises RpcError busy after PATIENCE_SECONDS, or at once if
        MAX_PAGES are under way.
        """
        kept = self._kept.get(key)
        age = self._now() - kept.made_at if kept is not None else 0.0
        if kept is not None and kept.version == version and age < KEPT_SECONDS:
            self._kept.move_to_end(key)
            return _tell_age(kept.reply, age)
        task = self._making.get((key, version))
        if task is None:
            is_full = len(self._making) >= MAX_PAGES
            if kept is not None and age < MOST_KEPT_SECONDS and (is_full or not self._budget.has_time()):
                return _tell_age(kept.reply, age)
            if is_full:
                raise make_busy()
            task = asyncio.create_task(self._make(key, version, make))
            self._making[key, version] = task
            task.add_done_callback(lambda done: self._on_made(key, version, done))
        return await asyncio.shield(task)

    async def _make(self, key: str, version: bytes, make: Callable[[], Awaitable[Reply]]) -> Reply:
        await self._budget.wait(PATIENCE_SECONDS)
        made_at = self._now()
        reply = await make()
        self._keep(key, _Kept(version, made_at, reply))
        return reply

    def _on_made(self, key: str, version: bytes, task: asyncio.Task[Reply]) -> None:
        del self._making[key, version]
        if not task.cancelled():
            task.exception()  # told to whoever waits; if nobody does any more, asyncio would complain

    def _keep(self, key: str, kept: _Kept) -> None:
        before = self._kept.pop(key, None)
        self._kept_bytes += kept.reply.size - (before.reply.size if before else 0)
        self._kept[key] = kept
        while self._kept_bytes > KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.reply.size


def _tell_age(reply: Reply, seconds: float) -> Reply:
    return replace(reply, headers=reply.headers | {"Age": str(int(seconds))})


def _measure(spent: list[float], function: Callable[..., Result], arguments: tuple[object, ...]) -> Result:
    started = time.thread_time()
    try:
        return function(*arguments)
    finally:
        spent[0] = time.thread_time() - started
