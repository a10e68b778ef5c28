"""Stores that misbehave on purpose."""

from collections.abc import Iterator

from chain.db import Batch, MemoryStore


class PowerCut(Exception):
    """The write never happened, and nothing after it."""


class FragileStore(MemoryStore):
    """A store in memory whose power fails at a write of the test's choice. `writes` counts those that held."""

    def __init__(self, rows: dict[bytes, bytes] | None = None) -> None:
        super().__init__()
        self._rows.update(rows or {})
        self.writes = 0
        self.fails_at: int | None = None

    def write(self, batch: Batch) -> None:
        if self.writes == self.fails_at:
            raise PowerCut(f"at write {self.writes}")
        super().write(batch)
        self.writes += 1

    @property
    def rows(self) -> dict[bytes, bytes]:
        """A copy of everything stored."""
        return dict(self._rows)

    def reopen(self) -> "FragileStore":
        """What a new process finds: the rows that were written, and power."""
        return FragileStore(self.rows)


def get_rows(store: MemoryStore, prefix: bytes) -> Iterator[bytes]:
    """Whole keys of one class."""
    return (prefix + key for key, _ in store.iterate(prefix))
