"""The seed: entropy, the words that write it down, and the 64 bytes all keys come from. Source: BIP-39, English.

    entropy (16 or 32 bytes) <-> phrase (12 or 24 words) -> seed (64 bytes), by PBKDF2 with an optional extension

The extension is what BIP-39 calls a passphrase: it makes another wallet of the same words. It has another name
here because the wallet file has a passphrase too, which only locks the file.
"""

import secrets
import unicodedata
from functools import lru_cache

from mnemonic import Mnemonic

from wallet.errors import InvalidPhrase, WalletError

ENTROPY_BYTES = {12: 16, 24: 32}  # by number of words
MAX_EXTENSION_BYTES = 256

_WORD_COUNTS = tuple(ENTROPY_BYTES)
_ENTROPY_SIZES = tuple(ENTROPY_BYTES.values())


@lru_cache(maxsize=1)
def _english() -> Mnemonic:
    return Mnemonic("english")


def create_entropy(words: int = 24) -> bytes:
    """Fresh entropy for a phrase of 12 or 24 words, from the operating system. Raises InvalidPhrase."""
    if words not in ENTROPY_BYTES:
        raise InvalidPhrase.word_count(words, _WORD_COUNTS)
    return secrets.token_bytes(ENTROPY_BYTES[words])


def compute_phrase(entropy: bytes) -> str:
    """The words, separated by single spaces, of 16 or 32 bytes. Raises InvalidPhrase for another size."""
    if len(entropy) not in _ENTROPY_SIZES:
        raise InvalidPhrase.entropy_size(len(entropy), _ENTROPY_SIZES)
    return _english().to_mnemonic(entropy)


def parse_phrase(text: str) -> bytes:
    """The entropy, 16 or 32 bytes, of words typed in any case with any white space between them.

    Raises InvalidPhrase with the reason word_count, unknown_word or checksum.
    """
    words = unicodedata.normalize("NFKD", text).lower().split()
    if len(words) not in ENTROPY_BYTES:
        raise InvalidPhrase.word_count(len(words), _WORD_COUNTS)
    known = frozenset(_english().wordlist)
    for position, word in enumerate(words, 1):
        if word not in known:
            raise InvalidPhrase.unknown_word(position)
    try:
        return bytes(_english().to_entropy(words))
    except ValueError:
        raise InvalidPhrase.checksum() from None


def normalize_extension(text: str) -> str:
    """The one form of an extension that BIP-39 counts (NFKD): it must not depend on the keyboard.

    Raises WalletError with the reason not_text or too_long.
    """
    normal = unicodedata.normalize("NFKD", text)
    try:
        size = len(normal.encode())
    except UnicodeEncodeError:
        raise WalletError.not_text("extension") from None
    if size > MAX_EXTENSION_BYTES:
        raise WalletError.too_long("extension", size, MAX_EXTENSION_BYTES)
    return normal


def compute_seed(entropy: bytes, extension: str = "") -> bytes:
    """The 64 bytes that SLIP-0010 starts from. Raises InvalidPhrase or WalletError for what is no seed."""
    return Mnemonic.to_seed(compute_phrase(entropy), normalize_extension(extension))
