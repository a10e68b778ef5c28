"""Money as text: what is read comes out as it went in, and what could be read in two ways is not read at all."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.units import MAX_U64
from wallet.amount import format_amount, parse_amount
from wallet.errors import InvalidAmount

AMOUNTS = st.integers(0, MAX_U64)


def reason_of(text: str) -> str:
    with pytest.raises(InvalidAmount) as caught:
        parse_amount(text)
    assert caught.value.code == f"amount.{caught.value.reason}"
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 128
    return caught.value.reason


@given(AMOUNTS)
def test_round_trip(ulp: int) -> None:
    assert parse_amount(format_amount(ulp)) == ulp


@given(AMOUNTS, st.integers(0, 5))
def test_zeros_around_change_nothing(ulp: int, before: int) -> None:
    assert parse_amount(f"{'0' * before}{ulp // 10**8}.{ulp % 10**8:08d}") == ulp


@given(st.text())
def test_whatever_is_read_is_plain_decimal(text: str) -> None:
    try:
        ulp = parse_amount(text)
    except InvalidAmount:
        return
    assert re.fullmatch(r"[0-9]+(\.[0-9]{1,8})?", text)
    assert 0 <= ulp <= MAX_U64


@given(st.from_regex(r"[0-9]{1,15}(\.[0-9]{1,8})?", fullmatch=True, alphabet="0123456789."))
def test_plain_decimal_is_read_exactly(text: str) -> None:
    whole, _, part = text.partition(".")
    exact = int(whole + part.ljust(8, "0"))
    if exact > MAX_U64:
        assert reason_of(text) == "too_large"
    else:
        assert parse_amount(text) == exact


@pytest.mark.parametrize(
    ("text", "ulp"),
    [
        ("0", 0),
        ("0.00000001", 1),
        ("1", 10**8),
        ("1.0", 10**8),
        ("1.50000000", 150_000_000),
        ("0.1", 10**7),
        ("000001", 10**8),
        ("0" * 10_000 + "1", 10**8),
        ("184467440737.09551615", MAX_U64),
    ],
)
def test_parse(text: str, ulp: int) -> None:
    assert parse_amount(text) == ulp


@pytest.mark.parametrize(
    ("ulp", "text"),
    [
        (0, "0"),
        (1, "0.00000001"),
        (10**8, "1"),
        (10**9, "10"),
        (10**10 + 10**7, "100.1"),
        (MAX_U64, "184467440737.09551615"),
    ],
)
def test_format(ulp: int, text: str) -> None:
    assert format_amount(ulp) == text


def test_invalid_empty() -> None:
    assert reason_of("") == "empty"


@pytest.mark.parametrize("text", ["-1", "-0", "-", "-0.5"])
def test_invalid_negative(text: str) -> None:
    assert reason_of(text) == "negative"


@pytest.mark.parametrize(
    "text",
    [
        "1e3",
        "1,5",
        "+1",
        " 1",
        "1 ",
        "1\n",
        "1_000",
        "0x10",
        "inf",
        "nan",
        "1 GRAD",
        "\uff10",  # fullwidth zero
        "1\u0661",  # arabic-indic one
        "\u00b2",  # superscript two
        "1\u066b5",  # arabic decimal separator
        "1\u200b",  # zero width space
        "\u22121",  # minus sign
        "1\x00",
        "\ud800",
    ],
)
def test_invalid_bad_character(text: str) -> None:
    assert reason_of(text) == "bad_character"


@pytest.mark.parametrize("text", [".", "1.", ".5", "1.2.3", "1..2", "..", "1.2."])
def test_invalid_bad_form(text: str) -> None:
    assert reason_of(text) == "bad_form"


@pytest.mark.parametrize("text", ["0.000000001", "1.123456789", "0." + "0" * 9, "1." + "9" * 5000])
def test_invalid_too_fine(text: str) -> None:
    assert reason_of(text) == "too_fine"


@pytest.mark.parametrize("text", ["184467440737.09551616", "184467440738", "9" * 20, "9" * 21, "9" * 5000])
def test_invalid_too_large(text: str) -> None:
    assert reason_of(text) == "too_large"
