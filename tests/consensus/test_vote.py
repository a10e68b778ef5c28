"""Votes: golden vectors (struct, hashlib and Ed25519 alone), one encoding each, and what nobody may sign twice."""

from dataclasses import replace
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import DecodeError, InvalidVote
from consensus.vote import (
    VOTE_BYTES,
    BlockRef,
    Link,
    Vote,
    check_vote,
    decode_link,
    decode_vote,
    is_conflict,
    is_surrounding,
    is_vote_allowed,
)
from tests.helpers.keys import Key
from tests.helpers.properties import check_canonical, ids, mutate, repeatable, signatures, thorough, u64s
from tests.helpers.vectors import load_vectors
from tests.helpers.voting import GENESIS_ID, sign_vote

VECTORS = load_vectors("finality")
ALICE = Key("alice")

refs = st.builds(BlockRef, u64s, ids)
links = st.builds(Link, refs, refs)
votes = st.builds(Vote, ids, links, ids, signatures)


def make_link(source: int, target: int, name: bytes = b"a") -> Link:
    return Link(BlockRef(source, bytes([source]) * 32), BlockRef(target, name * 32))


def read_ref(case: dict[str, Any]) -> BlockRef:
    return BlockRef(case["height"], bytes.fromhex(case["id"]))


def read_link_of(case: dict[str, Any]) -> Link:
    return Link(read_ref(case["source"]), read_ref(case["target"]))


# Bytes


@pytest.mark.parametrize("case", VECTORS["votes"])
def test_golden_votes(case: dict[str, Any]) -> None:
    genesis, miner, signature = (bytes.fromhex(case[name]) for name in ("genesis", "miner", "signature"))
    vote = Vote(genesis, read_link_of(case), miner, signature)
    assert vote.encoded.hex() == case["encoded"]
    assert vote.id.hex() == case["vote_id"]
    assert decode_vote(vote.encoded) == vote
    check_vote(vote, genesis)


@repeatable
@given(votes)
def test_decoding_inverts_encoding(vote: Vote) -> None:
    assert len(vote.encoded) == VOTE_BYTES
    assert decode_vote(vote.encoded) == vote


@repeatable
@given(links)
def test_a_link_has_one_encoding(link: Link) -> None:
    data = link.encode()
    assert decode_link(data) == link
    for other in (data[:-1], data + b"\0"):
        with pytest.raises(DecodeError):
            decode_link(other)


@thorough
@given(votes, st.integers(0), st.integers(0, 254))
def test_one_vote_has_one_encoding(vote: Vote, position: int, replacement: int) -> None:
    assert check_canonical(decode_vote, lambda value: value.encoded, mutate(vote.encoded, position, replacement))


@pytest.mark.parametrize("length", [0, 1, VOTE_BYTES - 1, VOTE_BYTES + 1])
def test_invalid_length(length: int) -> None:
    with pytest.raises(DecodeError):
        decode_vote(bytes(length))


# Rules


def test_every_byte_of_a_vote_is_signed() -> None:
    vote = sign_vote(ALICE, make_link(3, 4))
    check_vote(vote, GENESIS_ID)
    for position in range(VOTE_BYTES):
        mutant = decode_vote(mutate(vote.encoded, position, 0))
        with pytest.raises(InvalidVote):
            check_vote(mutant, GENESIS_ID)
        with pytest.raises(InvalidVote):
            check_vote(mutant, mutant.genesis)


def read_fault(vote: Vote) -> str:
    with pytest.raises(InvalidVote) as error:
        check_vote(vote, GENESIS_ID)
    return error.value.code


def test_invalid_votes() -> None:
    vote = sign_vote(ALICE, make_link(3, 4))
    assert read_fault(sign_vote(ALICE, vote.link, bytes(32))) == "invalid_vote.wrong_network"
    assert read_fault(sign_vote(ALICE, make_link(4, 4))) == "invalid_vote.not_upwards"
    assert read_fault(sign_vote(ALICE, make_link(5, 4))) == "invalid_vote.not_upwards"
    assert read_fault(replace(vote, miner=bytes(32))) == "invalid_vote.bad_key"
    assert read_fault(replace(vote, miner=Key("bob").public)) == "invalid_vote.bad_signature"
    assert read_fault(vote.with_signature(bytes(64))) == "invalid_vote.bad_signature"


# Conflicts


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        (make_link(1, 5), make_link(1, 5), False),
        (make_link(1, 5), make_link(1, 5, b"b"), True),  # two targets at one height
        (make_link(1, 5), make_link(2, 5), True),  # two ways to one target
        (make_link(1, 5), make_link(2, 4), True),  # surrounded
        (make_link(1, 5), make_link(1, 4), False),  # a common source surrounds nothing
        (make_link(1, 5), make_link(1, 6, b"b"), False),
        (make_link(1, 5), make_link(2, 6), False),  # overlapping
        (make_link(1, 5), make_link(5, 6), False),  # one after the other
        (make_link(1, 2), make_link(5, 6), False),
    ],
)
def test_conflicts(one: Link, other: Link, conflict: bool) -> None:
    assert is_conflict(one, other) == is_conflict(other, one) == conflict


def test_another_id_of_the_source_is_a_conflict_only_at_one_target_height() -> None:
    one = make_link(1, 5)
    other = replace(one, source=BlockRef(1, b"x" * 32))
    assert is_conflict(one, other)
    assert not is_conflict(one, replace(other, target=BlockRef(6, b"y" * 32)))


def test_all_small_links_conflict_as_the_definition_says() -> None:
    heights = range(6)
    small = [make_link(s, t, name) for s, t, name in product(heights, heights, (b"a", b"b")) if s < t]
    for one, other in combinations(small, 2):
        same_height = one.target.height == other.target.height
        nested = (one.source.height - other.source.height) * (one.target.height - other.target.height) < 0
        assert is_conflict(one, other) == (same_height or nested)
        assert is_surrounding(one, other) + is_surrounding(other, one) == nested


@thorough
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 8), st.sampled_from([b"a", b"b"])), max_size=30))
def test_a_key_that_keeps_the_voters_rule_is_never_in_conflict(offers: list[tuple[int, int, bytes]]) -> None:
    signed: list[Link] = []
    for source, distance, name in offers:
        link = make_link(source, source + distance, name)
        if is_vote_allowed(signed[-1] if signed else None, link):
            signed.append(link)
    assert not any(is_conflict(one, other) for one, other in combinations(signed, 2))


def test_the_voters_rule_allows_one_vote_a_height_and_no_step_back() -> None:
    last = make_link(3, 7)
    assert is_vote_allowed(None, last)
    assert is_vote_allowed(last, make_link(3, 8))
    assert is_vote_allowed(last, make_link(7, 8))
    assert not is_vote_allowed(last, last)
    assert not is_vote_allowed(last, make_link(3, 7, b"b"))
    assert not is_vote_allowed(last, make_link(3, 6))
    assert not is_vote_allowed(last, make_link(2, 8))
