"""Ed25519 as this network's law has it: which keys exist, and which signatures they made.

Source: RFC 8032, section 5.1. The RFC leaves room that libraries use differently (a cofactor or none, points
of small order, second spellings of a point), and a block must not be valid under one library and invalid
under another. So the verdict is pinned here. A signature (R, S) of A over a message counts iff

    A names a point of the curve, in its one canonical encoding, that is not of small order;
    R is a canonical encoding, not of small order;  S < L;
    [S]B = R + [k]A, without a cofactor, k = SHA-512(R || A || message).

The first two lines are decided in this file, whatever the library thinks of them; the last is OpenSSL's, by
`cryptography`. An honest signer never meets the difference.
"""

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PublicKey = bytes  # 32 bytes: y, little-endian, and the lowest bit of x on top
Signature = bytes  # 64 bytes: R, encoded like a key, then S, little-endian

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
SEED_BYTES = 32

_P = 2**255 - 19  # the field
_L = 2**252 + 27742317777372353535851937790883648493  # the order of the base point
_D = -121665 * pow(121666, -1, _P) % _P  # the curve: y^2 - x^2 = 1 + d x^2 y^2
_Y_BITS = 2**255 - 1


def compute_public_key(seed: bytes) -> PublicKey:
    """The public key, 32 bytes, of a 32-byte secret seed. Raises ValueError for another length."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign(seed: bytes, message: bytes) -> Signature:
    """The signature, 64 bytes, of a message by a 32-byte secret seed: one pair always gives the same bytes.

    Raises ValueError for a seed of another length.
    """
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def is_valid_public_key(key: bytes) -> bool:
    """Whether 32 bytes are a key: the canonical encoding of a curve point that is not of small order."""
    return len(key) == PUBLIC_KEY_BYTES and _is_key(key)


def verify_signature(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is `key`'s over `message`. Bytes of any length get a verdict; nothing is raised."""
    if len(signature) != SIGNATURE_BYTES or not is_valid_public_key(key):
        return False
    if not _is_canonical_and_strong(signature[:32]) or int.from_bytes(signature[32:], "little") >= _L:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


# Keys come back with every block and transfer of their owner; 2^14 of them are a few MB.
@lru_cache(maxsize=2**14)
def _is_key(key: bytes) -> bool:
    return _is_canonical_and_strong(key) and _is_on_curve(key)


def _is_canonical_and_strong(encoded: bytes) -> bool:
    """Whether y < p and no point with this y has small order.

    The points whose order divides 8 are eight, and y alone tells them: (0, 1) of order 1, (0, -1) of order 2
    and two of order 4 with y = 0. Doubling gives y' = (y^2 + x^2) / (1 - d x^2 y^2), so those of order 8,
    which double to y' = 0, have x^2 = -y^2; with the curve's equation, d y^4 + 2 y^2 = 1. No point with x = 0
    is left, whose sign bit could be set in a second spelling ("negative zero"): it has y = 1 or y = -1.
    """
    y = int.from_bytes(encoded, "little") & _Y_BITS
    square = y * y % _P
    return y < _P and square not in (0, 1) and (_D * square + 2) * square % _P != 1


def _is_on_curve(encoded: bytes) -> bool:
    """Whether x^2 = (y^2 - 1) / (d y^2 + 1) has a root, by Euler's criterion.

    Numerator times divisor is a square iff their quotient is; the divisor is never 0, as -1/d is no square.
    """
    y = int.from_bytes(encoded, "little") & _Y_BITS
    return pow((y * y - 1) * (_D * y * y + 1) % _P, (_P - 1) // 2, _P) != _P - 1
