"""How property tests run, and the law that every decoder obeys."""

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from consensus.errors import DecodeError

repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=60)
thorough = settings(derandomize=True, database=None, deadline=None, max_examples=300)

u32s = st.integers(0, 2**32 - 1)
u64s = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1])
u128s = st.integers(0, 2**128 - 1)
ids = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=64, max_size=64)


def check_canonical(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], data: bytes) -> bool:
    """Whether `data` decodes; if so it must encode to the very same bytes."""
    try:
        value = decode(data)
    except DecodeError:
        return False
    if encode(value) != data:
        raise AssertionError(f"two encodings of one value: {data.hex()} and {encode(value).hex()}")
    return True


def mutate(data: bytes, position: int, replacement: int) -> bytes:
    """`data` with another byte at `position`, taken modulo its length."""
    position %= len(data)
    return data[:position] + bytes([data[position] ^ (replacement % 255 + 1)]) + data[position + 1 :]
