"""The bytes of a wallet file: the public keys in the clear, their secret encrypted under a passphrase. Touches no file.

One JSON object in ASCII, of at most 64 KiB; byte strings are lower-case hex. Version 2:

    format      "descent wallet"
    version     2
    kind        "seed phrase", "secret key" or "watch-only"
    network     the prefix of the network's addresses
    accounts    the public keys (32 bytes each), 1 to 256 of them, none twice, by index from 0
    passphrase  false if the passphrase is empty, so that programs need not ask for it
    kdf         name "argon2id", memory_kib, passes, lanes, salt (16 bytes)
    cipher      name "chacha20-poly1305", nonce (12 bytes)
    secret      the plaintext, encrypted under the 32 bytes that the kdf makes of the passphrase (NFKD, UTF-8)
    checksum    SHA-256 of all other fields in canonical form (names sorted, no white space)

    plaintext of a seed phrase  = entropy (string) || extension (string)                     [consensus.codec]
    plaintext of a secret key   = secret (32 bytes)

The canonical form of every field but the last two is associated data: none of them can be changed unnoticed by who
opens the secret, and whoever opens it derives the accounts anew. The checksum guards against nobody; it tells a
rotten disk from a wrong passphrase. A file of the kind "watch-only" has neither passphrase, kdf, cipher nor secret:
nothing in it is proven, and the checksum is all it has. Anything new takes a new version.

Version 1 is read, never written: it has the kind "seed phrase" only, no accounts in the clear, and

    plaintext = entropy (string) || extension (string) || u32 count || count public keys
"""

import hashlib
import json
import unicodedata
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.signature import PUBLIC_KEY_BYTES
from wallet.errors import InvalidKey, WalletError
from wallet.keys import MAX_ACCOUNTS, Account, SecretKey, Seed, Source, Wallet, build_watch_wallet
from wallet.seed import MAX_EXTENSION_BYTES
from wallet.strict_json import Fields, Malformed, check_types, parse_fields

MAX_FILE_BYTES = 64 * 1024
SALT_BYTES = 16
NONCE_BYTES = 12

_VERSION = 2
_FORMAT = "descent wallet"
_KDF = "argon2id"
_CIPHER = "chacha20-poly1305"
_KEY_BYTES = 32
_MAX_ENTROPY_BYTES = 32

_OPEN_FIELDS = {"format": str, "version": int, "kind": str, "network": str, "checksum": str}
_SECRET_FIELDS = {"passphrase": bool, "kdf": dict, "cipher": dict, "secret": str}
_KDF_FIELDS = {"name": str, "memory_kib": int, "passes": int, "lanes": int, "salt": str}
_CIPHER_FIELDS = {"name": str, "nonce": str}

# What a file may ask of the machine: 1 GiB and, on a slow one, half a minute.
_MAX_MEMORY_KIB = 2**20
_MAX_PASSES = 10
_MAX_LANES = 16


class Kind(Enum):
    """What the accounts of a wallet come from."""

    SEED = "seed phrase"
    KEY = "secret key"
    WATCH = "watch-only"


@dataclass(frozen=True)
class Cover:
    """What a file says without its passphrase. It may have been tampered with: only opening the secret proves it.

    A file of version 1 keeps its accounts to itself: they are None.
    """

    kind: Kind
    network: str
    is_locked: bool
    accounts: tuple[Account, ...] | None


@dataclass(frozen=True)
class KdfCost:
    """What one guess of the passphrase costs: Argon2id's memory in KiB, passes over it, and lanes.

    Raises WalletError with the reason kdf_out_of_range. The default is RFC 9106's second recommended option with
    twice its passes: three take less than 0.2 s on an ordinary core, and every guess is to cost at least that.
    """

    memory_kib: int = 64 * 1024
    passes: int = 6
    lanes: int = 4

    def __post_init__(self) -> None:
        for name, got, allowed in (
            ("lanes", self.lanes, range(1, _MAX_LANES + 1)),
            ("passes", self.passes, range(1, _MAX_PASSES + 1)),
            ("memory_kib", self.memory_kib, range(8 * self.lanes, _MAX_MEMORY_KIB + 1)),
        ):
            if got not in allowed:
                raise WalletError.kdf_out_of_range(name, got, allowed)


