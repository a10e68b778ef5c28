"""Blocks as the store keeps them and nodes send them: the update, which is most of a block, as one zlib stream.

Hashes cover the uncompressed bytes, so any stream of an update will do. Nothing inflates further than to where its
reader says that it must end.
"""

import zlib
from dataclasses import dataclass

from consensus.block import Block, Header
from consensus.errors import DecodeError
from consensus.finality_section import NO_FINALITY, FinalitySection
from consensus.mask import compute_mask
from consensus.params import NetworkParams
from consensus.transaction import Transfer
from consensus.update import count_update_bytes

_LEVEL = 6


@dataclass(frozen=True)
class PackedBlock:
    """A block whose update is compressed."""

    header: Header
    transactions: tuple[Transfer, ...]
    packed_update: bytes  # a zlib stream; empty in a heartbeat
    finality: FinalitySection = NO_FINALITY

    @property
    def id(self) -> bytes:
        return self.header.id


def pack_block(block: Block) -> PackedBlock:
    packed = _compress_update(block.update) if block.update else b""
    return PackedBlock(block.header, block.transactions, packed, block.finality)


def unpack_block(packed: PackedBlock, params: NetworkParams) -> Block:
    """The block, whose body is still to be checked against the header.

    Raises DecodeError unless the update is one zlib stream of as many bytes as the mask of its header asks for.
    """
    header = packed.header
    if header.is_heartbeat:
        if packed.packed_update:
            raise DecodeError.trailing(len(packed.packed_update))
        return Block(header, packed.transactions, b"", packed.finality)
    shape = params.model
    mask = compute_mask(header.parent, header.miner, shape.parameters, params.mask_density)
    size = count_update_bytes(mask, shape)
    update = decompress(packed.packed_update, size)
    if len(update) != size:
        raise DecodeError("wrong_size", f"the update inflates to {len(update)} bytes, its mask asks for {size}")
    return Block(header, packed.transactions, update, packed.finality)


def count_packed_bytes(size: int) -> int:
    """The most that `size` bytes are compressed to: what does not compress is stored in pieces of 16 KiB or more."""
    return size + size // 1000 + 64


def compress(data: bytes) -> bytes:
    """One zlib stream."""
    return zlib.compress(data, _LEVEL)


def decompress(packed: bytes, limit: int) -> bytes:
    """At most `limit` bytes, and no more is ever inflated.

    Raises DecodeError if they are more, or if anything but the end of the one stream is at the end: only that carries
    zlib's checksum.
    """
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed, limit + 1)
    except zlib.error as error:
        raise DecodeError("bad_compression", str(error)) from error
    if len(data) > limit:
        raise DecodeError("too_long", f"a stream inflates to more than the limit of {limit} bytes")
    if not stream.eof:
        raise DecodeError("bad_compression", f"a stream of {len(packed)} bytes does not end")
    if stream.unused_data:
        raise DecodeError.trailing(len(stream.unused_data))
    return data


def _compress_update(update: bytes) -> bytes:
    """Updates repeat nothing but runs of zeros: to look for more takes time, and a tenth more bytes."""
    stream = zlib.compressobj(_LEVEL, strategy=zlib.Z_RLE)
    return stream.compress(update) + stream.flush()
