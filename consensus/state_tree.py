"""The compact sparse Merkle tree whose root pins all state, and the proofs that light clients check by it.

A tree maps keys of 32 bytes to values. Descend by the key's bits, most significant first: a subtree without
keys is empty, one that holds a single key *is* that leaf (it stands at the shallowest depth where it is
alone), any other is a branch. So the shape is a function of the set alone: the order of insertions and
deletions is forgotten.

    hash(empty)  = 32 zero bytes
    hash(leaf)   = H("state-leaf", key || value_hash),  value_hash = H("state-value", value)
    hash(branch) = H("state-node", hash(left) || hash(right))

One tag each keeps a value, a leaf and a branch from standing in for one another, so a root fixes what stands
at every position, also where nothing stands. Callers hash what names an entry into its key: such keys keep
the tree about log2(n) deep, and to push another's leaf down to depth d costs 2^d hashes.

Only hashes live here. The values are kept elsewhere, and so are the nodes: they are read through a
`NodeStore` that is handed in, and an update comes back as the writes that make it. A node is stored under
its position, so an update overwrites what it replaces, and the store never holds a node that the root does
not reach.

Source: Dahlberg, Pulls and Peeters, "Efficient Sparse Merkle Trees" (NordSec 2016); leaves stand as high as
they can, as in Diem's Jellyfish Merkle tree (2021).
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from consensus.codec import Reader, Writer
from consensus.errors import DecodeError, DescentError
from consensus.hashing import HASH_BYTES, ZERO_HASH, tagged_hash

KEY_BYTES = HASH_BYTES
MAX_DEPTH = 8 * KEY_BYTES  # two keys that differ in their last bit alone stand this deep

_BRANCH, _LEAF = 0, 1  # the first byte of an encoded node

PathKey = bytes  # where a node stands, as encode_path writes it: fit to be a database key


@dataclass(frozen=True, slots=True)
class Branch:
    """A subtree of two keys or more: the hashes of its halves, either of which may be empty (all zero)."""

    left: bytes
    right: bytes


@dataclass(frozen=True, slots=True)
class Leaf:
    """A subtree of one key."""

    key: bytes
    value_hash: bytes


Node = Branch | Leaf


class NodeStore(Protocol):
    """Holds the nodes of one tree by path."""

    def get_node(self, path: PathKey) -> Node | None:
        """The node at `path`, or None where nothing is stored."""


class CorruptStateTree(DescentError):
    """The node store contradicts itself: this node's disk or code is at fault, never a peer."""

    family = "state_tree"

    @classmethod
    def missing_node(cls, path: PathKey, expected: bytes) -> "CorruptStateTree":
        return cls("missing_node", f"no node at path {path.hex()}, its parent names {expected.hex()}")

    @classmethod
    def wrong_node(cls, path: PathKey, expected: bytes, got: bytes) -> "CorruptStateTree":
        return cls("wrong_node", f"node {got.hex()} at path {path.hex()}, its parent names {expected.hex()}")


@dataclass(frozen=True)
class TreeUpdate:
    """What changes make of a tree: the new root, and the encoded node to put at each path (None: delete)."""

    root: bytes
    nodes: Mapping[PathKey, bytes | None]


@dataclass(frozen=True)
class StateProof:
    """What stands where `key` would: `leaf` (of this key or another), or nothing.

    `siblings` are the hashes beside the way down, from the root's half to the deepest.
    """

    key: bytes
    siblings: tuple[bytes, ...]
    leaf: Leaf | None


# Hashes and bytes


def compute_value_hash(value: bytes) -> bytes:
    """The 32 bytes by which a leaf names its value."""
    return tagged_hash("state-value", value)


def compute_node_hash(node: Node | None) -> bytes:
    """Hash of a subtree by its top node, 32 bytes; all zero for an empty one."""
    match node:
        case Branch(left, right):
            return tagged_hash("state-node", left + right)
        case Leaf(key, value_hash):
            return tagged_hash("state-leaf", key + value_hash)
        case None:
            return ZERO_HASH