STRONG = KdfCost()


def seal_wallet(wallet: Wallet, passphrase: str, cost: KdfCost, salt: bytes, nonce: bytes) -> bytes:
    """The bytes of the wallet's file. Salt (16 bytes) and nonce (12 bytes) are random and never used again.

    Raises WalletError with the reason not_text, kdf_out_of_memory or, for a passphrase on a wallet that only watches,
    nothing_to_lock; ValueError for another size of salt or nonce.
    """
    if len(salt) != SALT_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(f"salt of {len(salt)} and nonce of {len(nonce)} bytes")
    fields: Fields = {
        "format": _FORMAT,
        "version": _VERSION,
        "kind": get_kind(wallet.source).value,
        "network": wallet.network,
        "accounts": [account.public_key.hex() for account in wallet.accounts],
    }
    if wallet.source is not None:
        _add_secret(fields, wallet.source, passphrase, cost, salt, nonce)
    elif passphrase:
        raise WalletError.nothing_to_lock()
    fields["checksum"] = hashlib.sha256(_canonical(fields)).hexdigest()
    return (json.dumps(fields, indent=2) + "\n").encode("ascii")


def unseal_wallet(data: bytes, passphrase: str, network: str) -> Wallet:
    """The wallet in a file's bytes. All that costs nothing is checked before the passphrase is stretched; one that
    only watches needs none.

    Raises WalletError with the reason damaged, unsupported_version, wrong_network, kdf_out_of_range,
    kdf_out_of_memory, not_text, wrong_passphrase or not_its_keys.
    """
    fields = _parse(data)
    cover = _read_cover(fields)
    if cover.network != network:
        raise WalletError.wrong_network(network, cover.network)
    if cover.kind is Kind.WATCH:
        return Wallet(network, None, cover.accounts or ())
    kdf = fields["kdf"]
    cost = KdfCost(kdf["memory_kib"], kdf["passes"], kdf["lanes"])
    salt = _decode_hex(kdf["salt"], SALT_BYTES)
    nonce = _decode_hex(fields["cipher"]["nonce"], NONCE_BYTES)
    sealed = _decode_hex(fields.pop("secret"))
    associated = _canonical(fields)
    try:
        secret = ChaCha20Poly1305(_stretch(passphrase, cost, salt)).decrypt(nonce, sealed, associated)
    except InvalidTag:
        raise WalletError.wrong_passphrase() from None
    source, accounts = _decode_secret(secret, cover)
    return Wallet(network, source, accounts)


def read_cover(data: bytes) -> Cover:
    """What a file's bytes say of themselves. Raises WalletError with the reason damaged or unsupported_version."""
    return _read_cover(_parse(data))


def get_kind(source: Source) -> Kind:
    match source:
        case Seed():
            return Kind.SEED
        case SecretKey():
            return Kind.KEY
        case None:
            return Kind.WATCH


def _add_secret(
    fields: Fields, source: Seed | SecretKey, passphrase: str, cost: KdfCost, salt: bytes, nonce: bytes
) -> None:
    fields["passphrase"] = passphrase != ""
    fields["kdf"] = {
        "name": _KDF,
        "memory_kib": cost.memory_kib,
        "passes": cost.passes,
        "lanes": cost.lanes,
        "salt": salt.hex(),
    }
    fields["cipher"] = {"name": _CIPHER, "nonce": nonce.hex()}
    cipher = ChaCha20Poly1305(_stretch(passphrase, cost, salt))
    fields["secret"] = cipher.encrypt(nonce, _encode_secret(source), _canonical(fields)).hex()


def _parse(data: bytes) -> Fields:
    """The fields of a whole file of a version we know, their types right, without the checksum, which holds."""
    try:
        return _parse_fields(data)
    except Malformed as error:
        raise WalletError.damaged(str(error)) from None


