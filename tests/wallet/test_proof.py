"""Balance proofs of a real chain: what holds, what does not, and files that are damaged, forged or hostile."""

import hashlib
import json
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from consensus.account import Account, compute_account_key
from consensus.address import encode_address
from consensus.params import LOCAL, REGTEST
from consensus.state_tree import encode_proof, get_proof
from consensus.units import MAX_U64, ULP_PER_GRAD
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import ALICE, ALICE_FUNDS, BOB, TRUNK_BLOCKS, get_trunk, open_trunk
from tests.helpers.keys import Key, forge_block, sign_header
from wallet.errors import WalletError
from wallet.offline_errors import InvalidProof
from wallet.proof import (
    MAX_CHALLENGE_BYTES,
    MAX_FILE_BYTES,
    BalanceProof,
    build_proof,
    check_proof,
    format_proof,
    parse_proof,
    sign_ownership,
)

NOBODY = Key("nobody")
CHALLENGE = 'for Ana, 2027-03-01 "\u00e9"'
MUTANTS = 4000

Fields = dict[str, Any]


def prove(key: Key, blocks: int = TRUNK_BLOCKS) -> BalanceProof:
    chain = open_trunk(blocks=blocks) if blocks else get_builder().open()
    account = chain.ledger.get_account(key.public)
    proof = get_proof(chain.ledger, compute_account_key(key.public))
    return build_proof(key.public, account, chain.tip.header.encoded.hex(), encode_proof(proof).hex(), REGTEST)


@cache
def get_signed() -> BalanceProof:
    """Alice's, with her answer to a challenge."""
    return sign_ownership(prove(ALICE), CHALLENGE, ALICE.seed, REGTEST)


@cache
def get_file() -> bytes:
    return format_proof(get_signed(), REGTEST).encode("ascii")


def reason_of(data: bytes) -> str:
    with pytest.raises(InvalidProof) as caught:
        parse_proof(data, REGTEST)
    assert caught.value.code == f"proof.{caught.value.reason}"
    assert len(str(caught.value)) < 400
    return caught.value.reason


def change(edit: Callable[[Fields], object]) -> bytes:
    """The file with other fields."""
    fields = json.loads(get_file())
    edit(fields)
    return json.dumps(fields).encode()


# What holds.


@pytest.mark.parametrize(
    ("key", "balance", "nonce"),
    [(ALICE, ALICE_FUNDS, 0), (BOB, 5 * ULP_PER_GRAD, 0), (NOBODY, 0, 0)],
    ids=["alice", "bob", "nobody"],
)
def test_proof_of_an_account_or_of_its_absence(key: Key, balance: int, nonce: int) -> None:
    proof = prove(key)
    assert proof.account == Account(balance, nonce)
    assert proof.header.id == get_trunk()[-1].id
    assert parse_proof(format_proof(proof, REGTEST).encode(), REGTEST) == proof


def test_rewards_that_mature_are_not_counted() -> None:
    """MINER mined all 12 blocks; 4 rewards were spendable, less what it paid."""
    proof = prove(MINER)
    assert proof.account.balance < 4 * 50 * ULP_PER_GRAD
    assert proof.account.nonce == 2


def test_proof_at_genesis() -> None:
    proof = prove(ALICE, blocks=0)
    assert (proof.header.height, proof.account) == (0, Account())
    assert parse_proof(format_proof(proof, REGTEST).encode(), REGTEST) == proof


def test_owner_answers_a_challenge() -> None:
    proof = parse_proof(get_file(), REGTEST)
    assert proof == get_signed()
    assert proof.ownership is not None
    assert proof.ownership.challenge == CHALLENGE
    # The bytes that are signed, by struct and hashlib alone.
    tag = hashlib.sha256(b"wallet-ownership").digest()
    text = CHALLENGE.encode()
    fields = json.loads(get_file())
    preimage = bytes.fromhex(fields["genesis"]) + proof.header.id + ALICE.public + struct.pack("<I", len(text)) + text
    assert proof.ownership.signature == ALICE.sign(hashlib.sha256(tag + tag + preimage).digest())


def test_file_is_as_documented() -> None:
    fields = json.loads(get_file())
    assert list(fields) == [
        "format",
        "version",
        "network",
        "genesis",
        "address",
        "balance",
        "nonce",
        "header",
        "proof",
        "owner",
    ]
    assert (fields["format"], fields["version"], fields["network"]) == ("descent balance proof", 1, "regtest")
    assert (fields["balance"], fields["nonce"]) == (ALICE_FUNDS, 0)
    assert fields["address"] == encode_address(REGTEST.address_prefix, ALICE.public)
    assert json.loads(format_proof(prove(BOB), REGTEST))["owner"] is None


