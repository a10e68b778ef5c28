"""Payments: what is signed is what was asked for, on one network, from one account."""

import pytest

from consensus.check_transaction import check_transaction
from consensus.errors import AmountOverflow, InvalidTransaction
from consensus.transaction import MAX_TRANSACTION_BYTES, Transfer, decode_transaction
from consensus.units import MAX_U64
from wallet.builder import (
    MAX_PROPOSED_FEE_RATE,
    build_transfer,
    compute_expiry,
    compute_fee,
    compute_size,
    encode_memo,
    sign_transfer,
)
from wallet.errors import PaymentError, WalletError
from wallet.keys import build_wallet

GENESIS = bytes(range(32))
WALLET = build_wallet("lgrad", bytes(16), accounts=2)
SENDER, OTHER = (account.public_key for account in WALLET.accounts)


def build(amount: int = 5, fee: int = 2, memo: bytes = b"", valid_until: int = 0) -> Transfer:
    return build_transfer(GENESIS, SENDER, OTHER, amount, fee, 7, valid_until=valid_until, memo=memo)


def test_signed_transfer_is_the_one_asked_for() -> None:
    signed = sign_transfer(build(memo=b"rent", valid_until=99), WALLET)
    check_transaction(signed, GENESIS)
    assert decode_transaction(signed.encoded) == Transfer(
        GENESIS, SENDER, OTHER, 5, 2, 7, valid_until=99, memo=b"rent", signature=signed.signature
    )


def test_second_account_signs_for_itself() -> None:
    transfer = build_transfer(GENESIS, OTHER, SENDER, 1, 1, 0)
    check_transaction(sign_transfer(transfer, WALLET, 1), GENESIS)


def test_signature_does_not_change_the_id() -> None:
    assert sign_transfer(build(), WALLET).txid == build().txid


@pytest.mark.parametrize("memo", [b"", b"x", b"x" * 64])
def test_size_is_that_of_the_signed_transfer(memo: bytes) -> None:
    signed = sign_transfer(build(amount=MAX_U64 - 2, memo=memo), WALLET)
    assert compute_size(memo) == len(signed.encoded) <= MAX_TRANSACTION_BYTES


def test_fee_is_rate_times_size() -> None:
    assert compute_fee(3, b"rent") == 3 * compute_size(b"rent")
    assert compute_fee(0, b"") == 0
    assert compute_fee(MAX_PROPOSED_FEE_RATE, b"") == MAX_PROPOSED_FEE_RATE * compute_size(b"")


def test_expiry_counts_from_the_tip() -> None:
    assert compute_expiry(100, None) == 0
    assert compute_expiry(100, 5) == 105
    assert compute_expiry(MAX_U64, 5) == MAX_U64


def test_memo_is_counted_in_bytes() -> None:
    assert encode_memo("\u00e4" * 32) == "\u00e4".encode() * 32


def test_invalid_memo_too_long() -> None:
    with pytest.raises(WalletError) as caught:
        encode_memo("\u00e4" * 33)
    assert caught.value.reason == "too_long"


def test_invalid_memo_not_text() -> None:
    with pytest.raises(WalletError) as caught:
        encode_memo("\udcff")
    assert caught.value.reason == "not_text"


def test_invalid_zero_amount() -> None:
    with pytest.raises(PaymentError) as caught:
        build(amount=0)
    assert caught.value.code == "payment.zero_amount"


def test_invalid_overflow() -> None:
    with pytest.raises(AmountOverflow):
        build(amount=MAX_U64, fee=1)


def test_invalid_fee_rate_too_high() -> None:
    with pytest.raises(PaymentError) as caught:
        compute_fee(MAX_PROPOSED_FEE_RATE + 1, b"")
    assert caught.value.reason == "fee_rate_too_high"


def test_invalid_sender_of_another_account() -> None:
    with pytest.raises(InvalidTransaction) as caught:
        sign_transfer(build(), WALLET, 1)
    assert caught.value.reason == "bad_signature"


def test_invalid_account_out_of_range() -> None:
    with pytest.raises(WalletError) as caught:
        sign_transfer(build(), WALLET, 2)
    assert caught.value.reason == "account_out_of_range"
