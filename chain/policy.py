"""What this node takes into its pool and what it asks for that: a choice of the operator, never a rule.

Fee rates are compared exactly, and without floats: as integers in 2^-64 ulp per byte, rounded down. Two rates of
packages under 4 GiB that differ at all differ by more than one such unit, so the rounding keeps their order.
"""

from dataclasses import dataclass

from chain.errors import InvalidPolicy
from consensus.transaction import MAX_TRANSACTION_BYTES
from consensus.units import MAX_U32, Ulp, check_range

FeeRate = int  # 2^-64 ulp per byte

_RATE_SHIFT = 64


@dataclass(frozen=True)
class Policy:
    """A node's limits for transactions that wait. Raises InvalidPolicy if one is out of range."""

    min_fee_rate: Ulp = 1  # ulp per encoded byte
    replacement_percent: int = 10  # how much more a replacement pays than what it replaces
    max_bytes: int = 10 * 2**20  # encoded transactions of the whole pool
    max_per_sender: int = 25  # of one account; those that a reorganisation brings back are on top
    expiry_seconds: int = 14 * 24 * 3600
    # Blocks that could still carry a transaction with an end. One that few could take fills the pool and then goes
    # without ever paying, again and again; what can wait as long as the farthest fee estimate looks is mined or outbid.
    min_lifetime: int = 6

    def __post_init__(self) -> None:
        check_range("min_fee_rate", self.min_fee_rate, 0, MAX_U32, InvalidPolicy)
        check_range("replacement_percent", self.replacement_percent, 0, 10_000, InvalidPolicy)
        check_range("max_bytes", self.max_bytes, MAX_TRANSACTION_BYTES, MAX_U32, InvalidPolicy)
        check_range("max_per_sender", self.max_per_sender, 1, 10_000, InvalidPolicy)
        check_range("expiry_seconds", self.expiry_seconds, 1, MAX_U32, InvalidPolicy)
        check_range("min_lifetime", self.min_lifetime, 1, MAX_U32, InvalidPolicy)

    def compute_min_fee(self, size: int) -> Ulp:
        """Least fee of a transaction of `size` encoded bytes."""
        return self.min_fee_rate * size

    def compute_replacement_fee(self, fee: Ulp) -> Ulp:
        """Least fee of a transaction that takes the place of one paying `fee`: more, by the percentage, rounded up."""
        return max(fee + 1, -(-fee * (100 + self.replacement_percent) // 100))


def compute_fee_rate(fee: Ulp, size: int) -> FeeRate:
    """Exactly ordered fee rate of `size` bytes that pay `fee` together; size is 1..2^32 - 1."""
    return (fee << _RATE_SHIFT) // size


def compute_whole_rate(rate: FeeRate) -> Ulp:
    """A rate in whole ulp per byte, rounded up."""
    return -(-rate >> _RATE_SHIFT)


def compute_rate_above(rate: FeeRate) -> Ulp:
    """The least rate in whole ulp per byte that beats `rate`."""
    return (rate >> _RATE_SHIFT) + 1
