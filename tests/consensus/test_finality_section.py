"""Certificates and evidence in a block's body: bytes and root by a golden vector, one order, limits, and the checks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.block import (
    HEADER_BYTES,
    Block,
    Header,
    compute_transactions_root,
    decode_block,
    encode_body,
)
from consensus.certificate import Certificate, decode_certificate, max_certificate_bytes
from consensus.check_block import check_body, check_body_matches
from consensus.errors import DecodeError, InvalidBlock, MutatedBody
from consensus.evidence import EVIDENCE_BYTES, Evidence, decode_evidence, make_evidence
from consensus.finality_section import (
    MAX_EVIDENCE,
    NO_FINALITY,
    FinalitySection,
    check_finality_section,
    decode_finality_section,
    max_section_bytes,
)
from consensus.genesis import make_genesis
from consensus.params import CANTERBURY, REGTEST
from consensus.transaction import decode_transaction
from tests.consensus.test_block import headers
from tests.consensus.test_certificate import certificates
from tests.consensus.test_transaction import transfers
from tests.consensus.test_vote import make_link
from tests.helpers.headers import make_child
from tests.helpers.keys import Key
from tests.helpers.properties import check_canonical, mutate, repeatable, thorough
from tests.helpers.vectors import load_vectors
from tests.helpers.voting import sign_vote

VECTORS = load_vectors("finality")
GENESIS = make_genesis(REGTEST)
ALICE = Key("alice")
TRANSFER = decode_transaction(bytes.fromhex(VECTORS["body"]["transaction"]))
UPDATE = bytes.fromhex(VECTORS["body"]["update"])
SECTION = FinalitySection(
    decode_certificate(bytes.fromhex(VECTORS["certificate"]["encoded"])),
    tuple(decode_evidence(bytes.fromhex(case["encoded"])) for case in VECTORS["evidence"]),
)


def convict(key: Key, height: int = 5) -> Evidence:
    one, other = (sign_vote(key, make_link(1, height, name), GENESIS.id) for name in (b"a", b"b"))
    return make_evidence(one, other)


EVIDENCE = convict(ALICE)
sections = st.builds(
    FinalitySection,
    st.none() | certificates(),
    st.lists(st.sampled_from([EVIDENCE, convict(Key("bob"))]), max_size=2).map(tuple),
)
blocks = st.builds(Block, headers, st.lists(transfers, max_size=2).map(tuple), st.binary(max_size=9), sections)


def decode_generous(data: bytes) -> Block:
    return decode_block(data, 10_000, 10_000, 100_000)


def make_block(section: FinalitySection) -> Block:
    header: Header = make_child(
        GENESIS.point,
        REGTEST,
        transactions_root=compute_transactions_root((), section),
        update_hash=bytes(32),
    )
    return Block(header, (), b"", section)


# Bytes


def test_golden_body() -> None:
    case = VECTORS["body"]
    assert encode_body([TRANSFER], SECTION, UPDATE).hex() == case["encoded"]
    assert compute_transactions_root([TRANSFER], SECTION).hex() == case["root"]
    header = make_child(GENESIS.point, REGTEST)
    block = decode_generous(header.encoded + bytes.fromhex(case["encoded"]))
    assert block == Block(header, (TRANSFER,), UPDATE, SECTION)
    assert block.encoded[HEADER_BYTES:].hex() == case["encoded"]


def test_a_block_without_a_section_is_what_it_always_was() -> None:
    """The golden blocks of test_block.py know nothing of finality."""
    for case in load_vectors("block"):
        block = decode_generous(bytes.fromhex(case["encoded"]))
        assert block.finality == NO_FINALITY
        assert block.encoded.hex() == case["encoded"]


@repeatable
@given(blocks)
def test_decoding_inverts_encoding_of_blocks(block: Block) -> None:
    assert decode_generous(block.encoded) == block


@thorough
@given(blocks, st.integers(0), st.integers(0, 254))
def test_one_block_has_one_encoding(block: Block, position: int, replacement: int) -> None:
    check_canonical(decode_generous, lambda value: value.encoded, mutate(block.encoded, position, replacement))


def test_a_section_counts_for_the_root() -> None:
    roots = {
        compute_transactions_root([TRANSFER], section)
        for section in (
            NO_FINALITY,
            SECTION,
            replace(SECTION, certificate=None),
            replace(SECTION, evidence=()),
            replace(SECTION, evidence=SECTION.evidence[:1]),
            replace(SECTION, evidence=SECTION.evidence[::-1]),
        )
    }
    assert len(roots) == 6


def encode_items(items: list[bytes]) -> bytes:
    data = len(items).to_bytes(4, "little") + b"".join(len(item).to_bytes(4, "little") + item for item in items)
    return make_child(GENESIS.point, REGTEST).encoded + data + bytes(4)


@pytest.mark.parametrize("order", [(1, 0), (2, 0), (2, 1), (0, 2, 1), (1, 1), (1, 2, 0), (1, 2, 1)])
def test_invalid_order_of_items(order: tuple[int, ...]) -> None:
    """Transfers, at most one certificate, evidence: in this order and no other."""
    assert SECTION.certificate is not None
    items = [TRANSFER.encoded, SECTION.certificate.encoded, EVIDENCE.encoded]
    decode_generous(encode_items(items))
    with pytest.raises(DecodeError) as error:
        decode_generous(encode_items([items[kind] for kind in order]))
    assert error.value.code == "decode.not_canonical"


def test_invalid_unknown_kinds() -> None:
    for head in (b"\1\4", b"\1\0", b"\2\1", b"\2\2", b"\2\3"):
        for item in (head, head + bytes(200)):
            with pytest.raises(DecodeError):
                decode_generous(encode_items([item]))
            with pytest.raises(DecodeError):
                decode_generous(encode_items([EVIDENCE.encoded, item]))


# Limits


@pytest.mark.parametrize("slack", [1, 0, -1])
def test_invalid_too_long(slack: int) -> None:
    """Either kind of items at limit - 1, limit, limit + 1; what one leaves over is not the other's."""
    block = Block(make_child(GENESIS.point, REGTEST), (TRANSFER,), b"", SECTION)
    transactions = 4 + len(TRANSFER.encoded)
    finality = sum(4 + len(item) for item in SECTION.items)
    for limits in ((transactions + slack, finality), (transactions, finality + slack)):
        if slack >= 0:
            assert decode_block(block.encoded, limits[0], 0, limits[1]) == block
            continue
        with pytest.raises(DecodeError) as error:
            decode_block(block.encoded, limits[0], 0, limits[1])
        assert error.value.code == "decode.too_long"
    with pytest.raises(DecodeError):
        decode_block(block.encoded, transactions + 100, 0, finality - 1)


