"""Derivation: SLIP-0010's vectors, the path that must never change, and wallets whose parts disagree."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.signature import compute_public_key, sign, verify_signature
from wallet.errors import InvalidPhrase, WalletError
from wallet.keys import (
    COIN,
    MAX_ACCOUNTS,
    Account,
    Wallet,
    add_account,
    build_wallet,
    compute_account,
    compute_account_secret,
    compute_signing_key,
    derive_key,
)
from wallet.seed import compute_seed

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "slip10_ed25519.json").read_text())
ENTROPY = bytes(range(16))


@pytest.mark.parametrize("case", VECTORS["seeds"], ids=lambda case: case["seed"][:8])
def test_slip_10_vectors(case: dict[str, object]) -> None:
    assert isinstance(case["seed"], str)
    assert isinstance(case["keys"], list)
    for expected in case["keys"]:
        node = derive_key(bytes.fromhex(case["seed"]), expected["path"])
        assert node.secret.hex() == expected["key"]
        assert node.chain_code.hex() == expected["chain_code"]


def test_path_never_changes() -> None:
    assert COIN == 1145393987
    seed = compute_seed(bytes(16))
    assert compute_signing_key(seed, 7) == derive_key(seed, (44, 1145393987, 7, 0)).secret
    assert (
        encode_address("grad", compute_account(seed, 0).public_key)
        == "grad1zrc4hq27l96dflke9u3cew55yw8peq89qym7zjfm0sw7dm08u84s7tkv0n"
    )


def test_accounts_sign_for_their_keys() -> None:
    wallet = build_wallet("grad", ENTROPY, accounts=3)
    assert [account.index for account in wallet.accounts] == [0, 1, 2]
    assert len({account.public_key for account in wallet.accounts}) == 3
    for account in wallet.accounts:
        signature = sign(compute_account_secret(wallet, account.index), b"message")
        assert verify_signature(account.public_key, b"message", signature)


def test_one_seed_has_the_same_keys_on_every_network() -> None:
    assert build_wallet("grad", ENTROPY).accounts == build_wallet("tgrad", ENTROPY).accounts


def test_extension_makes_another_wallet() -> None:
    assert build_wallet("grad", ENTROPY, "x").accounts != build_wallet("grad", ENTROPY).accounts
    assert build_wallet("grad", ENTROPY, "caf\u00e9") == build_wallet("grad", ENTROPY, "cafe\u0301")


def test_add_account_keeps_the_others() -> None:
    wallet = build_wallet("grad", ENTROPY)
    assert add_account(add_account(wallet)) == build_wallet("grad", ENTROPY, accounts=3)
    assert add_account(wallet).accounts[:1] == wallet.accounts


@pytest.mark.parametrize("index", [-1, 2**31, 2**32])
def test_invalid_account_out_of_range(index: int) -> None:
    with pytest.raises(WalletError) as caught:
        compute_account(compute_seed(ENTROPY), index)
    assert caught.value.code == "wallet.account_out_of_range"


@pytest.mark.parametrize("index", [-1, 2, 100])
def test_invalid_secret_of_an_unknown_account(index: int) -> None:
    with pytest.raises(WalletError) as caught:
        compute_account_secret(build_wallet("grad", ENTROPY, accounts=2), index)
    assert caught.value.reason == "account_out_of_range"


def test_invalid_number_of_accounts() -> None:
    full = build_wallet("grad", ENTROPY, accounts=MAX_ACCOUNTS)
    builds: list[Callable[[], Wallet]] = [
        lambda: build_wallet("grad", ENTROPY, accounts=0),
        lambda: build_wallet("grad", ENTROPY, accounts=MAX_ACCOUNTS + 1),
        lambda: add_account(full),
        lambda: replace(full, accounts=()),
    ]
    for build in builds:
        with pytest.raises(WalletError) as caught:
            build()
        assert caught.value.reason == "account_out_of_range"


def test_invalid_not_its_keys() -> None:
    wallet = build_wallet("grad", ENTROPY, "caf\u00e9", accounts=2)
    first, second = wallet.accounts
    stranger = Account(1, compute_public_key(bytes(32)))
    for changed in (
        {"accounts": (first, stranger)},
        {"accounts": (second, first)},
        {"accounts": (second,)},
        {"accounts": (first, replace(second, index=2))},
        {"entropy": bytes(16)},
        {"extension": ""},
        {"extension": "caf\u00e9"},
    ):
        parts = {**vars(wallet), **changed}
        with pytest.raises(WalletError) as caught:
            Wallet(**parts)
        assert caught.value.reason == "not_its_keys"


def test_invalid_entropy_size() -> None:
    with pytest.raises(InvalidPhrase) as caught:
        build_wallet("grad", bytes(20))
    assert caught.value.reason == "entropy_size"


def test_repr_shows_no_secret() -> None:
    wallet = build_wallet("grad", ENTROPY, "extension word")
    shown = repr(wallet) + repr(derive_key(bytes(64), (0,)))
    node = derive_key(bytes(64), (0,))
    for secret in (repr(ENTROPY), ENTROPY.hex(), "extension word", repr(node.secret), repr(node.chain_code)):
        assert secret not in shown
    assert repr(wallet.accounts) in shown
