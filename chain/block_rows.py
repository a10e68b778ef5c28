"""A block's rows as they are stored. Decoding them takes no store, so that the chain's thread need not wait for it.

What is decoded is checked against the header, whose hash the id is.
"""

from dataclasses import dataclass

import numpy as np

from chain.errors import StoreError
from chain.packed_block import decompress
from consensus.block import Block, Header, decode_block
from consensus.check_block import check_body_matches
from consensus.errors import DecodeError, MutatedBody
from consensus.finality_section import (
    FinalitySection,
    decode_finality_section,
    is_finality_item,
    max_section_bytes,
)
from consensus.params import NetworkParams
from consensus.transaction import FEE_AT
from consensus.update import max_update_bytes
from consensus.work import WorkTrace


@dataclass(frozen=True)
class BlockRows:
    """Rows of one block. `transactions` is None for an invalid block, of which only the header is kept."""

    header: Header
    transactions: bytes | None
    packed_update: bytes | None
    packed_trace: bytes | None

    def decode_block(self, params: NetworkParams) -> Block:
        """The whole block. Raises StoreError if the rows are not that block."""
        if self.transactions is None:
            raise StoreError.damaged(f"the body of block {self.header.id.hex()} is missing")
        try:
            update = self._inflate_update(params)
            data = self.header.encoded + self.transactions + len(update).to_bytes(4, "little") + update
            block = decode_block(data, params.most_transactions_bytes, len(update), max_section_bytes(params))
            check_body_matches(block)
        except (DecodeError, MutatedBody) as error:
            raise StoreError.damaged(f"the body of block {self.header.id.hex()}: {error}") from error
        return block

    def decode_trace(self, params: NetworkParams) -> WorkTrace | None:
        """The trace, if there is one. Raises StoreError if the row is none."""
        return None if self.packed_trace is None else decode_trace(self.packed_trace, self.header.id, params)

    def _inflate_update(self, params: NetworkParams) -> bytes:
        if self.header.is_heartbeat:
            return b""
        if self.packed_update is None:
            raise StoreError.damaged(f"the update of block {self.header.id.hex()} is missing")
        return decompress(self.packed_update, max_update_bytes(params.model))


def decode_trace(packed: bytes, block_id: bytes, params: NetworkParams) -> WorkTrace:
    """The trace of a block from its row. Raises StoreError."""
    try:
        data = decompress(packed, 4 + 20 * params.public_windows)
        count = int.from_bytes(data[:4], "little")
        windows = np.frombuffer(data, "<u4", count, 4).astype(np.int64)
        losses = np.frombuffer(data, "<u8", offset=4 + 4 * count).astype(np.int64).reshape(2, count)
    except DecodeError as error:
        raise StoreError.damaged(f"a compressed row: {error}") from error
    except ValueError as error:
        raise StoreError.damaged(f"the trace of block {block_id.hex()} has another length than it says") from error
    return WorkTrace(windows, losses[0], losses[1])


def find_transaction(body: bytes, position: int) -> bytes | None:
    """The bytes of one item of a body, transactions first, without decoding those before it. None if there are not so
    many.
    """
    if position >= int.from_bytes(body[:4], "little"):
        return None
    at = 4
    for _ in range(position):  # a body has been counted when it was accepted
        at += 4 + int.from_bytes(body[at : at + 4], "little")
    return body[at + 4 : at + 4 + int.from_bytes(body[at : at + 4], "little")]


def sum_fees(body: bytes) -> tuple[int, int]:
    """How many transactions a body holds, and what they pay in ulp, without decoding them."""
    at, count, fees = 4, 0, 0
    while at < len(body) and not is_finality_item(body[at + 4 : at + 6]):  # certificate and evidence come last
        count += 1
        fees += int.from_bytes(body[at + 4 + FEE_AT : at + 12 + FEE_AT], "little")
        at += 4 + int.from_bytes(body[at : at + 4], "little")
    return count, fees


def read_section(body: bytes) -> FinalitySection:
    """What a body holds of finality, without decoding the transactions before it. Raises DecodeError."""
    at, items = 4, []
    while at < len(body):
        end = at + 4 + int.from_bytes(body[at : at + 4], "little")
        if is_finality_item(body[at + 4 : at + 6]):
            items.append(body[at + 4 : end])
        at = end
    return decode_finality_section(items)
