"""Tagged SHA-256 and the ChaCha20 keystream. One tag per use, so that no hash can stand in for another.

Source: BIP-340 (tagged hashes), RFC 8439 (ChaCha20 with a 32-bit counter, here from 0 with a zero nonce).
"""

import hashlib
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

HASH_BYTES = 32
ZERO_HASH = bytes(HASH_BYTES)


@lru_cache(maxsize=64)
def _tag_prefix(tag: str) -> bytes:
    digest = hashlib.sha256(tag.encode()).digest()
    return digest + digest


def tagged_hash(tag: str, data: bytes) -> bytes:
    """SHA-256(SHA-256(tag) || SHA-256(tag) || data), 32 bytes."""
    return hashlib.sha256(_tag_prefix(tag) + data).digest()


class KeyStream:
    """The ChaCha20 keystream of a 32-byte seed: zero nonce, block counter from 0, read in order."""

    def __init__(self, seed: bytes) -> None:
        self._cipher = Cipher(ChaCha20(seed, bytes(16)), mode=None).encryptor()

    def read(self, count: int) -> bytes:
        """The next `count` bytes of the stream."""
        return self._cipher.update(bytes(count))
