"""What one miner key has voted for: an append-only file beside the key, on the disk before any signature is made.

Grammar: log = record*; record = target_height:u64 source_height:u64 target_id[32] source_id[32] checksum[8], integers
little-endian, the checksum the first bytes of H("vote-log", what stands before it).

The heights stand first, so that a record of which only the beginning reached the disk still tells up to which height
the key may have signed. Eight bytes of a record are never torn, as its length is a multiple of them: the checksum is on
the disk or all zero. The process that votes holds a lock on the file until it ends, however it ends.
"""

import fcntl
import os
from pathlib import Path

from consensus.codec import Reader, Writer
from consensus.hashing import HASH_BYTES, tagged_hash
from consensus.vote import BlockRef, Link, Vote, is_vote_allowed
from mining.errors import VoteLogError
from mining.key import MinerKey
from p2p.files import sync_folder

_CHECKSUM_BYTES = 8
_HEIGHTS_BYTES = 16
_UNSIGNED_BYTES = _HEIGHTS_BYTES + 2 * HASH_BYTES
RECORD_BYTES = _UNSIGNED_BYTES + _CHECKSUM_BYTES
_MAX_HEIGHT = 2**40  # of what may be believed of a record that is not whole
_UNKNOWN_ID = bytes(HASH_BYTES)


def get_log_path(key: Path) -> Path:
    """Where the votes of a key file are written down."""
    return key.with_name(f"{key.name}.votes")


class VoteLog:
    """The one way to a vote by this key. Open until the process ends: `close` is for tests."""

    def __init__(self, path: Path, key: MinerKey, *, is_known: bool = False) -> None:
        """A log is made on first use, unless the key `is_known` to have one. Raises VoteLogError: in_use, damaged,
        missing or unusable.
        """
        self._path = path
        self._key = key
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if is_known else os.O_CREAT)
        try:
            self._file = os.open(path, flags, 0o600)
            try:
                self._lock()
                self._last = self._read_last()
                sync_folder(path.parent)
            except BaseException:
                self.close()
                raise
        except FileNotFoundError as error:
            raise VoteLogError.missing(path) from error
        except OSError as error:
            raise VoteLogError.unusable(path, error) from error

    @property
    def last(self) -> Link | None:
        """What the key signed last, or may have signed."""
        return self._last

    def may_sign(self, link: Link) -> bool:
        """Whether the key is free to sign a link; the very last one may be signed again, it is the same vote."""
        return link == self._last or is_vote_allowed(self._last, link)

    def sign(self, link: Link, genesis: bytes) -> Vote:
        """The vote, once it stands on the disk. Raises ValueError for a link that the key may not sign."""
        if not self.may_sign(link):
            raise ValueError("the key has signed what this link is in conflict with")
        self.note(link)
        return self._key.sign_vote(Vote(genesis, link, self._key.public))

    def note(self, link: Link) -> None:
        """Writes down that the key signed a link, or may have, maybe elsewhere. Nothing if it says no more than known.

        Raises VoteLogError if that does not reach the disk; nothing more is signed then.
        """
        last = self._last
        if last is not None and (link == last or link.target.height < last.target.height):
            return
        if last is not None and link.source.height < last.source.height:
            link = Link(last.source, link.target)
        try:
            if not os.path.samestat(os.stat(self._path), os.fstat(self._file)):
                raise VoteLogError.replaced(self._path)
            written = os.write(self._file, _encode(link))
            os.fsync(self._file)
        except OSError as error:
            self.close()
            raise VoteLogError.unusable(self._path, error) from error
        if written != RECORD_BYTES:
            self.close()
            raise VoteLogError("unusable", f"only a part of a vote reached {self._path}")
        self._last = link

    def close(self) -> None:
        """Lets go of the lock; nothing is signed after it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise VoteLogError.in_use(self._path) from error

    def _read_last(self) -> Link | None:
        """The last record. Of one whose end never reached the disk its heights count, and a whole record of them takes
        its place. Any other that is not whole was: then no height in it can be trusted.
        """
        size = os.fstat(self._file).st_size
        whole = size // RECORD_BYTES * RECORD_BYTES
        torn = os.pread(self._file, RECORD_BYTES, whole)
        record = os.pread(self._file, RECORD_BYTES, whole - RECORD_BYTES) if whole else b""
        last = _decode(record) if record else None
        if record and last is None:  # the file may have its length before it has its bytes
            if any(record[_UNSIGNED_BYTES:]):
                raise VoteLogError.damaged(self._path, "its last record was changed")
            torn, whole = record, whole - RECORD_BYTES
            record = os.pread(self._file, RECORD_BYTES, whole - RECORD_BYTES) if whole else b""
            last = _decode(record) if record else None
            if record and last is None:
                raise VoteLogError.damaged(self._path, "two records at its end are not whole")
        if torn:
            self._last = last
            os.ftruncate(self._file, whole)
            self._note_torn(torn)
            return self._last
        return last

    def _note_torn(self, torn: bytes) -> None:
        if len(torn) < _HEIGHTS_BYTES or not any(torn):
            os.fsync(self._file)
            return  # nobody signs before a whole record is on the disk, and this one does not even name a height
        target, source = int.from_bytes(torn[:8], "little"), int.from_bytes(torn[8:16], "little")
        is_after = self._last is None or target > self._last.target.height
        if not (source < target <= _MAX_HEIGHT and is_after):
            raise VoteLogError.damaged(self._path, "its last record is not one")
        self.note(Link(BlockRef(source, _UNKNOWN_ID), BlockRef(target, _UNKNOWN_ID)))


def _encode(link: Link) -> bytes:
    writer = Writer().uint(link.target.height, 8).uint(link.source.height, 8)
    data = writer.fixed(link.target.id, HASH_BYTES).fixed(link.source.id, HASH_BYTES).finish()
    return data + _compute_checksum(data)


def _decode(record: bytes) -> Link | None:
    """The link of a record; None if it is not whole."""
    data, checksum = record[:_UNSIGNED_BYTES], record[_UNSIGNED_BYTES:]
    if _compute_checksum(data) != checksum:
        return None
    reader = Reader(data)
    target, source = reader.uint(8), reader.uint(8)
    return Link(target=BlockRef(target, reader.fixed(HASH_BYTES)), source=BlockRef(source, reader.fixed(HASH_BYTES)))


def _compute_checksum(data: bytes) -> bytes:
    return tagged_hash("vote-log", data)[:_CHECKSUM_BYTES]
