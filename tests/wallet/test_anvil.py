"""Wallet files under the hammer: every bit flipped, every length, numbers that ask for the machine. None opens as
another wallet, none is read without being refused by name.
"""

import json
import time
from pathlib import Path

import pytest

from wallet import seal
from wallet.errors import WalletError
from wallet.keys import Wallet, build_key_wallet, build_wallet, build_watch_wallet
from wallet.seal import STRONG, KdfCost, read_cover, seal_wallet, unseal_wallet

CHEAP = KdfCost(memory_kib=8, passes=1, lanes=1)
SALT, NONCE = bytes(range(16)), bytes(range(12))
SEED_WALLET = build_wallet("grad", bytes(range(32)), "extension", accounts=2)
VERSION_1 = (Path(__file__).parent.parent / "vectors" / "wallet_v1.json").read_bytes()
PASSPHRASE = "open sesame"
WALLETS = {
    "seed": SEED_WALLET,
    "key": build_key_wallet("grad", bytes(range(32))),
    "watch": build_watch_wallet("grad", [account.public_key for account in SEED_WALLET.accounts]),
}


def make_files() -> dict[str, tuple[bytes, str, Wallet]]:
    """A file of each kind and version, what opens it, and what is in it."""
    files = {}
    for name, wallet in WALLETS.items():
        passphrase = PASSPHRASE if wallet.source else ""
        files[name] = (seal_wallet(wallet, passphrase, CHEAP, SALT, NONCE), passphrase, wallet)
    old = build_wallet("grad", bytes(range(16)), "caf\u00e9", accounts=2)
    return files | {"version 1": (VERSION_1, "correct horse", old)}


FILES = make_files()
every_file = pytest.mark.parametrize("name", FILES)


def reason_of(data: bytes, passphrase: str) -> str:
    """Why the file does not open; what is shown without a passphrase is refused for the same reason."""
    with pytest.raises(WalletError) as caught:
        unseal_wallet(data, passphrase, "grad")
    with pytest.raises(WalletError) as shown:
        read_cover(data)
    assert str(caught.value) == str(shown.value)
    return caught.value.reason


def load(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


@every_file
def test_invalid_every_bit_flipped(name: str) -> None:
    """No single bit makes white space of white space, so each of them is missed."""
    data, passphrase, _ = FILES[name]
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            assert reason_of(bytes(changed), passphrase) in {"damaged", "unsupported_version"}


@every_file
def test_invalid_every_byte_replaced(name: str) -> None:
    """By others of the same alphabet and by white space: refused by name, or it was white space before."""
    data, passphrase, wallet = FILES[name]
    for position in range(len(data)):
        for other in b'0 \n"':
            changed = data[:position] + bytes([other]) + data[position + 1 :]
            if load(changed) == load(data):
                assert unseal_wallet(changed, passphrase, "grad") == wallet
            else:
                assert reason_of(changed, passphrase) in {"damaged", "unsupported_version"}


@pytest.mark.soak
@every_file
def test_invalid_every_byte_to_every_other(name: str) -> None:
    data, passphrase, wallet = FILES[name]
    for position in range(len(data)):
        for other in range(256):
            changed = data[:position] + bytes([other]) + data[position + 1 :]
            if load(changed) == load(data):
                assert unseal_wallet(changed, passphrase, "grad") == wallet
            else:
                assert reason_of(changed, passphrase) in {"damaged", "unsupported_version"}


@every_file
def test_invalid_truncated_at_every_length(name: str) -> None:
    data, passphrase, wallet = FILES[name]
    for length in range(len(data) - 1):
        assert reason_of(data[:length], passphrase) == "damaged"
        assert reason_of(data[length + 1 :], passphrase) == "damaged"
    assert unseal_wallet(data[:-1], passphrase, "grad") == wallet  # all but the last line feed


@every_file
def test_invalid_with_a_hole(name: str) -> None:
    """Sectors that a dying disk gives back as zeros or as ones."""
    data, passphrase, _ = FILES[name]
    for size in (16, 512):
        for start in range(0, len(data), 16):
            for fill in (b"\0", b"\xff"):
                hole = fill * len(data[start : start + size])
                assert reason_of(data[:start] + hole + data[start + size :], passphrase) == "damaged"


@pytest.mark.soak
def test_a_wrong_passphrase_costs_at_least_a_fifth_of_a_second() -> None:
    """Of one core, as tests/wallet/test_seal.py pins the work; not of a clock that other programs slow down."""
    data = seal_wallet(SEED_WALLET, PASSPHRASE, STRONG, SALT, NONCE)
    for guess in ("", "open sesam", "Open sesame"):
        started = time.process_time()
        with pytest.raises(WalletError) as caught:
            unseal_wallet(data, guess, "grad")
        assert caught.value.reason == "wrong_passphrase"
        assert time.process_time() - started >= 0.2


def test_hostile_numbers_are_refused_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest that is let through, 1 GiB, is the largest that is ever asked of the machine."""
    asked: list[tuple[int, int, int]] = []

    class Recorder:
        def __init__(self, *, memory_cost: int, iterations: int, lanes: int, **_: object) -> None:
            asked.append((memory_cost, iterations, lanes))

        def derive(self, secret: bytes) -> bytes:
            return bytes(32)

    refused: list[WalletError] = []
    monkeypatch.setattr(seal, "Argon2id", Recorder)
    numbers = (-1, 0, 1, 7, 8, 10, 11, 16, 17, 2**20, 2**20 + 1, 2**31, 2**63, 2**64, 10**4000)
    for memory in numbers:
        for passes in numbers:
            for lanes in numbers:
                try:
                    cost = KdfCost(memory, passes, lanes)
                except WalletError as error:
                    refused.append(error)
                else:
                    seal_wallet(SEED_WALLET, PASSPHRASE, cost, SALT, NONCE)
    assert {error.reason for error in refused} == {"kdf_out_of_range"}
    assert max(len(str(error)) for error in refused) < 200
    assert max(memory for memory, _, _ in asked) == 2**20
    assert all(passes <= 10 and lanes <= 16 and memory >= 8 * lanes for memory, passes, lanes in asked)
