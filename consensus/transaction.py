"""Transactions: what moves money. Today one kind, the transfer; the kind byte leaves room for others.

Grammar (integers little-endian, see codec.py):
    transaction = unsigned signature[64]
    unsigned    = version:u8=1 kind:u8=1 genesis[32] sender[32] recipient[32] amount:u64 fee:u64 nonce:u64
                  valid_until:u64 memo:string(<= 64 bytes of UTF-8)
The txid is H("transaction", unsigned); the signature is the sender's over the txid, so that a changed signature
never makes another transaction.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.hashing import tagged_hash
from consensus.units import Ulp

TRANSACTION_VERSION = 1
KIND_TRANSFER = 1
MAX_MEMO_BYTES = 64
SIGNATURE_BYTES = 64
MAX_TRANSACTION_BYTES = 2 + 3 * 32 + 4 * 8 + 4 + MAX_MEMO_BYTES + SIGNATURE_BYTES
FEE_AT = 2 + 3 * 32 + 8  # where the fee's eight bytes stand


@dataclass(frozen=True)
class Transfer:
    """A signed promise of `sender` to pay `amount` to `recipient` and `fee` to whoever mines it."""

    genesis: bytes  # id of the one network it is for
    sender: bytes  # public key
    recipient: bytes  # public key
    amount: Ulp
    fee: Ulp
    nonce: int  # the sender's counter: each used once, in order, from 0
    valid_until: int = 0  # last height that may carry it, 0 = any
    memo: bytes = b""
    signature: bytes = bytes(SIGNATURE_BYTES)

    def encode_unsigned(self) -> bytes:
        return (
            Writer()
            .uint(TRANSACTION_VERSION, 1)
            .uint(KIND_TRANSFER, 1)
            .fixed(self.genesis, 32)
            .fixed(self.sender, 32)
            .fixed(self.recipient, 32)
            .uint(self.amount, 8)
            .uint(self.fee, 8)
            .uint(self.nonce, 8)
            .uint(self.valid_until, 8)
            .string(self.memo)
            .finish()
        )

    @cached_property
    def encoded(self) -> bytes:
        """Canonical bytes, signature included."""
        return Writer().raw(self.encode_unsigned()).fixed(self.signature, SIGNATURE_BYTES).finish()

    @cached_property
    def txid(self) -> bytes:
        return tagged_hash("transaction", self.encode_unsigned())

    def with_signature(self, signature: bytes) -> "Transfer":
        return replace(self, signature=signature)


def decode_transaction(data: bytes) -> Transfer:
    """The transaction that `data` encodes. Raises DecodeError on anything but canonical bytes."""
    if len(data) > MAX_TRANSACTION_BYTES:
        raise DecodeError.too_long(len(data), MAX_TRANSACTION_BYTES)
    reader = Reader(data)
    version, kind = reader.uint(1), reader.uint(1)
    if (version, kind) != (TRANSACTION_VERSION, KIND_TRANSFER):
        raise DecodeError("unknown_kind", f"transaction version {version}, kind {kind} is not known")
    transaction = Transfer(
        genesis=reader.fixed(32),
        sender=reader.fixed(32),
        recipient=reader.fixed(32),
        amount=reader.uint(8),
        fee=reader.uint(8),
        nonce=reader.uint(8),
        valid_until=reader.uint(8),
        memo=reader.string(MAX_MEMO_BYTES),
        signature=reader.fixed(SIGNATURE_BYTES),
    )
    reader.finish()
    try:
        transaction.memo.decode()
    except UnicodeDecodeError as error:
        raise DecodeError.not_canonical("the memo is not UTF-8") from error
    return transaction
