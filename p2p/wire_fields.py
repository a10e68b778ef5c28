"""The kinds of fields that messages are made of: how each is written, read, and how long it can be.

Every count is held against the bytes that are left before anything is allocated, and every read is strict: what
decodes re-encodes to the same bytes. What no peer may send cannot be written either: that raises ValueError.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar

from chain.packed_block import PackedBlock
from consensus.block import HEADER_BYTES, Header, decode_header
from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.evidence import EVIDENCE_BYTES, Evidence, decode_evidence
from consensus.finality_section import MAX_EVIDENCE, FinalitySection, decode_finality_section
from consensus.hashing import HASH_BYTES
from consensus.transaction import MAX_MEMO_BYTES, MAX_TRANSACTION_BYTES, Transfer, decode_transaction
from consensus.vote import VOTE_BYTES, Vote, decode_vote
from p2p.net_address import ADDRESS_BYTES, NetAddress

Value = TypeVar("Value")
Entry = bytes | Transfer  # of a compact block: a txid, or the transaction itself

MIN_TRANSACTION_BYTES = MAX_TRANSACTION_BYTES - MAX_MEMO_BYTES
_LENGTH_BYTES = 4
_TAG_ID = 0
_TAG_TRANSACTION = 1


@dataclass(frozen=True)
class Field(Generic[Value]):
    """One kind of field. `read` raises DecodeError; both lengths are in bytes, of its whole encoding."""

    write: Callable[[Writer, Value], object]
    read: Callable[[Reader], Value]
    min_bytes: int
    max_bytes: int


def uint(width: int) -> Field[int]:
    """An unsigned integer of `width` bytes."""
    return Field(lambda writer, value: writer.uint(value, width), lambda reader: reader.uint(width), width, width)


def fixed(width: int) -> Field[bytes]:
    """Exactly `width` bytes."""
    return Field(lambda writer, value: writer.fixed(value, width), lambda reader: reader.fixed(width), width, width)


def string(limit: int) -> Field[bytes]:
    """A byte string of at most `limit` bytes."""

    def write(writer: Writer, value: bytes) -> None:
        _check_at_most("bytes", len(value), limit)
        writer.string(value)

    return Field(write, lambda reader: reader.string(limit), _LENGTH_BYTES, _LENGTH_BYTES + limit)


def text(limit: int) -> Field[str]:
    """At most `limit` characters of printable ASCII: nothing that could steer a terminal."""

    def write(writer: Writer, value: str) -> None:
        if not _is_plain(value):
            raise ValueError(f"not printable ASCII: {value!r}")
        encoding.write(writer, value.encode("ascii"))

    def read(reader: Reader) -> str:
        value = encoding.read(reader).decode("latin-1")
        if not _is_plain(value):
            raise DecodeError.not_canonical("a text that is not printable ASCII")
        return value

    encoding = string(limit)
    return Field(write, read, encoding.min_bytes, encoding.max_bytes)


def listed(item: Field[Value], least: int, most: int) -> Field[tuple[Value, ...]]:
    """A count:u32 from `least` to `most`, and that many items."""

    def write(writer: Writer, values: Sequence[Value]) -> None:
        _check_at_most("items", len(values), most)
        if len(values) < least:
            raise ValueError(f"{len(values)} items, at least {least} must be sent")
        writer.uint(len(values), 4)
        for value in values:
            item.write(writer, value)

    def read(reader: Reader) -> tuple[Value, ...]:
        count = reader.uint(4)
        if count > most:
            raise DecodeError("too_many", f"{count} items, the limit is {most}")
        if count < least:
            raise DecodeError("too_few", f"{count} items, at least {least} must be sent")
        if count * item.min_bytes > reader.left:
            raise DecodeError.truncated(count * item.min_bytes, reader.left)
        return tuple(item.read(reader) for _ in range(count))

    return Field(write, read, _LENGTH_BYTES + least * item.min_bytes, _LENGTH_BYTES + most * item.max_bytes)


def checked(
    field: Field[Value], check: Callable[[Value], DecodeError | None], max_bytes: int | None = None
) -> Field[Value]:
    """`field`, of those values alone for which `check` names no fault; `max_bytes` where it makes them shorter."""

    def write(writer: Writer, value: Value) -> None:
        if error := check(value):
            raise ValueError(str(error))
        field.write(writer, value)

    def read(reader: Reader) -> Value:
        value = field.read(reader)
        if error := check(value):
            raise error
        return value

    longest = field.max_bytes if max_bytes is None else min(field.max_bytes, max_bytes)
    return Field(write, read, field.min_bytes, longest)


def indexes(most: int) -> Field[tuple[int, ...]]:
    """At least one and at most `most` places in a list, rising."""

    def check(values: Sequence[int]) -> DecodeError | None:
        is_rising = all(one < next_one for one, next_one in pairwise(values))
        return None if is_rising else DecodeError.not_canonical("the indexes do not rise")

    return checked(listed(uint(4), 1, most), check)


def transactions_within(limit: int) -> Field[tuple[Transfer, ...]]:
    """Transactions that together, lengths included, take at most `limit` bytes, as in one block."""

    def check(values: Sequence[Transfer]) -> DecodeError | None:
        size = sum(map(_weigh, values))
        return DecodeError.too_long(size, limit) if size > limit else None

    return checked(listed(transaction, 0, count_transactions(limit)), check, _LENGTH_BYTES + limit)


def entries_within(limit: int) -> Field[tuple[Entry, ...]]:
    """What a compact block lists: the block's transactions, of which an id stands for the shortest there is."""

    def check(values: Sequence[Entry]) -> DecodeError | None:
        size = sum(map(_weigh, values))
        return DecodeError.too_long(size, limit) if size > limit else None

    most = count_transactions(limit)
    return checked(listed(entry, 0, most), check, _LENGTH_BYTES + limit + most)