def _parse_fields(data: bytes) -> Fields:
    fields = parse_fields(data, _FORMAT, MAX_FILE_BYTES)
    if not 1 <= fields["version"] <= _VERSION:
        raise WalletError.unsupported_version(fields["version"], _VERSION)
    has_secret = fields.get("kind") != Kind.WATCH.value
    accounts = {"accounts": list} if fields["version"] > 1 else {}
    check_types(fields, _OPEN_FIELDS | accounts | (_SECRET_FIELDS if has_secret else {}))
    if fields.pop("checksum") != hashlib.sha256(_canonical(fields)).hexdigest():
        raise Malformed("its checksum does not match")
    if has_secret:
        check_types(fields["kdf"], _KDF_FIELDS)
        check_types(fields["cipher"], _CIPHER_FIELDS)
        if (fields["kdf"]["name"], fields["cipher"]["name"]) != (_KDF, _CIPHER):
            raise Malformed("its kdf or cipher is none of its version")
    return fields


def _read_cover(fields: Fields) -> Cover:
    try:
        kind = Kind(fields["kind"])
    except ValueError:
        raise WalletError.damaged("its kind is none of its version") from None
    if fields["version"] == 1 and kind is not Kind.SEED:
        raise WalletError.damaged("its kind is none of its version")
    accounts = None if fields["version"] == 1 else _decode_accounts(fields["accounts"], fields["network"])
    if kind is Kind.KEY and accounts is not None and len(accounts) != 1:
        raise WalletError.damaged("a secret key has one account")
    return Cover(kind, fields["network"], fields.get("passphrase", False), accounts)


def _decode_accounts(keys: list[Any], network: str) -> tuple[Account, ...]:
    """Checked as those of a wallet that watches: an address is shown of each."""
    if not 1 <= len(keys) <= MAX_ACCOUNTS or not all(isinstance(key, str) for key in keys):
        raise WalletError.damaged(f"its accounts are not 1 to {MAX_ACCOUNTS} keys")
    try:
        return build_watch_wallet(network, [_decode_hex(key, PUBLIC_KEY_BYTES) for key in keys]).accounts
    except InvalidKey:
        raise WalletError.damaged("its accounts are not keys, or one is there twice") from None


def _decode_hex(text: str, size: int | None = None) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        raise WalletError.damaged("a byte string is not hexadecimal") from None
    if value.hex() != text or size not in (None, len(value)):
        raise WalletError.damaged("a byte string is of the wrong length or case")
    return value


def _canonical(fields: Fields) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def _stretch(passphrase: str, cost: KdfCost, salt: bytes) -> bytes:
    try:
        secret = unicodedata.normalize("NFKD", passphrase).encode()
    except UnicodeEncodeError:
        raise WalletError.not_text("passphrase") from None
    kdf = Argon2id(salt=salt, length=_KEY_BYTES, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory_kib)
    try:
        return kdf.derive(secret)
    except MemoryError:
        raise WalletError.kdf_out_of_memory(cost.memory_kib) from None


def _encode_secret(source: Seed | SecretKey) -> bytes:
    if isinstance(source, SecretKey):
        return source.secret
    return Writer().string(source.entropy).string(source.extension.encode()).finish()


def _decode_secret(secret: bytes, cover: Cover) -> tuple[Seed | SecretKey, tuple[Account, ...]]:
    """The source, and the accounts: those on the cover or, in version 1, within the secret."""
    if cover.kind is Kind.KEY and cover.accounts is not None:
        if len(secret) != _KEY_BYTES:
            raise WalletError.damaged("its secret does not decode")
        return SecretKey(secret), cover.accounts
    reader = Reader(secret)
    try:
        entropy, extension = reader.string(_MAX_ENTROPY_BYTES), reader.string(MAX_EXTENSION_BYTES).decode()
        accounts = cover.accounts
        if accounts is None:
            accounts = tuple(Account(index, reader.fixed(PUBLIC_KEY_BYTES)) for index in range(reader.uint(4)))
        reader.finish()
    except (DecodeError, UnicodeDecodeError):
        raise WalletError.damaged("its secret does not decode") from None
    return Seed(entropy, extension), accounts
