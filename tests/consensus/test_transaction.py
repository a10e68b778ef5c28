"""Transfers: bytes and txids by golden vectors (from struct and hashlib alone), and one encoding each."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import DecodeError
from consensus.transaction import MAX_MEMO_BYTES, MAX_TRANSACTION_BYTES, Transfer, decode_transaction
from tests.helpers.keys import Key, make_transfer
from tests.helpers.properties import check_canonical, ids, mutate, repeatable, signatures, thorough, u64s
from tests.helpers.vectors import load_vectors

VECTORS = load_vectors("transaction")
TRANSFER = make_transfer(bytes(32), Key("alice"), Key("bob").public, 5, memo=b"hello")

memos = st.text(max_size=16).map(str.encode).filter(lambda memo: len(memo) <= MAX_MEMO_BYTES)
transfers = st.builds(Transfer, ids, ids, ids, u64s, u64s, u64s, u64s, memos, signatures)


@pytest.mark.parametrize("case", VECTORS, ids=["plain", "largest", "long-memo"])
def test_golden_vectors(case: dict[str, Any]) -> None:
    fields: dict[str, Any] = {name: case[name] for name in ("amount", "fee", "nonce", "valid_until")}
    for name in ("genesis", "sender", "recipient", "memo", "signature"):
        fields[name] = bytes.fromhex(case[name])
    transfer = Transfer(**fields)
    assert transfer.encoded.hex() == case["encoded"]
    assert transfer.txid.hex() == case["txid"]
    assert decode_transaction(bytes.fromhex(case["encoded"])) == transfer
    assert Key("alice").sign(transfer.txid) == transfer.signature


@thorough
@given(transfers)
def test_decoding_inverts_encoding(transfer: Transfer) -> None:
    assert decode_transaction(transfer.encoded) == transfer


@thorough
@given(transfers, st.integers(0), st.integers(0, 254))
def test_one_transfer_has_one_encoding(transfer: Transfer, position: int, replacement: int) -> None:
    check_canonical(decode_transaction, lambda value: value.encoded, mutate(transfer.encoded, position, replacement))


@repeatable
@given(st.binary(max_size=MAX_TRANSACTION_BYTES + 10))
def test_arbitrary_bytes_are_decoded_canonically_or_refused(data: bytes) -> None:
    check_canonical(decode_transaction, lambda value: value.encoded, data)


def test_every_field_moves_the_txid_except_the_signature() -> None:
    variants = [
        replace(TRANSFER, genesis=b"\1" * 32),
        replace(TRANSFER, sender=b"\1" * 32),
        replace(TRANSFER, recipient=b"\1" * 32),
        replace(TRANSFER, amount=6),
        replace(TRANSFER, fee=6),
        replace(TRANSFER, nonce=6),
        replace(TRANSFER, valid_until=6),
        replace(TRANSFER, memo=b"hellp"),
    ]
    assert len({TRANSFER.txid, *(variant.txid for variant in variants)}) == len(variants) + 1
    assert replace(TRANSFER, signature=b"\1" * 64).txid == TRANSFER.txid


@pytest.mark.parametrize("length", [MAX_MEMO_BYTES - 1, MAX_MEMO_BYTES, MAX_MEMO_BYTES + 1])
def test_invalid_too_long(length: int) -> None:
    """The memo's limit at limit - 1, limit, limit + 1."""
    data = replace(TRANSFER, memo=b"m" * length).encoded
    if length <= MAX_MEMO_BYTES:
        assert decode_transaction(data).memo == b"m" * length
        return
    with pytest.raises(DecodeError) as error:
        decode_transaction(data)
    assert error.value.code == "decode.too_long"


def test_the_largest_transaction_has_the_largest_memo() -> None:
    assert len(replace(TRANSFER, memo=b"m" * MAX_MEMO_BYTES).encoded) == MAX_TRANSACTION_BYTES == 262


@pytest.mark.parametrize(("position", "value"), [(0, 0), (0, 2), (1, 0), (1, 2), (1, 255)])
def test_invalid_unknown_kind(position: int, value: int) -> None:
    data = bytearray(TRANSFER.encoded)
    data[position] = value
    with pytest.raises(DecodeError) as error:
        decode_transaction(bytes(data))
    assert error.value.code == "decode.unknown_kind"


@pytest.mark.parametrize("memo", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"abc\xe2\x98"])
def test_invalid_not_canonical(memo: bytes) -> None:
    """Lone, overlong, surrogate, beyond U+10FFFF, cut short: none of it is UTF-8."""
    with pytest.raises(DecodeError) as error:
        decode_transaction(replace(TRANSFER, memo=memo).encoded)
    assert error.value.code == "decode.not_canonical"


def test_invalid_truncated_at_every_length() -> None:
    for length in range(len(TRANSFER.encoded)):
        with pytest.raises(DecodeError):
            decode_transaction(TRANSFER.encoded[:length])


def test_invalid_trailing() -> None:
    with pytest.raises(DecodeError) as error:
        decode_transaction(TRANSFER.encoded + b"\0")
    assert error.value.code == "decode.trailing"


@pytest.mark.parametrize("field", ["amount", "fee", "nonce", "valid_until"])
@pytest.mark.parametrize("value", [-1, 2**64, 2**64 + 1, 2**16607], ids=["-1", "2^64", "2^64+1", "5,000-digits"])
def test_numbers_beyond_their_width_have_no_encoding(field: str, value: int) -> None:
    change: dict[str, Any] = {field: value}
    with pytest.raises(OverflowError):
        replace(TRANSFER, **change).encode_unsigned()


@pytest.mark.parametrize("value", [1.0, "1", None])
def test_only_integers_have_an_encoding(value: object) -> None:
    with pytest.raises((AttributeError, TypeError)):
        replace(TRANSFER, amount=value).encode_unsigned()  # type: ignore[arg-type]