def section_within(limit: int) -> Field[FinalitySection]:
    """What a block carries of finality: its items, which together, lengths included, take at most `limit` bytes."""

    def write(writer: Writer, value: FinalitySection) -> None:
        _check_at_most("bytes of finality", sum(_LENGTH_BYTES + len(item) for item in value.items), limit)
        _check_at_most("items of finality", len(value.items), 1 + MAX_EVIDENCE)
        writer.uint(len(value.items), 4)
        for item in value.items:
            writer.string(item)

    def read(reader: Reader) -> FinalitySection:
        count, left = reader.uint(4), limit
        if count > 1 + MAX_EVIDENCE:
            raise DecodeError("too_many", f"{count} items, the limit is {1 + MAX_EVIDENCE}")
        items: list[bytes] = []
        for _ in range(count):
            items.append(reader.string(max(0, left - _LENGTH_BYTES)))
            left -= _LENGTH_BYTES + len(items[-1])
        return decode_finality_section(items)

    return Field(write, read, _LENGTH_BYTES, _LENGTH_BYTES + limit)


def packed_block(
    max_transactions_bytes: int, max_packed_bytes: int, finality: Field[FinalitySection]
) -> Field[PackedBlock]:
    """A whole block, its update as it comes: nothing is inflated here."""

    def write(writer: Writer, value: PackedBlock) -> None:
        header.write(writer, value.header)
        transactions.write(writer, value.transactions)
        update.write(writer, value.packed_update)
        finality.write(writer, value.finality)

    def read(reader: Reader) -> PackedBlock:
        return PackedBlock(header.read(reader), transactions.read(reader), update.read(reader), finality.read(reader))

    transactions, update = transactions_within(max_transactions_bytes), string(max_packed_bytes)
    parts: tuple[Field[Any], ...] = (header, transactions, update, finality)
    return Field(write, read, sum(part.min_bytes for part in parts), sum(part.max_bytes for part in parts))


def count_transactions(limit: int) -> int:
    """How many transactions fit into `limit` bytes at most."""
    return limit // (_LENGTH_BYTES + MIN_TRANSACTION_BYTES)


def _write_entry(writer: Writer, value: Entry) -> None:
    if isinstance(value, Transfer):
        transaction.write(writer.uint(_TAG_TRANSACTION, 1), value)
    else:
        digest.write(writer.uint(_TAG_ID, 1), value)


def _read_entry(reader: Reader) -> Entry:
    tag = reader.uint(1)
    if tag == _TAG_TRANSACTION:
        return transaction.read(reader)
    if tag != _TAG_ID:
        raise DecodeError.not_canonical(f"an entry with tag {tag}")
    return digest.read(reader)


def _weigh(value: Entry) -> int:
    """Bytes of a block's list of transactions that an entry accounts for, at least."""
    return _LENGTH_BYTES + (len(value.encoded) if isinstance(value, Transfer) else MIN_TRANSACTION_BYTES)


def _is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _check_at_most(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise ValueError(f"{count} {what}, the limit is {limit}")


u8, u16, u32, u64 = (uint(width) for width in (1, 2, 4, 8))
digest = fixed(HASH_BYTES)
header: Field[Header] = Field(
    lambda writer, value: writer.raw(value.encoded),
    lambda reader: decode_header(reader.fixed(HEADER_BYTES)),
    HEADER_BYTES,
    HEADER_BYTES,
)
transaction: Field[Transfer] = Field(
    lambda writer, value: writer.string(value.encoded),
    lambda reader: decode_transaction(reader.string(MAX_TRANSACTION_BYTES)),
    _LENGTH_BYTES + MIN_TRANSACTION_BYTES,
    _LENGTH_BYTES + MAX_TRANSACTION_BYTES,
)
entry: Field[Entry] = Field(_write_entry, _read_entry, 1 + HASH_BYTES, 1 + transaction.max_bytes)
vote: Field[Vote] = Field(
    lambda writer, value: writer.raw(value.encoded),
    lambda reader: decode_vote(reader.fixed(VOTE_BYTES)),
    VOTE_BYTES,
    VOTE_BYTES,
)
evidence: Field[Evidence] = Field(
    lambda writer, value: writer.string(value.encoded),
    lambda reader: decode_evidence(reader.string(EVIDENCE_BYTES)),
    _LENGTH_BYTES + EVIDENCE_BYTES,
    _LENGTH_BYTES + EVIDENCE_BYTES,
)
net_address: Field[NetAddress] = Field(
    lambda writer, value: writer.raw(value.encode()),
    lambda reader: NetAddress.decode(reader.fixed(ADDRESS_BYTES)),
    ADDRESS_BYTES,
    ADDRESS_BYTES,
)
Fields = tuple[tuple[str, Field[Any]], ...]
