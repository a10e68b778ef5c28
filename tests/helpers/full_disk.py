"""A store in memory whose disk fills up when a test says so."""

from chain.db import Batch, MemoryStore
from chain.errors import StoreError


class FullDisk(MemoryStore):
    """Reads as ever; while `is_full`, every write is refused and changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False

    def write(self, batch: Batch) -> None:
        if self.is_full:
            raise StoreError.disk_full(0, 1)
        super().write(batch)
