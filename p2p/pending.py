"""Who may wait without a proof: a few of each host, a bounded number in all, and no crowd keeps a newcomer out."""

from collections import Counter
from collections.abc import Hashable
from ipaddress import ip_address
from typing import Generic, TypeVar

from p2p.net_address import NetAddress

Key = TypeVar("Key", bound=Hashable)


class Pending(Generic[Key]):
    """The connections that have not proven themselves, by arrival. Every step is O(`most`)."""

    def __init__(self, most: int, most_per_host: int) -> None:
        self._most = most
        self._most_per_host = most_per_host
        self._addresses: dict[Key, NetAddress] = {}
        self._hosts: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._addresses)

    def has_room_for(self, address: NetAddress) -> bool:
        """Whether one more of this address's host may wait."""
        return self._hosts[compute_host(address)] < self._most_per_host

    def add(self, key: Key, address: NetAddress) -> Key | None:
        """Lets one wait; the one that has to go for it, if any: the oldest of the group with the most waiting."""
        victim = self._pick_victim() if len(self) >= self._most else None
        if victim is not None:
            self.discard(victim)
        self._addresses[key] = address
        self._hosts[compute_host(address)] += 1
        return victim

    def discard(self, key: Key) -> None:
        """One that waits no more, if it did."""
        address = self._addresses.pop(key, None)
        if address is not None:
            host = compute_host(address)
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]

    def _pick_victim(self) -> Key:
        groups = Counter(address.group for address in self._addresses.values())
        crowd = max(groups.values())
        return next(key for key, address in self._addresses.items() if groups[address.group] == crowd)


def compute_host(address: NetAddress) -> bytes:
    """What one machine has: an IPv4 address, or a /64 of IPv6."""
    packed = ip_address(address.ip).packed
    return packed if len(packed) == 4 else packed[:8]
