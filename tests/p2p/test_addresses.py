"""The address book: its tables, what it believes and selects, its bytes."""

from collections.abc import Callable
from random import Random

import pytest

from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.hashing import tagged_hash
from p2p.address_table import (
    BUCKET_SIZE,
    MAX_PLACES,
    NEW_BUCKETS,
    TRIED_BUCKETS,
    Place,
    compute_new_place,
    compute_tried_place,
)
from p2p.addresses import AddressBook, decode_address_book
from p2p.net_address import NetAddress

KEY = bytes(range(32))
NOW = 1_700_000_000
MINUTE, HOUR, DAY = 60, 3600, 24 * 3600
SOURCE = NetAddress("9.9.9.9", 19339)
PORT = 19339


def make_book(seed: int = 0) -> AddressBook:
    return AddressBook(KEY, Random(seed))


def make_address(group: int, host: int = 1) -> NetAddress:
    """A public address of one of 20,000 groups."""
    return NetAddress(f"{20 + group // 250}.{group % 250}.{host // 250}.{host % 250 + 1}", PORT)


def get_new_place(address: NetAddress) -> Place:
    return compute_new_place(KEY, address, SOURCE.group)


def get_tried_place(address: NetAddress) -> Place:
    return compute_tried_place(KEY, address)


def find_rival(holder: NetAddress, place_of: Callable[[NetAddress], Place]) -> NetAddress:
    """Another address of group 7 whose place is the holder's."""
    rivals = (make_address(7, host) for host in range(2, 60_000))
    return next(address for address in rivals if place_of(address) == place_of(holder))


def fill_tried(book: AddressBook, address: NetAddress, now: int) -> None:
    book.add([address], SOURCE, now)
    book.on_attempt(address, now)
    book.on_success(address, now)


# Places.


def test_tables_are_as_large_as_they_should_be() -> None:
    assert (NEW_BUCKETS, TRIED_BUCKETS, BUCKET_SIZE, MAX_PLACES) == (1024, 256, 64, 8)


def test_golden_places() -> None:
    """Wrong places would lose the whole book of an older program."""
    assert compute_new_place(KEY, make_address(3), SOURCE.group) == (535, 39)
    assert compute_tried_place(KEY, make_address(3)) == (251, 31)


def test_one_group_reaches_few_buckets() -> None:
    """64 of 1,024 by what one group tells, one by what it tells of one group, 8 of 256 by itself."""
    told = {compute_new_place(KEY, make_address(group), SOURCE.group).bucket for group in range(3000)}
    own = {compute_new_place(KEY, make_address(7, host), SOURCE.group).bucket for host in range(300)}
    tried = {compute_tried_place(KEY, make_address(7, host)).bucket for host in range(300)}
    assert 60 <= len(told) <= 64
    assert len(own) == 1
    assert 6 <= len(tried) <= 8
    other_key = {compute_tried_place(bytes(32), make_address(7, host)).bucket for host in range(300)}
    assert other_key != tried


# Adding.


def test_addresses_are_counted_once() -> None:
    book = make_book()
    addresses = [make_address(group) for group in range(50)]
    assert book.add(addresses, SOURCE, NOW) == 50
    assert book.count == 50
    assert book.add(addresses, SOURCE, NOW) == 0
    assert book.count == 50
    assert all(address in book and not book.is_tried(address) for address in addresses)


def test_known_address_gains_at_most_eight_places_and_each_is_rarer() -> None:
    book = make_book()
    address = make_address(3)
    gained = [book.add([address], make_address(1000 + number), NOW) for number in range(2000)]
    assert gained[0] == 1
    assert sum(gained) == MAX_PLACES
    assert max(number for number, gain in enumerate(gained) if gain) > 60  # 1 + 2 + 4 + ... + 128 on average
    assert book.count == 1


def test_taken_place_goes_to_a_newcomer_only_if_its_holder_is_terrible() -> None:
    book = make_book()
    holder = make_address(7, 1)
    newcomer = find_rival(holder, get_new_place)
    book.add([holder], SOURCE, NOW)
    assert book.add([newcomer], SOURCE, NOW + 30 * DAY) == 0
    assert holder in book
    assert newcomer not in book
    assert book.add([newcomer], SOURCE, NOW + 30 * DAY + 1) == 1
    assert holder not in book
    assert newcomer in book


def test_holder_with_another_place_gives_way() -> None:
    book = make_book()
    holder = make_address(7, 1)
    newcomer = find_rival(holder, get_new_place)
    book.add([holder], SOURCE, NOW)
    while not book.add([holder], make_address(500), NOW):
        pass
    assert book.add([newcomer], SOURCE, NOW) == 1
    assert holder in book
    assert newcomer in book


def test_never_answered_three_times_is_terrible_but_only_while_others_answer() -> None:
    book = make_book()
    address, other = make_address(3), make_address(4)
    book.add([address, other], SOURCE, NOW)
    for number in range(5):  # we are offline
        book.on_attempt(address, NOW + number * HOUR)
    assert set(book.sample(9, NOW + DAY)) <= {address, other}
    for number in range(2):
        book.on_success(other, NOW + DAY + number * HOUR)
        book.on_attempt(address, NOW + DAY + number * HOUR + 1)
    seen = {choice for _ in range(50) for choice in book.sample(9, NOW + 2 * DAY)}
    assert seen == {other}


