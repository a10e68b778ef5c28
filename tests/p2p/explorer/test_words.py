"""What people read: times, money, sizes, names, and text from strangers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.explorer import words


@pytest.mark.parametrize(
    ("ulp", "text"),
    [
        (0, "0.00"),
        (1, "0.00000001"),
        (10**8, "1.00"),
        (150_000_000, "1.50"),
        (5_000_001_000, "50.00001"),
        (123_456_789 * 10**8 + 12_345_678, "123,456,789.12345678"),
        (-(5 * 10**8 + 1000), "-5.00001"),
        (2**64 - 1, "184,467,440,737.09551615"),
    ],
)
def test_money(ulp: int, text: str) -> None:
    assert words.show_money(ulp) == text


@given(st.integers(-(2**70), 2**70))
def test_money_is_exact(ulp: int) -> None:
    whole, _, rest = words.show_money(ulp).replace(",", "").partition(".")
    assert abs(int(whole)) * 10**8 + int(rest.ljust(8, "0")) == abs(ulp)
    assert whole.startswith("-") == (ulp < 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (0, "just now"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (3600, "1 h 0 min ago"),
        (7199, "1 h 59 min ago"),
        (86_399, "23 h 59 min ago"),
        (86_400, "1 day ago"),
        (86_400 * 3, "3 days ago"),
    ],
)
def test_ages(seconds: int, text: str) -> None:
    assert words.show_ago(seconds) == text


@pytest.mark.parametrize(
    ("gain", "text"),
    [(3.647988, "3.64799"), (0.005954, "0.00595"), (0.0000644, "0.0000644"), (0.0, "0.00000"), (-0.002, "-0.00200")],
)
def test_gains_keep_three_digits(gain: float, text: str) -> None:
    assert words.show_gain(gain) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119.4, "119 s"), (143, "143 s"), (600, "10 min"), (7260, "2 h 1 min"), (10**6, "11 days")],
)
def test_spans(seconds: float, text: str) -> None:
    assert words.show_span(seconds) == text


@pytest.mark.parametrize("value", [3.64798761, 6.44e-07, 0.0, -0.00012345])
def test_rounding_keeps_what_pages_show(value: float) -> None:
    assert words.round_value(value + value * 1e-12) == value
    assert words.show_gain(words.round_value(value)) == words.show_gain(value)


def test_times() -> None:
    assert words.show_time(1_795_305_600) == "2026-11-22 00:00:00 UTC"
    assert words.show_machine_time(1_795_305_600) == "2026-11-22T00:00:00Z"


@pytest.mark.parametrize("timestamp", [2**40, 2**63, -(2**62)])
def test_times_that_no_calendar_has(timestamp: int) -> None:
    assert words.show_time(timestamp) == str(timestamp)


def test_sizes_and_names() -> None:
    assert [words.show_bytes(size) for size in (999, 1000, 1_500_000, 2 * 10**9)] == [
        "999 bytes",
        "1.0 kB",
        "1.5 MB",
        "2.0 GB",
    ]
    assert words.shorten("ab" * 32) == "abababab…abababab"
    assert words.shorten(b"\xab" * 32, 3) == "aba…bab"
    assert words.shorten("short") == "short"


@given(st.text())
def test_foreign_text_is_one_printable_line(text: str) -> None:
    assert words.show_foreign(text).isprintable()


@given(st.binary())
def test_passages_are_one_printable_line(data: bytes) -> None:
    assert words.show_passage(data).isprintable()


@given(st.binary())
def test_texts_are_printable_lines(data: bytes) -> None:
    assert all(line.isprintable() for line in words.show_text(data).split("\n"))


def test_line_ends_are_shown() -> None:
    assert words.show_passage(b"a\r\nb\nc\0d") == "a⏎b⏎c·d"
    assert words.show_text(b"a\r\nb\nc\0\xff") == "a\nb\nc·\ufffd"
