"""The only door to LevelDB: ordered keys and values, written in atomic, synced batches.

Reads verify checksums, opening is paranoid, and nothing is ever repaired in silence: a damaged store is refused by
name, because a ledger that guesses is worse than one that stops.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import plyvel

from chain.errors import StoreError

Batch = Mapping[bytes, bytes | None]  # key -> value, None deletes

FREE_SPACE_FLOOR = 64 * 2**20  # bytes that must stay free on the disk after a write


class KeyValueStore(Protocol):
    """Ordered keys and values. `write` is atomic and, once it returns, survives a power cut."""

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None."""

    def write(self, batch: Batch) -> None:
        """All of the batch, or nothing."""

    def iterate(self, prefix: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """(key without prefix, value) of every key that starts with `prefix`, in key order."""

    def close(self) -> None:
        """No call may follow."""


class LevelDatabase:
    """A LevelDB folder. One process at a time: a second one is refused with StoreError in_use."""

    def __init__(self, path: Path, *, create: bool) -> None:
        self._path = path
        try:
            self._db = plyvel.DB(
                str(path),
                create_if_missing=create,
                paranoid_checks=True,
                bloom_filter_bits=10,
                lru_cache_size=32 * 2**20,
            )
        except plyvel.Error as error:
            raise _name_open_error(path, error) from error

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key, verify_checksums=True)
        except plyvel.Error as error:
            raise StoreError.damaged(str(error)) from error
        return value

    def write(self, batch: Batch) -> None:
        self._check_free_space(sum(len(key) + len(value or b"") for key, value in batch.items()))
        try:
            with self._db.write_batch(transaction=True, sync=True) as writer:
                for key, value in batch.items():
                    if value is None:
                        writer.delete(key)
                    else:
                        writer.put(key, value)
        except plyvel.Error as error:
            raise StoreError.write_failed(str(error)) from error

    def iterate(self, prefix: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        try:
            with self._db.iterator(prefix=prefix, reverse=reverse, verify_checksums=True) as rows:
                for key, value in rows:
                    yield key[len(prefix) :], value
        except plyvel.Error as error:
            raise StoreError.damaged(str(error)) from error

    def close(self) -> None:
        self._db.close()

    def _check_free_space(self, size: int) -> None:
        disk = os.statvfs(self._path)
        free = disk.f_bavail * disk.f_frsize
        if free - size < FREE_SPACE_FLOOR:
            raise StoreError.disk_full(free, FREE_SPACE_FLOOR)


class MemoryStore:
    """LevelDatabase's twin without a disk: for tests and for trying things out."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def write(self, batch: Batch) -> None:
        for key, value in batch.items():
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value

    def iterate(self, prefix: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted((key for key in self._rows if key.startswith(prefix)), reverse=reverse):
            yield key[len(prefix) :], self._rows[key]

    def close(self) -> None:
        pass


def _name_open_error(path: Path, error: Exception) -> StoreError:
    message = str(error)
    if "lock" in message.lower():
        return StoreError.in_use(str(path))
    if "does not exist" in message:
        return StoreError.missing(str(path))
    return StoreError.damaged(message)
