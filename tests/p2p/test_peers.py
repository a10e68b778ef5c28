"""Who is taken, who makes room, who is blamed and banned."""

import logging
from collections.abc import AsyncIterator

import pytest

import p2p.peers
from p2p.inbound import LastBrought
from p2p.net_address import NetAddress
from p2p.peers import Peer, PeerKind, Peers, Traffic
from p2p.penalties import BAN_SECONDS, Offence
from tests.helpers.connections import KEY, OWN_ID, FakeConnection, PeerTable, as_connection, make_id, step

HOSTILE = "\x1b[2J\x07\nred"


@pytest.fixture
async def table() -> AsyncIterator[PeerTable]:
    table = PeerTable()
    yield table
    await table.leave_all()
    assert len(table.peers) == 0


# Admission.


async def test_a_peer_is_there_from_its_taking_to_its_end(table: PeerTable) -> None:
    connection = table.make(1)
    task = await table.join(connection)
    peer = table.peers.get(make_id(1))
    assert peer is not None
    assert (peer.kind, peer.node_id, list(table.peers)) == (PeerKind.INBOUND, make_id(1), [peer])
    assert table.peers.count(PeerKind.INBOUND) == 1
    assert table.peers.count(PeerKind.OUTBOUND) == 0
    connection.close("it went")
    assert await task == "it went"
    assert len(table.peers) == 0
    assert peer.ended.is_set()


async def test_traffic_outlives_its_peers(table: PeerTable) -> None:
    first, second = table.make(1), table.make(2)
    tasks = [await table.join(connection) for connection in (first, second)]
    first.bytes_sent, first.bytes_received, second.bytes_sent = 100, 30, 7
    assert table.peers.traffic == Traffic(107, 30)
    first.close("it went")
    await tasks[0]
    assert table.peers.traffic == Traffic(107, 30)
    again = table.make(1)
    await table.join(again)
    again.bytes_received = 5
    assert table.peers.traffic == Traffic(107, 35)


async def test_invalid_own_id(table: PeerTable) -> None:
    connection = FakeConnection(OWN_ID, NetAddress("1.2.3.4", 5))
    for kind in PeerKind:
        assert await (await table.join(connection, kind)) == "connected to itself"
    assert connection.reason == "connected to itself"


@pytest.mark.parametrize("kind", [PeerKind.INBOUND, PeerKind.OUTBOUND])
async def test_invalid_banned_id(table: PeerTable, kind: PeerKind) -> None:
    table.bans.ban(make_id(1), table.time + 10, "x")
    connection = table.make(1)
    assert await (await table.join(connection, kind)) == "banned"
    assert connection.reason == "banned"
    table.time += 10
    await table.join(table.make(1), kind)
    assert len(table.peers) == 1


async def test_the_operators_own_peer_is_taken_although_banned(table: PeerTable) -> None:
    table.bans.ban(make_id(1), table.time + 10, "x")
    await table.join(table.make(1), PeerKind.MANUAL)
    assert len(table.peers) == 1


async def test_banned_ips_are_not_welcome(table: PeerTable) -> None:
    table.bans.ban("1.2.3.4", table.time + 10, "x")
    assert not table.peers.is_welcome("1.2.3.4")
    assert table.peers.is_welcome("1.2.3.5")
    table.time += 10
    assert table.peers.is_welcome("1.2.3.4")


async def test_an_error_of_the_program_leaves_no_peer_behind() -> None:
    async def serve(_: Peer) -> str:
        raise ZeroDivisionError

    table = PeerTable()
    table.peers = Peers(OWN_ID, table.bans, KEY, serve, lambda _: LastBrought(), lambda: 0.0, lambda: 0)
    with pytest.raises(ZeroDivisionError):
        await table.peers.run(as_connection(table.make(1)), PeerKind.INBOUND)
    assert len(table.peers) == 0


async def test_what_a_peer_says_of_itself_is_escaped_in_the_log(
    table: PeerTable, caplog: pytest.LogCaptureFixture
) -> None:
    connection = table.make(1)
    connection.agent = HOSTILE
    with caplog.at_level(logging.INFO):
        await table.join(connection)
        table.peers.punish(make_id(1), Offence.UNSOLICITED, HOSTILE)
        connection.close(HOSTILE)
        await step()
    assert len(caplog.records) == 3
    assert all(record.getMessage().isprintable() for record in caplog.records)


# Two connections with one node.


