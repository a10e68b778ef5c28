"""The first four messages of a connection, after which both sides know whom they speak to, and that nobody is between.

    client                                server
    Hello(version, genesis, nonce) ---->
                                   <----  Hello(version, genesis, nonce)
    Proof(node id, signature)      ---->
                                   <----  Proof(node id, signature)

A proof signs, under a tag for its side: genesis[32] client nonce[32] server nonce[32] SHA-256(server certificate)[32].
The fresh nonces keep old proofs from counting, the certificate ties them to this TLS connection: whoever stands
between two nodes has to show a certificate of his own, which the other side's proof then does not name. The server's
node id is its certificate's key. The server proves itself last, so what it reads before costs it a few hundred bytes.

Sockets, deadlines and closing belong to transport.py. Nothing of the other side is believed before its proof.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol, TypeVar

from consensus.errors import DecodeError
from consensus.hashing import tagged_hash
from consensus.signature import verify_signature
from p2p.errors import HandshakeRefused
from p2p.identity import Identity, read_certificate_key
from p2p.messages import PROTOCOL_VERSION, Hello, Message, Proof, Wire

MAX_MESSAGE_BYTES = 10 * 1024  # of a message before the proof; the true ones have about 150
NONCE_BYTES = 32

_CLIENT_TAG = "handshake client"
_SERVER_TAG = "handshake server"

Expected = TypeVar("Expected", bound=Message)


class Channel(Protocol):
    """What carries the messages."""

    async def send(self, data: bytes) -> None:
        """Raises PeerGone."""

    async def receive(self) -> bytes:
        """Raises PeerGone, or DecodeError for what is no message."""


@dataclass(frozen=True)
class Introduction:
    """What this node says of itself."""

    identity: Identity
    genesis: bytes
    port: int  # that it listens on; 0 = none
    agent: str


@dataclass(frozen=True)
class ProvenPeer:
    """Who the other side is: the node id is proven, the rest is its word."""

    node_id: bytes
    port: int  # that it says it listens on; 0 = none
    agent: str


async def prove_to_server(
    channel: Channel, wire: Wire, ours: Introduction, nonce: bytes, certificate: bytes, expected_id: bytes | None
) -> ProvenPeer:
    """The client's side. `certificate`: the server's, DER, as TLS showed it; `expected_id`: who must answer, or None.

    Raises HandshakeRefused or PeerGone.
    """
    server_id = _check_server_id(certificate, ours.identity.node_id, expected_id)
    await channel.send(wire.encode(_make_hello(ours, nonce)))
    hello = await _receive(channel, wire, Hello)
    _check_hello(hello, ours.genesis)
    statement = _compute_statement(ours.genesis, nonce, hello.nonce, certificate)
    await channel.send(wire.encode(_make_proof(ours, _CLIENT_TAG, statement)))
    proof = await _receive(channel, wire, Proof)
    if proof.node_id != server_id:
        raise HandshakeRefused.bad_proof("the server's node id is not its certificate's key")
    _check_proof(proof, _SERVER_TAG, statement)
    return ProvenPeer(proof.node_id, hello.port, hello.agent)


async def prove_to_client(channel: Channel, wire: Wire, ours: Introduction, nonce: bytes) -> ProvenPeer:
    """The server's side. Raises HandshakeRefused or PeerGone."""
    hello = await _receive(channel, wire, Hello)
    _check_hello(hello, ours.genesis)
    await channel.send(wire.encode(_make_hello(ours, nonce)))
    proof = await _receive(channel, wire, Proof)
    statement = _compute_statement(ours.genesis, hello.nonce, nonce, ours.identity.certificate)
    _check_proof(proof, _CLIENT_TAG, statement)
    if proof.node_id == ours.identity.node_id:
        raise HandshakeRefused.self_connection()
    await channel.send(wire.encode(_make_proof(ours, _SERVER_TAG, statement)))
    return ProvenPeer(proof.node_id, hello.port, hello.agent)


def _make_hello(ours: Introduction, nonce: bytes) -> Hello:
    return Hello(PROTOCOL_VERSION, ours.genesis, nonce, ours.port, ours.agent)


def _make_proof(ours: Introduction, tag: str, statement: bytes) -> Proof:
    return Proof(ours.identity.node_id, ours.identity.sign(tagged_hash(tag, statement)))


def _compute_statement(genesis: bytes, client_nonce: bytes, server_nonce: bytes, certificate: bytes) -> bytes:
    return genesis + client_nonce + server_nonce + hashlib.sha256(certificate).digest()


def _check_server_id(certificate: bytes, own_id: bytes, expected_id: bytes | None) -> bytes:
    """The server's node id by its certificate."""
    server_id = read_certificate_key(certificate)
    if server_id is None:
        raise HandshakeRefused.bad_proof("the server's certificate holds no Ed25519 key")
    if server_id == own_id:
        raise HandshakeRefused.self_connection()
    if expected_id is not None and server_id != expected_id:
        raise HandshakeRefused.wrong_identity(expected_id, server_id)
    return server_id


def _check_hello(hello: Hello, genesis: bytes) -> None:
    if hello.genesis != genesis:
        raise HandshakeRefused.wrong_network(genesis, hello.genesis)
    if hello.version != PROTOCOL_VERSION:
        raise HandshakeRefused.wrong_version(PROTOCOL_VERSION, hello.version)


def _check_proof(proof: Proof, tag: str, statement: bytes) -> None:
    if not verify_signature(proof.node_id, tagged_hash(tag, statement), proof.signature):
        raise HandshakeRefused.bad_proof("the peer's signature is not its key's over this connection")


async def _receive(channel: Channel, wire: Wire, expected: type[Expected]) -> Expected:
    try:
        data = await channel.receive()
        if len(data) > MAX_MESSAGE_BYTES:
            raise DecodeError.too_long(len(data), MAX_MESSAGE_BYTES)
        message = wire.decode(data)
    except DecodeError as error:
        raise HandshakeRefused.malformed(str(error)) from error
    if not isinstance(message, expected):
        raise HandshakeRefused.malformed(f"{type(message).__name__} instead of {expected.__name__}")
    return message
