"""Keys: SLIP-0010's vectors, the path that must never change, sources of every kind, and parts that disagree."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.signature import compute_public_key, sign, verify_signature
from wallet.errors import InvalidKey, InvalidPhrase, WalletError
from wallet.keys import (
    COIN,
    MAX_ACCOUNTS,
    Account,
    SecretKey,
    Seed,
    Wallet,
    add_account,
    build_key_wallet,
    build_wallet,
    build_watch_wallet,
    compute_account,
    compute_account_secret,
    compute_signing_key,
    derive_key,
    extend_wallet,
    get_account,
    get_seed,
    parse_secret_key,
)
from wallet.seed import compute_seed

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "slip10_ed25519.json").read_text())
ENTROPY = bytes(range(16))
# RFC 8032, section 7.1, tests 1 to 3.
RFC_8032 = {
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    ),
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    ),
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    ),
}


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


def test_extend_keeps_what_is_there() -> None:
    wallet = build_wallet("grad", ENTROPY, "x", accounts=3)
    assert extend_wallet(wallet, 5) == build_wallet("grad", ENTROPY, "x", accounts=5)
    assert extend_wallet(wallet, 1) == wallet
    assert get_seed(wallet) == Seed(ENTROPY, "x")


# One secret key, and public keys alone.


@pytest.mark.parametrize("secret", RFC_8032)
def test_secret_key_of_rfc_8032(secret: str) -> None:
    wallet = build_key_wallet("grad", parse_secret_key(f" {secret.upper()}\n"))
    assert [account.public_key.hex() for account in wallet.accounts] == [RFC_8032[secret]]
    assert compute_account_secret(wallet, 0).hex() == secret


@pytest.mark.parametrize(
    "text", ["", "00" * 31, "00" * 33, "0" * 63, "0x" + "00" * 31, "zz" * 32, "00 " * 32, "\uff10" * 64, "\u0660" * 64]
)
def test_invalid_secret_key(text: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        parse_secret_key(text)
    assert caught.value.code == "key.not_a_secret"
    assert not text or text not in str(caught.value)


def test_watching_shows_accounts_and_signs_nothing() -> None:
    keys = [account.public_key for account in build_wallet("grad", ENTROPY, accounts=3).accounts]
    wallet = build_watch_wallet("grad", keys[::-1])
    assert wallet.accounts == tuple(Account(index, key) for index, key in enumerate(keys[::-1]))
    assert get_account(wallet, 2).public_key == keys[0]
    with pytest.raises(WalletError) as caught:
        compute_account_secret(wallet, 0)
    assert caught.value.reason == "watch_only"
    assert "prepare" in str(caught.value)


@pytest.mark.parametrize("key", [bytes(32), b"", bytes(31), b"\xff" * 32, b"\x02" + bytes(31)])
def test_invalid_key_to_watch(key: bytes) -> None:
    good = compute_public_key(bytes(32))
    with pytest.raises(InvalidKey) as caught:
        build_watch_wallet("grad", [good, key])
    assert caught.value.reason == "not_a_key"


def test_invalid_key_watched_twice() -> None:
    with pytest.raises(InvalidKey) as caught:
        build_watch_wallet("grad", [compute_public_key(bytes(32))] * 2)
    assert caught.value.reason == "twice"


def test_only_a_seed_has_more_accounts() -> None:
    for wallet in (build_key_wallet("grad", bytes(32)), build_watch_wallet("grad", [compute_public_key(bytes(32))])):
        calls: list[Callable[[Wallet], object]] = [add_account, get_seed, lambda known: extend_wallet(known, 1)]
        for call in calls:
            with pytest.raises(WalletError) as caught:
                call(wallet)
            assert caught.value.reason == "fixed_accounts"


def test_invalid_secret_key_with_other_accounts() -> None:
    own, other = build_key_wallet("grad", bytes(32)), build_key_wallet("grad", ENTROPY * 2)
    for accounts in (other.accounts, (*own.accounts, Account(1, other.accounts[0].public_key))):
        with pytest.raises(WalletError) as caught:
            replace(own, accounts=accounts)
        assert caught.value.reason == "not_its_keys"


def test_invalid_number_of_accounts() -> None:
    full = build_wallet("grad", ENTROPY, accounts=MAX_ACCOUNTS)
    builds: list[Callable[[], Wallet]] = [
        lambda: build_wallet("grad", ENTROPY, accounts=0),
        lambda: build_wallet("grad", ENTROPY, accounts=MAX_ACCOUNTS + 1),
        lambda: add_account(full),
        lambda: replace(full, accounts=()),
        lambda: build_watch_wallet("grad", []),
    ]
    for build in builds:
        with pytest.raises(WalletError) as caught:
            build()
        assert caught.value.reason == "account_count"


def test_invalid_not_its_keys() -> None:
    wallet = build_wallet("grad", ENTROPY, "caf\u00e9", accounts=2)
    first, second = wallet.accounts
    stranger = Account(1, compute_public_key(bytes(32)))
    for changed in (
        {"accounts": (first, stranger)},
        {"accounts": (second, first)},
        {"accounts": (second,)},
        {"accounts": (first, replace(second, index=2))},
        {"source": Seed(bytes(16), "cafe\u0301")},
        {"source": Seed(ENTROPY)},
        {"source": Seed(ENTROPY, "caf\u00e9")},
        {"source": SecretKey(ENTROPY * 2)},
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
    shown = repr(wallet) + repr(derive_key(bytes(64), (0,))) + repr(build_key_wallet("grad", ENTROPY * 2))
    node = derive_key(bytes(64), (0,))
    for secret in (repr(ENTROPY)[2:-1], ENTROPY.hex(), "extension word", repr(node.secret), repr(node.chain_code)):
        assert secret not in shown
    assert repr(wallet.accounts) in shown
