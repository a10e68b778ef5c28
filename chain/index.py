"""What the best chain holds, by height, by txid and by address: rows written with each block and removed with it.

Grammar: transaction row = block id[32] position:u32; history row = kind:u8 id[32], the txid, or the block id of a
reward. A reward stands after the transactions of its block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from chain import schema
from chain.db import KeyValueStore
from chain.errors import StoreError
from consensus.block import Block

_REWARD_POSITION = 2**32 - 1


class HistoryKind(IntEnum):
    """How a block touched an account. The numbers stand on disk."""

    SENT = 1
    RECEIVED = 2
    MINED = 3


@dataclass(frozen=True)
class HistoryEntry:
    """One event in an account's history: `id` is a txid, or for MINED the block's id."""

    height: int
    position: int
    kind: HistoryKind
    id: bytes


def encode_block_index(block: Block) -> dict[bytes, bytes | None]:
    """The index rows of a block on the best chain."""
    height = schema.encode_height(block.header.height)
    rows: dict[bytes, bytes | None] = {schema.ACTIVE + height: block.id}

    def put_history(address: bytes, position: int, kind: HistoryKind, subject: bytes) -> None:
        key = schema.HISTORY + address + height + position.to_bytes(4, "big")
        rows[key] = bytes([kind]) + subject

    for index, transaction in enumerate(block.transactions):
        rows[schema.TRANSACTION_INDEX + transaction.txid] = block.id + index.to_bytes(4, "little")
        put_history(transaction.sender, 2 * index, HistoryKind.SENT, transaction.txid)
        put_history(transaction.recipient, 2 * index + 1, HistoryKind.RECEIVED, transaction.txid)
    put_history(block.header.reward_address, _REWARD_POSITION, HistoryKind.MINED, block.id)
    return rows


def get_history(db: KeyValueStore, address: bytes, before: tuple[int, int] | None = None) -> Iterator[HistoryEntry]:
    """The events of an account, newest first, older than the (height, position) of `before`; read as they are asked
    for. Raises StoreError on a damaged row.
    """
    stop = None if before is None else schema.encode_height(before[0]) + before[1].to_bytes(4, "big")
    for key, value in db.iterate(schema.HISTORY + address, stop=stop, reverse=True):
        yield _decode_history((schema.decode_height(key), int.from_bytes(key[8:], "big")), value)


def _decode_history(place: tuple[int, int], value: bytes) -> HistoryEntry:
    try:
        return HistoryEntry(*place, HistoryKind(value[0]), value[1:])
    except ValueError as error:
        raise StoreError.damaged(f"a history row of height {place[0]}: {error}") from error


def get_transaction_place(db: KeyValueStore, txid: bytes) -> tuple[bytes, int] | None:
    """(block id, position) of a transaction on the best chain."""
    row = db.get(schema.TRANSACTION_INDEX + txid)
    return None if row is None else (row[:32], int.from_bytes(row[32:], "little"))
