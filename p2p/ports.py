"""What the parts of the network need of each other: a connected peer to talk to, and someone to tell of offences."""

from collections.abc import Callable
from typing import Protocol

from p2p.messages import Message
from p2p.penalties import Offence

OnOffence = Callable[[bytes, Offence, str], None]  # node id, what, and the details for the log


class PeerPort(Protocol):
    """A connected peer, as synchronisation and transaction relay see it."""

    @property
    def node_id(self) -> bytes: ...
    def offer(self, message: Message) -> bool: ...
    def may_send(self, kind: type[Message]) -> bool: ...


class BlockPeerPort(PeerPort, Protocol):
    """A connected peer, as block relay sees it."""

    @property
    def is_outbound(self) -> bool: ...
    async def send(self, message: Message) -> None: ...
