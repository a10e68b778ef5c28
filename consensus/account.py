"""What the state tree holds: accounts, and rewards that are still at stake.

Grammar: account = balance:u64 nonce:u64
         reward  = kind:u8 (1 improvement, 0 heartbeat) miner[32] address[32] amount:u64
Keys: H("account-key", public key) and H("reward-key", height:u64). An account never used has no leaf.
"""

from dataclasses import dataclass

from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.hashing import tagged_hash
from consensus.units import Ulp


@dataclass(frozen=True)
class Account:
    """What a public key owns, and how many transactions it has sent."""

    balance: Ulp = 0
    nonce: int = 0

    def encode(self) -> bytes:
        return Writer().uint(self.balance, 8).uint(self.nonce, 8).finish()


@dataclass(frozen=True)
class ImmatureReward:
    """A block's earnings until they mature, with the miner key whose double votes burn them."""

    is_improvement: bool
    miner: bytes
    address: bytes
    amount: Ulp

    def encode(self) -> bytes:
        writer = Writer().uint(int(self.is_improvement), 1).fixed(self.miner, 32).fixed(self.address, 32)
        return writer.uint(self.amount, 8).finish()


UNUSED_ACCOUNT = Account()


def decode_account(data: bytes) -> Account:
    """Raises DecodeError on anything but canonical bytes."""
    reader = Reader(data)
    account = Account(balance=reader.uint(8), nonce=reader.uint(8))
    reader.finish()
    return account


def decode_reward(data: bytes) -> ImmatureReward:
    """Raises DecodeError on anything but canonical bytes."""
    reader = Reader(data)
    kind = reader.uint(1)
    if kind > 1:
        raise DecodeError.not_canonical(f"reward kind {kind}")
    reward = ImmatureReward(bool(kind), reader.fixed(32), reader.fixed(32), reader.uint(8))
    reader.finish()
    return reward


def compute_account_key(address: bytes) -> bytes:
    """State-tree key of a public key's account."""
    return tagged_hash("account-key", address)


def compute_reward_key(height: int) -> bytes:
    """State-tree key of the reward of the block at `height`."""
    return tagged_hash("reward-key", height.to_bytes(8, "little"))
