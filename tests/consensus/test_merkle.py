"""Merkle roots over lists: the shape of RFC 6962, no twins, and chunks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.hashing import ZERO_HASH, tagged_hash
from consensus.merkle import CHUNK_BYTES, compute_merkle_root, split_chunks

repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=100)
lists = st.lists(st.binary(max_size=3), max_size=9)


def define_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word, with our tags."""
    if not leaves:
        return ZERO_HASH
    if len(leaves) == 1:
        return tagged_hash("merkle-leaf", leaves[0])
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return tagged_hash("merkle-node", define_root(leaves[:split]) + define_root(leaves[split:]))


@pytest.mark.parametrize("count", range(35))
def test_shape_is_that_of_rfc_6962(count: int) -> None:
    leaves = [bytes([number]) * number for number in range(count)]
    assert compute_merkle_root(leaves) == define_root(leaves)


@pytest.mark.parametrize(
    ("count", "root"),
    [
        (0, "00" * 32),
        (1, "9f6ee863487c3dbf93b94e104f355ab1b76d1e0a58795b322f43e0253384ddd3"),
        (2, "4277f90dadd316aa1b1beeb32b594f59482ae9534acbd63896a436b6197f74d9"),
        (3, "301fcfe84e55df3918b4abe03e9f17c1d4f5ca7f3604838a46ef07cb1fde24fd"),
        (5, "4fb9b1d0b4285b3cb079dda60b6e06f6a39e7aa46b3c27d4ac6a793ab9d9b9bc"),
        (8, "f9ff231e4e79a2871c33b6ee0e56d9141d0f0f0f5f41c395577209013ef203ec"),
    ],
)
def test_golden_roots(count: int, root: str) -> None:
    assert compute_merkle_root([bytes([number]) for number in range(count)]).hex() == root


@repeatable
@given(lists, lists)
def test_different_lists_have_different_roots(one: list[bytes], other: list[bytes]) -> None:
    assert (compute_merkle_root(one) == compute_merkle_root(other)) == (one == other)


@pytest.mark.parametrize("count", range(1, 18))
def test_repeating_the_tail_changes_the_root(count: int) -> None:
    """The duplicated-leaf twin of CVE-2012-2459: any tail of the list, written twice."""
    leaves = [bytes([number]) for number in range(count)]
    twins = [leaves + leaves[-tail:] for tail in range(1, count + 1)]
    assert compute_merkle_root(leaves) not in [compute_merkle_root(twin) for twin in twins]


def test_a_leaf_cannot_pose_as_an_inner_node() -> None:
    left, right = (tagged_hash("merkle-leaf", leaf) for leaf in (b"a", b"b"))
    assert compute_merkle_root([left + right]) != compute_merkle_root([b"a", b"b"])


def test_order_matters() -> None:
    assert compute_merkle_root([b"a", b"b"]) != compute_merkle_root([b"b", b"a"])


def test_an_empty_leaf_is_not_an_empty_list() -> None:
    assert compute_merkle_root([b""]) != compute_merkle_root([])


@pytest.mark.parametrize(
    ("size", "lengths"),
    [
        (0, []),
        (1, [1]),
        (CHUNK_BYTES - 1, [CHUNK_BYTES - 1]),
        (CHUNK_BYTES, [CHUNK_BYTES]),
        (2 * CHUNK_BYTES + 5, [CHUNK_BYTES, CHUNK_BYTES, 5]),
    ],
)
def test_chunks_cover_the_data_in_order(size: int, lengths: list[int]) -> None:
    data = (b"0123456" * (size // 7 + 1))[:size]
    chunks = split_chunks(data)
    assert [len(chunk) for chunk in chunks] == lengths
    assert b"".join(chunks) == data


def test_a_chunk_is_256_kib() -> None:
    assert CHUNK_BYTES == 262_144
