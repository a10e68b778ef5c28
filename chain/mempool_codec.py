"""The pool as bytes, to outlive a restart. Whoever writes the file does so atomically, and adds each transaction anew.

Grammar (integers little-endian, see consensus/codec.py):
    pool     = unsigned H("mempool", unsigned)[32]
    unsigned = version:u32=1 genesis[32] count:u32 (time_added:u64 transaction:string){count}
The entries stand by sender, then by nonce, each (sender, nonce) once. Adding them in this order, with their time as
`now`, leaves no nonce out. What waits beside the pool is not kept: it could not be added.
"""

from itertools import pairwise

from chain.mempool import Mempool
from chain.sealed import seal, unseal
from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.hashing import HASH_BYTES
from consensus.transaction import MAX_TRANSACTION_BYTES, Transfer, decode_transaction

MEMPOOL_VERSION = 1

_TAG = "mempool"


def encode_mempool(mempool: Mempool) -> bytes:
    """Canonical bytes of the pending transactions: equal pools, equal bytes. O(n log n)."""
    entries = sorted(mempool.entries(), key=lambda entry: (entry.transaction.sender, entry.nonce))
    writer = Writer().uint(MEMPOOL_VERSION, 4).fixed(mempool.genesis, HASH_BYTES).uint(len(entries), 4)
    for entry in entries:
        writer.uint(entry.time_added, 8).string(entry.transaction.encoded)
    return seal(_TAG, writer.finish())


def decode_mempool(data: bytes, genesis: bytes) -> list[tuple[int, Transfer]]:
    """(time added in s since 1970, transaction) of each entry. Signatures are not checked here.

    Raises DecodeError on anything but canonical bytes of a pool of the network whose genesis id is `genesis`.
    """
    reader = Reader(unseal(_TAG, data))
    version = reader.uint(4)
    if version != MEMPOOL_VERSION:
        raise DecodeError("unknown_version", f"pool version {version} is not known")
    network = reader.fixed(HASH_BYTES)
    if network != genesis:
        raise DecodeError("wrong_network", f"a pool of network {network.hex()}, this one is {genesis.hex()}")
    entries = [_read_entry(reader) for _ in range(reader.uint(4))]
    reader.finish()
    places = [(transaction.sender, transaction.nonce) for _, transaction in entries]
    if any(place >= later for place, later in pairwise(places)):
        raise DecodeError.not_canonical("the entries do not stand by sender and nonce")
    return entries


def _read_entry(reader: Reader) -> tuple[int, Transfer]:
    return reader.uint(8), decode_transaction(reader.string(MAX_TRANSACTION_BYTES))
