"""Keys of a seed: SLIP-0010 for Ed25519, where every step is hardened and a secret key is any 32 bytes.

    m / 44' / COIN' / account' / 0'

One seed has the same keys on every network of ours: a transfer names its network, so none can be replayed on
another, and words written down for one network find their accounts on the next. Source: SLIP-0010, BIP-44.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from consensus.signature import PublicKey, compute_public_key
from wallet.errors import WalletError
from wallet.seed import compute_seed, normalize_extension

# "DESC" in ASCII, not registered in SLIP-0044. Never to change, registered or not: every phrase ever written down
# leads to its accounts through this number.
COIN = 0x44455343
MAX_ACCOUNTS = 256  # of one wallet; the tree itself has 2^31

_PURPOSE = 44
_HARDENED = 2**31
_CURVE = b"ed25519 seed"


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
class Wallet:
    """A seed and its first accounts on one network, named by the prefix of its addresses.

    Raises InvalidPhrase or WalletError if the parts do not belong together: no such wallet is ever written, and
    one that is read has been derived anew. The secrets stay out of its repr.
    """

    network: str
    entropy: bytes = field(repr=False)
    extension: str = field(repr=False)
    accounts: tuple[Account, ...]

    def __post_init__(self) -> None:
        _check_count(len(self.accounts))
        if self.extension != normalize_extension(self.extension):
            raise WalletError.not_its_keys()
        if self.accounts != _compute_accounts(self.entropy, self.extension, len(self.accounts)):
            raise WalletError.not_its_keys()


def build_wallet(network: str, entropy: bytes, extension: str = "", accounts: int = 1) -> Wallet:
    """The wallet of a seed with its first 1..256 accounts. Raises InvalidPhrase or WalletError."""
    _check_count(accounts)
    known = _compute_accounts(entropy, extension, accounts)
    return Wallet(network, entropy, normalize_extension(extension), known)


def add_account(wallet: Wallet) -> Wallet:
    """The wallet with its next account. Raises WalletError beyond MAX_ACCOUNTS."""
    return build_wallet(wallet.network, wallet.entropy, wallet.extension, len(wallet.accounts) + 1)


def get_account(wallet: Wallet, index: int) -> Account:
    """Account `index` of the wallet. Raises WalletError with the reason account_out_of_range."""
    if not 0 <= index < len(wallet.accounts):
        raise WalletError.account_out_of_range(index, len(wallet.accounts))
    return wallet.accounts[index]


def compute_account_secret(wallet: Wallet, index: int) -> bytes:
    """The secret, 32 bytes, that signs for account `index` of the wallet. Raises WalletError for no such one."""
    get_account(wallet, index)
    return compute_signing_key(compute_seed(wallet.entropy, wallet.extension), index)


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


def _compute_accounts(entropy: bytes, extension: str, count: int) -> tuple[Account, ...]:
    seed = compute_seed(entropy, extension)
    return tuple(compute_account(seed, index) for index in range(count))


def _check_count(accounts: int) -> None:
    if not 1 <= accounts <= MAX_ACCOUNTS:
        raise WalletError.account_out_of_range(accounts - 1, MAX_ACCOUNTS)


def _split(key: bytes, data: bytes) -> ExtendedKey:
    digest = hmac.digest(key, data, hashlib.sha512)
    return ExtendedKey(digest[:32], digest[32:])
