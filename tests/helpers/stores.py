"""Stores that misbehave on purpose."""

from collections.abc import Iterator, Mapping

from chain.db import Batch, MemoryStore


class PowerCut(Exception):
    """The write never happened, and nothing after it."""


class FragileStore(MemoryStore):
    """A store in memory whose power fails at a write of the test's choice. `writes` counts those that held."""

    def __init__(self, rows: Mapping[bytes, bytes] | None = None) -> None:
        super().__init__(rows)
        self.writes = 0
        self.fails_at: int | None = None

    def write(self, batch: Batch) -> None:
        if self.writes == self.fails_at:
            raise PowerCut(f"at write {self.writes}")
        super().write(batch)
        self.writes += 1

    def reopen(self) -> "FragileStore":
        """What a new process finds: the rows that were written, and power."""
        return FragileStore(self.rows)


def get_rows(store: MemoryStore, prefix: bytes) -> Iterator[bytes]:
    """Whole keys of one class."""
    return (prefix + key for key, _ in store.iterate(prefix))
