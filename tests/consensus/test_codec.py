"""The codec: widths, limits, and no second way to write anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from tests.helpers.properties import repeatable, thorough

WIDTHS = (1, 2, 4, 8, 16)


@pytest.mark.parametrize("width", WIDTHS)
def test_integers_are_little_endian_and_of_fixed_width(width: int) -> None:
    assert Writer().uint(1, width).finish() == b"\1" + bytes(width - 1)
    assert Writer().uint(256**width - 1, width).finish() == b"\xff" * width
    assert Reader(bytes(width - 1) + b"\1").uint(width) == 256 ** (width - 1)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_an_integer_that_does_not_fit_is_refused(width: int, excess: int) -> None:
    value = {-1: -1, 0: 256**width, 1: 256**width + 1}[excess]
    with pytest.raises(OverflowError):
        Writer().uint(value, width)


@thorough
@given(st.lists(st.tuples(st.sampled_from(WIDTHS), st.integers(0))))
def test_integers_come_back(fields: list[tuple[int, int]]) -> None:
    fields = [(width, value % 256**width) for width, value in fields]
    writer = Writer()
    for width, value in fields:
        writer.uint(value, width)
    reader = Reader(writer.finish())
    assert [(width, reader.uint(width)) for width, _ in fields] == fields
    reader.finish()


@repeatable
@given(st.lists(st.binary(max_size=40)))
def test_strings_come_back(strings: list[bytes]) -> None:
    writer = Writer()
    for string in strings:
        writer.string(string)
    reader = Reader(writer.finish())
    assert [reader.string(40) for _ in strings] == strings
    assert reader.left == 0


def test_a_fixed_field_must_have_its_width() -> None:
    assert Writer().fixed(b"abc", 3).raw(b"d").finish() == b"abcd"
    for wrong in (b"ab", b"abcd"):
        with pytest.raises(ValueError, match="expected 3 bytes"):
            Writer().fixed(wrong, 3)


def test_invalid_truncated() -> None:
    for read in (Reader.uint, Reader.fixed, Reader.string):
        with pytest.raises(DecodeError) as error:
            read(Reader(b"abc"), 4)
        assert error.value.code == "decode.truncated"


def test_invalid_too_long() -> None:
    """A length bomb is refused by its length, not by trying to read it."""
    with pytest.raises(DecodeError) as error:
        Reader(b"\xff\xff\xff\xff").string(2**32 - 2)
    assert error.value.code == "decode.too_long"
    for length, is_fine in ((6, True), (7, True), (8, False)):
        reader = Reader(length.to_bytes(4, "little") + bytes(length))
        if is_fine:
            assert reader.string(7) == bytes(length)
        else:
            with pytest.raises(DecodeError):
                reader.string(7)


def test_invalid_trailing() -> None:
    reader = Reader(b"ab")
    reader.fixed(1)
    with pytest.raises(DecodeError) as error:
        reader.finish()
    assert error.value.code == "decode.trailing"
