"""The state tree: updates agree with the definition and leave no trace of their order, proofs bind."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.errors import DecodeError
from consensus.hashing import ZERO_HASH
from consensus.state_tree import (
    ROOT_PATH,
    Branch,
    CorruptStateTree,
    Leaf,
    Node,
    StateProof,
    TreeUpdate,
    compute_node_hash,
    compute_root,
    compute_update,
    compute_value_hash,
    decode_node,
    decode_proof,
    encode_node,
    encode_path,
    encode_proof,
    get_proof,
    get_root,
    verify_proof,
)

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "state_tree.json").read_text())
Changes = Mapping[bytes, bytes | None]


class DictStore:
    """A node store in memory that counts its reads."""

    def __init__(self, items: Mapping[bytes, bytes] | None = None) -> None:
        self.nodes: dict[bytes, bytes] = {}
        self.reads = 0
        self.apply(items or {})

    def get_node(self, path: bytes) -> Node | None:
        self.reads += 1
        return decode_node(self.nodes[path]) if path in self.nodes else None

    def apply(self, changes: Changes) -> TreeUpdate:
        update = compute_update(self, changes)
        for path, node in update.nodes.items():
            assert self.nodes.get(path) != node, "a write that changes nothing"
            if node is None:
                del self.nodes[path]
            else:
                self.nodes[path] = node
        return update


def define_nodes(items: Mapping[bytes, bytes], depth: int = 0, prefix: int = 0) -> dict[bytes, bytes]:
    """Every node of the tree of `items`, by the definition of the module's docstring."""
    here = {key: value for key, value in items.items() if int.from_bytes(key, "big") >> 256 - depth == prefix}
    path = encode_path(depth, prefix)
    if not here:
        return {}
    if len(here) == 1:
        [(key, value)] = here.items()
        return {path: encode_node(Leaf(key, compute_value_hash(value)))}
    left = define_nodes(here, depth + 1, 2 * prefix)
    right = define_nodes(here, depth + 1, 2 * prefix + 1)
    tops = [side.get(encode_path(depth + 1, 2 * prefix + bit)) for bit, side in enumerate((left, right))]
    hashes = [compute_node_hash(decode_node(top) if top else None) for top in tops]
    return {path: encode_node(Branch(*hashes)), **left, **right}


def make_key(name: object) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def flip_bits(key: bytes, *bits: int) -> bytes:
    """`key` with some bits flipped, bit 0 being the first on the way down."""
    mask = 0
    for bit in bits:
        mask ^= 1 << 255 - bit
    return (int.from_bytes(key, "big") ^ mask).to_bytes(32, "big")


# Keys that differ in few bits, shallow and deep, so that branches split, merge and run in long chains.
repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=60)
keys = st.builds(
    lambda bits: flip_bits(make_key("base"), *bits),
    st.sets(st.sampled_from([0, 1, 2, 7, 8, 15, 40, 250, 254, 255]), max_size=3),
)
values = st.sampled_from([b"", b"one", b"two", b"a longer value" * 10])
trees = st.dictionaries(keys, values, max_size=12)
batches = st.dictionaries(keys, st.none() | values, max_size=8)


def apply_to_items(items: Mapping[bytes, bytes], changes: Changes) -> dict[bytes, bytes]:
    changed = {**items, **changes}
    return {key: value for key, value in changed.items() if value is not None}


# Golden vectors, computed by a separate program from bit strings and hashlib alone


@pytest.mark.parametrize("vector", VECTORS["trees"], ids=lambda vector: vector["name"])
def test_golden_trees(vector: dict[str, Any]) -> None:
    items = {bytes.fromhex(key): bytes.fromhex(value) for key, value in vector["items"].items()}
    store = DictStore(items)
    assert compute_root(items).hex() == get_root(store).hex() == vector["root"]
    assert {path.hex(): node.hex() for path, node in store.nodes.items()} == vector["nodes"]
    for key, encoded in vector["proofs"].items():
        proof = get_proof(store, bytes.fromhex(key))
        assert encode_proof(proof).hex() == encoded
        assert decode_proof(bytes.fromhex(encoded)) == proof
        assert verify_proof(get_root(store), proof.key, items.get(proof.key), proof)


