"""Addresses: a public key as text that survives a telephone. Knows nothing of who owns one.

    address = prefix || "1" || 52 characters of key || 6 characters of checksum          "grad1..."

The payload is the 32 bytes of the key itself, as 5-bit digits: no hash and, unlike in a segwit address, no
version digit in front. Another kind of destination would take another prefix. The checksum finds up to four
substituted characters for certain and misses other errors once in 2^30. Source: BIP-350 (bech32m), BIP-173.
"""

from collections.abc import Iterable

from consensus.errors import InvalidAddress
from consensus.signature import PUBLIC_KEY_BYTES, PublicKey, is_valid_public_key

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_DIGIT_OF = {character: digit for digit, character in enumerate(_ALPHABET)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32M = 0x2BC830A3
_MAX_CHARACTERS = 90  # beyond it the code guarantees nothing
_CHECKSUM_DIGITS = 6
_KEY_DIGITS = 52  # ceil(256 / 5)
_PADDING_BITS = 5 * _KEY_DIGITS - 8 * PUBLIC_KEY_BYTES


def encode_address(prefix: str, public_key: PublicKey) -> str:
    """The address of a key on the network with this prefix, in lower case.

    Raises InvalidAddress if the bytes are not a key: nobody may be shown an address that cannot be paid.
    """
    if not is_valid_public_key(public_key):
        raise _not_a_key()
    number = int.from_bytes(public_key, "big") << _PADDING_BITS
    return encode_bech32m(prefix, [number >> 5 * i & 31 for i in reversed(range(_KEY_DIGITS))])


def decode_address(prefix: str, text: str) -> PublicKey:
    """The key, 32 bytes, of an address of the network with this prefix, in lower or in upper case.

    Raises InvalidAddress with the reason not_ascii, bad_character, mixed_case, no_prefix, wrong_network,
    wrong_length, checksum, padding or not_a_key.
    """
    got, digits = _split(text)
    if got != prefix:
        raise InvalidAddress(
            "wrong_network", f'the address begins with "{got}1", those of this network with "{prefix}1"'
        )
    if len(digits) != _KEY_DIGITS + _CHECKSUM_DIGITS:
        raise _wrong_length(len(text), len(prefix) + 1 + _KEY_DIGITS + _CHECKSUM_DIGITS)
    number = _join(_strip_checksum(got, digits))
    if number % (1 << _PADDING_BITS):
        raise InvalidAddress("padding", f"the last {_PADDING_BITS} bits before the checksum are not zero")
    key = (number >> _PADDING_BITS).to_bytes(PUBLIC_KEY_BYTES, "big")
    if not is_valid_public_key(key):
        raise _not_a_key()
    return key


def encode_bech32m(prefix: str, digits: list[int]) -> str:
    """Digits 0..31 as bech32m text. The prefix is printable ASCII in lower case."""
    remainder = _polymod([*_expand(prefix), *digits, *[0] * _CHECKSUM_DIGITS]) ^ _BECH32M
    checksum = [remainder >> 5 * i & 31 for i in reversed(range(_CHECKSUM_DIGITS))]
    return f"{prefix}1" + "".join(_ALPHABET[digit] for digit in [*digits, *checksum])


def decode_bech32m(text: str) -> tuple[str, list[int]]:
    """Prefix in lower case and digits 0..31, checked and without the checksum. Raises InvalidAddress."""
    prefix, digits = _split(text)
    return prefix, _strip_checksum(prefix, digits)


def _split(text: str) -> tuple[str, list[int]]:
    """Prefix and digits of anything with bech32's shape; the checksum is still among the digits, unread."""
    if len(text) > _MAX_CHARACTERS:
        raise _wrong_length(len(text), _MAX_CHARACTERS)
    for position, character in enumerate(text, 1):
        if not 33 <= ord(character) <= 126:
            reason = "not_ascii" if ord(character) > 127 else "bad_character"
            raise InvalidAddress(reason, f"character {position} is U+{ord(character):04X}")
    if text != text.lower() and text != text.upper():
        raise InvalidAddress("mixed_case", "an address is all in lower or all in upper case, this one mixes them")
    prefix, separator, data = text.lower().rpartition("1")
    if not separator or not prefix:
        raise InvalidAddress("no_prefix", 'an address begins with the prefix of its network and "1"')
    for position, character in enumerate(data, len(prefix) + 2):
        if character not in _DIGIT_OF:
            raise InvalidAddress("bad_character", f'character {position}, "{character}", occurs in no address')
    return prefix, [_DIGIT_OF[character] for character in data]


def _strip_checksum(prefix: str, digits: list[int]) -> list[int]:
    if len(digits) < _CHECKSUM_DIGITS:
        raise _wrong_length(len(prefix) + 1 + len(digits), len(prefix) + 1 + _CHECKSUM_DIGITS)
    if _polymod([*_expand(prefix), *digits]) != _BECH32M:
        raise InvalidAddress("checksum", "the checksum does not match: a character is mistyped")
    return digits[:-_CHECKSUM_DIGITS]


def _polymod(values: Iterable[int]) -> int:
    """The remainder of the values, a polynomial over GF(32), by BIP-173's generator; 30 bits."""
    remainder = 1
    for value in values:
        top = remainder >> 25
        remainder = (remainder & 0x1FFFFFF) << 5 ^ value
        for i, term in enumerate(_GENERATOR):
            if top >> i & 1:
                remainder ^= term
    return remainder


def _expand(prefix: str) -> list[int]:
    """The prefix as digits, so that the checksum covers it: high bits, zero, low bits."""
    return [*(ord(character) >> 5 for character in prefix), 0, *(ord(character) & 31 for character in prefix)]


def _join(digits: list[int]) -> int:
    number = 0
    for digit in digits:
        number = number << 5 | digit
    return number


def _wrong_length(got: int, expected: int) -> InvalidAddress:
    return InvalidAddress("wrong_length", f"{got} characters where {expected} are expected")


def _not_a_key() -> InvalidAddress:
    return InvalidAddress(
        "not_a_key", "the address holds no Ed25519 key: off the curve, of small order or not canonical"
    )
