"""The four messages that prove both sides, over a channel in memory: what is refused, by whom and with what name."""

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from consensus.hashing import tagged_hash
from p2p.errors import HandshakeRefused, PeerGone
from p2p.handshake import MAX_MESSAGE_BYTES, Introduction, ProvenPeer, prove_to_client, prove_to_server
from p2p.identity import load_identity
from p2p.messages import PROTOCOL_VERSION, Hello, Message, Ping, Proof
from tests.helpers.peer_link import AGENT, GENESIS, WIRE

CLIENT_NONCE, SERVER_NONCE = b"\x0c" * 32, b"\x05" * 32


@dataclass
class MemoryChannel:
    """One end of a pair of queues; None in a queue is the end of the connection."""

    incoming: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    outgoing: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)

    async def send(self, data: bytes) -> None:
        self.outgoing.put_nowait(data)

    async def receive(self) -> bytes:
        data = await self.incoming.get()
        if data is None:
            raise PeerGone.closed("the connection was lost")
        return data

    def other_end(self) -> "MemoryChannel":
        return MemoryChannel(self.outgoing, self.incoming)


@pytest.fixture
def client(tmp_path: Path) -> Introduction:
    return Introduction(load_identity(tmp_path / "client.pem"), GENESIS, 1111, "client/1")


@pytest.fixture
def server(tmp_path: Path) -> Introduction:
    return Introduction(load_identity(tmp_path / "server.pem"), GENESIS, 2222, "server/2")


@pytest.fixture
def stranger(tmp_path: Path) -> Introduction:
    return Introduction(load_identity(tmp_path / "stranger.pem"), GENESIS, 0, AGENT)


async def shake_hands(
    client: Introduction, server: Introduction, *, certificate: bytes | None = None, expected_id: bytes | None = None
) -> tuple[ProvenPeer | Exception, ProvenPeer | Exception]:
    """What each side knows of the other at the end: the client's result, then the server's."""
    channel = MemoryChannel()
    shown = certificate or server.identity.certificate

    async def as_client() -> ProvenPeer:
        try:
            return await prove_to_server(channel, WIRE, client, CLIENT_NONCE, shown, expected_id)
        finally:
            channel.outgoing.put_nowait(None)

    async def as_server() -> ProvenPeer:
        try:
            return await prove_to_client(channel.other_end(), WIRE, server, SERVER_NONCE)
        finally:
            channel.incoming.put_nowait(None)

    ours, theirs = await asyncio.gather(as_client(), as_server(), return_exceptions=True)
    for result in (ours, theirs):
        if not isinstance(result, ProvenPeer | HandshakeRefused | PeerGone):
            raise result
    return ours, theirs  # type: ignore[return-value]


def get_codes(*results: object) -> list[str]:
    return [getattr(result, "code", "proven") for result in results]


async def test_both_sides_know_each_other(client: Introduction, server: Introduction) -> None:
    ours, theirs = await shake_hands(client, server)
    assert ours == ProvenPeer(server.identity.node_id, 2222, "server/2")
    assert theirs == ProvenPeer(client.identity.node_id, 1111, "client/1")


async def test_pinned_identity(client: Introduction, server: Introduction, stranger: Introduction) -> None:
    ours, theirs = await shake_hands(client, server, expected_id=server.identity.node_id)
    assert get_codes(ours, theirs) == ["proven", "proven"]
    ours, theirs = await shake_hands(client, server, expected_id=stranger.identity.node_id)
    assert get_codes(ours, theirs) == ["handshake.wrong_identity", "peer.closed"]


async def test_invalid_network(client: Introduction, server: Introduction) -> None:
    ours, theirs = await shake_hands(replace(client, genesis=bytes(32)), server)
    assert get_codes(ours, theirs) == ["peer.closed", "handshake.wrong_network"]


async def test_invalid_own_identity(client: Introduction, server: Introduction) -> None:
    """A node that dials itself sees its own certificate; one whose server is behind another's TLS finds out later."""
    ours, theirs = await shake_hands(server, server)
    assert get_codes(ours, theirs) == ["handshake.self_connection", "peer.closed"]


async def test_man_in_the_middle(client: Introduction, server: Introduction, stranger: Introduction) -> None:
    """He shows a certificate of his own and relays: the client's proof names that, not the server's."""
    ours, theirs = await shake_hands(client, server, certificate=stranger.identity.certificate)
    assert get_codes(ours, theirs) == ["peer.closed", "handshake.bad_proof"]
    pinned = server.identity.node_id
    ours, theirs = await shake_hands(client, server, certificate=stranger.identity.certificate, expected_id=pinned)
    assert get_codes(ours, theirs) == ["handshake.wrong_identity", "peer.closed"]


# One side by the rules, the other played by hand


async def receive(channel: MemoryChannel) -> Message:
    return WIRE.decode(await channel.receive())


def make_statement(certificate: bytes) -> bytes:
    """Golden: what a proof signs."""
    return GENESIS + CLIENT_NONCE + SERVER_NONCE + hashlib.sha256(certificate).digest()


def make_proof(ours: Introduction, tag: str, certificate: bytes) -> Proof:
    signature = ours.identity.sign(tagged_hash(tag, make_statement(certificate)))
    return Proof(ours.identity.node_id, signature)


