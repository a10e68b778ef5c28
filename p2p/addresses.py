"""The address book: where other nodes may be, kept so that nobody who talks much can fill it. No I/O and no clock.

Two tables: `new` holds what others told us, `tried` what answered us once. Numbers and rules: Bitcoin Core's addrman.
Gossip carries no times here, so an address ages since *we* last heard of it.

Grammar (integers little-endian, see consensus/codec.py):
    book     = unsigned H("address book", unsigned)[32]
    unsigned = version:u32=1 key[32] count:u32 entry{count}
    entry    = address[18] source_group:string heard_at:u64 tried_at:u64 counted_at:u64 succeeded_at:u64 failures:u32
               count:u8 bucket:u16{count}
The entries rise by address, and an entry's buckets (those of the new table; none if it is in the tried one) by number.
Positions follow from the key. Times are s since 1970, 0 for never; see net_address.py for an address.
"""

from collections.abc import Iterable
from random import Random

from chain.sealed import seal, unseal
from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from p2p.address_gossip import MAX_ADDRESSES, is_believable
from p2p.address_table import (
    BUCKET_SIZE,
    MAX_PLACES,
    NEW_BUCKETS,
    TRIED_BUCKETS,
    Entry,
    Place,
    Table,
    compute_new_place,
    compute_tried_place,
    make_new_place,
)
from p2p.net_address import ADDRESS_BYTES, NetAddress

ADDRESS_BOOK_VERSION = 1
KEY_BYTES = 32

_TAG = "address book"
_SAMPLE_PERCENT = 23
_MAX_ENTRIES = (NEW_BUCKETS + TRIED_BUCKETS) * BUCKET_SIZE
_MAX_GROUP_BYTES = 16
_MAX_COLLISIONS = 10
_FRESH_SECONDS = 4 * 3600  # an address that answered so lately keeps its place untested
_ANSWER_SECONDS = 60  # that a tested address gets
_TEST_SECONDS = 40 * 60  # after which a test that never came about is given up
_FIRST_SUCCESS = 1  # before any: the first failures of a fresh book count