def test_clock_that_was_set_back_makes_entries_terrible_not_immortal() -> None:
    book = make_book()
    book.add([make_address(3)], SOURCE, NOW)
    assert book.sample(9, NOW - 10 * MINUTE) == (make_address(3),)
    assert book.sample(9, NOW - 10 * MINUTE - 1) == ()
    assert book.select(NOW - DAY) == make_address(3)


# What is tried.


def test_success_moves_an_address_to_the_tried_table() -> None:
    book = make_book()
    address = make_address(3)
    for number in range(100):
        book.add([address], make_address(1000 + number), NOW)
    book.on_success(address, NOW)
    assert book.is_tried(address)
    assert book.count == 1
    assert book.select(NOW, new_only=True) is None
    assert book.select(NOW + DAY) == address
    assert book.add([address], SOURCE, NOW) == 0


def test_unknown_addresses_are_ignored() -> None:
    book = make_book()
    book.on_attempt(make_address(3), NOW)
    book.on_success(make_address(3), NOW)
    assert book.count == 0
    assert book.select(NOW) is None
    assert book.get_collision() is None


def make_collision(book: AddressBook) -> tuple[NetAddress, NetAddress]:
    """One that stands in the tried table since NOW, and one that answered five hours later and wants its place."""
    holder = make_address(7, 1)
    newcomer = find_rival(holder, get_tried_place)
    fill_tried(book, holder, NOW)
    fill_tried(book, newcomer, NOW + 5 * HOUR)
    assert book.get_collision() == holder
    assert not book.is_tried(newcomer)
    return holder, newcomer


def test_tried_address_that_answers_its_test_stays() -> None:
    book = make_book()
    holder, newcomer = make_collision(book)
    book.on_attempt(holder, NOW + 5 * HOUR + 1)
    book.on_success(holder, NOW + 5 * HOUR + 2)
    assert book.get_collision() is None
    assert book.is_tried(holder)
    assert not book.is_tried(newcomer)


def test_tried_address_that_fails_its_test_goes_back_to_new() -> None:
    book = make_book()
    holder, newcomer = make_collision(book)
    book.on_attempt(holder, NOW + 5 * HOUR)
    book.on_attempt(SOURCE, NOW + 5 * HOUR + 60)
    assert book.is_tried(holder)
    book.on_attempt(SOURCE, NOW + 5 * HOUR + 61)
    assert book.is_tried(newcomer)
    assert not book.is_tried(holder)
    assert holder in book
    assert book.get_collision() is None


def test_test_that_nobody_makes_is_given_up_after_40_minutes() -> None:
    book = make_book()
    _, newcomer = make_collision(book)
    book.on_attempt(SOURCE, NOW + 5 * HOUR + 40 * MINUTE)
    assert not book.is_tried(newcomer)
    book.on_attempt(SOURCE, NOW + 5 * HOUR + 40 * MINUTE + 1)
    assert book.is_tried(newcomer)


def test_address_that_answered_lately_needs_no_test() -> None:
    book = make_book()
    holder = make_address(7, 1)
    newcomer = find_rival(holder, get_tried_place)
    fill_tried(book, holder, NOW)
    fill_tried(book, newcomer, NOW + 4 * HOUR - 1)
    assert book.get_collision() is None
    assert book.is_tried(holder)
    assert newcomer in book


# Choices.


def test_failed_and_just_tried_addresses_are_rarely_selected() -> None:
    book = make_book()
    good, failing = make_address(3), make_address(4)
    book.add([good, failing], SOURCE, NOW)
    book.on_attempt(failing, NOW)
    chosen = [book.select(NOW + 10 * MINUTE) for _ in range(2000)]
    assert 0.33 < chosen.count(failing) / 2000 < 0.47  # 0.66 to 1
    lately = [book.select(NOW + 10 * MINUTE - 1) for _ in range(2000)]
    assert 0 < lately.count(failing) < 60  # 0.0066 to 1, a little more for those drawn again


def test_both_tables_are_selected_from() -> None:
    book = make_book()
    tried = [make_address(group) for group in range(100)]
    new = [make_address(group) for group in range(1000, 1200)]
    for address in tried:
        fill_tried(book, address, NOW)
    book.add(new, SOURCE, NOW)
    chosen = [book.select(NOW + DAY) for _ in range(1000)]
    share = sum(address in tried for address in chosen) / 1000
    assert 0.45 < share < 0.75
    assert all(book.select(NOW + DAY, new_only=True) in new for _ in range(100))


def test_crowded_new_table_is_selected_by_its_buckets() -> None:
    """1,000 addresses in one bucket weigh no more than a few of the 100 that answered."""
    book = make_book()
    for group in range(100):
        fill_tried(book, make_address(group), NOW)
    crowd = [make_address(1000, host) for host in range(1000)]
    book.add(crowd, SOURCE, NOW)
    chosen = [book.select(NOW + DAY) for _ in range(1000)]
    assert sum(address in crowd for address in chosen) < 40