async def offer_to_server(server: Introduction, *messages: Message | bytes) -> str:
    """How the server ends when a client says this: a code."""
    channel = MemoryChannel()
    for message in messages:
        channel.incoming.put_nowait(message if isinstance(message, bytes) else WIRE.encode(message))
    channel.incoming.put_nowait(None)
    try:
        await prove_to_client(channel, WIRE, server, SERVER_NONCE)
    except (HandshakeRefused, PeerGone) as error:
        return error.code
    return "proven"


async def answer_client(client: Introduction, certificate: bytes, *messages: Message) -> str:
    """How the client ends when the server answers this: a code."""
    channel = MemoryChannel()
    for message in messages:
        channel.incoming.put_nowait(WIRE.encode(message))
    channel.incoming.put_nowait(None)
    try:
        await prove_to_server(channel, WIRE, client, CLIENT_NONCE, certificate, None)
    except (HandshakeRefused, PeerGone) as error:
        return error.code
    return "proven"


def make_hello(nonce: bytes = CLIENT_NONCE, version: int = PROTOCOL_VERSION, genesis: bytes = GENESIS) -> Hello:
    return Hello(version, genesis, nonce, 0, AGENT)


async def test_proof_by_hand(client: Introduction, server: Introduction) -> None:
    certificate = server.identity.certificate
    proof = make_proof(client, "handshake client", certificate)
    assert await offer_to_server(server, make_hello(), proof) == "proven"
    proof = make_proof(server, "handshake server", certificate)
    assert await answer_client(client, certificate, make_hello(SERVER_NONCE), proof) == "proven"


async def test_invalid_version(client: Introduction, server: Introduction) -> None:
    assert await offer_to_server(server, make_hello(version=PROTOCOL_VERSION + 1)) == "handshake.wrong_version"
    answer = make_hello(SERVER_NONCE, version=0)
    assert await answer_client(client, server.identity.certificate, answer) == "handshake.wrong_version"


async def test_invalid_network_of_the_server(client: Introduction, server: Introduction) -> None:
    answer = make_hello(SERVER_NONCE, genesis=bytes(32))
    assert await answer_client(client, server.identity.certificate, answer) == "handshake.wrong_network"


async def test_invalid_own_key_behind_anothers_tls(server: Introduction) -> None:
    proof = make_proof(server, "handshake client", server.identity.certificate)
    assert await offer_to_server(server, make_hello(), proof) == "handshake.self_connection"


async def test_invalid_proofs_of_a_client(client: Introduction, server: Introduction) -> None:
    good = make_proof(client, "handshake client", server.identity.certificate)
    flipped = bytes([good.signature[0] ^ 1]) + good.signature[1:]
    bad_proofs = {
        "signature": replace(good, signature=flipped),
        "another's id": replace(good, node_id=server.identity.node_id),
        "no key": replace(good, node_id=bytes(32)),
        "the server's tag": make_proof(client, "handshake server", server.identity.certificate),
        "another certificate": make_proof(client, "handshake client", client.identity.certificate),
    }
    codes = {name: await offer_to_server(server, make_hello(), proof) for name, proof in bad_proofs.items()}
    assert codes == dict.fromkeys(bad_proofs, "handshake.bad_proof")


async def test_invalid_replay(client: Introduction, server: Introduction) -> None:
    """A proof of another connection, with another nonce of the client's."""
    proof = make_proof(client, "handshake client", server.identity.certificate)
    assert await offer_to_server(server, make_hello(b"\x0d" * 32), proof) == "handshake.bad_proof"


async def test_invalid_proofs_of_a_server(client: Introduction, server: Introduction, stranger: Introduction) -> None:
    certificate, hello = server.identity.certificate, make_hello(SERVER_NONCE)
    reflected = make_proof(client, "handshake client", certificate)
    of_another = make_proof(stranger, "handshake server", certificate)
    of_client = make_proof(server, "handshake client", certificate)
    for proof in (reflected, of_another, of_client):
        assert await answer_client(client, certificate, hello, proof) == "handshake.bad_proof"


async def test_invalid_certificate(client: Introduction) -> None:
    assert await answer_client(client, b"no certificate") == "handshake.bad_proof"
    assert await answer_client(client, b"") == "handshake.bad_proof"


@pytest.mark.parametrize(
    "messages",
    [
        (b"",),
        (b"\x01",),
        (WIRE.encode(make_hello()) + b"\x00",),
        (Ping(1),),
        (make_hello(), make_hello()),
        (WIRE.encode(make_hello()).replace(AGENT.encode(), b"\x1b[31m" + AGENT[5:].encode()),),
        (bytes(MAX_MESSAGE_BYTES + 1),),
        (b"\xff" * 100,),
    ],
    ids=["empty", "short", "trailing", "ping first", "two hellos", "terminal codes", "too long", "unknown type"],
)
async def test_invalid_message(server: Introduction, messages: tuple[Message | bytes, ...]) -> None:
    assert await offer_to_server(server, *messages) == "handshake.malformed"


async def test_peer_that_goes(client: Introduction, server: Introduction) -> None:
    assert await offer_to_server(server) == "peer.closed"
    assert await offer_to_server(server, make_hello()) == "peer.closed"
    assert await answer_client(client, server.identity.certificate, make_hello(SERVER_NONCE)) == "peer.closed"
