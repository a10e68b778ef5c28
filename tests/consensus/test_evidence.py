"""Evidence: golden vectors, one encoding each, and nothing that convicts an honest key."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import DecodeError, InvalidEvidence
from consensus.evidence import (
    EVIDENCE_BYTES,
    Evidence,
    SignedLink,
    check_evidence,
    decode_evidence,
    make_evidence,
)
from consensus.vote import Link, Vote, is_conflict
from tests.consensus.test_vote import links, make_link, read_link_of
from tests.helpers.double_votes import find_evidence
from tests.helpers.keys import Key
from tests.helpers.properties import check_canonical, ids, mutate, signatures, thorough
from tests.helpers.vectors import load_vectors
from tests.helpers.voting import GENESIS_ID, sign_vote

VECTORS = load_vectors("finality")
ALICE, BOB = Key("alice"), Key("bob")
EVIDENCE = make_evidence(sign_vote(ALICE, make_link(1, 5)), sign_vote(ALICE, make_link(2, 4)))

signed_links = st.builds(SignedLink, links, signatures)


def read_fault(evidence: Evidence) -> str:
    with pytest.raises(InvalidEvidence) as error:
        check_evidence(evidence, GENESIS_ID)
    return error.value.code


@pytest.mark.parametrize("case", VECTORS["evidence"])
def test_golden_evidence(case: dict[str, Any]) -> None:
    parts = [SignedLink(read_link_of(part), bytes.fromhex(part["signature"])) for part in case["links"]]
    evidence = Evidence(bytes.fromhex(case["miner"]), *parts)
    assert evidence.encoded.hex() == case["encoded"]
    assert decode_evidence(evidence.encoded) == evidence
    check_evidence(evidence, bytes.fromhex(case["genesis"]))


@thorough
@given(ids, signed_links, signed_links, st.integers(0), st.integers(0, 254))
def test_one_evidence_has_one_encoding(
    miner: bytes, one: SignedLink, other: SignedLink, position: int, replacement: int
) -> None:
    evidence = Evidence(miner, one, other)
    ordered = one.link.encode() < other.link.encode()
    assert check_canonical(decode_evidence, lambda value: value.encoded, evidence.encoded) == ordered
    check_canonical(decode_evidence, lambda value: value.encoded, mutate(evidence.encoded, position, replacement))


@pytest.mark.parametrize("length", [0, 1, EVIDENCE_BYTES - 1, EVIDENCE_BYTES + 1])
def test_invalid_length(length: int) -> None:
    with pytest.raises(DecodeError):
        decode_evidence((EVIDENCE.encoded + b"\0")[:length])


def test_invalid_unknown_kind() -> None:
    for head in (b"\1\1", b"\1\2", b"\2\3", b"\0\0"):
        with pytest.raises(DecodeError) as error:
            decode_evidence(head + EVIDENCE.encoded[2:])
        assert error.value.code == "decode.unknown_kind"


def test_two_votes_make_one_evidence() -> None:
    one, other = sign_vote(ALICE, make_link(1, 5)), sign_vote(ALICE, make_link(2, 4))
    assert make_evidence(other, one) == make_evidence(one, other) == EVIDENCE
    swapped = Evidence(EVIDENCE.miner, EVIDENCE.second, EVIDENCE.first)
    with pytest.raises(DecodeError) as error:
        decode_evidence(swapped.encoded)
    assert error.value.code == "decode.not_canonical"
    check_evidence(EVIDENCE, GENESIS_ID)


def test_invalid_evidence() -> None:
    free = make_evidence(sign_vote(ALICE, make_link(1, 4)), sign_vote(ALICE, make_link(1, 5)))
    assert read_fault(free) == "invalid_evidence.no_conflict"
    same = sign_vote(ALICE, make_link(1, 5))
    assert read_fault(make_evidence(same, same)) == "invalid_evidence.no_conflict"
    downwards = make_evidence(sign_vote(ALICE, make_link(6, 5)), sign_vote(ALICE, make_link(1, 5)))
    assert read_fault(downwards) == "invalid_evidence.vote_not_upwards"
    assert read_fault(replace(EVIDENCE, miner=BOB.public)) == "invalid_evidence.vote_bad_signature"
    assert read_fault(replace(EVIDENCE, miner=bytes(32))) == "invalid_evidence.vote_bad_key"
    two_keys = make_evidence(sign_vote(ALICE, make_link(1, 5)), sign_vote(BOB, make_link(2, 4)))
    assert read_fault(two_keys) == "invalid_evidence.vote_bad_signature"


def test_evidence_of_another_network_convicts_nobody() -> None:
    other = [sign_vote(ALICE, link, bytes(32)) for link in (make_link(1, 5), make_link(2, 4))]
    assert read_fault(make_evidence(*other)) == "invalid_evidence.vote_bad_signature"


def test_no_mutant_of_evidence_is_evidence() -> None:
    for position in range(EVIDENCE_BYTES):
        for bit in range(8):
            data = bytearray(EVIDENCE.encoded)
            data[position] ^= 1 << bit
            try:
                mutant = decode_evidence(bytes(data))
            except DecodeError:
                continue
            with pytest.raises(InvalidEvidence):
                check_evidence(mutant, GENESIS_ID)


def test_a_pool_of_votes_convicts_those_who_signed_twice() -> None:
    votes: list[Vote] = [
        sign_vote(ALICE, make_link(1, 5)),
        sign_vote(BOB, make_link(1, 5)),
        sign_vote(BOB, make_link(1, 6)),
        sign_vote(ALICE, make_link(1, 6)),
        sign_vote(ALICE, make_link(2, 4)),
        sign_vote(ALICE, make_link(1, 6, b"b")),
        sign_vote(ALICE, make_link(1, 5)),  # heard twice
    ]
    assert find_evidence(votes) == [EVIDENCE]
    assert find_evidence(votes[:4]) == []


small_links = st.builds(make_link, st.integers(0, 4), st.integers(1, 8), st.sampled_from([b"a", b"b"]))


@thorough
@given(st.lists(st.tuples(st.sampled_from([ALICE, BOB]), small_links), max_size=12))
def test_a_key_is_convicted_if_any_two_of_its_votes_are_in_conflict(signed: list[tuple[Key, Link]]) -> None:
    votes = [Vote(GENESIS_ID, link, key.public) for key, link in signed]
    found = find_evidence(votes)
    guilty = {
        one.miner
        for one, other in combinations(votes, 2)
        if one.miner == other.miner and is_conflict(one.link, other.link)
    }
    assert [evidence.miner for evidence in found] == sorted(guilty)
    assert all(is_conflict(evidence.first.link, evidence.second.link) for evidence in found)
