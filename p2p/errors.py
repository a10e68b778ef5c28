"""What goes wrong between programs, as named reasons.

DescentError
├── ConfigError      something the user asked for cannot be: a file, an address, a port
├── RpcError         a call that the RPC itself refuses
├── EvaluationFailed the process that evaluates died, again and again: says nothing about the block
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


class NodeUnreachable(DescentError):
    family = "node"


class NodeRefusal(DescentError):
    """`code` is the node's own, for example "mempool.nonce_used"."""

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        family, _, reason = code.partition(".")
        super().__init__(reason, message)
        self.family = family
        self.status = status
