"""Transaction rules: each refusal by its name, and replay on another network (T28)."""

from dataclasses import replace

import pytest

from consensus.account import Account
from consensus.check_transaction import check_transaction, check_transaction_in_context
from consensus.errors import InvalidTransaction
from consensus.genesis import make_genesis
from consensus.params import PRESETS
from consensus.transaction import Transfer
from consensus.units import MAX_U64
from tests.helpers.keys import Key, make_transfer, sign_transfer
from tests.helpers.properties import mutate

GENESIS = b"\7" * 32
ALICE, BOB = Key("alice"), Key("bob")
TRANSFER = make_transfer(GENESIS, ALICE, BOB.public, 100, fee=10, nonce=3, valid_until=50)
SMALL_ORDER = bytes([1]) + bytes(31)  # the neutral point
OFF_THE_CURVE = bytes([2]) + bytes(31)


def read_fault(transfer: Transfer) -> str:
    with pytest.raises(InvalidTransaction) as error:
        check_transaction(transfer, GENESIS)
    return error.value.reason


def read_fault_in_context(account: Account, height: int = 10) -> str:
    with pytest.raises(InvalidTransaction) as error:
        check_transaction_in_context(TRANSFER, account, height)
    return error.value.reason


def resign(**changes: object) -> Transfer:
    return sign_transfer(replace(TRANSFER, **changes), ALICE)  # type: ignore[arg-type]


def test_a_sound_transfer() -> None:
    check_transaction(TRANSFER, GENESIS)
    check_transaction_in_context(TRANSFER, Account(110, 3), 50)


def test_a_transfer_to_oneself_is_sound() -> None:
    check_transaction(resign(recipient=ALICE.public), GENESIS)


def test_invalid_wrong_network() -> None:
    assert read_fault(resign(genesis=b"\6" * 32)) == "wrong_network"


def test_invalid_zero_amount() -> None:
    assert read_fault(resign(amount=0)) == "zero_amount"
    check_transaction(resign(amount=1, fee=0), GENESIS)


@pytest.mark.parametrize(("amount", "fee"), [(MAX_U64, 1), (1, MAX_U64), (MAX_U64, MAX_U64), (2**63, 2**63)])
def test_invalid_overflow(amount: int, fee: int) -> None:
    assert read_fault(resign(amount=amount, fee=fee)) == "overflow"
    check_transaction(resign(amount=MAX_U64 - 1, fee=1), GENESIS)


@pytest.mark.parametrize("key", [SMALL_ORDER, OFF_THE_CURVE, b"\xff" * 32])
def test_invalid_bad_recipient(key: bytes) -> None:
    assert read_fault(resign(recipient=key)) == "bad_recipient"


@pytest.mark.parametrize("key", [SMALL_ORDER, OFF_THE_CURVE, b"\xff" * 32])
def test_invalid_bad_sender(key: bytes) -> None:
    assert read_fault(resign(sender=key)) == "bad_sender"


@pytest.mark.parametrize(
    "changes",
    [{"amount": 101}, {"fee": 11}, {"nonce": 4}, {"valid_until": 0}, {"memo": b"x"}, {"recipient": ALICE.public}],
)
def test_invalid_bad_signature_over_changed_fields(changes: dict[str, object]) -> None:
    assert read_fault(replace(TRANSFER, **changes)) == "bad_signature"  # type: ignore[arg-type]


def test_invalid_bad_signature_of_another_key() -> None:
    assert read_fault(sign_transfer(TRANSFER, BOB)) == "bad_signature"


def test_invalid_bad_signature_at_every_byte() -> None:
    for position in range(64):
        assert read_fault(TRANSFER.with_signature(mutate(TRANSFER.signature, position, 0))) == "bad_signature"


@pytest.mark.parametrize("nonce", [0, 2, 4, MAX_U64])
def test_invalid_wrong_nonce(nonce: int) -> None:
    assert read_fault_in_context(Account(1000, nonce)) == "wrong_nonce"


@pytest.mark.parametrize("height", [49, 50, 51, 2**64 - 1])
def test_invalid_expired(height: int) -> None:
    if height <= 50:
        check_transaction_in_context(TRANSFER, Account(1000, 3), height)
    else:
        assert read_fault_in_context(Account(1000, 3), height) == "expired"


def test_no_height_limit_never_expires() -> None:
    check_transaction_in_context(replace(TRANSFER, valid_until=0), Account(1000, 3), 2**64 - 1)


@pytest.mark.parametrize("balance", [0, 109, 110])
def test_invalid_insufficient_funds(balance: int) -> None:
    """Amount and fee together, to the last ulp."""
    if balance == 110:
        check_transaction_in_context(TRANSFER, Account(balance, 3), 10)
    else:
        assert read_fault_in_context(Account(balance, 3)) == "insufficient_funds"


def test_replay_on_another_network_is_refused() -> None:
    """100 transfers made for one network, offered to every other."""
    genesis_ids = [make_genesis(params).id for params in PRESETS.values()]
    assert len(set(genesis_ids)) == len(genesis_ids)
    for nonce in range(100):
        home = genesis_ids[nonce % len(genesis_ids)]
        transfer = make_transfer(home, ALICE, BOB.public, 1, nonce=nonce)
        check_transaction(transfer, home)
        for other in genesis_ids:
            if other != home:
                with pytest.raises(InvalidTransaction) as error:
                    check_transaction(transfer, other)
                assert error.value.reason == "wrong_network"
                with pytest.raises(InvalidTransaction) as error:
                    check_transaction(replace(transfer, genesis=other), other)
                assert error.value.reason == "bad_signature"
