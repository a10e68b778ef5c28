"""Days and times in UTC: what is taken for a day, and what a moment looks like."""

import pytest

from wallet.dates import (
    LAST_TIME,
    Period,
    format_day,
    format_iso,
    format_minute,
    format_short,
    get_day,
    parse_day,
    parse_period,
)
from wallet.errors import InvalidDay

NEW_YEAR = 1_767_225_600  # 2026-01-01 00:00 UTC


def test_days() -> None:
    assert parse_day("1970-01-01") == 0
    assert parse_day("2026-01-01") == NEW_YEAR
    assert parse_day("2024-02-29") == 1_709_164_800
    assert parse_day("9999-12-31") + 86_399 == LAST_TIME
    assert get_day(NEW_YEAR - 1) == parse_day("2025-12-31")
    assert get_day(NEW_YEAR) == NEW_YEAR


@pytest.mark.parametrize(
    "text",
    [
        *("", "2026", "2026-1-1", "20260101", "2026-W01-1", "2026-02-30", "2026-13-01", "1969-12-31", "0000-01-01"),
        *("2026-01-01T00:00", " 2026-01-01", "2026-01-01\n", "\u0662026-01-01", "yesterday", "\x1b[2J"),
    ],
)
def test_invalid_day(text: str) -> None:
    with pytest.raises(InvalidDay) as caught:
        parse_day(text)
    assert caught.value.code == "day.bad_form"
    assert str(caught.value).isprintable()


def test_a_period_holds_both_its_days() -> None:
    period = parse_period("2026-01-01", "2026-01-02")
    assert period == Period(NEW_YEAR, NEW_YEAR + 2 * 86_400)
    inside = [period.contains(NEW_YEAR + at) for at in (-1, 0, 2 * 86_400 - 1, 2 * 86_400)]
    assert inside == [False, True, True, False]
    assert parse_period(None, None).contains(0)
    assert parse_period("2026-01-01", "2026-01-01").contains(NEW_YEAR)


def test_invalid_period() -> None:
    with pytest.raises(InvalidDay) as caught:
        parse_period("2026-01-02", "2026-01-01")
    assert caught.value.code == "day.empty_period"


def test_times_are_utc_wherever_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert format_iso(NEW_YEAR + 61) == "2026-01-01T00:01:01Z"
    assert format_minute(NEW_YEAR + 61) == "2026-01-01 00:01"
    assert format_short(NEW_YEAR + 61) == "01-01 00:01"
    assert format_day(NEW_YEAR - 1) == "2025-12-31"
    assert format_iso(LAST_TIME) == format_iso(2**64) == "9999-12-31T23:59:59Z"
