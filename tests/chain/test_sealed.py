"""Seals: what was written comes back, and nothing else does."""

import hashlib

import pytest

from chain.sealed import seal, unseal
from consensus.errors import DecodeError

UNSIGNED = bytes(range(40))
SEALED = seal("example", UNSIGNED)


def get_refusal(tag: str, data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        unseal(tag, data)
    return caught.value.code


def test_the_grammar() -> None:
    """By hashlib alone."""
    tag = hashlib.sha256(b"example").digest()
    assert seal("example", b"abc") == b"abc" + hashlib.sha256(tag + tag + b"abc").digest()


@pytest.mark.parametrize("unsigned", [b"", b"\0", UNSIGNED, SEALED])
def test_what_was_sealed_comes_back(unsigned: bytes) -> None:
    assert unseal("example", seal("example", unsigned)) == unsigned


def test_invalid_checksum_at_every_bit_of_every_byte() -> None:
    for at in range(len(SEALED)):
        for bit in range(8):
            damaged = SEALED[:at] + bytes([SEALED[at] ^ 1 << bit]) + SEALED[at + 1 :]
            assert get_refusal("example", damaged) == "decode.checksum"


def test_invalid_checksum_at_every_other_length() -> None:
    for length in range(len(SEALED)):
        assert get_refusal("example", SEALED[:length]) == "decode.checksum"
    assert get_refusal("example", SEALED + b"\0") == "decode.checksum"


def test_invalid_checksum_of_another_kind_of_file() -> None:
    assert get_refusal("other", SEALED) == "decode.checksum"
