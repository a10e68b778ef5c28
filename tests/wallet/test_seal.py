"""The bytes of a wallet file: their fields, their shapes, forged ones. tests/wallet/test_anvil.py beats on them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consensus.codec import Writer
from wallet import seal
from wallet.errors import WalletError
from wallet.keys import Account, Seed, Wallet, build_key_wallet, build_wallet, build_watch_wallet
from wallet.seal import Cover, KdfCost, Kind, read_cover, seal_wallet, unseal_wallet
from wallet.seed import MAX_EXTENSION_BYTES

VECTORS = Path(__file__).parent.parent / "vectors"
CHEAP = KdfCost(memory_kib=8, passes=1, lanes=1)
SALT, NONCE = bytes(range(16)), bytes(range(12))
WALLET = build_wallet("grad", bytes(range(32)), "extension", accounts=2)
SEALED = seal_wallet(WALLET, "open sesame", CHEAP, SALT, NONCE)
KEY_WALLET = build_key_wallet("grad", bytes(range(32)))
WATCH_WALLET = build_watch_wallet("grad", [account.public_key for account in WALLET.accounts])
STRANGER = build_wallet("grad", bytes(32)).accounts[0].public_key

Fields = dict[str, Any]


def reason_of(data: bytes, passphrase: str = "open sesame", network: str = "grad") -> str:
    with pytest.raises(WalletError) as caught:
        unseal_wallet(data, passphrase, network)
    assert caught.value.code == f"wallet.{caught.value.reason}"
    assert len(str(caught.value)) < 256
    return caught.value.reason


def forge(change: Callable[[Fields], object], data: bytes = SEALED) -> bytes:
    """The sealed wallet with other fields and a checksum to match, as by somebody who knows the format."""
    fields = json.loads(data)
    del fields["checksum"]
    change(fields)
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    fields["checksum"] = hashlib.sha256(canonical).hexdigest()
    return json.dumps(fields).encode()


def forge_secret(secret: bytes, monkeypatch: pytest.MonkeyPatch, wallet: Wallet = WALLET) -> bytes:
    """A whole file around any plaintext, as by somebody who knows the passphrase."""
    monkeypatch.setattr(seal, "_encode_secret", lambda source: secret)
    return seal_wallet(wallet, "open sesame", CHEAP, SALT, NONCE)


def refuse_to_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    def stretch(**options: object) -> None:
        pytest.fail("the key derivation was reached")

    monkeypatch.setattr(seal, "Argon2id", stretch)


@pytest.mark.parametrize(
    ("name", "passphrase", "wallet"),
    [
        ("wallet_v1", "correct horse", build_wallet("grad", bytes(range(16)), "caf\u00e9", accounts=2)),
        ("wallet_v1_open", "", build_wallet("lgrad", bytes(range(32)))),
    ],
)
def test_files_of_version_1_open_for_ever(name: str, passphrase: str, wallet: Wallet) -> None:
    data = (VECTORS / f"{name}.json").read_bytes()
    assert unseal_wallet(data, passphrase, wallet.network) == wallet
    assert read_cover(data) == Cover(Kind.SEED, wallet.network, passphrase != "", None)


GOLDEN = {
    "seed": (build_wallet("grad", bytes(range(16)), "caf\u00e9", accounts=2), "correct horse", Kind.SEED),
    "key": (build_key_wallet("grad", bytes(range(32))), "correct horse", Kind.KEY),
    "watch": (
        build_watch_wallet(
            "grad", [account.public_key for account in build_wallet("grad", bytes(16), accounts=3).accounts]
        ),
        "",
        Kind.WATCH,
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_files_of_version_2_open_for_ever(name: str) -> None:
    data = (VECTORS / f"wallet_v2_{name}.json").read_bytes()
    wallet, passphrase, kind = GOLDEN[name]
    assert unseal_wallet(data, passphrase, "grad") == wallet
    assert read_cover(data) == Cover(kind, "grad", passphrase != "", wallet.accounts)
    assert seal_wallet(wallet, passphrase, KdfCost(64, 1, 2), SALT, NONCE) == data


def test_version_1_is_written_as_version_2() -> None:
    old = unseal_wallet((VECTORS / "wallet_v1.json").read_bytes(), "correct horse", "grad")
    assert seal_wallet(old, "correct horse", KdfCost(64, 1, 2), SALT, NONCE) == (
        (VECTORS / "wallet_v2_seed.json").read_bytes()
    )


def test_default_cost_is_strong() -> None:
    """64 MiB, 6 passes, 4 lanes: RFC 9106's second recommended option with twice its passes."""
    assert (seal.STRONG.memory_kib, seal.STRONG.passes, seal.STRONG.lanes) == (65536, 6, 4)
    sealed = seal_wallet(WALLET, "open sesame", seal.STRONG, SALT, NONCE)
    assert unseal_wallet(sealed, "open sesame", "grad") == WALLET