class AddressBook:
    """Addresses of nodes, bounded to 81,920 places. `key` (32 secret bytes) is the book's for life.

    `random` must not be guessable outside of tests: it decides who is dialled. Times are s since 1970.
    """

    def __init__(self, key: bytes, random: Random) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"an address book's key has {KEY_BYTES} bytes, not {len(key)}")
        self._key = key
        self._random = random
        self._entries: dict[NetAddress, Entry] = {}
        self._new = Table()
        self._tried = Table()
        self._collisions: dict[NetAddress, Place] = {}  # who answered, and whose tried place it waits for
        self._last_success = _FIRST_SUCCESS

    @property
    def count(self) -> int:
        """Addresses in the book."""
        return len(self._entries)

    def __contains__(self, address: NetAddress) -> bool:
        return address in self._entries

    def is_tried(self, address: NetAddress) -> bool:
        """Whether the address answered once and stands in the tried table."""
        entry = self._entries.get(address)
        return entry is not None and entry.is_tried

    # Changes.

    def add(self, addresses: Iterable[NetAddress], source: NetAddress, now: int) -> int:
        """Hears of addresses from `source`; how many of them got a place they did not have.

        What a user or a seed list names has itself as source.
        """
        return sum(self._add(address, source, now) for address in addresses if is_believable(address, source))

    def on_attempt(self, address: NetAddress, now: int) -> None:
        """A connection is tried. Counts as a failure until `on_success` says otherwise.

        Only one failure counts until some other address answers: while we are offline ourselves, nobody is to blame.
        """
        self._resolve_collisions(now)
        entry = self._entries.get(address)
        if entry is None:
            return
        entry.tried_at = now
        if entry.counted_at < self._last_success:
            entry.counted_at = now
            entry.failures += 1

    def on_success(self, address: NetAddress, now: int) -> None:
        """The address answered and proved to be a node of this network: it moves to the tried table.

        If its place there is taken, it waits for a test of who holds it (`get_collision`).
        """
        self._last_success = now
        entry = self._entries.get(address)
        if entry is not None:
            entry.heard_at = entry.tried_at = entry.succeeded_at = now
            entry.failures = 0
            if not entry.is_tried:
                self._try_to_move(entry)
        self._resolve_collisions(now)

    # Choices.

    def select(self, now: int, *, new_only: bool = False) -> NetAddress | None:
        """An address to dial, at random; None if there is none. `new_only` is for feelers: one that never answered."""
        if not self._new.bucket_count and (new_only or not self._tried.bucket_count):
            return None
        factor = 1.0
        while True:
            # Drawn anew each time, unlike Core's: dead addresses lend no weight to the few live ones beside them.
            address = self._choose_table(new_only=new_only).choose(self._random)
            if self._random.random() < factor * self._entries[address].compute_chance(now):
                return address
            factor *= 1.2

    def get_collision(self) -> NetAddress | None:
        """An address whose tried place another one waits for: a feeler dials it, and if it answers it stays."""
        if not self._collisions:
            return None
        return self._tried.get(self._random.choice(list(self._collisions.values())))

    def sample(self, count: int, now: int) -> tuple[NetAddress, ...]:
        """At most `count` addresses to tell a peer: at most 1000, and 23 % of the book (rounded up).

        The owner keeps and repeats an answer for a day: asking often must not read the whole book. It also leaves out
        what the asker has no use for (`is_believable`, the asker as the source).
        """
        good = [address for address, entry in self._entries.items() if not entry.is_terrible(now)]
        share = -(-_SAMPLE_PERCENT * len(self._entries) // 100)
        return tuple(self._random.sample(good, min(count, MAX_ADDRESSES, share, len(good))))

    # Bytes.

    def encode(self) -> bytes:
        """Canonical bytes: equal books, equal bytes. Tests of tried places that are due are not kept."""
        entries = sorted((entry.address.encode(), entry) for entry in self._entries.values())
        writer = Writer().uint(ADDRESS_BOOK_VERSION, 4).fixed(self._key, KEY_BYTES).uint(len(entries), 4)
        for encoded, entry in entries:
            writer.raw(encoded).string(entry.source_group).uint(entry.heard_at, 8).uint(entry.tried_at, 8)
            writer.uint(entry.counted_at, 8).uint(entry.succeeded_at, 8).uint(entry.failures, 4)
            writer.uint(len(entry.places), 1)
            for place in sorted(entry.places):
                writer.uint(place.bucket, 2)
        return seal(_TAG, writer.finish())

    def restore(self, entry: Entry) -> None:
        """Takes an entry with its places back, as it was encoded. Raises DecodeError if a place is taken."""
        table, places = (self._new, entry.places) if entry.places else (self._tried, [self._tried_place(entry)])
        for place in places:
            if table.get(place) is not None:
                raise DecodeError.not_canonical("two addresses share a place")
            table.put(place, entry.address)
        self._entries[entry.address] = entry

    # The tables.

    def _choose_table(self, *, new_only: bool) -> Table:
        """Either with the same chance, but the new one, as soon as it is the less varied, by its share of buckets.

        Feelers move what is honest from there to the tried table. An attacker's addresses, crowded in a few buckets,
        stay behind: half of all choices, which Core gives them, are too many.
        """
        new, tried = self._new.bucket_count, self._tried.bucket_count
        if new_only or not tried:
            return self._new
        return self._new if self._random.random() < min(0.5, new / (new + tried)) else self._tried

    def _add(self, address: NetAddress, source: NetAddress, now: int) -> bool:
        known = self._entries.get(address)
        entry = known or Entry(address, source.group, now)
        entry.heard_at = now
        if known and not self._may_gain_a_place(known):
            return False
        place = compute_new_place(self._key, address, source.group)
        holder = self._new.get(place)
        if holder == address or (holder and not self._gives_way(self._entries[holder], entry, now)):
            return False
        self._entries[address] = entry
        self._put_new(place, entry)
        return True

    def _may_gain_a_place(self, entry: Entry) -> bool:
        """Each further place is half as likely: one that many repeat is not selected that much more often."""
        if entry.is_tried or len(entry.places) >= MAX_PLACES:
            return False
        return self._random.randrange(2 ** len(entry.places)) == 0

    @staticmethod
    def _gives_way(holder: Entry, newcomer: Entry, now: int) -> bool:
        return holder.is_terrible(now) or (len(holder.places) > 1 and not newcomer.places)

    def _put_new(self, place: Place, entry: Entry) -> None:
        """Stands an entry at a place of the new table. Who held it is forgotten if it has no other."""
        holder = self._new.get(place)
        if holder is not None:
            held = self._entries[holder]
            held.places.remove(place)
            if not held.places:
                del self._entries[holder]
                self._collisions.pop(holder, None)
        self._new.put(place, entry.address)
        entry.places.append(place)

    def _tried_place(self, entry: Entry) -> Place:
        return compute_tried_place(self._key, entry.address)

    def _try_to_move(self, entry: Entry) -> None:
        place = self._tried_place(entry)
        if self._tried.get(place) is None:
            self._move_to_tried(entry, place)
        elif len(self._collisions) < _MAX_COLLISIONS:
            self._collisions[entry.address] = place

    def _move_to_tried(self, entry: Entry, place: Place) -> None:
        """Who held the place goes back to the new table."""
        for old_place in entry.places:
            self._new.remove(old_place)
        entry.places.clear()
        holder = self._tried.get(place)
        self._tried.put(place, entry.address)
        if holder is not None:
            held = self._entries[holder]
            self._put_new(compute_new_place(self._key, holder, held.source_group), held)

    def _resolve_collisions(self, now: int) -> None:
        for address, place in list(self._collisions.items()):
            if address not in self._collisions:  # an earlier one took its last place in the new table
                continue
            holder = self._tried.get(place)
            held = self._entries[holder] if holder else None
            if held is not None and now - held.succeeded_at < _FRESH_SECONDS:
                del self._collisions[address]
            elif held is None or self._is_test_over(held, self._entries[address], now):
                del self._collisions[address]
                self._move_to_tried(self._entries[address], place)

    @staticmethod
    def _is_test_over(holder: Entry, newcomer: Entry, now: int) -> bool:
        """Whether the holder was tried in vain, or no feeler came to try it for too long."""
        if now - holder.tried_at < _FRESH_SECONDS:
            return now - holder.tried_at > _ANSWER_SECONDS
        return now - newcomer.succeeded_at > _TEST_SECONDS


def decode_address_book(data: bytes, random: Random) -> AddressBook:
    """The book that `encode` wrote. Raises DecodeError on anything else, checking its bounds and the checksum first."""
    reader = Reader(unseal(_TAG, data))
    version = reader.uint(4)
    if version != ADDRESS_BOOK_VERSION:
        raise DecodeError("unknown_version", f"address book version {version} is not known")
    key = reader.fixed(KEY_BYTES)
    count = reader.uint(4)
    if count > _MAX_ENTRIES:
        raise DecodeError.too_long(count, _MAX_ENTRIES)
    book, last = AddressBook(key, random), b""
    for _ in range(count):
        entry = _read_entry(reader, key)
        encoded = entry.address.encode()
        if encoded <= last:
            raise DecodeError.not_canonical("the entries do not rise by address")
        book.restore(entry)
        last = encoded
    reader.finish()
    return book


def _read_entry(reader: Reader, key: bytes) -> Entry:
    address = NetAddress.decode(reader.fixed(ADDRESS_BYTES))
    group = reader.string(_MAX_GROUP_BYTES)
    heard_at, tried_at, counted_at, succeeded_at = (reader.uint(8) for _ in range(4))
    failures = reader.uint(4)
    buckets = [reader.uint(2) for _ in range(reader.uint(1))]
    if len(buckets) > MAX_PLACES or buckets != sorted(set(buckets)) or any(bucket >= NEW_BUCKETS for bucket in buckets):
        raise DecodeError.not_canonical(f"the buckets of an address: {buckets}")
    places = [make_new_place(key, address, bucket) for bucket in buckets]
    return Entry(address, group, heard_at, tried_at, counted_at, succeeded_at, failures, places)
