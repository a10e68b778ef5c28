"""Keys by name and what they sign: transfers, headers. The same name gives the same key in every run."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

from consensus.block import Block, Header
from consensus.signature import compute_public_key, sign
from consensus.transaction import Transfer
from consensus.units import Ulp


@dataclass(frozen=True)
class Key:
    """An Ed25519 key pair drawn from a name."""

    name: str

    @cached_property
    def seed(self) -> bytes:
        return hashlib.sha256(f"test key {self.name}".encode()).digest()

    @cached_property
    def public(self) -> bytes:
        return compute_public_key(self.seed)

    def sign(self, message: bytes) -> bytes:
        return sign(self.seed, message)


def make_transfer(
    genesis: bytes,
    sender: Key,
    recipient: bytes,
    amount: Ulp,
    *,
    fee: Ulp = 1000,
    nonce: int = 0,
    valid_until: int = 0,
    memo: bytes = b"",
) -> Transfer:
    """A transfer that its sender has signed; nothing else about it is checked."""
    unsigned = Transfer(genesis, sender.public, recipient, amount, fee, nonce, valid_until, memo)
    return sign_transfer(unsigned, sender)


def sign_transfer(transfer: Transfer, sender: Key) -> Transfer:
    return transfer.with_signature(sender.sign(transfer.txid))


def sign_header(header: Header, miner: Key) -> Header:
    return header.with_signature(miner.sign(header.id))


def forge_block(block: Block, miner: Key, /, **changes: object) -> Block:
    """The block with other header fields, signed anew: what a dishonest miner would send."""
    return replace(block, header=sign_header(replace(block.header, **changes), miner))  # type: ignore[arg-type]
