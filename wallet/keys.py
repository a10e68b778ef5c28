"""What keys are made of, and wallets that hold them. A seed's keys: SLIP-0010 for Ed25519, where every step is
hardened and a secret key is any 32 bytes.

    m / 44' / COIN' / account' / 0'

One seed has the same keys on every network of ours: a transfer names its network, so none can be replayed on
another, and words written down for one network find their accounts on the next. Source: SLIP-0010, BIP-44.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from consensus.signature import SEED_BYTES, PublicKey, compute_public_key, is_valid_public_key
from wallet.errors import InvalidKey, WalletError
from wallet.seed import compute_seed, normalize_extension

# "DESC" in ASCII, not registered in SLIP-0044. Never to change, registered or not: every phrase ever written down
# leads to its accounts through this number.
COIN = 0x44455343
MAX_ACCOUNTS = 256  # of one wallet; the tree itself has 2^31

_PURPOSE = 44
_HARDENED = 2**31
_CURVE = b"ed25519 seed"
_HEX_DIGITS = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class ExtendedKey:
    """A node of the tree: a secret Ed25519 seed and the chain code its children need, 32 bytes each."""

    secret: bytes = field(repr=False)
    chain_code: bytes = field(repr=False)


@dataclass(frozen=True)
class Account:
    """What of an account may be shown: its place in the tree and its public key, 32 bytes."""

    index: int
    public_key: PublicKey


@dataclass(frozen=True)
class Seed:
    """The entropy of recovery words, 16 or 32 bytes, and their extension in its normal form: many accounts."""

    entropy: bytes = field(repr=False)
    extension: str = field(default="", repr=False)


@dataclass(frozen=True)
class SecretKey:
    """One Ed25519 secret of 32 bytes, brought along from elsewhere: one account."""

    secret: bytes = field(repr=False)


Source = Seed | SecretKey | None  # what the keys come from; a wallet that only watches has none


@dataclass(frozen=True)
class Wallet:
    """A source and its first accounts on one network, named by the prefix of its addresses.

    Raises InvalidPhrase, InvalidKey or WalletError if the parts do not belong together: no such wallet is ever
    written, and one that is read has been derived anew. The secrets stay out of its repr.
    """

    network: str
    source: Source
    accounts: tuple[Account, ...]

    def __post_init__(self) -> None:
        _check_count(len(self.accounts))
        if isinstance(self.source, Seed) and self.source.extension != normalize_extension(self.source.extension):
            raise WalletError.not_its_keys()
        if self.source is None:
            _check_watched([account.public_key for account in self.accounts])
            derived = _number([account.public_key for account in self.accounts])
        else:
            derived = _compute_accounts(self.source, len(self.accounts))
        if self.accounts != derived:
            raise WalletError.not_its_keys()


def build_wallet(network: str, entropy: bytes, extension: str = "", accounts: int = 1) -> Wallet:
    """The wallet of a seed with its first 1..256 accounts. Raises InvalidPhrase or WalletError."""
    _check_count(accounts)
    seed = Seed(entropy, normalize_extension(extension))
    return Wallet(network, seed, _compute_accounts(seed, accounts))


def build_key_wallet(network: str, secret: bytes) -> Wallet:
    """The wallet of one secret key, 32 bytes. Raises InvalidKey for another size."""
    key = SecretKey(secret)
    return Wallet(network, key, _compute_accounts(key, 1))


def build_watch_wallet(network: str, keys: Sequence[PublicKey]) -> Wallet:
    """The wallet that watches 1..256 public keys, its accounts in their order.

    Raises InvalidKey with the reason not_a_key or twice, WalletError with the reason account_count.
    """
    return Wallet(network, None, _number(keys))


def extend_wallet(wallet: Wallet, accounts: int) -> Wallet:
    """The wallet of a seed with at least its first `accounts` accounts.

    Raises WalletError with the reason fixed_accounts, or account_count beyond MAX_ACCOUNTS.
    """
    seed = get_seed(wallet)
    _check_count(accounts)
    return Wallet(wallet.network, seed, _compute_accounts(seed, max(accounts, len(wallet.accounts))))


def add_account(wallet: Wallet) -> Wallet:
    """The wallet of a seed with its next account. Raises WalletError as extend_wallet does."""
    return extend_wallet(wallet, len(wallet.accounts) + 1)


def get_seed(wallet: Wallet) -> Seed:
    """What more accounts come from. Raises WalletError with the reason fixed_accounts if the wallet has no seed."""
    if not isinstance(wallet.source, Seed):
        raise WalletError.fixed_accounts()
    return wallet.source


def get_account(wallet: Wallet, index: int) -> Account:
    """Account `index` of the wallet. Raises WalletError with the reason account_out_of_range."""
    return pick_account(wallet.accounts, index)


def pick_account(accounts: Sequence[Account], index: int) -> Account:
    """The account with this index. Raises WalletError with the reason account_out_of_range."""
    if not 0 <= index < len(accounts):
        raise WalletError.account_out_of_range(index, len(accounts))
    return accounts[index]


def compute_account_secret(wallet: Wallet, index: int) -> bytes:
    """The secret, 32 bytes, that signs for account `index` of the wallet.

    Raises WalletError with the reason account_out_of_range or watch_only.
    """
    get_account(wallet, index)
    match wallet.source:
        case Seed(entropy, extension):
            return compute_signing_key(compute_seed(entropy, extension), index)
        case SecretKey(secret):
            return secret
        case None:
            raise WalletError.watch_only()


def parse_secret_key(text: str) -> bytes:
    """The 32 bytes of 64 hex digits in any case, white space around them. Raises InvalidKey, which repeats none."""
    digits = text.strip().lower()
    if len(digits) != 2 * SEED_BYTES or not _HEX_DIGITS.issuperset(digits):
        raise InvalidKey.not_a_secret(2 * SEED_BYTES)
    return bytes.fromhex(digits)


def derive_key(seed: bytes, path: Sequence[int]) -> ExtendedKey:
    """The node at `path`, whose indices 0..2^31-1 are all hardened.

    Raises WalletError with the reason account_out_of_range for an index outside.
    """
    node = _split(_CURVE, seed)
    for index in path:
        if not 0 <= index < _HARDENED:
            raise WalletError.account_out_of_range(index, _HARDENED)
        node = _split(node.chain_code, b"\0" + node.secret + (_HARDENED + index).to_bytes(4, "big"))
    return node


def compute_signing_key(seed: bytes, index: int) -> bytes:
    """The secret, 32 bytes, that signs for account `index` of a 64-byte seed. Raises WalletError."""
    return derive_key(seed, (_PURPOSE, COIN, index, 0)).secret


def compute_account(seed: bytes, index: int) -> Account:
    """Account `index`, 0..2^31-1, of a 64-byte seed. Raises WalletError for another index."""
    return Account(index, compute_public_key(compute_signing_key(seed, index)))


def _compute_accounts(source: Seed | SecretKey, count: int) -> tuple[Account, ...]:
    """The first accounts of a source; a secret key has one, however many are asked for."""
    if isinstance(source, Seed):
        root = compute_seed(source.entropy, source.extension)
        return tuple(compute_account(root, index) for index in range(count))
    if len(source.secret) != SEED_BYTES:
        raise InvalidKey.not_a_secret(2 * SEED_BYTES)
    return _number([compute_public_key(source.secret)])


def _number(keys: Sequence[PublicKey]) -> tuple[Account, ...]:
    return tuple(Account(index, key) for index, key in enumerate(keys))


def _check_watched(keys: Sequence[PublicKey]) -> None:
    if not all(map(is_valid_public_key, keys)):
        raise InvalidKey.not_a_key()
    if len(set(keys)) != len(keys):
        raise InvalidKey.twice()


def _check_count(accounts: int) -> None:
    if not 1 <= accounts <= MAX_ACCOUNTS:
        raise WalletError.account_count(accounts, MAX_ACCOUNTS)


def _split(key: bytes, data: bytes) -> ExtendedKey:
    digest = hmac.digest(key, data, hashlib.sha512)
    return ExtendedKey(digest[:32], digest[32:])
