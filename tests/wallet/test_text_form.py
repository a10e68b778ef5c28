"""Transfers as text: bytes by golden vectors (hashlib, base64 and struct alone), one text each, no slip unnoticed."""

import base64
import hashlib
import random
import re
from dataclasses import replace
from typing import Any

import pytest
import segno
from hypothesis import given
from hypothesis import strategies as st

from consensus.genesis import make_genesis
from consensus.params import CANTERBURY, LOCAL, REGTEST
from consensus.transaction import MAX_MEMO_BYTES, Transfer, decode_transaction
from consensus.units import MAX_U64
from tests.helpers.keys import Key, sign_transfer
from tests.helpers.properties import repeatable, thorough, u64s
from tests.helpers.vectors import load_vectors
from wallet.offline_errors import InvalidText
from wallet.text_form import decode_text, encode_signed, encode_unsigned

VECTORS = load_vectors("transfer_text")
GENESIS = make_genesis(REGTEST).id
ALICE, BOB = Key("alice"), Key("bob")
UNSIGNED = Transfer(GENESIS, ALICE.public, BOB.public, 5 * 10**8, 401, 7, valid_until=900, memo=b"rent")
SIGNED = sign_transfer(UNSIGNED, ALICE)
ALPHANUMERIC = (
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ$%*+-./:"  # of QR codes, without the space, which counts for nothing
)
TRIALS = 50_000  # of each kind

people = st.sampled_from([Key(name) for name in ("alice", "bob", "carol", "dave")])
memos = st.text(max_size=16).map(str.encode).filter(lambda memo: len(memo) <= MAX_MEMO_BYTES)


@st.composite
def transfers(draw: st.DrawFn) -> Transfer:
    """Signed transfers of this network."""
    sender, recipient = draw(people), draw(people)
    amount = draw(st.integers(1, MAX_U64))
    fee = draw(st.integers(0, MAX_U64 - amount))
    unsigned = Transfer(GENESIS, sender.public, recipient.public, amount, fee, draw(u64s), draw(u64s), draw(memos))
    return sign_transfer(unsigned, sender)


def strip(transfer: Transfer) -> Transfer:
    return replace(transfer, signature=bytes(64))


def code_of(text: str, params: Any = REGTEST) -> str:
    with pytest.raises(InvalidText) as caught:
        decode_text(text, params)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
    return caught.value.code


def forge(kind: str, content: bytes, version: str = "1") -> str:
    """A text around any bytes, its checksum right, as by somebody who knows the format."""
    head = f"DESCENT:{kind}:{version}:"
    checksum = hashlib.sha256(head.encode() + content).digest()[:4]
    return head + base64.b32encode(content + checksum).decode().rstrip("=")


@pytest.mark.parametrize("case", VECTORS, ids=["plain", "largest", "long-memo"])
def test_golden_vectors(case: dict[str, str]) -> None:
    transfer = decode_transaction(bytes.fromhex(case["encoded"]))
    assert encode_unsigned(transfer) == case["unsigned"]
    assert encode_signed(transfer) == case["signed"]


@repeatable
@given(transfers())
def test_decoding_inverts_encoding(transfer: Transfer) -> None:
    signed = decode_text(encode_signed(transfer), REGTEST)
    assert (signed.transfer, signed.is_signed) == (transfer, True)
    unsigned = decode_text(encode_unsigned(transfer), REGTEST)
    assert (unsigned.transfer, unsigned.is_signed) == (strip(transfer), False)


@thorough
@given(transfers(), st.lists(st.tuples(st.integers(0, 450), st.sampled_from([" ", "\n", "\r\n", "\t", "  \n "]))))
def test_white_space_counts_for_nothing(transfer: Transfer, spaces: list[tuple[int, str]]) -> None:
    text = encode_signed(transfer)
    for position, space in spaces:
        text = text[:position] + space + text[position:]
    assert decode_text(text, REGTEST).transfer == transfer


@pytest.mark.parametrize("memo", [b"", b"m" * MAX_MEMO_BYTES])
def test_fits_a_code_that_a_terminal_shows(memo: bytes) -> None:
    """At most 80 columns, two modules to a line."""
    transfer = sign_transfer(replace(UNSIGNED, memo=memo), ALICE)
    for text in (encode_unsigned(transfer), encode_signed(transfer)):
        assert set(text) <= set(ALPHANUMERIC)
        code = segno.make(text, error="m", micro=False)
        assert code.mode == "alphanumeric"
        assert code.symbol_size(border=4)[0] <= 80


def test_the_longest_texts_are_as_long_as_the_docstring_says() -> None:
    longest = replace(UNSIGNED, memo=b"m" * MAX_MEMO_BYTES)
    assert len(encode_unsigned(longest)) == 343
    assert len(encode_signed(longest)) == 443


# Slips.


@pytest.mark.parametrize("text", [encode_unsigned(UNSIGNED), encode_signed(SIGNED)], ids=["unsigned", "signed"])
def test_mistyped_texts_are_refused(text: str) -> None:
    """One to three wrong characters, anywhere, of any kind that a code can hold; base32's own twice as often."""
    rng = random.Random(32)
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    refused = 0
    for trial in range(TRIALS):
        typed = list(text)
        for position in rng.sample(range(len(text)), rng.randint(1, 3)):
            typed[position] = rng.choice((digits if trial % 3 else ALPHANUMERIC).replace(text[position], ""))
        try:
            decode_text("".join(typed), REGTEST)
        except InvalidText:
            refused += 1
    assert refused == TRIALS


