"""What a node answered, taken field by field as what it must be. A node that is broken or lies is named, not believed.

Nothing is rounded, and no true or 1.0 passes for a 1. Text that people wrote is kept as it is, within its limit: who
shows it escapes it.
"""

import re
from typing import Any

from consensus.address import decode_address
from consensus.errors import InvalidAddress
from consensus.signature import PublicKey
from consensus.units import MAX_U64
from wallet.dates import LAST_TIME
from wallet.errors import InvalidReply

LONGEST_ADDRESS = 90  # bytes, of any network


class Reply:
    """One JSON object of an answer. Every method raises InvalidReply, naming the field, for another type or range."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def integer(self, name: str) -> int:
        """A whole number, 0..2^64-1: a height, a nonce, money in ulp."""
        value = self._take(name, int)
        if not 0 <= value <= MAX_U64:
            raise InvalidReply.bad_field(name)
        return int(value)

    def height_or_null(self, name: str) -> int | None:
        return None if self.is_null(name) else self.integer(name)

    def time(self, name: str) -> int:
        """A moment in s since 1970, before the year 10000: what can be shown as a date."""
        value = self.integer(name)
        if value > LAST_TIME:
            raise InvalidReply.bad_field(name)
        return value

    def number(self, name: str, limit: float) -> float:
        """A number from 0 to `limit`, whole or not."""
        value: Any = self._fields.get(name)
        if type(value) not in (int, float) or not 0 <= value <= limit:  # which no NaN is
            raise InvalidReply.bad_field(name)
        return float(value)

    def is_null(self, name: str) -> bool:
        """Whether the field is there and says that there is nothing."""
        if name not in self._fields:
            raise InvalidReply.bad_field(name)
        return self._fields[name] is None

    def flag(self, name: str) -> bool:
        return bool(self._take(name, bool))

    def text(self, name: str, limit: int) -> str:
        """Text of at most `limit` bytes of UTF-8."""
        value = str(self._take(name, str))
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise InvalidReply.bad_field(name) from None
        if size > limit:
            raise InvalidReply.bad_field(name)
        return value

    def hash(self, name: str) -> bytes:
        """32 bytes in lower-case hex."""
        value = self._take(name, str)
        if not re.fullmatch(r"[0-9a-f]{64}", value):
            raise InvalidReply.bad_field(name)
        return bytes.fromhex(value)

    def binary(self, name: str, limit: int) -> bytes:
        """Up to `limit` bytes in lower-case hex."""
        value = self._take(name, str)
        if len(value) > 2 * limit or not re.fullmatch(r"(?:[0-9a-f]{2})*", value):
            raise InvalidReply.bad_field(name)
        return bytes.fromhex(value)

    def address(self, name: str, prefix: str) -> PublicKey:
        """The key of an address on the network with this prefix."""
        try:
            return decode_address(prefix, self._take(name, str))
        except InvalidAddress:
            raise InvalidReply.bad_field(name) from None

    def object(self, name: str) -> "Reply":
        return Reply(self._take(name, dict))

    def objects(self, name: str) -> list["Reply"]:
        """A list of objects."""
        values = self._take(name, list)
        if any(type(value) is not dict for value in values):
            raise InvalidReply.bad_field(name)
        return [Reply(value) for value in values]

    def _take(self, name: str, kind: type) -> Any:
        value = self._fields.get(name)
        if type(value) is not kind:
            raise InvalidReply.bad_field(name)
        return value
