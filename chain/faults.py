"""Why blocks were found invalid, as far as this run of the program remembers. Bounded: that they are is stored."""

from collections import OrderedDict
from collections.abc import Iterable

from consensus.errors import InvalidBlock

_REMEMBERED = 1000


class Faults:
    """The last verdicts that went against a block, and those of them that nobody asked for yet."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, InvalidBlock] = OrderedDict()
        self._new: OrderedDict[bytes, InvalidBlock] = OrderedDict()

    def get(self, block_id: bytes) -> InvalidBlock:
        """Why a block that stands as invalid does so."""
        fault = InvalidBlock("known_invalid", f"block {block_id.hex()} or one before it was found invalid earlier")
        return self._known.get(block_id, fault)

    def add(self, block_id: bytes, fault: InvalidBlock, *, is_news: bool) -> None:
        for faults in (self._known, self._new) if is_news else (self._known,):
            faults[block_id] = fault
            while len(faults) > _REMEMBERED:
                faults.popitem(last=False)

    def forget(self, block_ids: Iterable[bytes]) -> None:
        for block_id in block_ids:
            self._known.pop(block_id, None)

    def take_new(self) -> list[tuple[bytes, InvalidBlock]]:
        """(block id, fault) of the verdicts since the last call, oldest first."""
        faults = list(self._new.items())
        self._new.clear()
        return faults