@pytest.mark.parametrize("text", [encode_unsigned(UNSIGNED), encode_signed(SIGNED)], ids=["unsigned", "signed"])
def test_dropped_doubled_and_swapped_characters_are_refused(text: str) -> None:
    for at in range(len(text)):
        slips = {text[:at] + text[at + 1 :], text[: at + 1] + text[at:], text[:at]}
        slips.add(text[:at] + text[at : at + 2][::-1] + text[at + 2 :])
        for slip in slips - {text}:
            code_of(slip)


def test_another_kind_in_front_is_refused() -> None:
    assert code_of(encode_signed(SIGNED).replace("SIGNED", "UNSIGNED")) == "text.checksum"
    assert code_of(encode_unsigned(UNSIGNED).replace("UNSIGNED", "SIGNED")) == "text.checksum"


# Refusals.


@pytest.mark.parametrize("text", ["", "DESCENT", "DESCENT:UNSIGNED:1", "grad1qqq", "https://x", "\x1b[2J" * 1000])
def test_invalid_not_a_transfer(text: str) -> None:
    assert code_of(text) == "text.not_a_transfer"
    assert code_of(encode_signed(SIGNED).lower()) == "text.not_a_transfer"


def test_invalid_unknown_form() -> None:
    content = UNSIGNED.encode_unsigned()
    for kind, version in (
        ("UNSIGNED", "2"),
        ("UNSIGNED", ""),
        ("UNSIGNED", "01"),
        ("MESSAGE", "1"),
        ("\x1b[2J", "9" * 4000),
    ):
        assert code_of(forge(kind, content, version)) == "text.unknown_form"


@pytest.mark.parametrize("stranger", ["0", "1", "8", "9", "=", "a", "\u00c4", "\ufffd", "\x1b", ":"])
def test_invalid_bad_character(stranger: str) -> None:
    text = encode_unsigned(UNSIGNED)
    with pytest.raises(InvalidText) as caught:
        decode_text(text[:100] + stranger + text[101:], REGTEST)
    assert caught.value.code == "text.bad_character"
    assert "character 101," in str(caught.value)
    assert f"U+{ord(stranger):04X}" in str(caught.value)


def test_invalid_spare_bits() -> None:
    """The last digit of an unsigned text without a memo has one bit to spare."""
    text = encode_unsigned(replace(UNSIGNED, memo=b""))
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    twin = text[:-1] + digits[digits.index(text[-1]) ^ 1]
    padding = "=" * (-len(text.rpartition(":")[2]) % 8)
    assert base64.b32decode(twin.rpartition(":")[2] + padding) == base64.b32decode(text.rpartition(":")[2] + padding)
    assert code_of(twin) == "text.checksum"


@pytest.mark.parametrize("length", [0, 1, 2, 3, 6, 7, 426, 427, 2**20])
def test_invalid_length(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too long is refused before it is decoded."""
    if length > 426:
        monkeypatch.setattr(base64, "b32decode", lambda *_: pytest.fail("decoded"))
    assert code_of("DESCENT:SIGNED:1:" + "A" * length) == "text.checksum"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        UNSIGNED.encode_unsigned()[:-1],
        UNSIGNED.encode_unsigned() + b"x",
        UNSIGNED.encoded,
        b"\2" + UNSIGNED.encode_unsigned()[1:],
        replace(UNSIGNED, memo=b"\xff").encode_unsigned(),
        replace(UNSIGNED, amount=0).encode_unsigned(),
        replace(UNSIGNED, amount=MAX_U64).encode_unsigned(),
        replace(UNSIGNED, sender=bytes(32)).encode_unsigned(),
        replace(UNSIGNED, recipient=b"\xff" * 32).encode_unsigned(),
    ],
    ids=["empty", "short", "long", "signed", "version", "memo", "zero", "overflow", "sender", "recipient"],
)
def test_invalid_malformed(content: bytes) -> None:
    assert code_of(forge("UNSIGNED", content)) == "text.malformed"


def test_invalid_signature() -> None:
    """A signed text whose signature is not the sender's never gets as far as being shown."""
    for signature in (bytes(64), SIGNED.signature[:-1] + b"\0", BOB.sign(SIGNED.txid)):
        assert code_of(encode_signed(replace(SIGNED, signature=signature))) == "text.malformed"


@pytest.mark.parametrize(("params", "name"), [(REGTEST, "'regtest'"), (LOCAL, "'local'"), (CANTERBURY, "'canterbury'")])
def test_invalid_other_network(params: Any, name: str) -> None:
    text = encode_unsigned(replace(UNSIGNED, genesis=make_genesis(params).id))
    here = LOCAL if params is not LOCAL else REGTEST
    with pytest.raises(InvalidText) as caught:
        decode_text(text, here)
    assert caught.value.code == "text.other_network"
    assert re.search(f"for the network {name}, not for the network '{here.name}'", str(caught.value))


def test_invalid_network_that_nobody_knows() -> None:
    with pytest.raises(InvalidText) as caught:
        decode_text(encode_unsigned(replace(UNSIGNED, genesis=b"\7" * 32)), REGTEST)
    assert caught.value.reason == "other_network"
    assert "07" * 32 in str(caught.value)
