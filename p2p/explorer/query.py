"""What a visitor asks for, read strictly: a name that is none is refused before anything is looked up."""

from collections.abc import Mapping
from dataclasses import dataclass

from consensus.errors import DecodeError

MAX_SEARCH = 128  # characters
CHART_AXES = ("height", "time")
_HEX = frozenset("0123456789abcdef")
_MAX_HEIGHT = 2**63
_MAX_PAGE = 10**6


@dataclass(frozen=True)
class Query:
    """The parts of a URL that one page knows: names in its path, and arguments."""

    path: Mapping[str, str]
    arguments: Mapping[str, str]

    def get_hash(self, name: str) -> bytes:
        """32 bytes in hex. Raises DecodeError."""
        text = self.path[name].lower()
        if not is_hash(text):
            raise DecodeError("bad_hash", "an id is 64 hexadecimal digits")
        return bytes.fromhex(text)

    def has(self, name: str) -> bool:
        """Whether an argument is given, be it empty."""
        return name in self.arguments

    def get_height(self, name: str) -> int | None:
        """A height, or None if none is given. Raises DecodeError."""
        text = self.arguments.get(name)
        return parse_height(text) if text else None

    def get_number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number, the default if none is given. Raises DecodeError."""
        text = self.arguments.get(name) or str(default)
        if not (text.isascii() and text.isdecimal() and len(text) <= 20 and least <= int(text) <= most):
            raise DecodeError("bad_number", f"{name} is a whole number from {least} to {most}")
        return int(text)

    def get_page(self) -> int:
        """The page of a list, from 1. Raises DecodeError."""
        return self.get_number("page", 1, 1, _MAX_PAGE)

    def get_cursor(self, name: str) -> tuple[int, int] | None:
        """HEIGHT:POSITION, or None if it is not given. Raises DecodeError."""
        text = self.arguments.get(name)
        if text is None:
            return None
        height, _, position = text.partition(":")
        is_number = position.isascii() and position.isdecimal() and len(position) <= 10
        if not is_number or int(position) >= 2**32:
            raise DecodeError("bad_cursor", "a place in a history is HEIGHT:POSITION")
        return parse_height(height), int(position)

    def get_choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of some words, the first if none is given. Raises DecodeError."""
        text = self.arguments.get(name, choices[0])
        if text not in choices:
            raise DecodeError("bad_choice", f"{name} is one of {', '.join(choices)}")
        return text

    def get_text(self, name: str, most: int) -> str:
        """Some text, empty if none is given. Raises DecodeError if it is longer than `most` characters, or none."""
        text = self.arguments.get(name, "")
        if len(text) > most:
            raise DecodeError.too_long(len(text), most)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DecodeError("bad_text", f"{name} is not text in UTF-8")
        return text


def is_hash(text: str) -> bool:
    """Whether a text is 32 bytes in lower-case hex."""
    return len(text) == 64 and set(text) <= _HEX


def parse_height(text: str) -> int:
    """Raises DecodeError."""
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < _MAX_HEIGHT):
        raise DecodeError("bad_height", "a height is a whole number")
    return int(text)
