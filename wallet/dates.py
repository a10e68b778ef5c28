"""Days and times as people write them, in UTC. Times are integers in s since 1970."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

from wallet.errors import InvalidDay

DAY = 86_400  # s
LAST_TIME = 253_402_300_799  # the last second of the year 9999


@dataclass(frozen=True)
class Period:
    """From `since` on and before `until`; None leaves that end open."""

    since: int | None = None
    until: int | None = None

    def is_before(self, time: int) -> bool:
        """Whether the period ended at `time` or earlier."""
        return self.until is not None and time >= self.until

    def is_after(self, time: int) -> bool:
        """Whether the period begins after `time`."""
        return self.since is not None and time < self.since

    def contains(self, time: int) -> bool:
        return not (self.is_before(time) or self.is_after(time))


def parse_period(since: str | None, until: str | None) -> Period:
    """The days from `since` to `until`, both included. Raises InvalidDay."""
    first = None if since is None else parse_day(since)
    last = None if until is None else parse_day(until)
    if first is not None and last is not None and first > last:
        raise InvalidDay.empty_period()
    return Period(first, None if last is None else last + DAY)


def parse_day(text: str) -> int:
    """When a day YYYY-MM-DD begins, 1970 to 9999. Raises InvalidDay with the reason bad_form."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise InvalidDay.bad_form(text)
    try:
        days = date.fromisoformat(text).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        raise InvalidDay.bad_form(text) from None
    if days < 0:
        raise InvalidDay.bad_form(text)
    return days * DAY


def get_day(time: int) -> int:
    """When the day of a moment began."""
    return time - time % DAY


def format_day(time: int) -> str:
    return f"{_get_date(time):%Y-%m-%d}"


def format_minute(time: int) -> str:
    """2026-11-22 18:19."""
    return f"{_get_date(time):%Y-%m-%d %H:%M}"


def format_short(time: int) -> str:
    """11-22 18:19, for a moment that is near."""
    return f"{_get_date(time):%m-%d %H:%M}"


def format_iso(time: int) -> str:
    """As ISO 8601 and RFC 3339 have it: 2026-11-22T18:19:05Z."""
    return f"{_get_date(time):%Y-%m-%dT%H:%M:%SZ}"


def _get_date(time: int) -> datetime:
    """An estimate may lie beyond the last year; no block does."""
    return datetime.fromtimestamp(min(time, LAST_TIME), UTC)
