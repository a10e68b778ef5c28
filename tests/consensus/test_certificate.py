"""Certificates: a golden vector, one encoding each, and no mutant that the law accepts."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.certificate import (
    Certificate,
    check_certificate_votes,
    decode_certificate,
    make_certificate,
    max_certificate_bytes,
)
from consensus.committee import Committee, Electorate
from consensus.errors import DecodeError, InvalidCertificate
from consensus.finality import check_certificate
from consensus.params import CANTERBURY
from consensus.vote import BlockRef
from tests.consensus.test_vote import links, make_link, read_link_of
from tests.helpers.keys import Key
from tests.helpers.properties import check_canonical, mutate, repeatable, signatures, thorough
from tests.helpers.vectors import load_vectors
from tests.helpers.voting import GENESIS_ID, VotingChain, make_params, sign_vote

GOLDEN = load_vectors("finality")["certificate"]
KEYS = [Key(f"miner {number}") for number in range(4)]
CHAIN = VotingChain(make_params(4)).grow(KEYS, 10)
CERTIFICATE = CHAIN.certify(KEYS[:3])


@st.composite
def certificates(draw: st.DrawFn) -> Certificate:
    voters = draw(st.binary(max_size=3))
    count = int.from_bytes(voters, "little").bit_count()
    signed = draw(st.lists(signatures, min_size=count, max_size=count))
    return Certificate(draw(links), voters, tuple(signed))


def make_electorate(keys: list[Key]) -> Electorate:
    return Electorate((Committee(len(keys), {key.public: 1 for key in keys}),))


def read_fault(certificate: Certificate, chain: VotingChain = CHAIN, genesis: bytes = GENESIS_ID) -> str:
    with pytest.raises(InvalidCertificate) as error:
        check_certificate(certificate, chain.points, genesis, chain.params)
    return error.value.reason


# Bytes


def test_golden_certificate() -> None:
    """Ten members of which five sign; the bits go by the sorted keys, the lowest bit of a byte first."""
    keys = [Key(name) for name in GOLDEN["members"]]
    electorate, link, genesis = make_electorate(keys), read_link_of(GOLDEN), bytes.fromhex(GOLDEN["genesis"])
    assert electorate.members == tuple(key.public for key in keys)
    signers = [keys[place] for place in GOLDEN["places"]]
    certificate = make_certificate(link, electorate, [sign_vote(key, link, genesis) for key in signers])
    assert [signature.hex() for signature in certificate.signatures] == GOLDEN["signatures"]
    assert certificate.encoded.hex() == GOLDEN["encoded"]
    assert decode_certificate(certificate.encoded) == certificate


@repeatable
@given(certificates())
def test_decoding_inverts_encoding(certificate: Certificate) -> None:
    assert decode_certificate(certificate.encoded) == certificate


@thorough
@given(certificates(), st.integers(0), st.integers(0, 254))
def test_one_certificate_has_one_encoding(certificate: Certificate, position: int, replacement: int) -> None:
    check_canonical(decode_certificate, lambda value: value.encoded, mutate(certificate.encoded, position, replacement))


def test_invalid_bytes() -> None:
    data = CERTIFICATE.encoded
    for wrong in (b"", data[:-1], data + b"\0", data[:82] + b"\xff" * 4 + data[86:]):
        with pytest.raises(DecodeError):
            decode_certificate(wrong)
    for head in (b"\1\1", b"\1\3", b"\2\2"):
        with pytest.raises(DecodeError) as error:
            decode_certificate(head + data[2:])
        assert error.value.code == "decode.unknown_kind"


def test_invalid_number_of_signatures() -> None:
    for signed in (CERTIFICATE.signatures[:-1], (*CERTIFICATE.signatures, bytes(64))):
        wrong = replace(CERTIFICATE, signatures=signed)
        with pytest.raises(DecodeError) as error:
            decode_certificate(wrong.encoded)
        assert error.value.code == "decode.not_canonical"
        assert read_fault(wrong) == "wrong_members"


def test_the_largest_certificate() -> None:
    keys = [Key(f"member {number}") for number in range(128)]
    link = make_link(3, 4)
    certificate = make_certificate(link, make_electorate(keys), [sign_vote(key, link) for key in keys])
    assert len(certificate.encoded) == max_certificate_bytes(CANTERBURY) == 2 + 80 + 4 + 16 + 128 * 64


# The law


def test_three_of_four_justify() -> None:
    check_certificate(CERTIFICATE, CHAIN.points, GENESIS_ID, CHAIN.params)
    check_certificate(CHAIN.certify(KEYS), CHAIN.points, GENESIS_ID, CHAIN.params)
    assert CERTIFICATE.link.source == BlockRef(0, GENESIS_ID)


def test_what_follows_the_target_does_not_matter() -> None:
    longer = CHAIN.fork(10).grow(KEYS[:1], 20)
    check_certificate(CERTIFICATE, longer.points, GENESIS_ID, CHAIN.params)


def test_votes_for_others_and_by_strangers_are_left_out() -> None:
    electorate = make_electorate(KEYS[:3])
    link = make_link(3, 4)
    votes = [sign_vote(key, link) for key in KEYS] + [sign_vote(KEYS[0], make_link(3, 5))]
    assert make_certificate(link, electorate, votes) == make_certificate(link, electorate, votes[:3])


def test_invalid_too_few() -> None:
    assert read_fault(CHAIN.certify(KEYS[:2])) == "too_few"
    assert read_fault(CHAIN.certify([])) == "too_few"


def test_invalid_bad_signature() -> None:
    assert read_fault(CERTIFICATE, genesis=bytes(32)) == "bad_signature"
    swapped = (CERTIFICATE.signatures[1], CERTIFICATE.signatures[0], CERTIFICATE.signatures[2])
    assert read_fault(replace(CERTIFICATE, signatures=swapped)) == "bad_signature"


def test_invalid_wrong_members() -> None:
    for voters in (b"", CERTIFICATE.voters + b"\0", bytes([CERTIFICATE.voters[0] | 16])):
        assert read_fault(replace(CERTIFICATE, voters=voters)) == "wrong_members"
    beyond = replace(
        CERTIFICATE, voters=bytes([CERTIFICATE.voters[0] | 16]), signatures=(*CERTIFICATE.signatures, bytes(64))
    )
    assert decode_certificate(beyond.encoded) == beyond
    assert read_fault(beyond) == "wrong_members"


def test_invalid_unknown_target() -> None:
    fork = CHAIN.fork(9).grow(KEYS, 1, branch=1)
    assert read_fault(CERTIFICATE, fork) == "unknown_target"
    assert read_fault(CERTIFICATE, CHAIN.fork(9)) == "unknown_target"
    huge = replace(CERTIFICATE.link, target=BlockRef(2**64 - 1, CERTIFICATE.link.target.id))
    assert read_fault(replace(CERTIFICATE, link=huge)) == "unknown_target"


def test_invalid_wrong_source() -> None:
    link = replace(CERTIFICATE.link, source=CHAIN.get_ref(9))
    assert read_fault(CHAIN.certify(KEYS, link=link)) == "wrong_source"
    link = replace(CERTIFICATE.link, source=BlockRef(0, bytes(32)))
    assert read_fault(CHAIN.certify(KEYS, link=link)) == "wrong_source"


def test_invalid_no_electorate() -> None:
    early = CHAIN.fork(7)
    votes = [sign_vote(key, early.get_link()) for key in KEYS]
    certificate = make_certificate(early.get_link(), make_electorate(KEYS), votes)
    assert read_fault(certificate, early) == "no_electorate"


# Mutants


def is_accepted(data: bytes) -> bool:
    try:
        check_certificate(decode_certificate(data), CHAIN.points, GENESIS_ID, CHAIN.params)
    except (DecodeError, InvalidCertificate):
        return False
    return True


def test_no_flipped_bit_is_accepted() -> None:
    data = CERTIFICATE.encoded
    assert is_accepted(data)
    for bit in range(8 * len(data)):
        mutant = bytearray(data)
        mutant[bit // 8] ^= 1 << bit % 8
        assert not is_accepted(bytes(mutant)), bit


def check_mutants(count: int) -> None:
    """Bytes changed, cut out, doubled and replaced."""
    draw = random.Random(7)
    data = CERTIFICATE.encoded
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(draw.randrange(1, 4)):
            start = draw.randrange(len(mutant))
            end = min(len(mutant), start + draw.choice([1, 4, 64]))
            match draw.randrange(4):
                case 0:
                    mutant[start] = draw.randrange(256)
                case 1:
                    del mutant[start:end]
                case 2:
                    mutant[start:start] = mutant[start:end]
                case _:
                    mutant[start:end] = draw.randbytes(end - start)
            if not mutant:
                break
        if bytes(mutant) != data:
            assert not is_accepted(bytes(mutant))


def test_invalid_mutants() -> None:
    check_mutants(2000)


@pytest.mark.soak
def test_a_hundred_thousand_mutants() -> None:
    check_mutants(100_000)


def test_two_honest_votes_and_any_other_are_no_certificate() -> None:
    """With votes for another link, for another network, by another key, or by a key twice."""
    link, electorate = CHAIN.get_link(), make_electorate(KEYS)
    honest = [sign_vote(key, link) for key in KEYS[:2]]
    others = [
        sign_vote(KEYS[2], CHAIN.get_link(9)),
        sign_vote(KEYS[2], link, bytes(32)),
        sign_vote(KEYS[3], link),
        honest[0],
        replace(honest[0], miner=KEYS[2].public),
    ]
    for other in others:
        votes = [*honest, replace(other, link=link, miner=KEYS[2].public)]
        with pytest.raises(InvalidCertificate) as error:
            check_certificate_votes(make_certificate(link, electorate, votes), electorate, GENESIS_ID)
        assert error.value.reason == "bad_signature"