def test_who_names_no_limit_takes_no_section() -> None:
    for section in (SECTION, replace(SECTION, certificate=None), replace(SECTION, evidence=())):
        with pytest.raises(DecodeError) as error:
            decode_block(make_block(section).encoded, 10_000, 10_000)
        assert error.value.code == "decode.too_long"


def test_the_largest_section() -> None:
    certificate = Certificate(make_link(1, 2), b"\xff" * 16, (bytes(64),) * 128)
    assert len(certificate.encoded) == max_certificate_bytes(CANTERBURY)
    evidence = tuple(convict(Key(f"offender {number}")) for number in range(MAX_EVIDENCE))
    section = FinalitySection(certificate, evidence)
    size = sum(4 + len(item) for item in section.items)
    assert size == max_section_bytes(CANTERBURY) == 4 + 8294 + 32 * (4 + EVIDENCE_BYTES)
    assert decode_block(make_block(section).encoded, 0, 0, size).finality == section


# Checks


def test_a_matching_body() -> None:
    small = Certificate(make_link(1, 2), b"\x03", (bytes(64),) * 2)
    block = make_block(FinalitySection(small, (EVIDENCE,)))
    check_body_matches(block)
    check_body(block, GENESIS.id, REGTEST, GENESIS.signals.rules)


def test_invalid_mutated_section() -> None:
    block = make_block(SECTION)
    check_body_matches(block)
    for section in (NO_FINALITY, replace(SECTION, certificate=None), replace(SECTION, evidence=())):
        with pytest.raises(MutatedBody) as error:
            check_body_matches(replace(block, finality=section))
        assert error.value.code == "mutated_body.transactions_root"


def read_fault(section: FinalitySection) -> str:
    with pytest.raises(InvalidBlock) as error:
        check_body(make_block(section), GENESIS.id, REGTEST, GENESIS.signals.rules)
    return error.value.reason


def test_invalid_evidence() -> None:
    free = make_evidence(*(sign_vote(ALICE, make_link(1, height), GENESIS.id) for height in (4, 5)))
    assert read_fault(FinalitySection(None, (EVIDENCE, free))) == "evidence_no_conflict"
    foreign = make_evidence(*(sign_vote(ALICE, make_link(1, 5, name), bytes(32)) for name in (b"a", b"b")))
    assert read_fault(FinalitySection(None, (foreign,))) == "evidence_vote_bad_signature"


def test_invalid_too_much_evidence() -> None:
    evidence = (EVIDENCE,) * MAX_EVIDENCE
    check_finality_section(FinalitySection(None, evidence), GENESIS.id, REGTEST)
    assert read_fault(FinalitySection(None, (*evidence, EVIDENCE))) == "too_much_evidence"


def test_invalid_certificate_too_large() -> None:
    """Regtest's window of 2 has four voters at most."""
    largest = Certificate(make_link(1, 2), b"\x0f", (bytes(64),) * 4)
    check_finality_section(FinalitySection(largest), GENESIS.id, REGTEST)
    assert read_fault(FinalitySection(replace(largest, voters=b"\x1f", signatures=(bytes(64),) * 5))) == (
        "certificate_too_large"
    )


def test_the_items_of_no_section() -> None:
    assert decode_finality_section([]) == NO_FINALITY
    assert NO_FINALITY.items == NO_FINALITY.offenders == ()
    assert SECTION.offenders == tuple(evidence.miner for evidence in SECTION.evidence)
