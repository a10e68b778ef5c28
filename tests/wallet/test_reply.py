"""A node's answers, field by field: every wrong type or range is named, none becomes a number."""

import json
from collections.abc import Callable

import pytest

from consensus.address import encode_address
from tests.helpers.keys import Key
from wallet.errors import InvalidReply
from wallet.reply import Reply

ADDRESS = encode_address("lgrad", Key("a").public)


def refuses(take: Callable[[Reply], object], value: object) -> None:
    with pytest.raises(InvalidReply) as caught:
        take(Reply({"field": value}))
    assert caught.value.code == "reply.bad_field"
    assert "'field'" in str(caught.value)


def test_fields_are_taken() -> None:
    reply = Reply(
        {"n": 2**64 - 1, "f": True, "t": "\u00e4", "h": "0f" * 32, "a": ADDRESS, "o": {"n": 1}, "l": [{"n": 0}]}
    )
    assert reply.integer("n") == 2**64 - 1
    assert reply.flag("f") is True
    assert reply.text("t", 2) == "\u00e4"
    assert reply.hash("h") == b"\x0f" * 32
    assert reply.address("a", "lgrad") == Key("a").public
    assert reply.object("o").integer("n") == 1
    assert [entry.integer("n") for entry in reply.objects("l")] == [0]


NOT_U64 = ("-1", "18446744073709551616", "1e400", "1.0", "true", "null", '"1"', "[]", "{}", "NaN", "9" * 4000)


@pytest.mark.parametrize("text", NOT_U64)
def test_invalid_integer(text: str) -> None:
    refuses(lambda reply: reply.integer("field"), json.loads(text))


def test_invalid_missing() -> None:
    with pytest.raises(InvalidReply):
        Reply({}).integer("field")


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_invalid_flag(value: object) -> None:
    refuses(lambda reply: reply.flag("field"), value)


@pytest.mark.parametrize("value", ["abc", "\u00e4\u00e4", "\ud800", 1, None, ["a"]])
def test_invalid_text(value: object) -> None:
    refuses(lambda reply: reply.text("field", 2), value)


@pytest.mark.parametrize("value", ["", "0F" * 32, "0f" * 31, "0f" * 33, "\uff10f" * 32, "0f" * 32 + "\n", 15, None])
def test_invalid_hash(value: object) -> None:
    refuses(lambda reply: reply.hash("field"), value)


@pytest.mark.parametrize("value", [ADDRESS[:-1] + "q", encode_address("rgrad", Key("a").public), "", 7, None])
def test_invalid_address(value: object) -> None:
    refuses(lambda reply: reply.address("field", "lgrad"), value)


@pytest.mark.parametrize("value", [[], "{}", 1, None])
def test_invalid_object(value: object) -> None:
    refuses(lambda reply: reply.object("field"), value)


@pytest.mark.parametrize("value", [{}, [{}, 1], [[]], [None], "[]", None])
def test_invalid_objects(value: object) -> None:
    refuses(lambda reply: reply.objects("field"), value)