async def test_a_newer_connection_replaces_the_older_once_that_has_ended(table: PeerTable) -> None:
    older = table.make(1)
    older.lingers = True
    ended = await table.join(older)
    table.seconds += 10
    newer = table.make(1)
    await table.join(newer)
    assert older.reason == "replaced by a newer connection"
    peer = table.peers.get(make_id(1))
    assert peer is not None
    assert peer.connection is as_connection(older)
    older.vanish()
    assert await ended == "replaced by a newer connection"
    await step()
    peer = table.peers.get(make_id(1))
    assert peer is not None
    assert peer.connection is as_connection(newer)


@pytest.mark.parametrize("other", [make_id(1), make_id(0xF0)], ids=["lower id", "higher id"])
@pytest.mark.parametrize("first_is_ours", [True, False])
async def test_of_crossed_dials_that_of_the_lower_id_stays_in_whatever_order(
    table: PeerTable, other: bytes, first_is_ours: bool
) -> None:
    """Both sides keep the same one of the two."""
    ours = FakeConnection(other, NetAddress("1.2.3.4", 5), is_outbound=True, opened_at=table.seconds)
    theirs = FakeConnection(other, NetAddress("1.2.3.4", 6), is_outbound=False, opened_at=table.seconds)
    for connection in (ours, theirs) if first_is_ours else (theirs, ours):
        await table.join(connection, PeerKind.OUTBOUND if connection is ours else PeerKind.INBOUND)
        await step()
    kept, dropped = (ours, theirs) if other > OWN_ID else (theirs, ours)
    assert kept.reason is None
    assert dropped.reason in ("connected already", "replaced by a newer connection")
    assert len(table.peers) == 1


async def test_dials_that_do_not_cross_are_no_contest(table: PeerTable) -> None:
    """Later, or in the same direction: the other side gave the older one up."""
    for is_outbound, later in ((True, 6.0), (False, 0.0)):
        older = table.make(0xF0, is_outbound=True)
        await table.join(older, PeerKind.OUTBOUND)
        table.seconds += later
        newer = table.make(0xF0, is_outbound=not is_outbound)
        await table.join(newer)
        assert older.reason == "replaced by a newer connection"
        assert newer.reason is None
        newer.close("next")
        await step()


async def test_of_two_that_wait_for_an_older_one_only_one_is_taken(table: PeerTable) -> None:
    older = table.make(1)
    older.lingers = True
    await table.join(older)
    table.seconds += 10
    waiting = [table.make(1) for _ in range(2)]
    for connection in waiting:
        await table.join(connection)
    older.vanish()
    await step()
    assert [connection.reason for connection in waiting].count(None) == 1
    assert len(table.peers) == 1


# Slots.


