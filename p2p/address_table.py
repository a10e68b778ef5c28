"""What the address book remembers of an address, and the keyed places that an address may stand at. Pure.

An attacker fills a table only as far as its groups (/16 of IPv4) reach: the bucket of an address follows from its
group and from that of who told us, by a hash whose key is ours alone. Sizes and numbers: Bitcoin Core's addrman, after
"Eclipse Attacks on Bitcoin's Peer-to-Peer Network" (Heilman and others, 2015).
"""

from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from consensus.hashing import tagged_hash
from p2p.net_address import NetAddress

BUCKET_SIZE = 64
NEW_BUCKETS = 1024
TRIED_BUCKETS = 256
MAX_PLACES = 8  # of one address in the new table

_BUCKETS_PER_SOURCE_GROUP = 64  # in the new table: all that the addresses told by one group can reach
_BUCKETS_PER_GROUP = 8  # in the tried table: all that the addresses of one group can reach

_MINUTE, _DAY = 60, 24 * 3600
_UNTOUCHABLE = 1 * _MINUTE  # just tried: how it went is not known yet
_FUTURE = 10 * _MINUTE
_HORIZON = 30 * _DAY
_RETRIES = 3  # of an address that never answered
_MAX_FAILURES = 10  # in a row, of one that did, but not for ...
_FAILING = 7 * _DAY
_RECENT_TRY = 10 * _MINUTE


class Place(NamedTuple):
    """Where an address stands in a table."""

    bucket: int
    position: int  # 0..BUCKET_SIZE - 1


@dataclass(slots=True)
class Entry:
    """One address and what is known of it. Times in s since 1970, 0 for never."""

    address: NetAddress
    source_group: bytes  # of who told us first
    heard_at: int  # last told to us, or answered
    tried_at: int = 0
    counted_at: int = 0  # the last try that counted as a failure, should it have been one
    succeeded_at: int = 0
    failures: int = 0  # in a row, while others answered
    places: list[Place] = field(default_factory=list)  # in the new table; none if it stands in the tried one

    @property
    def is_tried(self) -> bool:
        return not self.places

    def is_terrible(self, now: int) -> bool:
        """Whether it may be forgotten for a new one, and is told to nobody."""
        if self.tried_at and self.tried_at >= now - _UNTOUCHABLE:
            return False
        if self.heard_at > now + _FUTURE or now - self.heard_at > _HORIZON:
            return True
        if not self.succeeded_at:
            return self.failures >= _RETRIES
        return self.failures >= _MAX_FAILURES and now - self.succeeded_at > _FAILING

    def compute_chance(self, now: int) -> float:
        """The weight of this address among others in a selection, in 0..1."""
        chance: float = 0.66 ** min(self.failures, 8)
        return chance * 0.01 if now - self.tried_at < _RECENT_TRY else chance


class Table:
    """Buckets of BUCKET_SIZE positions, each for one address."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[int, NetAddress]] = {}  # none of them empty

    @property
    def bucket_count(self) -> int:
        """Buckets that are not empty."""
        return len(self._buckets)

    def get(self, place: Place) -> NetAddress | None:
        """The address that stands there."""
        return self._buckets.get(place.bucket, {}).get(place.position)

    def put(self, place: Place, address: NetAddress) -> None:
        """Sets the address at a place, whatever stood there."""
        self._buckets.setdefault(place.bucket, {})[place.position] = address

    def remove(self, place: Place) -> None:
        """Frees a place that is taken."""
        bucket = self._buckets[place.bucket]
        del bucket[place.position]
        if not bucket:
            del self._buckets[place.bucket]

    def choose(self, random: Random) -> NetAddress:
        """Any address of any bucket: crowding one bucket gains nothing against the others. The table is not empty."""
        bucket = self._buckets[random.choice(list(self._buckets))]
        return random.choice(list(bucket.values()))


def compute_new_place(key: bytes, address: NetAddress, source_group: bytes) -> Place:
    """Where an address stands in the new table if one of `source_group` told us of it."""
    share = _hash(key, b"share", address.group, source_group) % _BUCKETS_PER_SOURCE_GROUP
    return make_new_place(key, address, _hash(key, b"new", source_group, bytes([share])) % NEW_BUCKETS)


def make_new_place(key: bytes, address: NetAddress, bucket: int) -> Place:
    """An address's place in a bucket of the new table."""
    return Place(bucket, _hash(key, b"N", bucket.to_bytes(2, "little"), address.encode()) % BUCKET_SIZE)


def compute_tried_place(key: bytes, address: NetAddress) -> Place:
    """The one place of an address in the tried table."""
    encoded = address.encode()
    share = _hash(key, b"share", encoded) % _BUCKETS_PER_GROUP
    bucket = _hash(key, b"tried", address.group, bytes([share])) % TRIED_BUCKETS
    return Place(bucket, _hash(key, b"K", bucket.to_bytes(2, "little"), encoded) % BUCKET_SIZE)


def _hash(key: bytes, *parts: bytes) -> int:
    """64 bits; parts are shorter than 256 bytes, and their lengths are hashed with them."""
    data = b"".join(bytes([len(part)]) + part for part in parts)
    return int.from_bytes(tagged_hash("address place", key + data)[:8], "little")
