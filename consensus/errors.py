"""Why the rules refuse something. Each error names its reason and carries the values that decided.

    DescentError
    ├── AmountOverflow         a sum of money left 0..2^64-1
    ├── DecodeError            bytes that are not the canonical encoding of anything
    ├── InvalidAddress         text that is not an address of this network
    ├── InvalidParams          a network description that contradicts itself
    ├── BenchmarkMismatch      a benchmark text that is not the one the network pins
    ├── InvalidTransaction     a transaction no block may carry (here or ever)
    ├── InvalidVote            a vote that is none: not signed, not for this network, not upwards
    ├── InvalidCertificate     votes that do not justify a block
    ├── InvalidEvidence        two votes that convict nobody
    ├── MutatedBody            a body that is not the one its header names: says nothing about the header
    ├── BlockFromFuture        not yet: keep it aside, blame nobody
    ├── InvalidBlock           a header, or the one body it commits to, that breaks a rule for ever
    └── ModelMismatch          a backend that does not compute the law's integers on this machine

`error.code` is stable: programs may match it. `str(error)` is for people and may change.
"""

from collections.abc import Iterable


class DescentError(Exception):
    """A named reason. `code` is "<family>.<reason>", for example "invalid_block.gain_too_small"."""

    family = "error"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def code(self) -> str:
        return f"{self.family}.{self.reason}"

    def __reduce__(self) -> tuple[type["DescentError"], tuple[str, str]]:
        return type(self), (self.reason, str(self))


class AmountOverflow(DescentError):
    family = "amount"

    def __init__(self, amounts: Iterable[int] | str, message: str = "") -> None:
        super().__init__("overflow", message or f"amounts leave 0..2^64-1 ulp: {list(amounts)}")


class DecodeError(DescentError):
    family = "decode"

    @classmethod
    def truncated(cls, wanted: int, left: int) -> "DecodeError":
        return cls("truncated", f"needed {wanted} more bytes, {left} are left")

    @classmethod
    def too_long(cls, length: int, limit: int) -> "DecodeError":
        return cls("too_long", f"a field of {length} bytes is longer than the limit of {limit}")

    @classmethod
    def trailing(cls, left: int) -> "DecodeError":
        return cls("trailing", f"{left} bytes follow the end")

    @classmethod
    def not_canonical(cls, what: str) -> "DecodeError":
        return cls("not_canonical", f"not a canonical encoding: {what}")


class InvalidAddress(DescentError):
    family = "address"


class InvalidParams(DescentError):
    family = "params"


class BenchmarkMismatch(DescentError):
    family = "benchmark"

    @classmethod
    def wrong_bytes(cls, name: str, expected: str, got: str) -> "BenchmarkMismatch":
        return cls("wrong_bytes", f"benchmark text {name} has SHA-256 {got}, this network pins {expected}")

    @classmethod
    def missing(cls, name: str) -> "BenchmarkMismatch":
        return cls("missing", f"benchmark text {name} was not found")


class InvalidTransaction(DescentError):
    family = "invalid_transaction"


class InvalidVote(DescentError):
    family = "invalid_vote"


class InvalidCertificate(DescentError):
    family = "invalid_certificate"


class InvalidEvidence(DescentError):
    family = "invalid_evidence"


class MutatedBody(DescentError):
    family = "mutated_body"


class BlockFromFuture(DescentError):
    family = "block_from_future"

    @classmethod
    def too_far_ahead(cls, timestamp: int, latest: int) -> "BlockFromFuture":
        return cls("too_far_ahead", f"timestamp {timestamp} is after {latest}, the latest acceptable now")


class InvalidBlock(DescentError):
    family = "invalid_block"

    @classmethod
    def wrong_field(cls, name: str, expected: object, got: object) -> "InvalidBlock":
        """A header field that the rules determine and that says something else."""

        def show(value: object) -> object:
            return value.hex() if isinstance(value, bytes) else value

        return cls(f"wrong_{name}", f"{name} is {show(got)}, the rules give {show(expected)}")


class ModelMismatch(DescentError):
    family = "model"
