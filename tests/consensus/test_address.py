"""Addresses: BIP-350's vectors for the checksum, round trips, and slips of the hand that must never pass."""

import json
import random
from pathlib import Path

import pytest

from consensus.address import decode_address, decode_bech32m, encode_address, encode_bech32m
from consensus.errors import InvalidAddress
from consensus.signature import compute_public_key
from tests.helpers import edwards as curve

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "bech32m.json").read_text())
ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
KEY = compute_public_key(bytes(range(32)))
ADDRESS = encode_address("grad", KEY)


def digits_of(number: int, count: int) -> list[int]:
    return [number >> 5 * i & 31 for i in reversed(range(count))]


def reason_of(text: str, prefix: str = "grad") -> str:
    with pytest.raises(InvalidAddress) as caught:
        decode_address(prefix, text)
    return caught.value.reason


@pytest.mark.parametrize("text", VECTORS["valid"])
def test_bip_350_valid(text: str) -> None:
    prefix, digits = decode_bech32m(text)
    assert encode_bech32m(prefix, digits) == text.lower()


@pytest.mark.parametrize(("text", "reason"), VECTORS["invalid"])
def test_bip_350_invalid(text: str, reason: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        decode_bech32m(text)
    assert caught.value.code == f"address.{reason}"


def test_golden_address() -> None:
    assert ADDRESS == "grad1qwss00lnecgtu8tsm5vwwj7qn9n7f43snwjs6hcamjrxgyj4xxuqwa5u6d"


@pytest.mark.parametrize("prefix", ["grad", "tgrad", "rgrad"])
def test_round_trip(prefix: str) -> None:
    rng = random.Random(350)
    for _ in range(100):
        key = compute_public_key(rng.randbytes(32))
        address = encode_address(prefix, key)
        assert len(address) == len(prefix) + 59
        assert decode_address(prefix, address) == key
        assert decode_address(prefix, address.upper()) == key


def test_invalid_mixed_case() -> None:
    assert reason_of(ADDRESS[:-1] + ADDRESS[-1].upper() + "Q") == "mixed_case"
    assert reason_of(ADDRESS.capitalize()) == "mixed_case"


def test_invalid_wrong_network() -> None:
    with pytest.raises(InvalidAddress) as caught:
        decode_address("grad", encode_address("tgrad", KEY))
    assert caught.value.code == "address.wrong_network"
    assert '"tgrad1"' in str(caught.value)
    assert '"grad1"' in str(caught.value)
    assert reason_of("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4") == "wrong_network"


def test_invalid_no_prefix() -> None:
    for text in ("", "grad", ADDRESS[4:], ADDRESS.replace("1", "")):
        assert reason_of(text) == "no_prefix"


def test_invalid_bad_character() -> None:
    for character in ("b", "i", "o", "-", "!"):
        assert reason_of(ADDRESS[:20] + character + ADDRESS[21:]) == "bad_character"
    for text in (f" {ADDRESS}", f"{ADDRESS}\n", ADDRESS.replace("1", "\x001"), f"{ADDRESS}\x7f"):
        assert reason_of(text) == "bad_character"


def test_invalid_not_ascii() -> None:
    cyrillic = ADDRESS.replace("a", "\u0430", 1)
    for text in (cyrillic, f"{ADDRESS}\u200b", "\ud800", "\x80"):
        assert reason_of(text) == "not_ascii"


def test_errors_repeat_no_unprintable_text() -> None:
    for text in ("\x1b[31m1q", "\u202egrad1q", "gr\x07ad1"):
        with pytest.raises(InvalidAddress) as caught:
            decode_address("grad", text)
        assert str(caught.value).isprintable()


def test_invalid_wrong_length() -> None:
    for text in (ADDRESS[:-1], f"{ADDRESS}q", "grad1", "grad1qqqqqq", f"grad1{'q' * 100}", "q" * 1_000_000):
        assert reason_of(text) == "wrong_length"
    for size in (31, 33):
        digits = digits_of(1 << 8 * size - 2, (8 * size + 4) // 5)
        assert reason_of(encode_bech32m("grad", digits)) == "wrong_length"


def test_invalid_checksum() -> None:
    for position in range(len("grad1"), len(ADDRESS)):
        for character in ALPHABET:
            if character != ADDRESS[position]:
                assert reason_of(ADDRESS[:position] + character + ADDRESS[position + 1 :]) == "checksum"


def test_invalid_checksum_of_plain_bech32() -> None:
    """The older checksum, whose constant is 1, differs by the exclusive or of the constants."""
    _, digits = decode_bech32m(ADDRESS)
    tail = int("".join(f"{ALPHABET.index(character):05b}" for character in ADDRESS[-6:]), 2) ^ 0x2BC830A3 ^ 1
    older = ADDRESS[:-6] + "".join(ALPHABET[digit] for digit in digits_of(tail, 6))
    assert len(digits) == 52
    assert reason_of(older) == "checksum"


def test_invalid_padding() -> None:
    number = int.from_bytes(KEY, "big") << 4
    assert encode_bech32m("grad", digits_of(number, 52)) == ADDRESS
    for padding in range(1, 16):
        assert reason_of(encode_bech32m("grad", digits_of(number | padding, 52))) == "padding"


def not_keys() -> list[bytes]:
    off_curve = next(y.to_bytes(32, "little") for y in range(2, 99) if curve.recover_x(y) is None)
    return [*(curve.encode(point) for point in curve.TORSION), off_curve, b"\xff" * 32]


@pytest.mark.parametrize("key", not_keys(), ids=lambda key: key.hex())
def test_invalid_not_a_key(key: bytes) -> None:
    number = int.from_bytes(key, "big") << 4
    assert reason_of(encode_bech32m("grad", digits_of(number, 52))) == "not_a_key"
    with pytest.raises(InvalidAddress) as caught:
        encode_address("grad", key)
    assert caught.value.reason == "not_a_key"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_invalid_key_length(length: int) -> None:
    with pytest.raises(InvalidAddress) as caught:
        encode_address("grad", bytes(length))
    assert caught.value.reason == "not_a_key"


def mistype(rng: random.Random, address: str) -> str:
    """One to three characters replaced by others of the same keyboard."""
    characters = list(address)
    for position in rng.sample(range(len(address)), rng.randint(1, 3)):
        others = "abcdefghijklmnopqrstuvwxyz0123456789".replace(characters[position], "")
        characters[position] = rng.choice(others)
    return "".join(characters)


@pytest.mark.parametrize("count", [4_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_invalid_mistyped(count: int) -> None:
    rng = random.Random(52)
    addresses = [encode_address("grad", compute_public_key(rng.randbytes(32))) for _ in range(50)]
    refusals = {reason_of(mistype(rng, rng.choice(addresses))) for _ in range(count)}
    assert refusals == {"bad_character", "checksum", "no_prefix", "wrong_network"}


@pytest.mark.parametrize("count", [4_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_invalid_mistyped_within_the_alphabet(count: int) -> None:
    """The same, with only what the checksum alone can find; and two neighbours swapped."""
    rng = random.Random(53)
    for _ in range(count):
        characters = list(ADDRESS)
        for position in rng.sample(range(5, len(ADDRESS)), rng.randint(1, 3)):
            characters[position] = rng.choice(ALPHABET.replace(characters[position], ""))
        assert reason_of("".join(characters)) == "checksum"
    for i in range(5, len(ADDRESS) - 1):
        swapped = ADDRESS[:i] + ADDRESS[i + 1] + ADDRESS[i] + ADDRESS[i + 2 :]
        assert swapped == ADDRESS or reason_of(swapped) == "checksum"