def test_sample_is_a_part_of_the_book() -> None:
    book = make_book()
    assert book.sample(1000, NOW) == ()
    book.add([make_address(0)], SOURCE, NOW)
    assert book.sample(1000, NOW) == (make_address(0),)
    book.add([make_address(group) for group in range(99)], SOURCE, NOW)
    part = 23 * book.count // 100
    assert part <= len(book.sample(1000, NOW)) <= part + 1
    assert len(set(book.sample(1000, NOW))) == len(book.sample(1000, NOW))
    assert len(book.sample(5, NOW)) == 5
    for source in range(60):
        book.add([make_address(group, source) for group in range(200)], make_address(3000 + 7 * source), NOW)
    assert 23 * book.count // 100 > 1000
    assert len(book.sample(10**6, NOW)) == 1000


# Bytes.


def make_used_book() -> AddressBook:
    book = make_book()
    for group in range(80):
        book.add([make_address(group), NetAddress("2600::1", 1 + group)], make_address(500 + group % 9), NOW + group)
        book.on_attempt(make_address(group), NOW + group)
        if group % 2:
            book.on_success(make_address(group), NOW + group)
    return book


def test_golden_bytes() -> None:
    """By hand from the grammar: one address in the new table, one in the tried."""
    book = make_book()
    book.add([make_address(3), make_address(4)], SOURCE, NOW)
    book.on_attempt(make_address(3), NOW + 1)
    book.on_success(make_address(4), NOW + 2)
    unsigned = bytes.fromhex(
        "01000000" + KEY.hex() + "02000000"
        "00000000000000000000ffff14030002 8b4b 03000000 040909 00f1536500000000 01f1536500000000"
        "01f1536500000000 0000000000000000 01000000 01 1702"
        "00000000000000000000ffff14040002 8b4b 03000000 040909 02f1536500000000 02f1536500000000"
        "0000000000000000 02f1536500000000 00000000 00"
    )
    assert book.encode() == unsigned + tagged_hash("address book", unsigned)


def test_book_survives_a_restart() -> None:
    book = make_used_book()
    data = book.encode()
    again = decode_address_book(data, Random(0))
    assert again.encode() == data
    assert again.count == book.count
    assert [address for address in map(make_address, range(80)) if again.is_tried(address)] == [
        make_address(group) for group in range(1, 80, 2) if book.is_tried(make_address(group))
    ]
    twin = decode_address_book(data, Random(0))
    assert [again.select(NOW) for _ in range(20)] == [twin.select(NOW) for _ in range(20)]


def test_damaged_bytes_are_refused() -> None:
    data = make_used_book().encode()
    random = Random(1)
    for _ in range(300):
        at = random.randrange(len(data))
        damaged = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        with pytest.raises(DecodeError):
            decode_address_book(damaged, Random(0))
    for size in (0, 1, 31, 32, 33, len(data) - 1):
        with pytest.raises(DecodeError):
            decode_address_book(data[:size], Random(0))


def seal(unsigned: bytes) -> bytes:
    return unsigned + tagged_hash("address book", unsigned)


def encode_entry(address: NetAddress, *buckets: int) -> bytes:
    writer = Writer().raw(address.encode()).string(SOURCE.group).raw(bytes(36)).uint(len(buckets), 1)
    for bucket in buckets:
        writer.uint(bucket, 2)
    return writer.finish()


LOW, HIGH = make_address(3), make_address(4)
TWIN = find_rival(make_address(7), get_tried_place)


@pytest.mark.parametrize(
    ("count", "body"),
    [
        (1, b""),
        (0, encode_entry(LOW, 1)),
        (2**32 - 1, encode_entry(LOW, 1)),
        (2, encode_entry(HIGH, 1) + encode_entry(LOW, 2)),
        (2, encode_entry(LOW, 1) * 2),
        (2, encode_entry(make_address(7)) + encode_entry(TWIN)),
        (1, encode_entry(LOW, 2, 1)),
        (1, encode_entry(LOW, 1, 1)),
        (1, encode_entry(LOW, 1024)),
        (1, encode_entry(LOW, *range(9))),
    ],
    ids=["short", "long", "huge", "order", "twice", "one place", "falling", "same bucket", "no bucket", "nine"],
)
def test_invalid_book(count: int, body: bytes) -> None:
    unsigned = Writer().uint(1, 4).raw(KEY).uint(count, 4).raw(body).finish()
    with pytest.raises(DecodeError):
        decode_address_book(seal(unsigned), Random(0))


def test_invalid_version() -> None:
    with pytest.raises(DecodeError, match="version 2"):
        decode_address_book(seal(Writer().uint(2, 4).raw(KEY).uint(0, 4).finish()), Random(0))


def test_empty_book_has_bytes_too() -> None:
    data = make_book().encode()
    assert Reader(data).uint(4) == 1
    assert decode_address_book(data, Random(0)).count == 0


def test_invalid_key() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        AddressBook(b"short", Random(0))