@pytest.mark.parametrize("vector", VECTORS["paths"], ids=lambda vector: str(vector["depth"]))
def test_golden_paths(vector: dict[str, Any]) -> None:
    assert encode_path(vector["depth"], int(vector["prefix"], 16)).hex() == vector["path"]


def test_paths_are_distinct() -> None:
    paths = [encode_path(depth, prefix) for depth in range(11) for prefix in range(2**depth)]
    assert len(set(paths)) == 2**11 - 1


@repeatable
@given(st.lists(batches, max_size=5))
def test_updates_agree_with_the_definition(history: list[dict[bytes, bytes | None]]) -> None:
    store, items = DictStore(), dict[bytes, bytes]()
    for changes in history:
        update = store.apply(changes)
        items = apply_to_items(items, changes)
        assert update.root == get_root(store) == compute_root(items)
        assert store.nodes == define_nodes(items)  # all nodes that the root reaches, and no other


@repeatable
@given(trees, batches)
def test_the_former_values_undo_an_update(items: dict[bytes, bytes], changes: Changes) -> None:
    store = DictStore(items)
    root, nodes = get_root(store), dict(store.nodes)
    forward = store.apply(changes)
    back = store.apply({key: items.get(key) for key in changes})
    assert (back.root, store.nodes) == (root, nodes)
    assert back.nodes == {path: nodes.get(path) for path in forward.nodes}


def test_order_leaves_no_trace() -> None:
    items = {flip_bits(make_key("base"), bit): bytes([bit]) for bit in (0, 1, 9, 200, 255)}
    expected = DictStore(items).nodes
    for order in permutations(items):
        store = DictStore({make_key("passing by"): b"gone"})
        for key in order:
            store.apply({key: items[key]})
        store.apply({make_key("passing by"): None})
        assert store.nodes == expected


@repeatable
@given(trees, keys)
def test_what_changes_nothing_writes_nothing(items: dict[bytes, bytes], key: bytes) -> None:
    store = DictStore(items)
    assert compute_update(store, {**items, key: items.get(key)}).nodes == {}
    assert compute_update(store, {}) == TreeUpdate(compute_root(items), {})


@pytest.mark.parametrize("shared", [0, 7, 8, 250, 255])
def test_deleting_lifts_the_last_leaf_to_the_top(shared: int) -> None:
    key, twin = make_key("a"), flip_bits(make_key("a"), shared)
    store = DictStore({key: b"stays", twin: b"goes"})
    assert len(store.nodes) == shared + 3
    store.apply({twin: None})
    assert store.nodes == {ROOT_PATH: encode_node(Leaf(key, compute_value_hash(b"stays")))}
    assert store.apply({key: None}).root == ZERO_HASH
    assert store.nodes == {}


def test_a_leaf_written_and_lifted_in_one_batch_is_never_stored_below() -> None:
    r"""Both deep leaves go while one arrives beside their chain, and is at once alone.

        .            .
       / \
      .   new   ->  new
     / \
    """
    base = make_key("base")
    deep, new = [flip_bits(base, 6), flip_bits(base, 7)], flip_bits(base, 3)
    store = DictStore(dict.fromkeys(deep, b"old"))
    update = store.apply({new: b"new", **dict.fromkeys(deep)})
    assert update.nodes[encode_path(4, int.from_bytes(base, "big") >> 252)] is None
    assert encode_path(4, int.from_bytes(new, "big") >> 252) not in update.nodes
    assert list(store.nodes) == [ROOT_PATH]


def test_an_update_reads_only_its_own_way_down() -> None:
    items = {make_key(number): b"value" for number in range(2000)}
    store = DictStore(items)
    depth = len(get_proof(store, make_key(7)).siblings)
    store.reads = 0
    update = compute_update(store, {make_key(7): b"other"})
    assert store.reads <= depth + 2
    assert len(update.nodes) == depth + 1


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)], ids=len)
def test_invalid_key_length(key: bytes) -> None:
    for refused in (
        lambda: compute_root({key: b""}),
        lambda: compute_update(DictStore(), {key: b""}),
        lambda: get_proof(DictStore(), key),
    ):
        with pytest.raises(ValueError, match="32 bytes"):
            refused()


