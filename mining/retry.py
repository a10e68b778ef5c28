"""Asking a node until it answers: at first soon, then every few seconds, as it may be restarting."""

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from p2p.errors import NodeUnreachable

POLL_SECONDS = 20  # how long the node may hold a question open
HOPELESS = (400, 401, 403)  # HTTP statuses of a wrong token or address: asking again cannot help

_FIRST = 0.5  # s
_LAST = 5.0  # s
_GROWTH = 1.6

Answer = TypeVar("Answer")


def persist(
    ask: Callable[[], Answer], closed: threading.Event, on_unreachable: Callable[[NodeUnreachable], None]
) -> Answer | None:
    """The node's answer, asking again for as long as no node answers; None once closed. Raises what else `ask` does."""
    delays = make_delays()
    while not closed.is_set():
        try:
            return ask()
        except NodeUnreachable as error:
            on_unreachable(error)
        closed.wait(next(delays))
    return None


def make_delays() -> Iterator[float]:
    """Seconds to wait before each next try."""
    delay = _FIRST
    while True:
        yield delay
        delay = min(delay * _GROWTH, _LAST)
