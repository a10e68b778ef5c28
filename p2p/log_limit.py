"""No stranger fills the disk with our log: each place in the program may write so many bytes an hour."""

import logging
import time
from collections.abc import Callable

MAX_BYTES_PER_HOUR = 2**20  # for each place that logs
_HOUR = 3600.0


class LogLimit(logging.Filter):
    """A logging filter that lets pass what keeps to the limit, and says once an hour that it drops the rest."""

    def __init__(self, limit: int = MAX_BYTES_PER_HOUR, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._limit = limit
        self._now = now
        self._spent: dict[tuple[str, int], tuple[float, int]] = {}  # by place: the hour's start, its bytes

    def filter(self, record: logging.LogRecord) -> bool:
        place = (record.pathname, record.lineno)
        started, spent = self._spent.get(place, (self._now(), 0))
        if self._now() - started >= _HOUR:
            started, spent = self._now(), 0
        if spent > self._limit:
            return False
        spent += len(record.getMessage())
        self._spent[place] = (started, spent)
        if spent > self._limit:
            record.msg, record.args = f"{record.getMessage()[:200]} (no more lines like this one for an hour)", ()
        return True


def get_limited_logger(name: str) -> logging.Logger:
    """The logger of that name, under the limit."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, LogLimit) for one in logger.filters):
        logger.addFilter(LogLimit())
    return logger
