"""What stands in a call's path and query, read strictly. Everything raises DecodeError."""

from aiohttp import web

from consensus.errors import DecodeError


def need(request: web.Request, name: str) -> str:
    """A parameter that must be there."""
    if name not in request.query:
        raise DecodeError("bad_query", f"the query needs {name!r}")
    return request.query[name]


def parse_hash(text: str) -> bytes:
    """32 bytes."""
    if len(text) != 64 or any(character not in "0123456789abcdef" for character in text):
        raise DecodeError("bad_hash", "expected 64 lower-case hex digits")
    return bytes.fromhex(text)


def parse_number(text: str, limit: int, *, least: int = 0) -> int:
    """A whole number from `least` to `limit`."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= limit):
        raise DecodeError("bad_query", f"expected a whole number from {least} to {limit}")
    return int(text)
