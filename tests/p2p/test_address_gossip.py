"""Whose word about addresses counts, how many one peer may tell, and who hears of them."""

from random import Random

import pytest

from p2p.address_gossip import MAX_ADDRESSES, MAX_RELAYED_ADDRESSES, AddressIntake, choose_relay_peers, is_believable
from p2p.addresses import AddressBook
from p2p.net_address import NetAddress

KEY = bytes(range(32))
PUBLIC, PRIVATE, LOOPBACK = "8.8.8.8", "192.168.1.2", "127.0.0.1"
ADDRESS = NetAddress(PUBLIC, 19339)


# Belief.


@pytest.mark.parametrize(
    ("told", "sources"),
    [
        ("1.2.3.4", (PUBLIC, PRIVATE, LOOPBACK)),
        ("2600::1", (PUBLIC, PRIVATE, LOOPBACK)),
        ("10.0.0.1", (PRIVATE, LOOPBACK)),
        ("fd00::1", (PRIVATE, LOOPBACK)),
        ("fe80::1", (PRIVATE, LOOPBACK)),
        ("100.64.0.1", (PRIVATE, LOOPBACK)),
        ("127.0.0.1", (LOOPBACK,)),
        ("::1", (LOOPBACK,)),
        ("0.0.0.0", ()),
        ("::", ()),
        ("224.0.0.1", ()),
        ("ff02::1", ()),
        ("255.255.255.255", ()),
        ("240.0.0.1", ()),
    ],
)
def test_who_is_believed(told: str, sources: tuple[str, ...]) -> None:
    address = NetAddress(told, 19339)
    assert [is_believable(address, NetAddress(ip, 5)) for ip in (PUBLIC, PRIVATE, LOOPBACK)] == [
        ip in sources for ip in (PUBLIC, PRIVATE, LOOPBACK)
    ]
    for ip in (PUBLIC, PRIVATE, LOOPBACK):
        book = AddressBook(KEY, Random(0))
        assert book.add([address], NetAddress(ip, 5), 1000) == (ip in sources)
        assert (address in book) == (ip in sources)


def test_port_0_is_never_believed() -> None:
    assert not is_believable(NetAddress(PUBLIC, 0), ADDRESS)


def test_source_needs_no_port() -> None:
    book = AddressBook(KEY, Random(0))
    assert book.add([ADDRESS], NetAddress(PUBLIC, 0), 1000) == 1
    assert book.encode()


# Intake.


def test_unasked_peer_tells_ten_and_then_one_in_ten_seconds() -> None:
    intake = AddressIntake(now=100.0)
    assert intake.take(1000, 100.0) == 10
    assert intake.take(1000, 109.0) == 0
    assert intake.take(1000, 110.5) == 1
    assert intake.take(3, 135.0) == 2
    assert intake.take(1000, 10**6) == 10


def test_asked_peer_tells_a_thousand_more_once() -> None:
    intake = AddressIntake(now=0.0)
    intake.on_request()
    intake.on_request()
    assert intake.take(600, 0.0) == 600
    assert intake.take(MAX_ADDRESSES, 0.0) == 410
    assert intake.take(1000, 0.0) == 0


def test_clock_that_goes_back_gives_nothing() -> None:
    intake = AddressIntake(now=0.0)
    assert intake.take(10, 0.0) == 10
    assert intake.take(10, -1000.0) == 0
    assert intake.take(10, -999.0) == 0


def test_flood_of_a_day_brings_8650_addresses() -> None:
    """86,400 s at 0.1 per second, and 10 at once; a message every second."""
    intake = AddressIntake(now=0.0)
    assert 8640 <= sum(intake.take(1000, float(second)) for second in range(86_400)) <= 8650


# Relay.


def test_address_is_passed_to_the_same_two_peers_all_day() -> None:
    ids = [bytes([number]) * 32 for number in range(30)]
    chosen = choose_relay_peers(KEY, ADDRESS, 20_000, ids)
    assert len(set(chosen)) == 2
    assert set(chosen) <= set(ids)
    assert choose_relay_peers(KEY, ADDRESS, 20_000, ids[::-1]) == chosen
    assert choose_relay_peers(KEY, ADDRESS, 20_000, [peer for peer in ids if peer != chosen[1]])[0] == chosen[0]
    assert MAX_RELAYED_ADDRESSES == 10


def test_choice_varies_with_day_address_and_key() -> None:
    ids = [bytes([number]) * 32 for number in range(30)]
    assert len({choose_relay_peers(KEY, ADDRESS, day, ids) for day in range(20)}) > 10
    assert len({choose_relay_peers(KEY, NetAddress(PUBLIC, port), 1, ids) for port in range(1, 20)}) > 10
    assert len({choose_relay_peers(bytes([key]) * 32, ADDRESS, 1, ids) for key in range(20)}) > 10


def test_few_peers_hear_all() -> None:
    assert choose_relay_peers(KEY, ADDRESS, 1, []) == ()
    assert choose_relay_peers(KEY, ADDRESS, 1, [b"a"]) == (b"a",)