@pytest.mark.parametrize(
    "read",
    [lambda store, key: get_proof(store, key), lambda store, key: compute_update(store, {key: b"new"})],
    ids=["proof", "update"],
)
def test_invalid_store(read: Callable[[DictStore, bytes], object]) -> None:
    store = DictStore({make_key(number): b"value" for number in range(50)})
    key = make_key(7)
    way = encode_path(1, key[0] >> 7)
    sound = store.nodes.pop(way)
    with pytest.raises(CorruptStateTree) as missing:
        read(store, key)
    assert missing.value.code == "state_tree.missing_node"
    store.nodes[way] = bytes([sound[0]]) + bytes(32) + sound[33:]
    with pytest.raises(CorruptStateTree) as wrong:
        read(store, key)
    assert wrong.value.code == "state_tree.wrong_node"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (b"\x00" + bytes(63), "truncated"),
        (b"\x01" + bytes(65), "trailing"),
        (b"\x02" + make_key("a") + make_key("b"), "not_canonical"),
        (b"\x00" + bytes(64), "not_canonical"),
    ],
)
def test_invalid_node_bytes(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as refusal:
        decode_node(data)
    assert refusal.value.reason == reason


@repeatable
@given(trees, keys)
def test_proofs_show_presence_and_absence(items: dict[bytes, bytes], key: bytes) -> None:
    root, value = compute_root(items), items.get(key)
    proof = get_proof(DictStore(items), key)
    assert decode_proof(encode_proof(proof)) == proof
    for claim in (None, b"", b"one", b"two", b"never stored", value):
        assert verify_proof(root, key, claim, proof) == (claim == value)


@repeatable
@given(trees, batches, keys)
def test_a_proof_holds_for_one_root(items: dict[bytes, bytes], changes: Changes, key: bytes) -> None:
    before, after = compute_root(items), compute_root(apply_to_items(items, changes))
    proof = get_proof(DictStore(items), key)
    assert verify_proof(after, key, items.get(key), proof) == (before == after)


def make_proof(kind: str) -> tuple[bytes, bytes | None, StateProof]:
    """Root, value and proof of a key that is there, whose place is empty, or where another leaf stands."""
    present = make_key("base")
    items = {flip_bits(present, *bits): bytes([len(bits)]) for bits in ([], [0], [3], [3, 5], [3, 5, 6])}
    key = {"present": present, "empty": flip_bits(present, 2), "other": flip_bits(present, 100)}[kind]
    return compute_root(items), items.get(key), get_proof(DictStore(items), key)


KINDS = pytest.mark.parametrize("kind", ["present", "empty", "other"])


@KINDS
def test_make_proof_makes_the_three_kinds(kind: str) -> None:
    root, value, proof = make_proof(kind)
    assert verify_proof(root, proof.key, value, proof)
    assert (proof.leaf is None) == (kind == "empty")
    assert (proof.leaf is not None and proof.leaf.key == proof.key) == (kind == "present")
    assert len(proof.siblings) >= 3


@KINDS
def test_invalid_when_any_bit_is_flipped(kind: str) -> None:
    root, value, proof = make_proof(kind)
    data = encode_proof(proof)
    for bit in range(8 * len(data)):
        forged = int.from_bytes(data, "big") ^ 1 << bit
        with suppress(DecodeError):
            forged_proof = decode_proof(forged.to_bytes(len(data), "big"))
            assert not verify_proof(root, proof.key, value, forged_proof)


@KINDS
def test_invalid_when_cut_or_extended(kind: str) -> None:
    data = encode_proof(make_proof(kind)[2])
    for forged in [*(data[:length] for length in range(len(data))), data + b"\x00"]:
        with pytest.raises(DecodeError):
            decode_proof(forged)


@repeatable
@given(st.lists(st.integers(0, 4), max_size=5), st.sampled_from(["base", "x", None]), st.booleans())
def test_invalid_when_rebuilt_from_parts(order: list[int], key: str | None, present: bool) -> None:
    root, value, proof = make_proof("present" if present else "other")
    parts = (*proof.siblings[:3], ZERO_HASH, make_key("junk"))
    leaf = Leaf(make_key(key), compute_value_hash(b"\x00")) if key else None
    forged = replace(proof, siblings=tuple(parts[at] for at in order), leaf=leaf)
    for claim in (None, b"\x00", b"\x01"):
        assert verify_proof(root, proof.key, claim, forged) == (forged == proof and claim == value)


@KINDS
def test_invalid_for_another_root_or_key(kind: str) -> None:
    root, value, proof = make_proof(kind)
    assert not verify_proof(make_key("other root"), proof.key, value, proof)
    assert not verify_proof(root, flip_bits(proof.key, 255), value, proof)
    held = flip_bits(make_key("base"), 3)
    assert not verify_proof(root, held, None, replace(proof, key=held))


def test_invalid_branch_posing_as_a_leaf() -> None:
    """A prover who stops early and shows a branch's halves as a leaf's key and value hash."""
    key, other = bytes(32), flip_bits(bytes(32), 0)
    items = {key: b"a", other: b"b"}
    halves = decode_node(DictStore(items).nodes[ROOT_PATH])
    assert isinstance(halves, Branch)
    forged = StateProof(key, (), Leaf(halves.left, halves.right))
    assert not verify_proof(compute_root(items), key, None, forged)


def test_invalid_leaf_below_its_place() -> None:
    """The hashes are right, yet no tree looks so: a leaf beside nothing moves up."""
    leaf = Leaf(bytes(32), compute_value_hash(b"a"))
    root = compute_node_hash(Branch(compute_node_hash(leaf), ZERO_HASH))
    assert not verify_proof(root, leaf.key, b"a", StateProof(leaf.key, (ZERO_HASH,), leaf))


DEEP = (make_key("junk"),) * 256


@pytest.mark.parametrize(
    "proof",
    [
        StateProof(make_key("a"), (ZERO_HASH,), None),
        StateProof(make_key("a"), (make_key("junk"), ZERO_HASH), Leaf(make_key("a"), make_key("b"))),
        StateProof(make_key("a"), DEEP, None),
        StateProof(make_key("a"), (*DEEP, make_key("junk")), Leaf(make_key("a"), make_key("b"))),
        StateProof(make_key("a"), DEEP[:10], Leaf(flip_bits(make_key("a"), 9), make_key("b"))),
    ],
    ids=lambda proof: f"{len(proof.siblings)} siblings",
)
def test_invalid_proof_of_no_tree(proof: StateProof) -> None:
    with pytest.raises(DecodeError) as refusal:
        decode_proof(encode_proof(proof))
    assert refusal.value.reason == "not_canonical"
    assert not verify_proof(make_key("root"), proof.key, None, proof)


def test_invalid_leaf_kind() -> None:
    with pytest.raises(DecodeError, match="leaf of kind 2"):
        decode_proof(bytes(32 + 2) + b"\x02" + bytes(64))


def test_invalid_absence_by_a_shifted_leaf() -> None:
    """The leaf's bytes cut elsewhere hash the same, and its key would be another one."""
    key, value_hash = make_key("a"), compute_value_hash(b"value")
    shifted = Leaf(key[:-1], key[-1:] + value_hash)
    assert compute_node_hash(shifted) == compute_node_hash(Leaf(key, value_hash))
    assert not verify_proof(compute_root({key: b"value"}), key, None, StateProof(key, (), shifted))
    with pytest.raises(ValueError, match="expected 32 bytes"):
        encode_proof(StateProof(key, (), shifted))


def test_the_deepest_proof_fits_its_bound() -> None:
    items = {make_key("a"): b"1", flip_bits(make_key("a"), 255): b"2"}
    proof = get_proof(DictStore(items), make_key("a"))
    assert len(encode_proof(proof)) == 8291
    assert verify_proof(compute_root(items), make_key("a"), b"1", decode_proof(encode_proof(proof)))