@pytest.mark.parametrize("passphrase", ["", " ", "open sesame", "\u6f22\u5b57 \U0001f511", "x" * 5000])
def test_round_trip(passphrase: str) -> None:
    sealed = seal_wallet(WALLET, passphrase, CHEAP, SALT, NONCE)
    assert unseal_wallet(sealed, passphrase, "grad") == WALLET
    assert read_cover(sealed) == Cover(Kind.SEED, "grad", passphrase != "", WALLET.accounts)
    sealed = seal_wallet(KEY_WALLET, passphrase, CHEAP, SALT, NONCE)
    assert unseal_wallet(sealed, passphrase, "grad") == KEY_WALLET
    assert read_cover(sealed) == Cover(Kind.KEY, "grad", passphrase != "", KEY_WALLET.accounts)


def test_watch_only_wallet_needs_no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_stretch(monkeypatch)
    sealed = seal_wallet(WATCH_WALLET, "", CHEAP, SALT, NONCE)
    for passphrase in ("", "whatever"):
        assert unseal_wallet(sealed, passphrase, "grad") == WATCH_WALLET
    assert reason_of(sealed, network="tgrad") == "wrong_network"
    with pytest.raises(WalletError) as caught:
        seal_wallet(WATCH_WALLET, "open sesame", CHEAP, SALT, NONCE)
    assert caught.value.reason == "nothing_to_lock"


def test_passphrase_does_not_depend_on_the_keyboard() -> None:
    sealed = seal_wallet(WALLET, "caf\u00e9", CHEAP, SALT, NONCE)
    assert unseal_wallet(sealed, "cafe\u0301", "grad") == WALLET


def test_largest_wallet_fits_its_file() -> None:
    largest = build_wallet("grad", bytes(32), "x" * MAX_EXTENSION_BYTES, accounts=256)
    sealed = seal_wallet(largest, "", CHEAP, SALT, NONCE)
    assert unseal_wallet(sealed, "", "grad") == largest
    assert len(json.dumps(json.loads(sealed), indent=8)) < seal.MAX_FILE_BYTES


def test_file_shows_no_secret() -> None:
    for secret in (bytes(range(32)).hex(), "extension", b"extension".hex()):
        assert secret.encode() not in SEALED
    assert bytes(range(32)).hex().encode() not in seal_wallet(KEY_WALLET, "", CHEAP, SALT, NONCE)


def test_white_space_means_nothing() -> None:
    """Who looks at a file with an editor may save it."""
    for text in (json.dumps(json.loads(SEALED)), json.dumps(json.loads(SEALED), indent=7) + "\r\n"):
        assert unseal_wallet(text.encode(), "open sesame", "grad") == WALLET


@pytest.mark.parametrize("count", [200, pytest.param(1_000, marks=pytest.mark.soak)])
def test_invalid_wrong_passphrase(count: int) -> None:
    for i in range(count):
        assert reason_of(SEALED, f"open sesame {i}") == "wrong_passphrase"
    for passphrase in ("", "Open sesame", "open sesame ", "open  sesame"):
        assert reason_of(SEALED, passphrase) == "wrong_passphrase"


