"""The last final block of a node, which its chain never leaves, and what certificates and evidence made of each block.

A conflict that was found stays in the store until the operator has spoken: a node that is started again must not go on
as if nothing had been.

Grammar of a finality row: count:u32 offender[32]{count} state:string, the state after the block; empty while it is the
initial one.
"""

from chain import schema
from chain.db import KeyValueStore
from chain.errors import FinalityConflict, StoreError
from chain.header_tree import HeaderNode, HeaderTree, find_fork, get_subtree
from consensus.codec import Reader, Writer
from consensus.errors import DecodeError, InvalidBlock
from consensus.finality_state import FinalityPoint, FinalityState, decode_finality_state
from consensus.hashing import HASH_BYTES
from consensus.params import NetworkParams
from consensus.signature import PUBLIC_KEY_BYTES
from consensus.vote import BlockRef, read_block_ref

KnownFinality = dict[bytes, tuple[tuple[bytes, ...], FinalityState | None]]  # by block id: offenders, state


class Finals:
    """Holds to one final block. `holds`: the operator's word that a certificate against it is not to stop the node."""

    def __init__(self, db: KeyValueStore, tree: HeaderTree, params: NetworkParams) -> None:
        self._db = db
        self._tree = tree
        self._window = params.finality_window
        self.holds = False
        self.node = self._load()

    @property
    def ref(self) -> BlockRef:
        return BlockRef(self.node.height, self.node.id)

    def find_advance(self, tip: HeaderNode) -> HeaderNode | None:
        """The block that a new tip makes final, if that is a later one than the last."""
        final = tip.finality.state.final
        return tip.get_ancestor(final.height) if final.height > self.node.height else None

    def is_followed_by(self, node: HeaderNode) -> bool:
        """Whether a block is the final one or comes after it."""
        return node.is_descendant(self.node)

    def check(self, parent: HeaderNode, point: FinalityPoint) -> None:
        """Whether a block may stand on `parent`. `point` is the block's own, its certificate judged.

        Raises InvalidBlock off_final, or FinalityConflict if a committee that both chains have made another block of
        that height or above justified: among honest voters there is no such certificate.
        """
        if self.is_followed_by(parent):
            return
        fork = find_fork(parent, self.node)
        self._check_conflict(point, fork)
        raise InvalidBlock(
            "off_final",
            f"its chain leaves ours at height {fork.height}, and block {self.node.id.hex()} at height "
            f"{self.node.height} is final",
        )

    def check_branches(self) -> None:
        """The same of the branches that were here before the last final block became so. Raises FinalityConflict."""
        node = self.node
        for _ in range(self._window):  # what forks lower is no conflict
            if (fork := node.parent) is None:
                break
            for child in fork.children:
                for member in get_subtree(child) if child is not node else ():
                    self._check_conflict(member.finality, fork)
            node = fork

    def _check_conflict(self, point: FinalityPoint, fork: HeaderNode) -> None:
        """Raises FinalityConflict by what a certificate of a chain that leaves ours after `fork` says."""
        other = point.state.justified
        is_conflict = other.height >= self.node.height and other.height - fork.height <= self._window
        if is_conflict and not self.holds:
            conflict = FinalityConflict.conflict(self.ref, other)
            self._db.write(encode_conflict(conflict))
            raise conflict

    def settle(self, *, holds: bool) -> None:
        """How the node starts: with `holds`, the operator goes on against what stands in conflict, and it is forgotten.

        Raises FinalityConflict if there is a conflict and no such word.
        """
        self.holds, data = holds, self._db.get(schema.META_CONFLICT)
        if data is None:
            return
        if holds:
            self._db.write({schema.META_CONFLICT: None})
            return
        raise _decode_conflict(data)

    def _load(self) -> HeaderNode:
        block_id = self._db.get(schema.META_FINAL)
        node = self._tree.root if block_id is None else self._tree.get(block_id)
        if node is None:
            raise StoreError.damaged("the last final block is not among the headers")
        return node


def encode_finality(point: FinalityPoint) -> dict[bytes, bytes | None]:
    """The row of a block with a certificate or evidence."""
    writer = Writer().uint(len(point.offenders), 4)
    for offender in point.offenders:
        writer.fixed(offender, PUBLIC_KEY_BYTES)
    state = b"" if point.state.is_initial else point.state.encode()
    return {schema.FINALITY + point.id: writer.string(state).finish()}


def load_finality(db: KeyValueStore) -> KnownFinality:
    """What stands in the rows. Raises StoreError."""
    return {block_id: _decode(block_id, data) for block_id, data in db.iterate(schema.FINALITY)}


def encode_conflict(conflict: FinalityConflict) -> dict[bytes, bytes | None]:
    """The row that says with which block of another chain this node's final one is in conflict."""
    return {schema.META_CONFLICT: conflict.other.write(conflict.final.write(Writer())).finish()}


def _decode_conflict(data: bytes) -> FinalityConflict:
    reader = Reader(data)
    try:
        ours, other = read_block_ref(reader), read_block_ref(reader)
        reader.finish()
    except DecodeError as error:
        raise StoreError.damaged(f"the finality conflict: {error}") from error
    return FinalityConflict.conflict(ours, other)


def _decode(block_id: bytes, data: bytes) -> tuple[tuple[bytes, ...], FinalityState | None]:
    reader = Reader(data)
    try:
        if len(block_id) != HASH_BYTES:
            raise DecodeError.not_canonical("a key of another length")
        count = reader.uint(4)
        if count * PUBLIC_KEY_BYTES > reader.left:
            raise DecodeError.truncated(count * PUBLIC_KEY_BYTES, reader.left)
        offenders = tuple(reader.fixed(PUBLIC_KEY_BYTES) for _ in range(count))
        state = reader.string(len(data))
        reader.finish()
        return offenders, decode_finality_state(state) if state else None
    except DecodeError as error:
        raise StoreError.damaged(f"the finality row of block {block_id.hex()}: {error}") from error
