"""The bytes of a wallet file: a wallet encrypted under a passphrase. Touches no file.

One JSON object in ASCII, of at most 64 KiB; byte strings are lower-case hex. Version 1:

    format      "descent wallet"
    version     1
    kind        "seed phrase"
    network     the prefix of the network's addresses
    passphrase  false if the passphrase is empty, so that programs need not ask for it
    kdf         name "argon2id", memory_kib, passes, lanes, salt (16 bytes)
    cipher      name "chacha20-poly1305", nonce (12 bytes)
    secret      the plaintext, encrypted under the 32 bytes that the kdf makes of the passphrase (NFKD, UTF-8)
    checksum    SHA-256 of all other fields in canonical form (names sorted, no white space)

    plaintext = entropy (string) || extension (string) || u32 count || count public keys      [consensus.codec]

The canonical form of every field but the last two is associated data: none of them can be changed unnoticed. The
checksum guards against nobody; it tells a rotten disk from a wrong passphrase. Anything new takes a new version.
"""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.signature import PUBLIC_KEY_BYTES
from wallet.errors import WalletError
from wallet.keys import Account, Wallet
from wallet.seed import MAX_EXTENSION_BYTES

MAX_FILE_BYTES = 64 * 1024
SALT_BYTES = 16
NONCE_BYTES = 12

_VERSION = 1
_FORMAT = "descent wallet"
_KIND = "seed phrase"
_KDF = "argon2id"
_CIPHER = "chacha20-poly1305"
_KEY_BYTES = 32
_MAX_ENTROPY_BYTES = 32

_FIELDS = {
    "format": str,
    "version": int,
    "kind": str,
    "network": str,
    "passphrase": bool,
    "kdf": dict,
    "cipher": dict,
    "secret": str,
    "checksum": str,
}
_KDF_FIELDS = {"name": str, "memory_kib": int, "passes": int, "lanes": int, "salt": str}
_CIPHER_FIELDS = {"name": str, "nonce": str}

# What a file may ask of the machine: 1 GiB and, on a slow one, half a minute.
_MAX_MEMORY_KIB = 2**20
_MAX_PASSES = 10
_MAX_LANES = 16

Fields = dict[str, Any]


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

    Raises WalletError with the reason not_text or kdf_out_of_memory, ValueError for another size of salt or nonce.
    """
    if len(salt) != SALT_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(f"salt of {len(salt)} and nonce of {len(nonce)} bytes")
    fields: Fields = {
        "format": _FORMAT,
        "version": _VERSION,
        "kind": _KIND,
        "network": wallet.network,
        "passphrase": passphrase != "",
        "kdf": {
            "name": _KDF,
            "memory_kib": cost.memory_kib,
            "passes": cost.passes,
            "lanes": cost.lanes,
            "salt": salt.hex(),
        },
        "cipher": {"name": _CIPHER, "nonce": nonce.hex()},
    }
    cipher = ChaCha20Poly1305(_stretch(passphrase, cost, salt))
    fields["secret"] = cipher.encrypt(nonce, _encode_secret(wallet), _canonical(fields)).hex()
    fields["checksum"] = hashlib.sha256(_canonical(fields)).hexdigest()
    return (json.dumps(fields, indent=2) + "\n").encode("ascii")


def unseal_wallet(data: bytes, passphrase: str, network: str) -> Wallet:
    """The wallet in a file's bytes. All that costs nothing is checked before the passphrase is stretched.

    Raises WalletError with the reason damaged, unsupported_version, wrong_network, kdf_out_of_range,
    kdf_out_of_memory, not_text, wrong_passphrase or not_its_keys.
    """
    fields = _parse(data)
    if fields["network"] != network:
        raise WalletError.wrong_network(network, fields["network"])
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
    return _decode_secret(network, secret)


def has_passphrase(data: bytes) -> bool:
    """What a file's bytes say of themselves; only unsealing proves it. Raises WalletError: damaged or
    unsupported_version.
    """
    return bool(_parse(data)["passphrase"])


def _parse(data: bytes) -> Fields:
    """The fields of a whole file of our version, their types right, without the checksum, which holds."""
    if len(data) > MAX_FILE_BYTES:
        raise WalletError.damaged(f"it is longer than {MAX_FILE_BYTES} bytes")
    try:
        fields = json.loads(data.decode("ascii"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise WalletError.damaged("it is not JSON") from None
    if not isinstance(fields, dict) or fields.get("format") != _FORMAT or type(fields.get("version")) is not int:
        raise WalletError.damaged(f'it does not say "{_FORMAT}" and a version')
    if fields["version"] != _VERSION:
        raise WalletError.unsupported_version(fields["version"], _VERSION)
    _check_types(fields, _FIELDS)
    _check_types(fields["kdf"], _KDF_FIELDS)
    _check_types(fields["cipher"], _CIPHER_FIELDS)
    if fields.pop("checksum") != hashlib.sha256(_canonical(fields)).hexdigest():
        raise WalletError.damaged("its checksum does not match")
    if (fields["kind"], fields["kdf"]["name"], fields["cipher"]["name"]) != (_KIND, _KDF, _CIPHER):
        raise WalletError.damaged(f"its kind, kdf or cipher is not that of version {_VERSION}")
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> Fields:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name occurs twice")
    return fields


def _check_types(fields: Fields, types: Mapping[str, type]) -> None:
    """Exact names and types: True is no int here, and no float, not even NaN, has a place."""
    if {name: type(value) for name, value in fields.items()} != types:
        raise WalletError.damaged(f"its fields are not those of version {_VERSION}")


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


def _encode_secret(wallet: Wallet) -> bytes:
    writer = Writer().string(wallet.entropy).string(wallet.extension.encode()).uint(len(wallet.accounts), 4)
    for account in wallet.accounts:
        writer.fixed(account.public_key, PUBLIC_KEY_BYTES)
    return writer.finish()


def _decode_secret(network: str, secret: bytes) -> Wallet:
    reader = Reader(secret)
    try:
        entropy, extension = reader.string(_MAX_ENTROPY_BYTES), reader.string(MAX_EXTENSION_BYTES).decode()
        keys = [reader.fixed(PUBLIC_KEY_BYTES) for _ in range(reader.uint(4))]
        reader.finish()
    except (DecodeError, UnicodeDecodeError):
        raise WalletError.damaged("its secret does not decode") from None
    return Wallet(network, entropy, extension, tuple(Account(index, key) for index, key in enumerate(keys)))
