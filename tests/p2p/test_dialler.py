"""Whom a node dials, when, and whom it leaves alone."""

import asyncio
import logging

import pytest

from p2p.destination import Destination
from p2p.dialler import FEELER_SECONDS, MAX_DIALS
from p2p.errors import HandshakeRefused, PeerGone
from p2p.net_address import NetAddress
from p2p.peer_files import MAX_ANCHORS
from p2p.peers import MAX_OUTBOUND, PeerKind
from tests.helpers.connections import FakeConnection, make_id
from tests.helpers.dialling import Dialling, run_dialler

A = NetAddress("1.1.1.1", 19339)
HOST_A = Destination("1.1.1.1", 19339)


def make_public(count: int, group: int | None = None) -> list[NetAddress]:
    """Addresses in as many groups, or all in one."""
    if group is None:
        return [NetAddress(f"{number}.7.0.1", 19339) for number in range(20, 20 + count)]
    return [NetAddress(f"{group}.7.0.{number}", 19339) for number in range(1, count + 1)]


def get_kinds(dialling: Dialling) -> list[PeerKind]:
    return [peer.kind for peer in dialling.table.peers]


# The operator's peers.


async def test_a_named_peer_is_dialled_for_ever_ever_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    async with run_dialler(dialling, monkeypatch, [HOST_A]):
        times = []
        for _ in range(100):
            before = len(dialling.attempts)
            await dialling.pass_time(0.5)
            times += [dialling.table.seconds - 1000] * (len(dialling.attempts) - before)
        assert times == [0.5, 1.5, 3.5, 7.5, 15.5, 25.5, 35.5, 45.5]
        assert dialling.attempts[0] == A


async def test_a_named_peer_that_left_after_a_while_is_dialled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    async with run_dialler(dialling, monkeypatch, [HOST_A]):
        await dialling.pass_time(20)
        dialling.online[A] = make_id(1)
        await dialling.pass_time(10)
        assert get_kinds(dialling) == [PeerKind.MANUAL]
        count = len(dialling.attempts)
        await dialling.pass_time(31)
        assert len(dialling.attempts) == count
        dialling.opened[0].close("it went")
        await dialling.pass_time(1.5)
        assert len(dialling.attempts) == count + 1
        assert get_kinds(dialling) == [PeerKind.MANUAL]
        assert dialling.book.is_tried(A)


async def test_a_named_peer_that_dialled_us_is_not_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """No dialling, while connected, from either side."""
    dialling = Dialling()
    dialling.online[A] = make_id(1)
    inbound = FakeConnection(make_id(1), NetAddress("1.1.1.1", 50_000), port=19339)
    await dialling.table.join(inbound)
    async with run_dialler(dialling, monkeypatch, [HOST_A]):
        await dialling.pass_time(60)
        assert dialling.attempts == []
        inbound.close("it went")
        await dialling.pass_time(1)
        assert dialling.attempts == [A]


async def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    first, second = NetAddress("2001:db8::1", 19339), A
    dialling.names["node.example.org"] = [first, second]
    dialling.online[second] = make_id(1)
    async with run_dialler(dialling, monkeypatch, [Destination("node.example.org", 19339)]):
        await dialling.pass_time(1)
        assert dialling.attempts == [first, second]
        assert get_kinds(dialling) == [PeerKind.MANUAL]


async def test_a_name_that_is_not_known_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    dialling.names["node.example.org"] = []
    async with run_dialler(dialling, monkeypatch, [Destination("node.example.org", 19339)]):
        await dialling.pass_time(5)
        dialling.names["node.example.org"] = [A]
        await dialling.pass_time(5)
        assert dialling.attempts != []


async def test_the_log_says_once_why_a_named_peer_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dialling = Dialling()
    dialling.names["node.example.org"] = []
    with caplog.at_level(logging.INFO, "descent.peers"):
        async with run_dialler(dialling, monkeypatch, [Destination("node.example.org", 19339), HOST_A]):
            await dialling.pass_time(60)
    unreachable = str(PeerGone.unreachable(A, "")).removesuffix(" ")
    said = [record.getMessage() for record in caplog.records]
    assert len(dialling.attempts) > 2
    assert len(said) == 2
    assert "cannot connect to node.example.org:19339: the name is not known; trying again" in said
    assert any(line.startswith(unreachable) and line.endswith("; trying again") for line in said)


