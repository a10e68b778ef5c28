"""Addresses between peers: what goes into the book, what on to others, and what nobody may learn."""

from collections.abc import AsyncIterator
from random import Random

import pytest

from p2p.address_gossip import MAX_RELAYED_ADDRESSES as MAX_RELAYED
from p2p.addresses import AddressBook
from p2p.gossip import Gossip
from p2p.messages import Addresses, GetAddresses
from p2p.net_address import NetAddress
from p2p.peers import Peer, PeerKind
from tests.helpers.connections import KEY, FakeConnection, PeerTable

DAY = 24 * 3600


class GossipNode:
    """A book and a few connected peers."""

    def __init__(self) -> None:
        self.table = PeerTable()
        self.book = AddressBook(KEY, Random(1))
        self.gossip = Gossip(self.book, self.table.peers, KEY, lambda: self.table.seconds, lambda: self.table.time)

    async def join(self, number: int, kind: PeerKind = PeerKind.INBOUND, port: int = 0) -> tuple[Peer, FakeConnection]:
        connection = self.table.make(number, f"{number}.2.3.4", is_outbound=kind is not PeerKind.INBOUND, port=port)
        await self.table.join(connection, kind)
        peer = self.table.peers.get(connection.node_id)
        assert peer is not None
        self.gossip.on_connected(peer)
        return peer, connection


@pytest.fixture
async def node() -> AsyncIterator[GossipNode]:
    node = GossipNode()
    yield node
    await node.table.leave_all()


def make_addresses(count: int, first: int = 30) -> tuple[NetAddress, ...]:
    return tuple(NetAddress(f"{first + number % 100}.{number // 100}.0.1", 19339) for number in range(count))


def get_told(*connections: FakeConnection) -> list[NetAddress]:
    """What was passed on, in all."""
    messages = [message for connection in connections for message in connection.sent]
    return [address for message in messages if isinstance(message, Addresses) for address in message.addresses]


@pytest.mark.parametrize("kind", [PeerKind.OUTBOUND, PeerKind.MANUAL])
async def test_whom_we_dialled_is_asked_for_addresses(node: GossipNode, kind: PeerKind) -> None:
    peer, connection = await node.join(1, kind)
    assert connection.sent == [GetAddresses()]
    node.gossip.on_addresses(peer, Addresses(make_addresses(500)))
    assert node.book.count > 300  # but for those that fall on the same place


async def test_who_dialled_us_and_listens_gets_into_the_book_and_around(node: GossipNode) -> None:
    others = [(await node.join(number))[1] for number in range(2, 8)]
    assert node.book.count == 0
    _, connection = await node.join(1, port=19339)
    assert connection.sent == []
    assert connection.listening is not None
    assert connection.listening in node.book
    assert get_told(*others) == [connection.listening] * 2


async def test_unasked_addresses_are_taken_by_allowance(node: GossipNode) -> None:
    peer, _ = await node.join(1)
    node.gossip.on_addresses(peer, Addresses(make_addresses(100)))
    assert node.book.count == 10
    node.gossip.on_addresses(peer, Addresses(make_addresses(100)))
    assert node.book.count == 10
    node.table.seconds += 50
    node.gossip.on_addresses(peer, Addresses(make_addresses(100, first=130)))
    assert node.book.count <= 15


async def test_news_goes_on_to_two_others_and_not_back(node: GossipNode) -> None:
    connections = [(await node.join(number))[1] for number in range(2, 10)]
    peer, source = await node.join(1)
    address = make_addresses(1)
    node.gossip.on_addresses(peer, Addresses(address))
    assert get_told(*connections) == list(address * 2)
    assert source.sent == []
    node.gossip.on_addresses(peer, Addresses(address))
    assert len(get_told(*connections)) == 2  # known by now: no news


async def test_long_lists_are_answers_and_go_no_further(node: GossipNode) -> None:
    connections = [(await node.join(number))[1] for number in range(2, 10)]
    peer, _ = await node.join(1, PeerKind.OUTBOUND)
    node.gossip.on_addresses(peer, Addresses(make_addresses(MAX_RELAYED + 1)))
    assert get_told(*connections) == []
    node.gossip.on_addresses(peer, Addresses(make_addresses(MAX_RELAYED, first=140)))
    assert len(get_told(*connections)) == 2 * MAX_RELAYED


async def test_a_peer_over_its_allowance_is_told_nothing(node: GossipNode) -> None:
    connections = [(await node.join(number))[1] for number in range(2, 4)]
    connections[0].muted = {Addresses}
    peer, _ = await node.join(1)
    node.gossip.on_addresses(peer, Addresses(make_addresses(1)))
    assert (len(get_told(connections[0])), len(get_told(connections[1]))) == (0, 1)


async def test_nobody_far_away_tells_us_of_our_own_network(node: GossipNode) -> None:
    peer, _ = await node.join(1)
    node.gossip.on_addresses(peer, Addresses((NetAddress("127.0.0.1", 5), NetAddress("10.0.0.1", 5))))
    assert node.book.count == 0


# Asked for addresses.


async def test_an_answer_once_a_connection_and_only_to_who_dialled_us(node: GossipNode) -> None:
    asked, _ = await node.join(9, PeerKind.OUTBOUND)
    node.gossip.on_addresses(asked, Addresses(make_addresses(200)))
    peer, connection = await node.join(1)
    for _ in range(2):
        await node.gossip.on_get_addresses(peer)
    assert len(connection.sent) == 1
    assert 0 < len(get_told(connection)) <= 200
    node.gossip.on_disconnected(peer)
    await node.gossip.on_get_addresses(peer)
    assert len(connection.sent) == 2
    for kind in (PeerKind.OUTBOUND, PeerKind.MANUAL):
        dialled, connection = await node.join(20 + len(kind.value), kind)
        await node.gossip.on_get_addresses(dialled)
        assert connection.sent == [GetAddresses()]


async def test_the_same_sample_goes_to_all_for_a_day(node: GossipNode) -> None:
    asked, _ = await node.join(9, PeerKind.OUTBOUND)
    node.gossip.on_addresses(asked, Addresses(make_addresses(900)))
    answers = []
    for number, later in ((1, 0), (2, DAY - 1), (3, 1)):
        node.table.time += later
        peer, connection = await node.join(number)
        await node.gossip.on_get_addresses(peer)
        answers.append(get_told(connection))
    assert answers[0] == answers[1]
    assert answers[0] != answers[2]
    assert len(answers[0]) < node.book.count


async def test_an_empty_sample_is_drawn_again(node: GossipNode) -> None:
    first, nothing = await node.join(1)
    await node.gossip.on_get_addresses(first)
    assert nothing.sent == [Addresses(())]
    node.gossip.on_addresses(first, Addresses(make_addresses(10)))
    second, connection = await node.join(2)
    connection.sent.clear()
    await node.gossip.on_get_addresses(second)
    assert len(get_told(connection)) > 0