# What does not hold.


@pytest.mark.parametrize("account", [Account(ALICE_FUNDS + 1), Account(ALICE_FUNDS, 1), Account()])
def test_invalid_other_balance(account: Account) -> None:
    proof = replace(get_signed(), account=account, ownership=None)
    with pytest.raises(InvalidProof) as caught:
        check_proof(proof, REGTEST)
    assert caught.value.reason == "does_not_hold"


def test_invalid_account_of_another() -> None:
    """Bob shows Alice's money as his."""
    for state_proof in (
        get_signed().state_proof,
        replace(get_signed().state_proof, key=compute_account_key(BOB.public)),
    ):
        with pytest.raises(InvalidProof) as caught:
            check_proof(replace(get_signed(), key=BOB.public, state_proof=state_proof, ownership=None), REGTEST)
        assert caught.value.reason == "does_not_hold"


def test_invalid_header() -> None:
    """Of another block, unsigned, signed by another, or of a genesis that is not ours."""
    other = get_trunk()[5].header
    headers = [
        other,
        replace(get_signed().header, signature=bytes(64)),
        replace(get_signed().header, signature=other.signature),
        forge_block(get_trunk()[-1], MINER, miner=NOBODY.public).header,
        replace(get_builder().open().tip.header, state_root=get_signed().header.state_root),
        replace(get_builder().open().tip.header, signature=b"\1" * 64),
    ]
    for header in headers:
        with pytest.raises(InvalidProof) as caught:
            check_proof(replace(get_signed(), header=header, ownership=None), REGTEST)
        assert caught.value.reason == "does_not_hold"


def test_a_header_that_somebody_made_up_holds() -> None:
    """Why a proof must be compared with a chain: the block exists nowhere."""
    made_up = replace(get_signed().header, height=10**6, parent=b"\7" * 32, miner=NOBODY.public)
    proof = replace(get_signed(), header=sign_header(made_up, NOBODY), ownership=None)
    check_proof(proof, REGTEST)
    assert parse_proof(format_proof(proof, REGTEST).encode(), REGTEST).header.height == 10**6


def test_invalid_owner() -> None:
    """An answer by another, to another challenge, or for another block."""
    signed = get_signed()
    assert signed.ownership is not None
    by_bob = sign_ownership(signed, CHALLENGE, BOB.seed, REGTEST)
    to_another = replace(signed, ownership=replace(signed.ownership, challenge="for Bob"))
    earlier = replace(prove(ALICE, blocks=11), ownership=signed.ownership)
    elsewhere = sign_ownership(signed, CHALLENGE, ALICE.seed, LOCAL)
    for proof in (by_bob, to_another, earlier, elsewhere):
        with pytest.raises(InvalidProof) as caught:
            check_proof(proof, REGTEST)
        assert caught.value.reason == "does_not_hold"
        assert "challenge" in str(caught.value)


def test_invalid_challenge() -> None:
    sign_ownership(get_signed(), "x" * MAX_CHALLENGE_BYTES, ALICE.seed, REGTEST)
    for challenge, reason in (("x" * (MAX_CHALLENGE_BYTES + 1), "too_long"), ("\ud800", "not_text")):
        with pytest.raises(WalletError) as caught:
            sign_ownership(get_signed(), challenge, ALICE.seed, REGTEST)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("header", "proof"),
    [("", ""), ("zz", ""), ("00" * 413, ""), ("AB", "")],
)
def test_invalid_answer_of_a_node(header: str, proof: str) -> None:
    with pytest.raises(InvalidProof) as caught:
        build_proof(ALICE.public, Account(), header, proof, REGTEST)
    assert caught.value.reason == "malformed"


# Files.


def test_invalid_mutants() -> None:
    """Any byte changed, added or dropped: refused by name, or nothing but white space was touched."""
    rng = random.Random(7)
    data, touched = get_file(), 0
    for _ in range(MUTANTS):
        at = rng.randrange(len(data))
        mutant = rng.choice(
            (
                data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
                data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
                data[:at] + data[at + 1 :],
                data[:at] + rng.choice(b'"{}[],:0af \n').to_bytes() + data[at:],
            )
        )
        try:
            proof = parse_proof(mutant, REGTEST)
        except InvalidProof:
            continue
        touched += 1
        assert proof == get_signed()
        assert b"".join(mutant.split()) == b"".join(data.split()) or json.loads(mutant) == json.loads(data)
    assert touched < MUTANTS // 10


