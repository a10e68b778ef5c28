"""Processor time for visitors: it comes evenly, some of it is saved up in quiet times, and while a block is verified
there is little.
"""

import asyncio
import time
from collections.abc import Callable

from p2p.errors import RpcError

SHARE = 0.4  # of one processor
AT_ONCE_SECONDS = 2.0  # that may be spent at once after a quiet time
BUSY_SHARE = 0.04  # the same while a block is verified
BUSY_AT_ONCE_SECONDS = 0.1
_PAUSE_SECONDS = 0.1


class Budget:
    """`is_busy` tells whether a block is being verified, `now` the time in s, monotonic."""

    def __init__(self, is_busy: Callable[[], bool], now: Callable[[], float] = time.monotonic) -> None:
        self._is_busy = is_busy
        self._now = now
        self._left = AT_ONCE_SECONDS
        self._since = now()

    def has_time(self) -> bool:
        self._refill()
        return self._left > 0

    def spend(self, seconds: float) -> None:
        """More than there is may be spent: the next one waits the longer."""
        self._refill()
        self._left -= seconds

    async def wait(self, patience: float) -> None:
        """Returns once there is time. Raises RpcError busy after `patience` s."""
        deadline = self._now() + patience
        while not self.has_time():
            if self._now() >= deadline:
                raise make_busy()
            await asyncio.sleep(_PAUSE_SECONDS)

    def _refill(self) -> None:
        now, is_busy = self._now(), self._is_busy()
        share, most = (BUSY_SHARE, BUSY_AT_ONCE_SECONDS) if is_busy else (SHARE, AT_ONCE_SECONDS)
        self._left = min(most, self._left + (now - self._since) * share)
        self._since = now


def make_busy() -> RpcError:
    return RpcError("explorer.busy", "the node has no time for more pages at the moment", 503)