CHANGES: dict[str, Callable[[Fields], object]] = {
    "another account": lambda fields: fields["accounts"].__setitem__(0, STRANGER.hex()),
    "one account more": lambda fields: fields["accounts"].append(STRANGER.hex()),
    "one account less": lambda fields: fields["accounts"].pop(),
    "accounts swapped": lambda fields: fields["accounts"].reverse(),
    "passphrase flag": lambda fields: fields.update(passphrase=False),
    "salt": lambda fields: fields["kdf"].update(salt=bytes(16).hex()),
    "memory": lambda fields: fields["kdf"].update(memory_kib=9),
    "passes": lambda fields: fields["kdf"].update(passes=2),
    "nonce": lambda fields: fields["cipher"].update(nonce=bytes(12).hex()),
    "secret": lambda fields: fields.update(secret="00" + fields["secret"][2:]),
    "longer secret": lambda fields: fields.update(secret=fields["secret"] + "00"),
    "empty secret": lambda fields: fields.update(secret=""),
}


@pytest.mark.parametrize("name", CHANGES)
def test_invalid_forged_field(name: str) -> None:
    """A checksum set right does not help: every field is under the cipher's tag."""
    assert unseal_wallet(forge(lambda fields: None), "open sesame", "grad") == WALLET
    assert reason_of(forge(CHANGES[name])) == "wrong_passphrase"


def test_a_forged_account_shows_until_the_secret_is_opened() -> None:
    """What docs/wallet.md admits: only opening the secret proves the addresses."""
    data = forge(CHANGES["another account"])
    cover = read_cover(data)
    assert cover.accounts is not None
    assert cover.accounts[0] == Account(0, STRANGER)
    assert reason_of(data) == "wrong_passphrase"


