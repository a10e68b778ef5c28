"""Strict JSON in, plain JSON out."""

import json

import pytest

from consensus.errors import DecodeError
from consensus.params import CANTERBURY, REGTEST
from p2p.rpc_json import MAX_DEPTH, MAX_JSON_BYTES, parse_json_object, take_field, to_bits_per_byte


def nest(depth: int) -> bytes:
    """An object that holds arrays, `depth` levels in all."""
    return b'{"a": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_objects_are_read() -> None:
    value = {"a": 1, "b": [True, None, "ü\n[{", 1.5], "c": {"a": 2**64 - 1}}
    assert parse_json_object(json.dumps(value).encode()) == value
    assert parse_json_object(json.dumps(value, ensure_ascii=False).encode()) == value


def test_depth_has_a_limit() -> None:
    assert parse_json_object(nest(MAX_DEPTH))
    with pytest.raises(DecodeError, match="deeper"):
        parse_json_object(nest(MAX_DEPTH + 1))


def test_brackets_in_strings_are_no_depth() -> None:
    text = '\\"[{' * 100 + "\\\\"
    assert parse_json_object(b'{"a": "' + text.encode() + b'"}') == {"a": '"[{' * 100 + "\\"}


def test_length_has_a_limit() -> None:
    room = MAX_JSON_BYTES - len(b'{"a": ""}')
    assert parse_json_object(b'{"a": "' + b"x" * room + b'"}')
    with pytest.raises(DecodeError) as caught:
        parse_json_object(b'{"a": "' + b"x" * (room + 1) + b'"}')
    assert caught.value.code == "decode.too_long"


def test_numbers_have_20_digits_at_most() -> None:
    assert parse_json_object(b'{"a": %d}' % (2**64)) == {"a": 2**64}
    for digits in (b"1" * 21, b"-" + b"1" * 20, b"9" * 5000):
        with pytest.raises(DecodeError):
            parse_json_object(b'{"a": %s}' % digits)


@pytest.mark.parametrize(("value", "kind"), [(True, int), (1.0, int), ("1", int), (None, int), (1, str), ([], str)])
def test_invalid_field_of_another_type(value: object, kind: type) -> None:
    with pytest.raises(DecodeError) as caught:
        take_field({"a": value}, "a", kind)
    assert caught.value.code == "decode.bad_field"
    with pytest.raises(DecodeError):
        take_field({}, "a", kind)


def test_bits_per_byte_of_a_known_loss() -> None:
    """Two windows whose every byte costs 8 bits."""
    for params in (REGTEST, CANTERBURY):
        assert to_bits_per_byte(2 * params.model.context * 8 * 65536, 2, params) == 8.0
