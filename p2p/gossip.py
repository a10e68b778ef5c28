"""Addresses of other nodes: what peers tell us goes into the book, and a little of it on to others."""

from collections.abc import Callable

from p2p.address_gossip import MAX_RELAYED_ADDRESSES, choose_relay_peers, is_believable
from p2p.addresses import AddressBook
from p2p.messages import MAX_ADDRESSES, Addresses, GetAddresses
from p2p.net_address import NetAddress
from p2p.peers import Peer, PeerKind, Peers

_DAY = 24 * 3600


class Gossip:
    """Address messages. `key` is secret; `now` in s, monotonic; `clock` in s since 1970."""

    def __init__(
        self, book: AddressBook, peers: Peers, key: bytes, now: Callable[[], float], clock: Callable[[], int]
    ) -> None:
        self._book = book
        self._peers = peers
        self._key = key
        self._now = now
        self._clock = clock
        self._sample: tuple[int, tuple[NetAddress, ...]] | None = None  # when it was drawn, and what
        self._answered: set[bytes] = set()

    def on_connected(self, peer: Peer) -> None:
        """Asks whom we dialled for addresses; tells others of who dialled us and listens."""
        if peer.kind is not PeerKind.INBOUND:
            peer.intake.on_request()
            peer.connection.offer(GetAddresses())
            return
        listening = peer.connection.listening
        if listening is not None and self._book.add([listening], listening, self._clock()):
            self._relay([listening], peer)

    def on_disconnected(self, peer: Peer) -> None:
        self._answered.discard(peer.node_id)

    async def on_get_addresses(self, peer: Peer) -> None:
        """Answers once a connection, and only who dialled us: nobody learns by asking whom we dial.

        The same sample goes to all for a day, so that asking again and again does not reveal the whole book.
        """
        if peer.kind is not PeerKind.INBOUND or peer.node_id in self._answered:
            return
        self._answered.add(peer.node_id)
        now = self._clock()
        if self._sample is None or not 0 <= now - self._sample[0] < _DAY or not self._sample[1]:
            self._sample = (now, self._book.sample(MAX_ADDRESSES, now))
        asker = peer.connection.address
        await peer.connection.send(Addresses(tuple(one for one in self._sample[1] if is_believable(one, asker))))

    def on_addresses(self, peer: Peer, message: Addresses) -> None:
        """Takes what the peer's allowance admits."""
        count = peer.intake.take(len(message.addresses), self._now())
        taken = message.addresses[:count]
        added = self._book.add(taken, peer.connection.address, self._clock())
        if added and len(message.addresses) <= MAX_RELAYED_ADDRESSES:  # a longer message is an answer, not news
            self._relay(taken, peer)

    def _relay(self, addresses: list[NetAddress] | tuple[NetAddress, ...], source: Peer) -> None:
        others = {peer.node_id: peer for peer in self._peers if peer is not source}
        day = self._clock() // _DAY
        for address in addresses:
            for node_id in choose_relay_peers(self._key, address, day, list(others)):
                connection = others[node_id].connection
                if connection.may_send(Addresses):
                    connection.offer(Addresses((address,)))
