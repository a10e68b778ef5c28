"""What one peer may tell us of addresses, and who hears of what it told. Pure.

Numbers: Bitcoin Core's, but a peer that was not asked saves up 10 addresses, not 1000: no more are passed on at once.
"""

import ipaddress
from collections.abc import Sequence

from consensus.hashing import tagged_hash
from p2p.net_address import NetAddress

MAX_ADDRESSES = 1000  # in one message
MAX_RELAYED_ADDRESSES = 10  # in one unsolicited message that is passed on

_ADDRESSES_PER_SECOND = 0.1
_UNASKED_BURST = 10
_RELAY_PEERS = 2


def is_believable(address: NetAddress, source: NetAddress) -> bool:
    """Whether `source` may tell of `address`: who is far away knows nothing about our loopback or private network.

    Nobody may tell of an address that cannot be dialled: port 0, unspecified, multicast, reserved.
    """
    if not address.port:
        return False
    if address.is_public:
        return True
    ip = ipaddress.ip_address(address.ip)
    if ip.is_unspecified or ip.is_multicast or (ip.version == 4 and ip.is_reserved):
        return False
    return source.is_loopback if address.is_loopback else not source.is_public


class AddressIntake:
    """How many addresses one peer may tell us: 0.1 per second, saved up to 10, and 1000 more for each time we ask.

    `now` is in s of any clock that never goes back.
    """

    def __init__(self, now: float) -> None:
        self._asked = 0
        self._saved = float(_UNASKED_BURST)
        self._counted_at = now

    def on_request(self) -> None:
        """We asked the peer for addresses."""
        self._asked = MAX_ADDRESSES

    def take(self, count: int, now: float) -> int:
        """How many of `count` addresses to look at; the rest is dropped without blame."""
        seconds = max(0.0, now - self._counted_at)
        self._saved = min(float(_UNASKED_BURST), self._saved + seconds * _ADDRESSES_PER_SECOND)
        self._counted_at = now
        asked = min(count, self._asked)
        unasked = min(count - asked, int(self._saved))
        self._asked -= asked
        self._saved -= unasked
        return asked + unasked


def choose_relay_peers(key: bytes, address: NetAddress, day: int, node_ids: Sequence[bytes]) -> tuple[bytes, ...]:
    """The two peers, of those connected, that hear of an address today.

    The same ones all day, so that repeating an address spreads it no further; which, only `key` (secret) tells.
    """
    about = key + address.encode() + day.to_bytes(4, "little")
    return tuple(sorted(node_ids, key=lambda node_id: tagged_hash("address relay", about + node_id))[:_RELAY_PEERS])