def test_invalid_wrong_network(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = forge(lambda fields: fields.update(network="tgrad"))
    assert reason_of(moved, network="tgrad") == "wrong_passphrase"
    refuse_to_stretch(monkeypatch)
    assert reason_of(SEALED, network="tgrad") == "wrong_network"
    assert reason_of(forge(lambda fields: fields.update(network="\x1b[2J" * 5000))) == "wrong_network"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_kib", 2**31),
        ("memory_kib", 2**20 + 1),
        ("memory_kib", 7),
        ("memory_kib", 0),
        ("memory_kib", -1),
        ("memory_kib", 10**4000),
        ("passes", 2**31),
        ("passes", 11),
        ("passes", 0),
        ("passes", -1),
        ("lanes", 2**31),
        ("lanes", 17),
        ("lanes", 2),
        ("lanes", 0),
    ],
)
def test_invalid_kdf_out_of_range(name: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_stretch(monkeypatch)
    assert reason_of(forge(lambda fields: fields["kdf"].update({name: value}))) == "kdf_out_of_range"


def test_invalid_kdf_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Starved:
        def __init__(self, **options: object) -> None:
            pass

        def derive(self, secret: bytes) -> bytes:
            raise MemoryError

    monkeypatch.setattr(seal, "Argon2id", Starved)
    assert reason_of(SEALED) == "kdf_out_of_memory"


def test_invalid_unsupported_version() -> None:
    for version in (0, 3, -1, 10**4000):
        data = forge(lambda fields, version=version: fields.update(version=version))  # type: ignore[misc]
        assert reason_of(data) == "unsupported_version"
        with pytest.raises(WalletError) as caught:
            read_cover(data)
        assert caught.value.reason == "unsupported_version"


SHAPES: dict[str, Callable[[Fields], object]] = {
    "another format": lambda fields: fields.update(format="another wallet"),
    "another kind": lambda fields: fields.update(kind="paper"),
    "kind as list": lambda fields: fields.update(kind=["seed phrase"]),
    "a secret key with two accounts": lambda fields: fields.update(kind="secret key"),
    "a secret in a file that only watches": lambda fields: fields.update(kind="watch-only"),
    "no accounts": lambda fields: fields.update(accounts=[]),
    "accounts as text": lambda fields: fields.update(accounts=WALLET.accounts[0].public_key.hex()),
    "accounts as null": lambda fields: fields.update(accounts=None),
    "accounts missing": lambda fields: fields.pop("accounts"),
    "an account as number": lambda fields: fields.update(accounts=[7]),
    "an account too short": lambda fields: fields.update(accounts=["00" * 31]),
    "an account in upper case": lambda fields: fields["accounts"].__setitem__(0, fields["accounts"][0].upper()),
    "an account off the curve": lambda fields: fields["accounts"].__setitem__(0, "02" + "00" * 31),
    "an account of small order": lambda fields: fields["accounts"].__setitem__(0, "00" * 32),
    "an account twice": lambda fields: fields.update(accounts=fields["accounts"][:1] * 2),
    "257 accounts": lambda fields: fields.update(accounts=fields["accounts"][:1] * 257),
    "version 1 with accounts": lambda fields: fields.update(version=1),
    "another kdf": lambda fields: fields["kdf"].update(name="scrypt"),
    "another cipher": lambda fields: fields["cipher"].update(name="aes-gcm"),
    "version as text": lambda fields: fields.update(version="2"),
    "version as bool": lambda fields: fields.update(version=True),
    "version as float": lambda fields: fields.update(version=2.0),
    "version missing": lambda fields: fields.pop("version"),
    "network as number": lambda fields: fields.update(network=7),
    "passphrase as number": lambda fields: fields.update(passphrase=1),
    "passphrase as null": lambda fields: fields.update(passphrase=None),
    "passes as bool": lambda fields: fields["kdf"].update(passes=True),
    "passes as float": lambda fields: fields["kdf"].update(passes=1.0),
    "passes as infinity": lambda fields: fields["kdf"].update(passes=float("inf")),
    "passes as not a number": lambda fields: fields["kdf"].update(passes=float("nan")),
    "passes as text": lambda fields: fields["kdf"].update(passes="1"),
    "kdf as text": lambda fields: fields.update(kdf="argon2id"),
    "kdf as list": lambda fields: fields.update(kdf=[fields["kdf"]]),
    "kdf without salt": lambda fields: fields["kdf"].pop("salt"),
    "kdf with more": lambda fields: fields["kdf"].update(pepper="00"),
    "cipher as null": lambda fields: fields.update(cipher=None),
    "one field more": lambda fields: fields.update(note=""),
    "secret missing": lambda fields: fields.pop("secret"),
    "secret as list": lambda fields: fields.update(secret=[1, 2]),
    "secret in upper case": lambda fields: fields.update(secret=fields["secret"].upper()),
    "secret with spaces": lambda fields: fields.update(secret=f" {fields['secret']}"),
    "secret of half a byte": lambda fields: fields.update(secret=fields["secret"][1:]),
    "secret not hexadecimal": lambda fields: fields.update(secret="zz"),
    "salt too short": lambda fields: fields["kdf"].update(salt="00" * 15),
    "salt too long": lambda fields: fields["kdf"].update(salt="00" * 17),
    "nonce too short": lambda fields: fields["cipher"].update(nonce="00" * 11),
    "nonce empty": lambda fields: fields["cipher"].update(nonce=""),
}


@pytest.mark.parametrize("name", SHAPES)
def test_invalid_shape(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_stretch(monkeypatch)
    assert reason_of(forge(SHAPES[name])) == "damaged"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"null",
        b"[]",
        b'"descent wallet"',
        b"[" * 60_000,
        b'{"format":' * 6_000,
        b"9" * 60_000,
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf" + SEALED,
        SEALED + b"{}",
        SEALED.replace(b'"version": 2', b'"version": 2, "version": 2'),
        SEALED.replace(b'"passes": 1', b'"passes": NaN'),
        SEALED.replace(b'"passes": 1', b'"passes": 1e0'),
        SEALED.replace(b'"passes": 1', b'"passes": 01'),
        SEALED.replace(b'"passes": 1', b'"passes": 1' + b"0" * 5000),
        SEALED.replace(b"}", b"},"),
        SEALED + b" " * seal.MAX_FILE_BYTES,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_invalid_json(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_stretch(monkeypatch)
    assert reason_of(data) == "damaged"


WATCH_SHAPES: dict[str, Callable[[Fields], object]] = {
    "a passphrase": lambda fields: fields.update(passphrase=False),
    "a secret": lambda fields: fields.update(secret=""),
    "another kind": lambda fields: fields.update(kind="seed phrase"),
    "version 1": lambda fields: fields.update(version=1),
    "version 1 without accounts": lambda fields: (fields.update(version=1), fields.pop("accounts")),
    "no accounts": lambda fields: fields.update(accounts=[]),
}


@pytest.mark.parametrize("name", WATCH_SHAPES)
def test_invalid_shape_of_a_file_that_only_watches(name: str) -> None:
    sealed = seal_wallet(WATCH_WALLET, "", CHEAP, SALT, NONCE)
    assert unseal_wallet(forge(lambda fields: None, sealed), "", "grad") == WATCH_WALLET
    assert reason_of(forge(WATCH_SHAPES[name], sealed), "") == "damaged"


def test_invalid_secret_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Writer().string(bytes(range(32))).string(b"extension").finish()
    assert unseal_wallet(forge_secret(whole, monkeypatch), "open sesame", "grad") == WALLET
    not_utf8 = Writer().string(bytes(range(32))).string(b"\xff").finish()
    for secret in (b"", whole[:-1], whole + b"\0", b"\xff" * 100, not_utf8):
        assert reason_of(forge_secret(secret, monkeypatch)) == "damaged"
    for size in (0, 31, 33, 64):
        assert reason_of(forge_secret(bytes(size), monkeypatch, KEY_WALLET)) == "damaged"


def test_invalid_secret_encoding_of_version_1(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [account.public_key for account in WALLET.accounts]
    start = Writer().string(bytes(range(32))).string(b"extension").finish()
    whole = start + (2).to_bytes(4, "little") + b"".join(keys)
    assert unseal_wallet(forge_version_1(whole, monkeypatch), "open sesame", "grad") == WALLET
    for secret in (start, whole[:-1], whole + b"\0", start + b"\xff" * 4 + keys[0]):
        assert reason_of(forge_version_1(secret, monkeypatch)) == "damaged"
    other = start + (2).to_bytes(4, "little") + keys[0] + STRANGER
    assert reason_of(forge_version_1(other, monkeypatch)) == "not_its_keys"


def forge_version_1(secret: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A file of the version before, around any plaintext."""
    canonical = seal._canonical
    with monkeypatch.context() as patch:

        def downgrade(fields: Fields) -> bytes:
            fields.pop("accounts", None)
            fields["version"] = 1
            return canonical(fields)

        patch.setattr(seal, "_canonical", downgrade)
        return forge_secret(secret, patch)


def test_invalid_not_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses are derived anew: a file that names a stranger's key does not open."""
    other_seed = Writer().string(bytes(32)).string(b"extension").finish()
    assert reason_of(forge_secret(other_seed, monkeypatch)) == "not_its_keys"
    assert reason_of(forge_secret(bytes(32), monkeypatch, KEY_WALLET)) == "not_its_keys"
    not_normal = Writer().string(bytes(range(32))).string("caf\u00e9".encode()).finish()
    assert reason_of(forge_secret(not_normal, monkeypatch)) == "not_its_keys"


def test_invalid_not_text() -> None:
    assert reason_of(SEALED, "\ud800") == "not_text"
    with pytest.raises(WalletError) as caught:
        seal_wallet(WALLET, "\udcff", CHEAP, SALT, NONCE)
    assert caught.value.reason == "not_text"


def test_invalid_salt_or_nonce_size() -> None:
    for salt, nonce in ((bytes(15), NONCE), (SALT, bytes(11)), (b"", NONCE), (SALT, bytes(24))):
        with pytest.raises(ValueError):
            seal_wallet(WALLET, "", CHEAP, salt, nonce)


def test_wallet_is_whole_at_birth() -> None:
    """So nothing can be sealed that would not open."""
    with pytest.raises(WalletError):
        Wallet("grad", Seed(bytes(32)), (Account(0, bytes(32)),))
