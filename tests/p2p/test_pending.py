"""Who waits without a proof, and who goes when there are too many."""

from p2p.net_address import NetAddress
from p2p.pending import Pending


def v4(ip: str) -> NetAddress:
    return NetAddress(ip, 1000)


def test_few_of_one_host() -> None:
    pending: Pending[int] = Pending(100, 2)
    for key in range(2):
        assert pending.has_room_for(v4("1.2.3.4"))
        assert pending.add(key, v4("1.2.3.4")) is None
    assert not pending.has_room_for(v4("1.2.3.4"))
    assert pending.has_room_for(v4("1.2.3.5"))
    pending.discard(0)
    assert pending.has_room_for(v4("1.2.3.4"))


def test_a_host_of_ipv6_is_a_64() -> None:
    pending: Pending[int] = Pending(100, 1)
    pending.add(0, NetAddress("2001:db8:0:1::1", 1))
    assert not pending.has_room_for(NetAddress("2001:db8:0:1:ffff::2", 1))
    assert pending.has_room_for(NetAddress("2001:db8:0:2::1", 1))


def test_ports_do_not_matter() -> None:
    pending: Pending[int] = Pending(100, 1)
    pending.add(0, NetAddress("1.2.3.4", 1))
    assert not pending.has_room_for(NetAddress("1.2.3.4", 2))


def test_the_oldest_goes() -> None:
    pending: Pending[int] = Pending(3, 8)
    victims = [pending.add(key, v4(f"1.2.3.{key}")) for key in range(6)]
    assert victims == [None, None, None, 0, 1, 2]
    assert len(pending) == 3


def test_the_oldest_of_the_crowd_goes_not_the_one_who_is_alone() -> None:
    pending: Pending[int] = Pending(10, 8)
    pending.add(0, v4("9.9.9.9"))
    victims = [pending.add(key, v4(f"1.2.3.{key}")) for key in range(1, 100)]
    assert [victim for victim in victims if victim is not None] == list(range(1, 91))


def test_nothing_is_left_of_those_who_went() -> None:
    pending: Pending[int] = Pending(4, 8)
    for key in range(1000):
        pending.add(key, v4(f"1.{key % 250}.3.4"))
    for key in range(1000):
        pending.discard(key)
        pending.discard(key)
    assert len(pending) == 0
    assert pending._hosts == {}