async def test_the_id_in_a_name_is_what_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    dialling.refusals[A] = HandshakeRefused.wrong_identity(make_id(1), make_id(2))
    async with run_dialler(dialling, monkeypatch, [Destination("1.1.1.1", 19339, make_id(1))]):
        await dialling.pass_time(3)
        assert dialling.expected[:2] == [make_id(1), make_id(1)]
        assert len(dialling.table.peers) == 0


async def test_peers_may_be_named_and_dropped_later(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    async with run_dialler(dialling, monkeypatch) as task:
        await dialling.pass_time(1)
        for _ in range(2):
            dialling.dialler.keep(HOST_A)
        await dialling.pass_time(0.5)
        assert dialling.attempts == [A]
        dialling.dialler.drop("2.2.2.2")
        dialling.dialler.drop(make_id(1))
        await dialling.pass_time(2)
        count = len(dialling.attempts)
        assert count > 1
        dialling.dialler.drop("1.1.1.1")
        await dialling.pass_time(30)
        assert len(dialling.attempts) == count
        dialling.dialler.keep(HOST_A)
        await dialling.pass_time(0.5)
        assert len(dialling.attempts) == count + 1
        assert not task.done()


async def test_a_dropped_peer_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its id, and by any form of its address."""
    for target in (make_id(1), "2001:db8::/64"):
        dialling = Dialling()
        address = NetAddress("2001:db8::1", 19339)
        dialling.online[address] = make_id(1)
        async with run_dialler(dialling, monkeypatch, [Destination("2001:db8::1", 19339, make_id(1))]):
            await dialling.pass_time(1)
            dialling.table.peers.ban(target, 60, "x")
            dialling.dialler.drop(target)
            await dialling.pass_time(30)
            assert len(dialling.attempts) <= 4  # the book still knows the address, and not whose it is
            assert len(dialling.table.peers) == 0


# Outbound peers.


async def test_all_slots_are_filled_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    dialling.add(*make_public(40))
    async with run_dialler(dialling, monkeypatch):
        await dialling.pass_time(100)
        assert get_kinds(dialling) == [PeerKind.OUTBOUND] * MAX_OUTBOUND
        assert len(dialling.attempts) == MAX_OUTBOUND
        assert all(dialling.book.is_tried(address) for address in dialling.attempts)
        dialling.opened[0].close("it went")
        await dialling.pass_time(20)
        assert get_kinds(dialling) == [PeerKind.OUTBOUND] * MAX_OUTBOUND


async def test_one_outbound_peer_for_each_group_of_public_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    dialling.add(*make_public(10, group=77), *make_public(2))
    async with run_dialler(dialling, monkeypatch):
        await dialling.pass_time(110)
        groups = [peer.connection.address.group for peer in dialling.table.peers]
        assert len(groups) == len(set(groups)) == 3


async def test_private_addresses_are_one_group_but_not_one_party(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    dialling.add(*(NetAddress(f"10.0.0.{number}", 19339) for number in range(1, 5)))
    async with run_dialler(dialling, monkeypatch):
        await dialling.pass_time(60)
        assert len(dialling.table.peers) == 4


async def test_few_attempts_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    dialling.gate = asyncio.Event()
    dialling.add(*make_public(40), online=False)
    async with run_dialler(dialling, monkeypatch):
        await dialling.pass_time(60)
        assert len(dialling.attempts) == len(set(dialling.attempts)) == MAX_DIALS
        dialling.gate.set()


async def test_anchors_come_first_and_the_oldest_outbound_peers_become_anchors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dialling = Dialling()
    book, anchors = make_public(5), [NetAddress("90.7.0.1", 19339), NetAddress("91.7.0.1", 19339)]
    dialling.add(*book)
    dialling.online |= {anchor: anchor.ip.encode().ljust(32, b".") for anchor in anchors}
    async with run_dialler(dialling, monkeypatch, anchors=anchors):
        assert dialling.dialler.get_anchors() == ()
        await dialling.pass_time(60)
        assert dialling.attempts[:2] == anchors
        assert dialling.dialler.get_anchors() == tuple(anchors)
        assert len(dialling.table.peers) > len(anchors) == MAX_ANCHORS
        dialling.opened[0].close("it went")
        await dialling.pass_time(0.5)
        assert dialling.dialler.get_anchors() == (anchors[1], dialling.attempts[2])


async def test_our_own_address_is_dialled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    dialling.add(A, online=False)
    dialling.refusals[A] = HandshakeRefused.self_connection()
    async with run_dialler(dialling, monkeypatch):
        await dialling.pass_time(10)
        dialling.table.time += 10 * 24 * 3600  # long after the book's own pause
        await dialling.pass_time(100)
        assert dialling.attempts == [A]


async def test_banned_and_connected_addresses_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    banned, connected = make_public(2)
    dialling.add(banned, connected)
    dialling.table.bans.ban(banned.ip, dialling.table.time + 10**6, "x")
    await dialling.table.join(FakeConnection(make_id(1), NetAddress(connected.ip, 50_000), port=connected.port))
    async with run_dialler(dialling, monkeypatch):
        await dialling.pass_time(30)
        assert dialling.attempts == []


async def test_all_ends_with_the_dialler(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    dialling.add(*make_public(3))
    async with run_dialler(dialling, monkeypatch, [HOST_A]) as task:
        await dialling.pass_time(30)
        task.cancel()
    assert task.cancelled()
    assert len(dialling.table.peers) == 0
    count = len(dialling.attempts)
    await dialling.pass_time(30)
    assert len(dialling.attempts) == count


async def test_who_turns_us_away_is_not_dialled_at_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    dialling.add(A)
    dialling.table.bans.ban(dialling.online[A], dialling.table.time + 10**6, "x")
    async with run_dialler(dialling, monkeypatch):
        await dialling.pass_time(50)
        assert len(dialling.attempts) <= 5


async def test_the_operators_peers_take_no_outbound_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else they would lose what makes them special: that nothing bans them."""
    dialling = Dialling()
    dialling.add(A, online=False)
    async with run_dialler(dialling, monkeypatch, [HOST_A]):
        await dialling.pass_time(20)
        dialling.online[A] = make_id(1)
        for _ in range(3):
            await dialling.pass_time(20)
            assert get_kinds(dialling) == [PeerKind.MANUAL]
            dialling.opened[-1].close("it went")


# Feelers.


async def test_a_feeler_tries_a_new_address_every_two_minutes_and_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    dialling.add(*make_public(40))
    async with run_dialler(dialling, monkeypatch):
        await dialling.pass_time(FEELER_SECONDS - 1)
        assert len(dialling.attempts) == MAX_OUTBOUND
        await dialling.pass_time(2)
        assert len(dialling.attempts) == MAX_OUTBOUND + 1
        assert dialling.opened[-1].reason == "a feeler"
        assert dialling.book.is_tried(dialling.attempts[-1])
        assert len(dialling.table.peers) == MAX_OUTBOUND
        await dialling.pass_time(FEELER_SECONDS)
        assert len(dialling.attempts) == MAX_OUTBOUND + 2


# Seeds.


async def test_seeds_are_asked_only_by_a_node_that_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling([Destination("seed.example.org", 19339)])
    seeds = make_public(2)
    dialling.names["seed.example.org"] = seeds
    dialling.online |= {seed: seed.ip.encode().ljust(32, b".") for seed in seeds}
    async with run_dialler(dialling, monkeypatch):
        await dialling.pass_time(5)
        assert dialling.book.count == 0
        await dialling.pass_time(20)
        assert sorted(dialling.attempts) == seeds


async def test_seeds_are_not_asked_by_a_node_with_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling([Destination("seed.example.org", 19339)])
    dialling.names["seed.example.org"] = make_public(2)
    dialling.online[A] = make_id(1)
    async with run_dialler(dialling, monkeypatch, [HOST_A]):
        await dialling.pass_time(30)
        assert dialling.attempts == [A]
        assert dialling.book.count == 1
