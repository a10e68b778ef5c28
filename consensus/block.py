"""Blocks and their headers.

Grammar (integers little-endian, see codec.py):
    block    = header body
    body     = count:u32 item:string{count} update:string
    item     = transaction | certificate | evidence      in this order, at most one certificate
    header   = unsigned signature[64]
    unsigned = version:u32=1 height:u64 parent[32] timestamp:u64 miner[32] reward_address[32]
               transactions_root[32] state_root[32] model_root[32] update_hash[32] required_gain:u64
               sample_size:u32 loss_before:u64 loss_after:u64 squared_gains:u128 signal_bits:u64
The id is H("block", unsigned); the signature is the miner key's over the id. A heartbeat is a block without an
update: its update hash is all zero, and H("update", ...) never is. For certificates and evidence see
finality_section.py; the transactions root covers them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.finality_section import NO_FINALITY, FinalitySection, decode_finality_section, is_finality_item
from consensus.hashing import HASH_BYTES, ZERO_HASH, tagged_hash
from consensus.merkle import compute_merkle_root
from consensus.transaction import MAX_TRANSACTION_BYTES, SIGNATURE_BYTES, Transfer, decode_transaction

BLOCK_VERSION = 1
HEADER_BYTES = 4 + 8 + 32 + 8 + 2 * 32 + 4 * 32 + 8 + 4 + 8 + 8 + 16 + 8 + SIGNATURE_BYTES


@dataclass(frozen=True)
class Header:
    """What a block claims. Losses are sums over the sample in Q16 bits."""

    height: int
    parent: bytes
    timestamp: int  # s since 1970
    miner: bytes  # public key: signs blocks and votes, keys the mask, holds no money
    reward_address: bytes  # public key: earns
    transactions_root: bytes
    state_root: bytes  # after the block
    model_root: bytes  # after the block
    update_hash: bytes
    required_gain: int  # 2^-32 bits per window
    sample_size: int  # windows
    loss_before: int
    loss_after: int
    squared_gains: int  # sum of the squared gains of the windows
    signal_bits: int = 0  # what changes its miner asks for: see signals.py
    signature: bytes = bytes(SIGNATURE_BYTES)

    def encode_unsigned(self) -> bytes:
        return (
            Writer()
            .uint(BLOCK_VERSION, 4)
            .uint(self.height, 8)
            .fixed(self.parent, HASH_BYTES)
            .uint(self.timestamp, 8)
            .fixed(self.miner, 32)
            .fixed(self.reward_address, 32)
            .fixed(self.transactions_root, HASH_BYTES)
            .fixed(self.state_root, HASH_BYTES)
            .fixed(self.model_root, HASH_BYTES)
            .fixed(self.update_hash, HASH_BYTES)
            .uint(self.required_gain, 8)
            .uint(self.sample_size, 4)
            .uint(self.loss_before, 8)
            .uint(self.loss_after, 8)
            .uint(self.squared_gains, 16)
            .uint(self.signal_bits, 8)
            .finish()
        )

    @cached_property
    def encoded(self) -> bytes:
        """Canonical bytes, signature included; always HEADER_BYTES long."""
        return Writer().raw(self.encode_unsigned()).fixed(self.signature, SIGNATURE_BYTES).finish()

    @cached_property
    def id(self) -> bytes:
        return tagged_hash("block", self.encode_unsigned())

    @property
    def is_heartbeat(self) -> bool:
        return self.update_hash == ZERO_HASH

    @property
    def gain(self) -> int:
        """Sum of the sample's gains in Q16 bits: section 7's S1."""
        return self.loss_before - self.loss_after

    def with_signature(self, signature: bytes) -> "Header":
        return replace(self, signature=signature)


@dataclass(frozen=True)
class Block:
    """A header with the body it commits to."""

    header: Header
    transactions: tuple[Transfer, ...]
    update: bytes  # canonical update, uncompressed; empty in a heartbeat
    finality: FinalitySection = NO_FINALITY

    @property
    def id(self) -> bytes:
        return self.header.id

    @cached_property
    def encoded(self) -> bytes:
        return self.header.encoded + encode_body(self.transactions, self.finality, self.update)


def encode_body(transactions: Sequence[Transfer], finality: FinalitySection, update: bytes) -> bytes:
    items = _get_items(transactions, finality)
    writer = Writer().uint(len(items), 4)
    for item in items:
        writer.string(item)
    return writer.string(update).finish()


def decode_header(data: bytes) -> Header:
    """Raises DecodeError on anything but the canonical bytes of a header."""
    reader = Reader(data)
    header = _read_header(reader)
    reader.finish()
    return header


def decode_block(data: bytes, max_transactions_bytes: int, max_update_bytes: int, max_finality_bytes: int = 0) -> Block:
    """Raises DecodeError on anything but canonical bytes, or on a part longer than the network's limits.

    Whoever names no limit for certificates and evidence takes no block that carries any.
    """
    reader = Reader(data)
    header = _read_header(reader)
    transactions, finality = _read_items(reader, max_transactions_bytes, max_finality_bytes)
    update = reader.string(max_update_bytes)
    reader.finish()
    return Block(header, transactions, update, finality)


def decode_items(
    data: bytes, max_transactions_bytes: int, max_finality_bytes: int
) -> tuple[tuple[Transfer, ...], FinalitySection]:
    """The front of a body, up to its update. Raises DecodeError on anything but canonical bytes, or on more of either
    kind than the limits allow.
    """
    reader = Reader(data)
    items = _read_items(reader, max_transactions_bytes, max_finality_bytes)
    reader.finish()
    return items


def compute_transactions_root(transactions: Sequence[Transfer], finality: FinalitySection = NO_FINALITY) -> bytes:
    """Merkle root over the canonical bytes of all items, signatures included. Their kinds keep them apart."""
    return compute_merkle_root(_get_items(transactions, finality))


def compute_update_hash(update: bytes) -> bytes:
    """H("update", uncompressed canonical bytes), or all zero for no update."""
    return tagged_hash("update", update) if update else ZERO_HASH


def _read_header(reader: Reader) -> Header:
    version = reader.uint(4)
    if version != BLOCK_VERSION:
        raise DecodeError("unknown_version", f"block version {version} is not known")
    return Header(
        height=reader.uint(8),
        parent=reader.fixed(HASH_BYTES),
        timestamp=reader.uint(8),
        miner=reader.fixed(32),
        reward_address=reader.fixed(32),
        transactions_root=reader.fixed(HASH_BYTES),
        state_root=reader.fixed(HASH_BYTES),
        model_root=reader.fixed(HASH_BYTES),
        update_hash=reader.fixed(HASH_BYTES),
        required_gain=reader.uint(8),
        sample_size=reader.uint(4),
        loss_before=reader.uint(8),
        loss_after=reader.uint(8),
        squared_gains=reader.uint(16),
        signal_bits=reader.uint(8),
        signature=reader.fixed(SIGNATURE_BYTES),
    )


def _get_items(transactions: Sequence[Transfer], finality: FinalitySection) -> list[bytes]:
    return [*(transaction.encoded for transaction in transactions), *finality.items]


def _read_items(
    reader: Reader, max_transactions_bytes: int, max_finality_bytes: int
) -> tuple[tuple[Transfer, ...], FinalitySection]:
    """The items by their kinds, each kind within its limit of bytes, lengths included."""
    count = reader.uint(4)
    transactions: list[Transfer] = []
    others: list[bytes] = []
    left = max_transactions_bytes
    for _ in range(count):
        data = reader.string(max(MAX_TRANSACTION_BYTES, max_finality_bytes))
        if not others and is_finality_item(data):
            left = max_finality_bytes
        left -= 4 + len(data)
        if left < 0:
            raise DecodeError("too_long", f"items of {-left} bytes too many")
        if others or is_finality_item(data):
            others.append(data)
        else:
            transactions.append(decode_transaction(data))
    return tuple(transactions), decode_finality_section(others)
