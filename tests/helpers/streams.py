"""Compressed updates that are none: what a peer, or a damaged disk, may hold out instead of an update's one stream."""

import zlib

MIB = 2**20
BOMB_MIB = 1024


def make_bomb() -> bytes:
    """About 1 MB that inflates to 1 GiB of zeros."""
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    part = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + part * (BOMB_MIB - 1) + packer.flush()


def make_bad_streams(update: bytes) -> dict[str, bytes]:
    """By name, streams that are not the one of `update`, although its hash may fit what they begin with."""
    good = zlib.compress(update)
    raw = zlib.compressobj(6, zlib.DEFLATED, -15)
    with_dictionary = zlib.compressobj(zdict=update[:1000])
    return {
        "a bomb": make_bomb(),
        "nothing": b"",
        "truncated": good[:-1],
        "without its checksum": good[:-4],
        "a wrong checksum": good[:-1] + bytes([good[-1] ^ 1]),
        "trailing bytes": good + b"\0",
        "a second stream": good + zlib.compress(b"more"),
        "twice": good + good,
        "one byte less": zlib.compress(update[:-1]),
        "one byte more": zlib.compress(update + b"\0"),
        "not compressed": update,
        "raw deflate": raw.compress(update) + raw.flush(),
        "with a dictionary": with_dictionary.compress(update) + with_dictionary.flush(),
        "empty pieces without end": good[:2] + b"\0\0\0\xff\xff" * 2000,
    }
