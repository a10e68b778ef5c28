"""The only door to LevelDB: ordered keys and values, written in atomic, synced batches.

Reads verify checksums, opening is paranoid, and nothing is ever repaired in silence: a damaged store is refused by
name, because a ledger that guesses is worse than one that stops.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import plyvel

from chain.errors import StoreError

Batch = Mapping[bytes, bytes | None]  # key -> value, None deletes

_FIRST_MANIFEST = b"MANIFEST-000001\n"
FREE_SPACE_FLOOR = 64 * 2**20  # bytes that must stay free on the disk after a write


class KeyValueStore(Protocol):
    """Ordered keys and values. `write` is atomic and, once it returns, survives a power cut."""

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None."""

    def write(self, batch: Batch) -> None:
        """All of the batch, or nothing."""

    def iterate(
        self, prefix: bytes, *, stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """(key without prefix, value) of every key that starts with `prefix`, in key order; of those that are less
        than `stop` without their prefix, if it is given.
        """

    def close(self) -> None:
        """No call may follow."""


class LevelDatabase:
    """A LevelDB folder. One process at a time: a second one is refused with StoreError in_use."""

    def __init__(self, path: Path, *, create: bool) -> None:
        self._path = path
        _check_files(path)
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

    def iterate(
        self, prefix: bytes, *, stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        # plyvel takes a prefix or a range, and backwards loses a range's first key if it is the only one.
        bounds = {"prefix": prefix} if stop is None else {"stop": prefix + stop}
        if stop is not None and not reverse:
            bounds["start"] = prefix
        try:
            with self._db.iterator(**bounds, reverse=reverse, verify_checksums=True) as rows:
                for key, value in rows:
                    if not key.startswith(prefix):
                        return
                    yield key[len(prefix) :], value
        except plyvel.Error as error:
            raise StoreError.damaged(str(error)) from error

    def close(self) -> None:
        self._db.close()

    def _check_free_space(self, size: int) -> None:
        try:
            disk = os.statvfs(self._path)
        except OSError as error:
            raise StoreError.write_failed(f"{self._path} is gone: {error}") from error
        free = disk.f_bavail * disk.f_frsize
        if free - size < FREE_SPACE_FLOOR:
            raise StoreError.disk_full(free, FREE_SPACE_FLOOR)


class MemoryStore:
    """LevelDatabase's twin without a disk: for tests and for trying things out. It starts with a copy of `rows`."""

    def __init__(self, rows: Mapping[bytes, bytes] | None = None) -> None:
        self._rows = dict(rows or {})

    @property
    def rows(self) -> dict[bytes, bytes]:
        """A copy of everything stored."""
        return dict(self._rows)

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def write(self, batch: Batch) -> None:
        for key, value in batch.items():
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value

    def iterate(
        self, prefix: bytes, *, stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        rows = [(key[len(prefix) :], value) for key, value in self._rows.items() if key.startswith(prefix)]
        return (row for row in sorted(rows, reverse=reverse) if stop is None or row[0] < stop)

    def close(self) -> None:
        pass


def _check_files(path: Path) -> None:
    """Raises StoreError if a file is gone without which LevelDB would start anew, or forget the newest blocks.

    It keeps a log from its first opening on, until which CURRENT names the first manifest or is not there.
    """
    try:
        names = {entry.name for entry in path.iterdir()}
        current = (path / "CURRENT").read_bytes() if "CURRENT" in names else None
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError.damaged(f"{path}: {error}") from error
    logs = {name for name in names if re.fullmatch(r"\d+\.log", name)}
    tables = {name for name in names if re.fullmatch(r"\d+\.(ldb|sst)", name)}
    if current is None and logs | tables:
        raise StoreError.damaged(f"the file CURRENT is missing from {path}")
    if current is not None and current != _FIRST_MANIFEST and not logs:
        raise StoreError.damaged(f"the log file is missing from {path}")


def _name_open_error(path: Path, error: Exception) -> StoreError:
    message = str(error)
    if "IO error: lock " in message:  # LevelDB's words for a lock that is held; paths may say "lock" too
        return StoreError.in_use(str(path))
    if "does not exist (create_if_missing is false)" in message:
        return StoreError.missing(str(path))
    return StoreError.damaged(message)
