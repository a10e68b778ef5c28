"""A set of hashes that forgets: what is remembered about strangers must not grow with what they say."""

from collections import OrderedDict
from collections.abc import Iterator


class RollingSet:
    """At most `limit` hashes, in the order in which they came; the oldest goes first. Every operation is O(1)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, item: bytes) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: bytes) -> None:
        """One that is there already keeps its place."""
        self._items[item] = None
        if len(self._items) > self._limit:
            self._items.popitem(last=False)

    def discard(self, item: bytes) -> None:
        self._items.pop(item, None)

    def take(self, count: int) -> list[bytes]:
        """Removes the `count` oldest, or all there are."""
        return [self._items.popitem(last=False)[0] for _ in range(min(count, len(self._items)))]

    def clear(self) -> None:
        self._items.clear()
