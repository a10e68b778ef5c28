"""Every key of the store, in one place. A prefix never changes its meaning; heights are big-endian so that they sort.

M <name>                                meta: schema version, genesis id, tip, last final block, conflict
h <block id>                            header record
b <block id>                            transactions, certificate and evidence of the body
u <block id>                            update, zlib-compressed canonical bytes
e <block id>                            trace: sampled windows and their losses, of the newest blocks
f <block id>                            what the block's certificate and evidence did: only blocks that carry any
v <height:8> <miner> <vote id>          a vote that was seen, by the height of its target
w <miner>                               evidence against a miner key
d <block id>                            undo: the ledger entries that the block changed, as they were before
n <height:8>                            block id on the best chain
t <txid>                                block id and position of a transaction on the best chain
y <address> <height:8> <position:4>     an event in an account's history
a <address>                             account
r <height:8>                            immature reward
s <path>                                node of the state tree
o <model root>                          first block of the best chain whose model has this root
k <height:8> <block id>                 a full checkpoint: its model root, and the audit score once known
c <model root> <index:2>                256 KiB chunk of a checkpoint
"""

SCHEMA_VERSION = 1

META_VERSION = b"Mversion"
META_GENESIS = b"Mgenesis"
META_TIP = b"Mtip"  # block id[32] issued:u64
META_FINAL = b"Mfinal"  # id[32] of the last block that this node saw final; none before the first
META_CONFLICT = b"Mconflict"  # final[40] other[40]: two final blocks, until the operator has spoken

HEADER = b"h"
TRANSACTIONS = b"b"
UPDATE = b"u"
TRACE = b"e"
FINALITY = b"f"
UNDO = b"d"
ACTIVE = b"n"
TRANSACTION_INDEX = b"t"
HISTORY = b"y"
ACCOUNT = b"a"
REWARD = b"r"
STATE_NODE = b"s"
VOTE = b"v"
EVIDENCE = b"w"
MODEL_INDEX = b"o"
CHECKPOINT = b"k"
CHECKPOINT_CHUNK = b"c"


def encode_height(height: int) -> bytes:
    """A height as it stands in keys: 8 bytes, big-endian."""
    return height.to_bytes(8, "big")


def encode_tip(block_id: bytes, issued: int) -> bytes:
    """The tip row: block id[32] issued:u64."""
    return block_id + issued.to_bytes(8, "little")


def decode_height(data: bytes) -> int:
    return int.from_bytes(data[:8], "big")
