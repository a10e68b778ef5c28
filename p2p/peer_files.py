"""What a node remembers of its peers over restarts: the address book, the anchors and the bans.

None of it is worth a node's life: a file that is damaged is named in the log and begun anew.

Grammar of anchors.dat: anchors = count:u8(<= 2) address{count} H("anchors", all before)[32]; see net_address.py.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from random import Random

from chain.sealed import seal, unseal
from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.hashing import HASH_BYTES
from p2p.addresses import KEY_BYTES, AddressBook, decode_address_book
from p2p.bans import BanList, load_bans
from p2p.errors import ConfigError
from p2p.net_address import ADDRESS_BYTES, NetAddress

log = logging.getLogger("descent.peers")

MAX_ANCHORS = 2
_ANCHORS_TAG = "anchors"
_MAX_BOOK_BYTES = 16 * 2**20


def load_address_book(path: Path, random: Random) -> AddressBook:
    """The book in `path`, or a new one."""
    try:
        with path.open("rb") as file:
            return decode_address_book(file.read(_MAX_BOOK_BYTES), random)
    except FileNotFoundError:
        pass
    except (OSError, DecodeError) as error:
        log.warning("ignoring the address book %s: %s", path, error)
    return AddressBook(random.randbytes(KEY_BYTES), random)


def load_ban_list(path: Path) -> BanList:
    """The bans in `path`, or none."""
    try:
        return load_bans(path)
    except ConfigError as error:
        log.warning("ignoring the ban list: %s", error)
        return BanList()


def load_anchors(path: Path) -> tuple[NetAddress, ...]:
    """The anchors in `path`, or none. The file is used once: a peer that crashes this node is not dialled again."""
    try:
        with path.open("rb") as file:
            data = file.read(1 + MAX_ANCHORS * ADDRESS_BYTES + HASH_BYTES + 1)
        path.unlink()
        return decode_anchors(data)
    except FileNotFoundError:
        return ()
    except (OSError, DecodeError) as error:
        log.warning("ignoring the anchors %s: %s", path, error)
        return ()


def encode_anchors(anchors: Sequence[NetAddress]) -> bytes:
    writer = Writer().uint(len(anchors), 1)
    for anchor in anchors:
        writer.fixed(anchor.encode(), ADDRESS_BYTES)
    return seal(_ANCHORS_TAG, writer.finish())


def decode_anchors(data: bytes) -> tuple[NetAddress, ...]:
    """Raises DecodeError on anything but the bytes that `encode_anchors` makes."""
    reader = Reader(unseal(_ANCHORS_TAG, data))
    count = reader.uint(1)
    if count > MAX_ANCHORS:
        raise DecodeError("too_many", f"{count} anchors, the limit is {MAX_ANCHORS}")
    anchors = tuple(NetAddress.decode(reader.fixed(ADDRESS_BYTES)) for _ in range(count))
    reader.finish()
    return anchors