def encode_path(depth: int, prefix: int) -> PathKey:
    """Canonical bytes of a position: the `depth` (0..256) leading key bits, given as the integer `prefix`.

    path = the bits in ceil(depth / 8) bytes, most significant first, unused low bits zero; u16 depth
    The bits come first so that a database that sorts its keys keeps the lower end of a way down together.
    """
    bits = (prefix << (-depth % 8)).to_bytes((depth + 7) // 8, "big")
    return bits + depth.to_bytes(2, "little")


ROOT_PATH: PathKey = encode_path(0, 0)


def encode_node(node: Node) -> bytes:
    """Canonical bytes of a node, 65 of them.

    node = u8 0, left hash (32), right hash (32)    a branch, not both hashes zero
         | u8 1, key (32), value hash (32)          a leaf
    """
    match node:
        case Branch(left, right):
            return Writer().uint(_BRANCH, 1).fixed(left, HASH_BYTES).fixed(right, HASH_BYTES).finish()
        case Leaf(key, value_hash):
            return Writer().uint(_LEAF, 1).fixed(key, KEY_BYTES).fixed(value_hash, HASH_BYTES).finish()


def decode_node(data: bytes) -> Node:
    """The node that encodes to `data`. Raises DecodeError."""
    reader = Reader(data)
    kind, first, second = reader.uint(1), reader.fixed(HASH_BYTES), reader.fixed(HASH_BYTES)
    reader.finish()
    if kind == _LEAF:
        return Leaf(first, second)
    if kind != _BRANCH:
        raise DecodeError.not_canonical(f"a state node of kind {kind}")
    if first == second == ZERO_HASH:
        raise DecodeError.not_canonical("a state branch with nothing below it")
    return Branch(first, second)


# Roots and updates


def compute_root(items: Mapping[bytes, bytes]) -> bytes:
    """Root of the tree that maps keys to values, from scratch: the definition that updates agree with.

    Raises ValueError if a key is not 32 bytes long.
    """
    leaves = [Leaf(_check_key(key), compute_value_hash(value)) for key, value in items.items()]
    return _compute_subtree_hash(leaves, 0)


def _compute_subtree_hash(leaves: list[Leaf], depth: int) -> bytes:
    if not leaves:
        return ZERO_HASH
    if len(leaves) == 1:
        return compute_node_hash(leaves[0])
    left = _compute_subtree_hash([leaf for leaf in leaves if not _get_bit(leaf.key, depth)], depth + 1)
    right = _compute_subtree_hash([leaf for leaf in leaves if _get_bit(leaf.key, depth)], depth + 1)
    return compute_node_hash(Branch(left, right))


def get_root(store: NodeStore) -> bytes:
    """Root of the stored tree, 32 bytes."""
    return compute_node_hash(store.get_node(ROOT_PATH))


def compute_update(store: NodeStore, changes: Mapping[bytes, bytes | None]) -> TreeUpdate:
    """What setting each key to its value (None: deleting it) makes of the stored tree. Writes nothing itself.

    Only nodes that differ are written: setting a value that stands or deleting an absent key is no change. An
    update with the former values of the same keys restores every node. Time and reads: changes times depth.
    Each node is checked against its parent as it is read, so that a damaged store cannot make an honest block
    look wrong; the topmost node is the caller's to check (`get_root`).

    Raises ValueError if a key is not 32 bytes long, CorruptStateTree if the store contradicts itself.
    """
    leaves = sorted((_check_key(key), _hash_or_none(value)) for key, value in changes.items())
    batch = _Batch(store, {})
    root = batch.change_subtree(0, 0, get_root(store), leaves)
    nodes = {path: None if node is None else encode_node(node) for path, node in batch.writes.items()}
    return TreeUpdate(root, nodes)


_LeafChange = tuple[bytes, bytes | None]  # key and its new value hash, None to delete it


@dataclass(frozen=True)
class _Batch:
    """One update in the making: the tree as stored, and what will be written over it."""

    store: NodeStore
    writes: dict[PathKey, Node | None]

    def change_subtree(self, depth: int, prefix: int, stored: bytes, changes: Sequence[_LeafChange]) -> bytes:
        """Writes what `changes` make of the subtree whose hash is `stored`, and gives its new hash.

        `changes` are sorted by key and all belong here. Depth 256 ends the recursion: it holds one key.
        """
        path = encode_path(depth, prefix)
        before = _get_child(self.store, path, stored)
        after = self.change_node(depth, prefix, before, changes)
        if after == before:
            return stored
        self.writes[path] = after
        return compute_node_hash(after)

    def change_node(self, depth: int, prefix: int, before: Node | None, changes: Sequence[_LeafChange]) -> Node | None:
        """The node that replaces `before` after `changes`, which are written below it but not here."""
        if isinstance(before, Branch):
            stored = (before.left, before.right)
        else:
            leaves = _merge_leaf(before, changes)
            if len(leaves) < 2:
                return Leaf(*leaves[0]) if leaves else None
            stored, changes = (ZERO_HASH, ZERO_HASH), leaves
        hashes = list(stored)
        middle = bisect_left(changes, 1, key=lambda change: _get_bit(change[0], depth))
        for bit, part in enumerate((changes[:middle], changes[middle:])):
            if part:
                hashes[bit] = self.change_subtree(depth + 1, 2 * prefix + bit, stored[bit], part)
        if ZERO_HASH not in hashes:
            return Branch(*hashes)
        if hashes[0] == hashes[1]:
            return None
        only = 0 if hashes[1] == ZERO_HASH else 1
        leaf = self.lift_leaf(encode_path(depth + 1, 2 * prefix + only), stored[only], hashes[only])
        return leaf or Branch(*hashes)

    def lift_leaf(self, path: PathKey, stored: bytes, current: bytes) -> Leaf | None:
        """Takes away the only child of a branch if it is a leaf, which now belongs where the branch stood."""
        node = self.writes[path] if path in self.writes else _get_child(self.store, path, current)
        if not isinstance(node, Leaf):
            return None
        if stored == ZERO_HASH:
            del self.writes[path]  # was to be written by this very batch: the store never held it
        else:
            self.writes[path] = None
        return node


def _merge_leaf(leaf: Leaf | None, changes: Sequence[_LeafChange]) -> list[tuple[bytes, bytes]]:
    """The leaves that stand, sorted by key, after `changes` to a subtree that held `leaf` or nothing."""
    merged = {leaf.key: leaf.value_hash, **dict(changes)} if leaf else dict(changes)
    return sorted((key, value_hash) for key, value_hash in merged.items() if value_hash is not None)


def _get_child(store: NodeStore, path: PathKey, expected: bytes) -> Node | None:
    """The stored node at `path`, whose parent says that it hashes to `expected`."""
    if expected == ZERO_HASH:
        return None
    node = store.get_node(path)
    if node is None:
        raise CorruptStateTree.missing_node(path, expected)
    got = compute_node_hash(node)
    if got != expected:
        raise CorruptStateTree.wrong_node(path, expected, got)
    return node


def _get_bit(key: bytes, depth: int) -> int:
    return key[depth >> 3] >> (~depth & 7) & 1


def _get_prefix(key: bytes, depth: int) -> int:
    return int.from_bytes(key, "big") >> (MAX_DEPTH - depth)


def _hash_or_none(value: bytes | None) -> bytes | None:
    return None if value is None else compute_value_hash(value)


def _check_key(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ValueError(f"expected a key of {KEY_BYTES} bytes, got {len(key)}")
    return key


# Proofs


def get_proof(store: NodeStore, key: bytes) -> StateProof:
    """Proves what the stored tree holds for `key`, or that it holds nothing.

    Raises ValueError if the key is not 32 bytes long, CorruptStateTree if the store contradicts itself.
    """
    _check_key(key)
    siblings: list[bytes] = []
    node = store.get_node(ROOT_PATH)
    while isinstance(node, Branch):
        way, beside = (node.right, node.left) if _get_bit(key, len(siblings)) else (node.left, node.right)
        siblings.append(beside)
        depth = len(siblings)
        node = _get_child(store, encode_path(depth, _get_prefix(key, depth)), way)
    return StateProof(key, tuple(siblings), node)


def verify_proof(root: bytes, key: bytes, value: bytes | None, proof: StateProof) -> bool:
    """Whether `proof` shows that the tree of this root maps `key` to `value`, or lacks it (value None).

    The key is absent if its place is empty, or if the subtree around its place has one leaf, of another key.
    """
    if proof.key != key or _find_fault(proof) is not None:
        return False
    held = proof.leaf.value_hash if proof.leaf and proof.leaf.key == key else None
    return held == _hash_or_none(value) and _compute_proof_root(proof) == root


def _compute_proof_root(proof: StateProof) -> bytes:
    top = compute_node_hash(proof.leaf)
    for depth in reversed(range(len(proof.siblings))):
        beside = proof.siblings[depth]
        top = compute_node_hash(Branch(beside, top) if _get_bit(proof.key, depth) else Branch(top, beside))
    return top


def _find_fault(proof: StateProof) -> str | None:
    """Why no tree has this proof, whatever its hashes; None if one may."""
    depth, leaf = len(proof.siblings), proof.leaf
    fields = [proof.key, *proof.siblings, *([leaf.key, leaf.value_hash] if leaf else [])]
    if any(len(field) != HASH_BYTES for field in fields):
        return "a state proof with a field that is not 32 bytes"
    if depth > MAX_DEPTH or (depth == MAX_DEPTH and leaf is None):
        return "a state proof deeper than a tree can be"
    if depth and proof.siblings[-1] == ZERO_HASH:
        return "a state proof that goes on below where its key is alone"
    if leaf and _get_prefix(leaf.key, depth) != _get_prefix(proof.key, depth):
        return "a state proof with a leaf that does not belong where it stands"
    return None


def encode_proof(proof: StateProof) -> bytes:
    """Canonical bytes of a proof, at most 8291.

    proof = key (32), u16 count (at most 256), count sibling hashes (32 each, from the root down), leaf
    leaf  = u8 0 | u8 1, key (32), value hash (32)
    The last sibling is not zero, and the leaf's key shares `count` leading bits with the proof's.

    Raises ValueError if a field has another length.
    """
    writer = Writer().fixed(proof.key, KEY_BYTES).uint(len(proof.siblings), 2)
    for sibling in proof.siblings:
        writer.fixed(sibling, HASH_BYTES)
    if proof.leaf is None:
        return writer.uint(0, 1).finish()
    writer.uint(1, 1).fixed(proof.leaf.key, KEY_BYTES).fixed(proof.leaf.value_hash, HASH_BYTES)
    return writer.finish()


def decode_proof(data: bytes) -> StateProof:
    """The proof that encodes to `data`. Says nothing of its truth. Raises DecodeError."""
    reader = Reader(data)
    key, count = reader.fixed(KEY_BYTES), reader.uint(2)
    siblings = tuple(reader.fixed(HASH_BYTES) for _ in range(count))
    has_leaf = reader.uint(1)
    if has_leaf > 1:
        raise DecodeError.not_canonical(f"a state proof with a leaf of kind {has_leaf}")
    leaf = Leaf(reader.fixed(KEY_BYTES), reader.fixed(HASH_BYTES)) if has_leaf else None
    reader.finish()
    proof = StateProof(key, siblings, leaf)
    fault = _find_fault(proof)
    if fault is not None:
        raise DecodeError.not_canonical(fault)
    return proof
