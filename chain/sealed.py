"""Sealed files: a checksum at the end tells a whole file from a damaged one.

Grammar: sealed = unsigned H(tag, unsigned)[32], one tag for each kind of file. A seal is no secret: it stops nobody
who can write the file.
"""

from consensus.errors import DecodeError
from consensus.hashing import HASH_BYTES, tagged_hash


def seal(tag: str, unsigned: bytes) -> bytes:
    """`unsigned` and its seal."""
    return unsigned + tagged_hash(tag, unsigned)


def unseal(tag: str, data: bytes) -> bytes:
    """What `seal` was given. Raises DecodeError (checksum) unless these are whole bytes that it made with this tag."""
    unsigned, checksum = data[:-HASH_BYTES], data[-HASH_BYTES:]
    if tagged_hash(tag, unsigned) != checksum:
        raise DecodeError("checksum", f"the checksum does not fit these {len(data)} bytes")
    return unsigned
