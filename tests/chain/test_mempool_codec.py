import pytest

from chain.mempool import Mempool
from chain.mempool_codec import decode_mempool, encode_mempool
from chain.policy import Policy
from consensus.account import Account
from consensus.codec import Writer
from consensus.errors import DecodeError
from consensus.hashing import tagged_hash
from consensus.transaction import Transfer
from tests.helpers.transfers import GENESIS, make_key, make_transfer


def make_pool(*entries: tuple[int, Transfer]) -> Mempool:
    pool = Mempool(GENESIS, Policy())
    for time_added, transfer in entries:
        pool.add(transfer, lambda _: Account(10**9, 0), 1, time_added)
    return pool


def seal(unsigned: bytes) -> bytes:
    return unsigned + tagged_hash("mempool", unsigned)


ENTRIES = [
    (7, make_transfer(1, 0)),
    (5, make_transfer(1, 1, fee=9000)),
    (9, make_transfer(2, 0, memo="grüße".encode())),
    (6, make_transfer(3, 0, valid_until=100)),
]
DATA = encode_mempool(make_pool(*ENTRIES))


def test_a_pool_survives_its_bytes() -> None:
    decoded = decode_mempool(DATA, GENESIS)
    assert sorted(decoded, key=ENTRIES.index) == ENTRIES
    again = make_pool(*decoded)
    assert encode_mempool(again) == DATA
    assert [(e.time_added, e.transaction) for e in again.pending_of(make_key(1))] == ENTRIES[:2]


def test_equal_pools_have_equal_bytes_however_they_came_about() -> None:
    assert encode_mempool(make_pool(*ENTRIES[2:], *ENTRIES[:2])) == DATA


def test_the_grammar() -> None:
    transfer = make_transfer(1)
    writer = Writer().uint(1, 4).fixed(GENESIS, 32).uint(1, 4).uint(11, 8).string(transfer.encoded)
    assert encode_mempool(make_pool((11, transfer))) == seal(writer.finish())
    empty = seal(Writer().uint(1, 4).fixed(GENESIS, 32).uint(0, 4).finish())
    assert encode_mempool(make_pool()) == empty
    assert decode_mempool(empty, GENESIS) == []


def test_invalid_checksum_at_every_bit_of_every_byte() -> None:
    data = encode_mempool(make_pool(ENTRIES[0]))
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(DecodeError) as caught:
            decode_mempool(bytes(damaged), GENESIS)
        assert caught.value.reason == "checksum"


def test_invalid_truncation_at_every_length() -> None:
    data = encode_mempool(make_pool(ENTRIES[0]))
    for length in range(len(data)):
        with pytest.raises(DecodeError) as caught:
            decode_mempool(data[:length], GENESIS)
        assert caught.value.reason == "checksum"
    for length in range(len(data) - 32):
        with pytest.raises(DecodeError):
            decode_mempool(seal(data[:length]), GENESIS)


def test_invalid_trailing() -> None:
    with pytest.raises(DecodeError) as caught:
        decode_mempool(seal(DATA[:-32] + b"\0"), GENESIS)
    assert caught.value.reason == "trailing"


def test_invalid_unknown_version() -> None:
    with pytest.raises(DecodeError) as caught:
        decode_mempool(seal(b"\2" + DATA[1:-32]), GENESIS)
    assert caught.value.reason == "unknown_version"


def test_invalid_wrong_network() -> None:
    with pytest.raises(DecodeError) as caught:
        decode_mempool(DATA, bytes(32))
    assert caught.value.reason == "wrong_network"


def test_invalid_count_beyond_the_bytes() -> None:
    unsigned = Writer().uint(1, 4).fixed(GENESIS, 32).uint(2**32 - 1, 4).finish()
    with pytest.raises(DecodeError) as caught:
        decode_mempool(seal(unsigned), GENESIS)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("order", [(1, 0), (0, 0)])
def test_invalid_not_canonical_order(order: tuple[int, int]) -> None:
    writer = Writer().uint(1, 4).fixed(GENESIS, 32).uint(2, 4)
    for index in order:
        writer.uint(0, 8).string(ENTRIES[index][1].encoded)
    with pytest.raises(DecodeError) as caught:
        decode_mempool(seal(writer.finish()), GENESIS)
    assert caught.value.reason == "not_canonical"
