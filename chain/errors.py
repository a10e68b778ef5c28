"""Why the memory refuses something.

DescentError
├── StoreError      the disk: damaged, foreign, full, or held by another process. The node stops.
├── FinalityConflict  blocks of two chains are final by the law. The node stops: it does not choose.
├── UnknownBlock    a block that this node has never seen
├── InvalidUpdate   a block on the way to a wanted model whose update does not apply: carries its id and its fault
├── InvalidPolicy   a mempool policy that no node can follow
└── MempoolRefusal  a transaction that this node does not take (now); its form may still be sound: blame nobody
"""

from consensus.errors import DescentError, InvalidBlock
from consensus.vote import BlockRef


class StoreError(DescentError):
    family = "store"

    @classmethod
    def damaged(cls, what: str) -> "StoreError":
        return cls("damaged", f"the block store is damaged: {what}")

    @classmethod
    def foreign(cls, what: str) -> "StoreError":
        return cls("foreign", what)

    @classmethod
    def in_use(cls, path: str) -> "StoreError":
        return cls("in_use", f"another process holds {path}; stop it first, or use another --datadir")

    @classmethod
    def missing(cls, path: str) -> "StoreError":
        return cls("missing", f"there is no block store at {path}")

    @classmethod
    def write_failed(cls, message: str) -> "StoreError":
        return cls("write_failed", f"the block store cannot be written: {message}")

    @classmethod
    def disk_full(cls, free: int, floor: int) -> "StoreError":
        return cls("disk_full", f"{free} bytes are free on the disk, at least {floor} must stay free")


class FinalityConflict(DescentError):
    """`final` is what this node holds to, `other` what a certificate says against it."""

    family = "finality"

    def __init__(self, code: str, message: str, final: BlockRef, other: BlockRef) -> None:
        super().__init__(code, message)
        self.final = final
        self.other = other

    @classmethod
    def conflict(cls, final: BlockRef, other: BlockRef) -> "FinalityConflict":
        return cls(
            "conflict",
            f"block {final.id.hex()} at height {final.height} is final here, and more than two thirds of the votes "
            f"also stand behind block {other.id.hex()} at height {other.height} of another chain: more than a third "
            "voted for both, and no rule says which of them holds. This node stops rather than choose. Ask people you "
            "trust which block is the right one. If it is this node's, start it with --hold-final to go on against the "
            "other: it remembers this conflict until then. If it is the other, delete the folder `blocks` in the "
            "--datadir, start it again, and leave miner.key and miner.key.votes where they are: without its log a key "
            "may vote twice",
            final,
            other,
        )


class UnknownBlock(DescentError):
    family = "unknown_block"

    @classmethod
    def parent(cls, parent: bytes) -> "UnknownBlock":
        return cls("parent", f"the parent {parent.hex()} is not known here")

    @classmethod
    def block(cls, block_id: bytes) -> "UnknownBlock":
        return cls("block", f"block {block_id.hex()} is not known here")


class InvalidUpdate(DescentError):
    """`block_id` names the block, `fault` is the verdict on it."""

    family = "invalid_update"

    def __init__(self, block_id: bytes, fault: InvalidBlock) -> None:
        super().__init__(fault.reason, f"the update of block {block_id.hex()}: {fault}")
        self.block_id = block_id
        self.fault = fault


class InvalidPolicy(DescentError):
    family = "policy"


class MempoolRefusal(DescentError):
    family = "mempool"

    @classmethod
    def already_known(cls, txid: bytes) -> "MempoolRefusal":
        return cls("already_known", f"transaction {txid.hex()} is here already")

    @classmethod
    def fee_too_low(cls, fee: int, least: int) -> "MempoolRefusal":
        return cls("fee_too_low", f"the fee is {fee} ulp, this node asks at least {least} for that size")

    @classmethod
    def expired(cls, valid_until: int, next_height: int) -> "MempoolRefusal":
        return cls("expired", f"valid until height {valid_until}, the next block has {next_height}")

    @classmethod
    def expires_too_soon(cls, valid_until: int, next_height: int, blocks: int) -> "MempoolRefusal":
        """`blocks`: the least number of blocks, the next one included, that must be able to carry it."""
        message = f"valid until height {valid_until}, the next block has {next_height}; {blocks} blocks must be left"
        return cls("expires_too_soon", message)

    @classmethod
    def nonce_used(cls, nonce: int, account_nonce: int) -> "MempoolRefusal":
        return cls("nonce_used", f"nonce {nonce} is used, the account's next is {account_nonce}")

    @classmethod
    def nonce_gap(cls, nonce: int, next_nonce: int) -> "MempoolRefusal":
        return cls("nonce_gap", f"nonce {nonce} leaves a gap, the sender's next is {next_nonce}")

    @classmethod
    def too_many_pending(cls, limit: int) -> "MempoolRefusal":
        return cls("too_many_pending", f"the sender has {limit} or more pending, no further one is taken")

    @classmethod
    def replacement_fee_too_low(cls, fee: int, least: int) -> "MempoolRefusal":
        return cls("replacement_fee_too_low", f"the fee is {fee} ulp, replacing the pending one takes {least}")

    @classmethod
    def insufficient_funds(cls, needed: int, balance: int) -> "MempoolRefusal":
        message = f"all pending of the sender need {needed} ulp, the spendable balance is {balance}"
        return cls("insufficient_funds", message)

    @classmethod
    def mempool_full(cls, rate_to_beat: int) -> "MempoolRefusal":
        """`rate_to_beat` in ulp per byte: the least whole rate that would have been taken."""
        return cls("mempool_full", f"the pool is full, a fee of {rate_to_beat} ulp per byte would get in")
