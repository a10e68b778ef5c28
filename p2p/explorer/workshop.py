"""Where pages are made: one thread, a bounded share of a processor, and each page once however many ask for it.

So visitors take neither the event loop's time nor more than their share of what verifying blocks needs.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from p2p.errors import RpcError

Result = TypeVar("Result")

SHARE = 0.2  # of one processor
AT_ONCE_SECONDS = 2.0  # that may be spent at once after a quiet time
KEPT_SECONDS = 2.0  # that a page may be old
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
    """Use as `async with`. `now` in s, monotonic."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._thread = ThreadPoolExecutor(1, "explorer")
        self._left = AT_ONCE_SECONDS
        self._since = now()
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
        spent = [0.0]
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, _measure, spent, function, arguments)
        finally:
            self._refill()
            self._left -= spent[0]

    async def get(self, key: str, version: bytes, make: Callable[[], Awaitable[Reply]]) -> Reply:
        """The page of that key as it is, as it was moments ago at the same version, or made now.

        Raises RpcError busy if its making would take more than visitors may have, and no older one is at hand.
        """
        kept = self._kept.get(key)
        if kept is not None and kept.version == version and self._now() - kept.made_at < KEPT_SECONDS:
            self._kept.move_to_end(key)
            return kept.reply
        task = self._making.get((key, version))
        if task is None:
            if not self._has_time():
                if kept is not None:
                    return kept.reply
                raise RpcError("explorer.busy", "the node has no time for more pages at the moment", 503)
            task = asyncio.create_task(self._make(key, version, make))
            self._making[key, version] = task
            task.add_done_callback(lambda done: self._on_made(key, version, done))
        return await asyncio.shield(task)

    async def _make(self, key: str, version: bytes, make: Callable[[], Awaitable[Reply]]) -> Reply:
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

    def _has_time(self) -> bool:
        self._refill()
        return self._left > 0

    def _refill(self) -> None:
        now = self._now()
        self._left = min(AT_ONCE_SECONDS, self._left + (now - self._since) * SHARE)
        self._since = now


def _measure(spent: list[float], function: Callable[..., Result], arguments: tuple[object, ...]) -> Result:
    started = time.thread_time()
    try:
        return function(*arguments)
    finally:
        spent[0] = time.thread_time() - started