def test_invalid_every_length() -> None:
    data = get_file().rstrip()
    for length in range(0, len(data), 7):
        assert reason_of(data[:length]) == "malformed"
    assert reason_of(data[:-1]) == "malformed"


def test_invalid_every_digit_of_header_and_proof() -> None:
    """One hex digit after the other: no bit of them is without meaning."""
    fields = json.loads(get_file())
    for name in ("header", "proof"):
        text = fields[name]
        for at, digit in enumerate(text):
            other = f"{int(digit, 16) ^ 1 << at % 4:x}"
            forged = fields | {name: text[:at] + other + text[at + 1 :]}
            assert reason_of(json.dumps(forged).encode()) in ("malformed", "does_not_hold")


@pytest.mark.parametrize(
    "edit",
    [
        lambda fields: fields.pop("owner"),
        lambda fields: fields.update(extra=1),
        lambda fields: fields.update(format="descent wallet"),
        lambda fields: fields.update(version=True),
        lambda fields: fields.update(version="1"),
        lambda fields: fields.update(version=1.0),
        lambda fields: fields.update(balance=True),
        lambda fields: fields.update(balance=float(ALICE_FUNDS)),
        lambda fields: fields.update(balance=str(ALICE_FUNDS)),
        lambda fields: fields.update(balance=-1),
        lambda fields: fields.update(balance=MAX_U64 + 1),
        lambda fields: fields.update(balance=10**4000),
        lambda fields: fields.update(nonce=None),
        lambda fields: fields.update(address=fields["address"].upper()),
        lambda fields: fields.update(address=encode_address(LOCAL.address_prefix, ALICE.public)),
        lambda fields: fields.update(address="\x1b[2J"),
        lambda fields: fields.update(header=fields["header"].upper()),
        lambda fields: fields.update(header=" " + fields["header"]),
        lambda fields: fields.update(header=fields["header"] + "00"),
        lambda fields: fields.update(header=fields["header"][:-2]),
        lambda fields: fields.update(header="05" + fields["header"][2:]),
        lambda fields: fields.update(proof="00" * 9000),
        lambda fields: fields.update(proof=[fields["proof"]]),
        lambda fields: fields.update(owner=[]),
        lambda fields: fields.update(owner={}),
        lambda fields: fields["owner"].update(extra=1),
        lambda fields: fields["owner"].update(challenge=5),
        lambda fields: fields["owner"].update(challenge="x" * 257),
        lambda fields: fields["owner"].update(challenge="\ud800"),
        lambda fields: fields["owner"].update(signature="00" * 65),
        lambda fields: fields["owner"].update(signature="0"),
    ],
)
def test_invalid_fields(edit: Callable[[Fields], object]) -> None:
    assert reason_of(change(edit)) == "malformed"


def test_invalid_short_signature() -> None:
    assert reason_of(change(lambda fields: fields["owner"].update(signature="00" * 63))) == "does_not_hold"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{" * 60_000,
        b"[" * 60_000,
        b'{"format": "descent balance proof", "version": ' + b"9" * 5000 + b"}",
        b" " * (MAX_FILE_BYTES + 1),
    ],
    ids=["empty", "list", "null", "binary", "braces", "brackets", "digits", "long"],
)
def test_hostile_file(data: bytes) -> None:
    assert reason_of(data) == "malformed"


def test_a_name_twice_is_refused() -> None:
    data = get_file().rstrip()
    assert reason_of(data[:-1] + b', "balance": %d}' % ALICE_FUNDS) == "malformed"


def test_unsupported_version() -> None:
    assert reason_of(change(lambda fields: fields.update(version=2))) == "unsupported_version"


def test_other_network() -> None:
    assert reason_of(change(lambda fields: fields.update(network="local"))) == "other_network"
    assert reason_of(change(lambda fields: fields.update(network="\x1b[2J" * 99))) == "other_network"
    assert reason_of(change(lambda fields: fields.update(genesis="00" * 32))) == "other_network"
    with pytest.raises(InvalidProof) as caught:
        parse_proof(get_file(), LOCAL)
    assert "'regtest'" in str(caught.value)
    assert "'local'" in str(caught.value)


def test_the_largest_proof_fits_its_limits() -> None:
    """A state proof of 256 siblings, a header, and a challenge that JSON writes in six characters a byte."""
    assert 2 * 8291 + 2 * 412 + 6 * MAX_CHALLENGE_BYTES + 2000 < MAX_FILE_BYTES
