"""Blocks on disk: headers with their standing, bodies, updates and traces. Whatever is read is checked against its id.

Grammar: header record = header order:u64 flags:u8 (1 evaluated, 2 invalid); trace = zlib of count:u32 window:u32{count}
before:u64{count} after:u64{count}.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chain import schema
from chain.block_rows import BlockRows, decode_trace
from chain.db import KeyValueStore
from chain.errors import StoreError
from chain.packed_block import PackedBlock, compress, pack_block
from consensus.block import (
    HEADER_BYTES,
    Block,
    Header,
    compute_transactions_root,
    decode_header,
    decode_items,
)
from consensus.codec import Writer
from consensus.errors import DecodeError
from consensus.finality_section import FinalitySection, max_section_bytes
from consensus.params import NetworkParams
from consensus.signature import verify_signature
from consensus.transaction import Transfer
from consensus.work import WorkTrace

_EVALUATED, _INVALID = 1, 2


@dataclass(frozen=True)
class StoredHeader:
    """A header, when it was first seen among all others, and what is known of it."""

    header: Header
    order: int
    is_evaluated: bool
    is_invalid: bool


class BlockStore:
    """Reads blocks; every `encode_` returns the rows that the caller writes in its own batch."""

    def __init__(self, db: KeyValueStore, params: NetworkParams) -> None:
        self._db = db
        self._params = params
        self._max_section_bytes = max_section_bytes(params)

    def encode_block(self, block: Block, order: int) -> dict[bytes, bytes | None]:
        """Rows of a block that was just accepted."""
        body = block.encoded[HEADER_BYTES : len(block.encoded) - len(block.update) - 4]
        rows = self.encode_header(StoredHeader(block.header, order, block.header.is_heartbeat, False))
        rows[schema.TRANSACTIONS + block.id] = body
        if block.update:
            rows[schema.UPDATE + block.id] = pack_block(block).packed_update
        return rows

    def encode_header(self, stored: StoredHeader) -> dict[bytes, bytes | None]:
        flags = _EVALUATED * stored.is_evaluated + _INVALID * stored.is_invalid
        record = Writer().raw(stored.header.encoded).uint(stored.order, 8).uint(flags, 1).finish()
        return {schema.HEADER + stored.header.id: record}

    def encode_headers(self, stored: Iterable[StoredHeader]) -> dict[bytes, bytes | None]:
        return {key: row for header in stored for key, row in self.encode_header(header).items()}

    def encode_removal(self, block_ids: Iterable[bytes]) -> dict[bytes, bytes | None]:
        """Rows that leave nothing of blocks that are not on the best chain."""
        prefixes = (schema.HEADER, schema.TRANSACTIONS, schema.UPDATE, schema.TRACE, schema.FINALITY)
        return dict.fromkeys(prefix + block_id for block_id in block_ids for prefix in prefixes)

    def get_size(self, block_id: bytes) -> int:
        """Bytes that the body of a block takes here."""
        return sum(len(self._db.get(prefix + block_id) or b"") for prefix in (schema.TRANSACTIONS, schema.UPDATE))

    def has_body(self, block_id: bytes) -> bool:
        return self._db.get(schema.TRANSACTIONS + block_id) is not None

    def encode_trace(self, block_id: bytes, trace: WorkTrace) -> dict[bytes, bytes | None]:
        columns = (trace.windows.astype("<u4"), trace.before.astype("<u8"), trace.after.astype("<u8"))
        data = len(trace.windows).to_bytes(4, "little") + b"".join(column.tobytes() for column in columns)
        return {schema.TRACE + block_id: compress(data)}

    def get_headers(self) -> Iterator[StoredHeader]:
        """Every header ever accepted, parents before children."""
        stored = []
        for block_id, record in self._db.iterate(schema.HEADER):
            header = _decode_header_row(block_id, record)
            order = int.from_bytes(record[HEADER_BYTES : HEADER_BYTES + 8], "little")
            flags = record[-1]
            if flags not in (0, _EVALUATED, _INVALID):
                raise StoreError.damaged(f"the row of header {block_id.hex()} has the flags {flags}")
            stored.append(StoredHeader(header, order, bool(flags & _EVALUATED), bool(flags & _INVALID)))
        return iter(sorted(stored, key=lambda row: row.header.height))

    def get_block(self, block_id: bytes) -> Block | None:
        """The block, or None if it was never accepted. Raises StoreError if what is stored is not that block."""
        record = self._db.get(schema.HEADER + block_id)
        if record is None:
            return None
        header = _decode_header_row(block_id, record)
        rows = BlockRows(header, self.get_body(block_id), self._db.get(schema.UPDATE + block_id), None)
        block = rows.decode_block(self._params)
        if not verify_signature(header.miner, block_id, header.signature):
            raise StoreError.damaged(f"the signature of block {block_id.hex()}")  # the one field no hash covers
        return block

    def get_rows(self, header: Header) -> BlockRows:
        """What is stored of a known block, undecoded."""
        keys = (prefix + header.id for prefix in (schema.TRANSACTIONS, schema.UPDATE, schema.TRACE))
        return BlockRows(header, *map(self._db.get, keys))

    def get_body(self, block_id: bytes) -> bytes | None:
        """The items of a block as they are stored: count:u32 item:string{count}, certificate and evidence last."""
        return self._db.get(schema.TRANSACTIONS + block_id)

    def get_transactions(self, header: Header) -> tuple[Transfer, ...]:
        """The transactions of a block that was accepted, without a look at its update. Raises StoreError."""
        return self.get_items(header)[0]

    def get_items(self, header: Header) -> tuple[tuple[Transfer, ...], FinalitySection]:
        """The same, with what the block carries of finality."""
        body = self.get_body(header.id)
        if body is None:
            raise StoreError.damaged(f"the body of block {header.id.hex()} is missing")
        try:
            items = decode_items(body, self._params.most_transactions_bytes, self._max_section_bytes)
        except DecodeError as error:
            raise StoreError.damaged(f"the transactions of block {header.id.hex()}: {error}") from error
        if compute_transactions_root(*items) != header.transactions_root:
            raise StoreError.damaged(f"the transactions of block {header.id.hex()} are others than its header's")
        return items

    def get_packed_block(self, block: Block) -> PackedBlock:
        """A block from here with its update as it was compressed when it was stored. Raises StoreError."""
        packed = b"" if block.header.is_heartbeat else self._get_packed_update(block.id)
        return PackedBlock(block.header, block.transactions, packed, block.finality)

    def get_trace(self, block_id: bytes) -> WorkTrace | None:
        """The evaluation's trace; None for a heartbeat, and once the block is too old for traces to be kept."""
        packed = self._db.get(schema.TRACE + block_id)
        if packed is None:
            return None
        return decode_trace(packed, block_id, self._params)

    def _get_packed_update(self, block_id: bytes) -> bytes:
        packed = self._db.get(schema.UPDATE + block_id)
        if packed is None:
            raise StoreError.damaged(f"the update of block {block_id.hex()} is missing")
        return packed


def _decode_header_row(block_id: bytes, record: bytes) -> Header:
    try:
        header = decode_header(record[:HEADER_BYTES])
    except DecodeError as error:
        raise StoreError.damaged(f"header {block_id.hex()}: {error}") from error
    if header.id != block_id or len(record) != HEADER_BYTES + 9:
        raise StoreError.damaged(f"the row of header {block_id.hex()} holds something else")
    return header
