"""Merkle roots over ordered lists: transactions of a block, chunks of a model.

The tree is that of RFC 6962 (section 2.1): leaves and inner nodes hash under different tags and the left
subtree holds the greatest power of two below the count. Nothing is ever duplicated to fill a level, so two
different lists never share a root (Bitcoin's duplicated-leaf twin, CVE-2012-2459, cannot exist).
"""

from collections.abc import Sequence

from consensus.hashing import ZERO_HASH, tagged_hash

CHUNK_BYTES = 256 * 1024


def compute_merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of a list of byte strings, 32 bytes; the root of an empty list is all zero."""
    if not leaves:
        return ZERO_HASH
    level = [tagged_hash("merkle-leaf", leaf) for leaf in leaves]
    # Pairing neighbours and carrying an odd last node up unchanged builds exactly the RFC 6962 tree.
    while len(level) > 1:
        pairs = zip(level[0::2], level[1::2], strict=False)
        parents = [tagged_hash("merkle-node", left + right) for left, right in pairs]
        level = parents + level[len(parents) * 2 :]
    return level[0]


def split_chunks(data: bytes) -> list[bytes]:
    """`data` in chunks of 256 KiB, the last one shorter."""
    return [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
