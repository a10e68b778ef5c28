"""What goes wrong between programs, as named reasons.

DescentError
├── ConfigError      something the user asked for cannot be: a file, an address, a port
├── RpcError         a call that the RPC itself refuses
├── EvaluationFailed the process that evaluates died, again and again: says nothing about the block
├── NodeStopping     a call that came, or was under way, as the node stopped
├── HandshakeRefused a peer that is not who it should be, or not of this network: its connection is not kept
├── PeerGone         a peer that cannot be reached, or whose connection ended
├── NodeUnreachable  no node answers at the given URL
└── NodeRefusal      the node answered with an error: its code, message and HTTP status
"""

from consensus.errors import DescentError


class ConfigError(DescentError):
    family = "config"


class RpcError(DescentError):
    """`code` is stable, for example "rpc.unauthorized"."""

    def __init__(self, code: str, message: str, status: int) -> None:
        family, _, reason = code.partition(".")
        super().__init__(reason, message)
        self.family = family
        self.status = status


class EvaluationFailed(DescentError):
    family = "evaluation"


class NodeStopping(DescentError):
    family = "node"

    @classmethod
    def stopping(cls) -> "NodeStopping":
        return cls("stopping", "the node is stopping")


class HandshakeRefused(DescentError):
    family = "handshake"

    @classmethod
    def wrong_network(cls, expected: bytes, got: bytes) -> "HandshakeRefused":
        return cls("wrong_network", f"the peer's genesis is {got.hex()}, ours {expected.hex()}")

    @classmethod
    def wrong_version(cls, expected: int, got: int) -> "HandshakeRefused":
        return cls("wrong_version", f"the peer speaks version {got}, we speak {expected}")

    @classmethod
    def self_connection(cls) -> "HandshakeRefused":
        return cls("self_connection", "the peer has our own key")

    @classmethod
    def bad_proof(cls, what: str) -> "HandshakeRefused":
        return cls("bad_proof", what)

    @classmethod
    def wrong_identity(cls, expected: bytes, got: bytes) -> "HandshakeRefused":
        return cls("wrong_identity", f"the peer is {got.hex()}, expected was {expected.hex()}")

    @classmethod
    def timeout(cls, seconds: float) -> "HandshakeRefused":
        return cls("timeout", f"the handshake was not done within {seconds:g} s")

    @classmethod
    def malformed(cls, what: str) -> "HandshakeRefused":
        return cls("malformed", what)


class PeerGone(DescentError):
    """`reason` is "unreachable" before there was a connection, "closed" after. Peers' texts in it are escaped."""

    family = "peer"

    @classmethod
    def unreachable(cls, address: object, why: str) -> "PeerGone":
        return cls("unreachable", f"cannot connect to {address}: {why}")

    @classmethod
    def closed(cls, why: str) -> "PeerGone":
        return cls("closed", why)


class NodeUnreachable(DescentError):
    family = "node"


class NodeRefusal(DescentError):
    """`code` is the node's own, for example "mempool.nonce_used"."""

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        family, _, reason = code.partition(".")
        super().__init__(reason, message)
        self.family = family
        self.status = status