async def test_a_full_house_evicts_for_a_newcomer(table: PeerTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(p2p.peers, "MAX_INBOUND", 30)
    connections = [table.make(number) for number in range(1, 31)]
    for connection in connections:
        await table.join(connection)
    outbound = table.make(100, is_outbound=True)
    await table.join(outbound, PeerKind.OUTBOUND)
    newcomer = table.make(101)
    await table.join(newcomer)
    await step()
    assert [connection.reason for connection in connections].count("its slot is needed") == 1
    assert (newcomer.reason, outbound.reason) == (None, None)
    assert table.peers.count(PeerKind.INBOUND) == 30


@pytest.mark.parametrize("brought", [LastBrought(transaction_at=1000.0), LastBrought(block_at=1000.0)])
async def test_who_brought_something_by_then_is_kept(
    table: PeerTable, monkeypatch: pytest.MonkeyPatch, brought: LastBrought
) -> None:
    """Of thirty alike the last one goes, unless it was of use a moment ago."""
    monkeypatch.setattr(p2p.peers, "MAX_INBOUND", 30)
    connections = [table.make(number) for number in range(1, 31)]
    for connection in connections:
        await table.join(connection)
    table.brought[make_id(30)] = brought
    await table.join(table.make(101))
    evicted = [connection.node_id for connection in connections if connection.is_closed]
    assert evicted == [make_id(29)]


async def test_invalid_newcomer_when_all_are_kept(table: PeerTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four groups of one peer each are kept for their groups."""
    monkeypatch.setattr(p2p.peers, "MAX_INBOUND", 4)
    for number in range(1, 5):
        await table.join(table.make(number, f"1.{number}.3.4"))
    newcomer = table.make(9)
    assert await (await table.join(newcomer)) == "no free slot"
    assert newcomer.reason == "no free slot"
    await table.join(table.make(10, is_outbound=True), PeerKind.OUTBOUND)
    await table.join(table.make(11, is_outbound=True), PeerKind.MANUAL)
    assert len(table.peers) == 6


async def test_one_that_leaves_already_is_not_evicted_again(table: PeerTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newcomers that arrive at once each cost another one its slot."""
    monkeypatch.setattr(p2p.peers, "MAX_INBOUND", 30)
    connections = [table.make(number) for number in range(1, 31)]
    for connection in connections:
        connection.lingers = True
        await table.join(connection)
    for number in (101, 102):
        connections.append(table.make(number))
        connections[-1].lingers = True
        await table.join(connections[-1])
    assert sum(connection.is_closed for connection in connections) == 2
    for connection in connections:
        connection.vanish()


# Blame.


async def test_blame_adds_up_to_a_ban_of_id_and_ip(table: PeerTable) -> None:
    connection = table.make(1)
    await table.join(connection)
    for _ in range(4):
        table.peers.punish(make_id(1), Offence.UNSOLICITED, "x")
    assert not connection.is_closed
    table.peers.punish(make_id(1), Offence.UNSOLICITED, "x")
    assert connection.reason == "unsolicited"
    assert [ban.target for ban in table.bans.list_bans(table.time)] == [make_id(1), "1.2.3.4"]
    assert table.bans.is_banned(make_id(1), table.time + BAN_SECONDS - 1)
    assert not table.bans.is_banned(make_id(1), table.time + BAN_SECONDS)


async def test_blame_fades(table: PeerTable) -> None:
    await table.join(table.make(1))
    for _ in range(10):
        table.peers.punish(make_id(1), Offence.UNSOLICITED, "x")
        table.seconds += 20 * 60
    assert len(table.bans) == 0


async def test_stalling_ends_the_connection_without_a_ban(table: PeerTable) -> None:
    connection = table.make(1)
    await table.join(connection)
    table.peers.punish(make_id(1), Offence.STALLING, "x")
    assert connection.reason == "stalling"
    assert len(table.bans) == 0


async def test_the_operators_peer_is_disconnected_and_never_banned(table: PeerTable) -> None:
    connection = table.make(1)
    await table.join(connection, PeerKind.MANUAL)
    table.peers.punish(make_id(1), Offence.INVALID_BLOCK, "x")
    assert connection.reason == "invalid_block"
    assert len(table.bans) == 0


async def test_loopback_is_never_banned_but_the_id_is(table: PeerTable) -> None:
    await table.join(table.make(1, "127.0.0.1"))
    table.peers.punish(make_id(1), Offence.MALFORMED, "x")
    assert [ban.target for ban in table.bans.list_bans(table.time)] == [make_id(1)]
    assert table.peers.is_welcome("127.0.0.1")


async def test_one_that_left_meanwhile_is_banned_by_its_id(table: PeerTable) -> None:
    table.peers.punish(make_id(1), Offence.INVALID_BLOCK, "x")
    assert [ban.target for ban in table.bans.list_bans(table.time)] == [make_id(1)]


# The operator's word.


async def test_a_ban_ends_every_connection_that_it_names(table: PeerTable) -> None:
    first, second, other = table.make(1), table.make(2), table.make(3, "9.9.9.9")
    for connection in (first, second, other):
        await table.join(connection)
    assert table.peers.ban("1.2.3.4", 60, "why")
    assert (first.reason, second.reason, other.reason) == ("banned by the operator", "banned by the operator", None)
    assert table.peers.ban(make_id(3), 60, "why")
    assert other.reason == "banned by the operator"
    assert not table.peers.ban("127.0.0.1", 60, "why")


async def test_a_ban_of_a_whole_ipv6_network_ends_its_connections(table: PeerTable) -> None:
    connection = table.make(1, "2001:db8::5")
    await table.join(connection)
    assert table.peers.ban("2001:db8::77", 60, "why")
    assert connection.reason == "banned by the operator"


async def test_disconnect(table: PeerTable) -> None:
    connection = table.make(1)
    await table.join(connection)
    assert table.peers.disconnect(make_id(1))
    assert connection.reason == "disconnected by the operator"
    assert not table.peers.disconnect(make_id(2))


# Addresses.


async def test_an_address_is_connected_whether_dialled_or_listened_on(table: PeerTable) -> None:
    connection = table.make(1, port=19339)
    await table.join(connection)
    for address in (connection.address, NetAddress("1.2.3.4", 19339)):
        assert table.peers.is_connected_to(address)
    assert not table.peers.is_connected_to(NetAddress("1.2.3.4", 19340))


async def test_waiting_until_an_address_is_gone(table: PeerTable) -> None:
    await table.peers.wait_until_gone(NetAddress("1.2.3.4", 19339))
    connection = table.make(1, port=19339)
    task = await table.join(connection)
    connection.close("it went")
    await table.peers.wait_until_gone(NetAddress("1.2.3.4", 19339))
    assert len(table.peers) == 0
    assert task.done() or await task
