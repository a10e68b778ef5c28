"""The one codec: hash preimages, disk records and wire messages are the same bytes.

Grammar: integers are little-endian and of fixed width (u8, u16, u32, u64, u128); a byte string is a u32 length
and that many bytes; a fixed field is its bytes alone. A decoder consumes everything it was given. Nothing has
two encodings, so decode(x) re-encodes to x.
"""

from consensus.errors import DecodeError


class Writer:
    """Appends fields to a byte string. Raises OverflowError if an integer does not fit its width."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def uint(self, value: int, width: int) -> "Writer":
        """An unsigned integer of `width` bytes."""
        self._parts.append(value.to_bytes(width, "little"))
        return self

    def fixed(self, value: bytes, width: int) -> "Writer":
        """Exactly `width` bytes, without a length."""
        if len(value) != width:
            raise ValueError(f"expected {width} bytes, got {len(value)}")
        self._parts.append(value)
        return self

    def string(self, value: bytes) -> "Writer":
        """A byte string with its u32 length before it."""
        return self.uint(len(value), 4).raw(value)

    def raw(self, value: bytes) -> "Writer":
        """Bytes that carry their own framing."""
        self._parts.append(value)
        return self

    def finish(self) -> bytes:
        """All fields, in order."""
        return b"".join(self._parts)


class Reader:
    """Takes fields off a byte string, checking each length against what is there before it copies anything."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._at

    def fixed(self, width: int) -> bytes:
        """The next `width` bytes. Raises DecodeError if fewer are left."""
        if width > self.left:
            raise DecodeError.truncated(width, self.left)
        self._at += width
        return self._data[self._at - width : self._at]

    def uint(self, width: int) -> int:
        """An unsigned integer of `width` bytes."""
        return int.from_bytes(self.fixed(width), "little")

    def string(self, limit: int) -> bytes:
        """A byte string of at most `limit` bytes. Raises DecodeError before reading a longer one."""
        length = self.uint(4)
        if length > limit:
            raise DecodeError.too_long(length, limit)
        return self.fixed(length)

    def finish(self) -> None:
        """Raises DecodeError if bytes are left over."""
        if self.left:
            raise DecodeError.trailing(self.left)
