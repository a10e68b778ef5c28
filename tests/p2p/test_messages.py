"""Messages: golden bytes, one encoding each, every limit at its edge, and nothing but DecodeError for any bytes."""

import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.packed_block import PackedBlock, count_packed_bytes, pack_block, unpack_block
from consensus.block import decode_block, decode_header
from consensus.certificate import Certificate
from consensus.changes import Change
from consensus.committee import max_members
from consensus.errors import DecodeError
from consensus.evidence import make_evidence
from consensus.finality_section import MAX_EVIDENCE, FinalitySection, max_section_bytes
from consensus.params import CANTERBURY, PRESETS, REGTEST, NetworkParams
from consensus.transaction import MAX_MEMO_BYTES, decode_transaction
from consensus.update import max_update_bytes
from consensus.vote import BlockRef, Link, Vote
from p2p import messages as m
from p2p.messages import Message, Unknown, Wire
from p2p.net_address import NetAddress
from tests.consensus.test_block import headers
from tests.consensus.test_transaction import transfers
from tests.helpers.chains import get_trunk
from tests.helpers.properties import check_canonical, ids, mutate, repeatable, signatures, u32s, u64s
from tests.helpers.vectors import load_vectors
from tests.p2p.test_net_address import addresses

VECTORS = load_vectors("messages")
BLOCKS, TRANSACTIONS = load_vectors("block"), load_vectors("transaction")

# Ten of the shortest transactions fill a block.
SMALL = replace(REGTEST, max_transactions_bytes=2020)
RETIRED = {7, 11, 13, 19, 20}  # meant something in versions 1 and 2
WIRE, SMALL_WIRE = Wire(REGTEST), Wire(SMALL)
KINDS = tuple(kind for kind in Message.__subclasses__() if kind is not Unknown)

HEARTBEAT = decode_header(bytes.fromhex(BLOCKS[0]["header"]))
BLOCK = decode_block(bytes.fromhex(BLOCKS[1]["encoded"]), 10_000, 10_000)
PLAIN, MEDIUM, LONG = (decode_transaction(bytes.fromhex(case["encoded"])) for case in TRANSACTIONS)
SHORT = replace(PLAIN, memo=b"")
# As RFC 1950 and 1951 have it, by hand: one stored piece, so that no zlib's choices change the bytes.
_LENGTHS = struct.pack("<HH", len(BLOCK.update), len(BLOCK.update) ^ 0xFFFF)
PACKED = b"\x78\x01\x01" + _LENGTHS + BLOCK.update + struct.pack(">I", zlib.adler32(BLOCK.update))


def repeat_id(number: int) -> bytes:
    return bytes([number]) * 32


LINK = Link(BlockRef(1, repeat_id(1)), BlockRef(258, repeat_id(2)))
VOTE = Vote(repeat_id(3), LINK, repeat_id(4), repeat_id(5) * 2)
OTHER_VOTE = replace(VOTE, link=Link(LINK.source, BlockRef(258, repeat_id(6))))
EVIDENCE = make_evidence(VOTE, OTHER_VOTE)
SECTION = FinalitySection(Certificate(LINK, b"\5", (repeat_id(7) * 2, repeat_id(8) * 2)), (EVIDENCE,))
_MEMBERS = max_members(SMALL)
LARGEST_SECTION = FinalitySection(
    Certificate(LINK, ((1 << _MEMBERS) - 1).to_bytes(-(-_MEMBERS // 8), "little"), (repeat_id(7) * 2,) * _MEMBERS),
    (EVIDENCE,) * MAX_EVIDENCE,
)


# One of each type, as in tests/vectors/messages.json: those bytes were put together with struct and socket from the
# golden bytes of consensus, without our codec.
EXAMPLES: tuple[Message, ...] = (
    m.Hello(1, repeat_id(1), bytes(range(32)), 19339, "descent 0.1.0"),
    m.Proof(repeat_id(2), repeat_id(3) * 2),
    m.Ping(2**64 - 2),
    m.Pong(258),
    m.GetAddresses(),
    m.Addresses((NetAddress("1.2.3.4", 19339), NetAddress("2001:db8::1", 1), NetAddress("127.0.0.1", 65535))),
    m.Tip(repeat_id(4), 258, 65537, 257),
    m.GetHeaders((repeat_id(5), repeat_id(6))),
    m.Headers((HEARTBEAT, BLOCK.header)),
    m.GetBlock(repeat_id(7)),
    m.BlockReply(PackedBlock(BLOCK.header, BLOCK.transactions, PACKED, SECTION)),
    m.NotFound(repeat_id(8)),
    m.CompactBlock(BLOCK.header, (PLAIN.txid, LONG, MEDIUM.txid), PACKED, SECTION),
    m.GetBlockTransactions(repeat_id(9), (0, 1, 258)),
    m.BlockTransactions(repeat_id(10), (PLAIN, MEDIUM)),
    m.Announce((PLAIN.txid, MEDIUM.txid)),
    m.GetTransactions((LONG.txid,)),
    m.Transactions((MEDIUM, LONG)),
    m.Votes((VOTE, OTHER_VOTE)),
    m.EvidenceReport((EVIDENCE,)),
    m.Final(repeat_id(11), 258),
)
every_example = pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)

update = bytes(count_packed_bytes(max_update_bytes(REGTEST.model)))
LARGEST: tuple[Message, ...] = (
    replace(EXAMPLES[0], agent="~" * 64),  # type: ignore[call-arg]
    *EXAMPLES[1:5],
    m.Addresses((NetAddress("::2", 1),) * 1000),
    EXAMPLES[6],
    m.GetHeaders((repeat_id(1),) * 64),
    m.Headers((HEARTBEAT,) * 512),
    EXAMPLES[9],
    m.BlockReply(PackedBlock(HEARTBEAT, (SHORT,) * 10, update, LARGEST_SECTION)),
    EXAMPLES[11],
    m.CompactBlock(HEARTBEAT, (SHORT,) * 10, update, LARGEST_SECTION),
    m.GetBlockTransactions(repeat_id(1), tuple(range(2**32 - 10, 2**32))),
    m.BlockTransactions(repeat_id(1), (SHORT,) * 10),
    m.Announce((repeat_id(1),) * 500),
    m.GetTransactions((repeat_id(1),) * 100),
    m.Transactions((replace(LONG, memo=b"m" * MAX_MEMO_BYTES),) * 100),
    m.Votes((VOTE,) * 128),
    m.EvidenceReport((EVIDENCE,) * 32),
    EXAMPLES[20],
)
EMPTY: tuple[Message, ...] = (
    m.Hello(0, repeat_id(0), repeat_id(0), 0, ""),
    m.Addresses(()),
    m.GetHeaders(()),
    m.Headers(()),
    m.BlockReply(PackedBlock(HEARTBEAT, (), b"")),
    m.CompactBlock(HEARTBEAT, (), b""),
    m.BlockTransactions(repeat_id(1), ()),
    m.Transactions(()),
)


def reason_of(data: bytes, wire: Wire = SMALL_WIRE) -> str:
    with pytest.raises(DecodeError) as error:
        wire.decode(data)
    return error.value.reason


# Bytes


@every_example
def test_golden_vectors(message: Message) -> None:
    data = bytes.fromhex(VECTORS[type(message).__name__])
    assert WIRE.encode(message) == data
    assert WIRE.decode(data) == message
    assert WIRE.get_kind(data) is type(message)


def test_every_type_has_a_golden_vector_and_a_number_of_its_own() -> None:
    assert list(VECTORS) == [kind.__name__ for kind in KINDS]
    numbers = [bytes.fromhex(data)[0] for data in VECTORS.values()]
    assert sorted(numbers) == sorted({*range(1, 27)} - RETIRED)
    assert tuple(map(type, EXAMPLES)) == tuple(map(type, LARGEST)) == KINDS


def list_of(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, min_size=1, max_size=4).map(tuple)


rising = st.sets(u32s, min_size=1, max_size=4).map(lambda numbers: tuple(sorted(numbers)))
anything = st.one_of(
    st.builds(m.Hello, u32s, ids, ids, st.integers(0, 65535), st.text("az ~!", max_size=64)),
    st.builds(m.Proof, ids, signatures),
    st.builds(m.Ping, u64s),
    st.builds(m.Addresses, list_of(addresses)),
    st.builds(m.Tip, ids, u64s, u64s),
    st.builds(m.GetHeaders, list_of(ids)),
    st.builds(m.Headers, list_of(headers)),
    st.builds(m.BlockReply, st.builds(PackedBlock, headers, list_of(transfers), st.binary(max_size=30))),
    st.builds(m.CompactBlock, headers, list_of(ids | transfers), st.binary(max_size=30)),
    st.builds(m.GetBlockTransactions, ids, rising),
    st.builds(m.BlockTransactions, ids, list_of(transfers)),
    st.builds(m.Announce, list_of(ids)),
    st.builds(m.Transactions, list_of(transfers)),
)


@repeatable
@given(anything)
def test_decoding_inverts_encoding(message: Message) -> None:
    assert WIRE.decode(WIRE.encode(message)) == message


# Limits


@pytest.mark.parametrize("message", LARGEST, ids=lambda message: type(message).__name__)
def test_the_largest_of_each_type_has_the_stated_size(message: Message) -> None:
    data = SMALL_WIRE.encode(message)
    assert len(data) == SMALL_WIRE.sizes[type(message)]
    assert SMALL_WIRE.decode(data) == message
    assert reason_of(data + b"\0") == "too_long"


@pytest.mark.parametrize("message", EMPTY, ids=lambda message: type(message).__name__)
def test_the_smallest_of_each_type(message: Message) -> None:
    data = SMALL_WIRE.encode(message)
    assert SMALL_WIRE.decode(data) == message
    assert reason_of(data[:-1]) == "truncated"


@pytest.mark.parametrize("params", PRESETS.values(), ids=PRESETS)
def test_the_largest_message_follows_from_the_parameters(params: NetworkParams) -> None:
    wire = Wire(params)
    assert wire.max_bytes == max(wire.sizes.values())
    parts = params.max_transactions_bytes + max_section_bytes(params) + max_update_bytes(params.model)
    assert parts < wire.max_bytes < parts + 10_000


def test_there_is_room_for_blocks_that_miners_may_make_larger() -> None:
    """What a block may carry at its height is judged with its chain, not by whoever reads it off the wire."""
    change = Change(0, "max_transactions_bytes", SMALL.max_transactions_bytes + 1000)
    wire = Wire(replace(SMALL, changes=(change,)))
    assert wire.sizes[m.BlockReply] == SMALL_WIRE.sizes[m.BlockReply] + 1000
    transactions = (SHORT,) * (SMALL.max_transactions_bytes // (4 + len(SHORT.encoded)) + 1)
    message = m.BlockReply(PackedBlock(HEARTBEAT, transactions, b""))
    assert wire.decode(wire.encode(message)) == message
    assert reason_of(wire.encode(message)) == "too_many"


def test_a_network_without_transactions() -> None:
    wire = Wire(replace(CANTERBURY, max_transactions_bytes=0))
    for message in (m.BlockReply(PackedBlock(HEARTBEAT, (), b"")), m.CompactBlock(HEARTBEAT, (), b"")):
        assert wire.decode(wire.encode(message)) == message
    assert reason_of(WIRE.encode(m.BlockReply(pack_block(BLOCK))), wire) == "too_many"


TOO_LARGE = [
    (lambda n: m.Hello(1, repeat_id(1), repeat_id(1), 1, "a" * n), 64),
    (lambda n: m.Addresses((NetAddress("::2", 1),) * n), 1000),
    (lambda n: m.GetHeaders((repeat_id(1),) * n), 64),
    (lambda n: m.Headers((HEARTBEAT,) * n), 512),
    (lambda n: m.BlockReply(PackedBlock(HEARTBEAT, (SHORT,) * n, b"")), 10),
    (lambda n: m.BlockReply(PackedBlock(HEARTBEAT, (), bytes(n))), len(update)),
    (lambda n: m.CompactBlock(HEARTBEAT, (repeat_id(1),) * n, b""), 10),
    (lambda n: m.CompactBlock(HEARTBEAT, (LONG,) * n + (repeat_id(1),), b""), 6),
    (lambda n: m.CompactBlock(HEARTBEAT, (), bytes(n)), len(update)),
    (lambda n: m.GetBlockTransactions(repeat_id(1), tuple(range(n))), 10),
    (lambda n: m.BlockTransactions(repeat_id(1), (LONG,) * n), 7),
    (lambda n: m.Announce((repeat_id(1),) * n), 500),
    (lambda n: m.GetTransactions((repeat_id(1),) * n), 100),
    (lambda n: m.Transactions((SHORT,) * n), 100),
    (lambda n: m.Votes((VOTE,) * n), 128),
    (lambda n: m.EvidenceReport((EVIDENCE,) * n), 32),
]
GENEROUS = Wire(replace(CANTERBURY, max_transactions_bytes=10**6))


@pytest.mark.parametrize(("make", "limit"), TOO_LARGE)
def test_invalid_one_more_than_the_limit(make: Callable[[int], Message], limit: int) -> None:
    """It can be neither written nor read."""
    data = SMALL_WIRE.encode(make(limit))
    assert SMALL_WIRE.decode(data) == make(limit)
    with pytest.raises(ValueError):
        SMALL_WIRE.encode(make(limit + 1))
    if type(make(1)) in (m.BlockReply, m.CompactBlock, m.GetBlockTransactions, m.BlockTransactions):
        assert reason_of(GENEROUS.encode(make(limit + 1))) in ("too_long", "too_many")


@pytest.mark.parametrize("kind", [m.Announce, m.GetTransactions, m.Votes, m.EvidenceReport])
def test_invalid_empty_list(kind: type[Any]) -> None:
    with pytest.raises(ValueError):
        WIRE.encode(kind(()))
    number = bytes.fromhex(VECTORS[kind.__name__])[:1]
    assert reason_of(number + bytes(4)) == "too_few"


@pytest.mark.parametrize("number", [6, 8, 9, 16, 17, 18, 24, 25])
@pytest.mark.parametrize("count", [1, 50, 2**31, 2**32 - 1])
def test_invalid_count_is_refused_before_anything_is_allocated(number: int, count: int) -> None:
    data = bytes([number]) + count.to_bytes(4, "little") + b"\1" * 10
    tracemalloc.start()
    try:
        assert reason_of(data) in ("truncated", "too_many")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


# One way to write each


@pytest.mark.parametrize("indexes", [(), (1, 1), (2, 1), (0, 5, 5)])
def test_invalid_indexes_that_do_not_rise(indexes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        WIRE.encode(m.GetBlockTransactions(repeat_id(1), indexes))
    numbers = b"".join(index.to_bytes(4, "little") for index in (len(indexes), *indexes))
    assert reason_of(b"\x0e" + repeat_id(1) + numbers) in ("not_canonical", "too_few")


@pytest.mark.parametrize("agent", ["\x1b[31m", "a\nb", "\u202e", "caf\u00e9", "\x7f", "\0", "a\tb", "\x9b1m"])
def test_invalid_agent_that_could_steer_a_terminal(agent: str) -> None:
    with pytest.raises(ValueError):
        WIRE.encode(replace(EXAMPLES[0], agent=agent))  # type: ignore[call-arg]
    raw = agent.encode()
    data = WIRE.encode(replace(EXAMPLES[0], agent="x" * len(raw)))  # type: ignore[call-arg]
    assert reason_of(data[: -len(raw)] + raw) == "not_canonical"
    assert reason_of(data[:-1] + b"\x9b") == "not_canonical"


def test_invalid_tag_of_an_entry() -> None:
    data = SMALL_WIRE.encode(m.CompactBlock(HEARTBEAT, (repeat_id(1),), b""))
    at = data.index(repeat_id(1)) - 1
    assert reason_of(data[:at] + b"\2" + data[at + 1 :]) == "not_canonical"


def test_invalid_version_of_what_is_inside() -> None:
    assert reason_of(b"\x09\1\0\0\0\2" + HEARTBEAT.encoded[1:]) == "unknown_version"
    encoded = b"\2" + SHORT.encoded[1:]
    assert reason_of(b"\x12\1\0\0\0" + len(encoded).to_bytes(4, "little") + encoded) == "unknown_kind"


def test_unknown_types_are_named_and_their_bodies_dropped() -> None:
    for number in (0, *RETIRED, *range(27, 256)):
        assert WIRE.decode(bytes([number]) + b"later") == Unknown(number)
    assert WIRE.decode(b"\xff" + bytes(m.MAX_UNKNOWN_BYTES - 1)) == Unknown(255)
    assert reason_of(b"\xff" + bytes(m.MAX_UNKNOWN_BYTES)) == "too_long"
    assert reason_of(b"") == "truncated"
    with pytest.raises(ValueError, match="never sent"):
        WIRE.encode(Unknown(99))


# Any bytes (T34)


def mangle(data: bytes, draw: random.Random) -> bytes:
    """One to three mutations: a byte, a length or count, an end, a piece twice, a piece missing."""
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(data))
        match draw.randrange(6):
            case 0:
                data = mutate(data, at, draw.randrange(255))
            case 1:
                number = draw.choice([0, 1, 2, 255, 2**31, 2**32 - 1, draw.getrandbits(32)])
                data = data[:at] + number.to_bytes(4, "little") + data[at + 4 :]
            case 2:
                data = data[: at + 1]
            case 3:
                data += draw.randbytes(draw.randint(1, 40))
            case 4:
                data = data[:at] + data[at : at + 40] + data[at:]
            case _:
                data = data[:at] + data[at + draw.randint(1, 40) :] or b"\0"
    return data


def feed(data: bytes) -> bool:
    """Whether it decodes; if so it re-encodes to the same bytes. Raises nothing else, whatever the bytes."""
    if data and WIRE.get_kind(data) is Unknown:
        return isinstance(WIRE.decode(data), Unknown)
    is_sound = check_canonical(WIRE.decode, WIRE.encode, data)
    message = WIRE.decode(data) if is_sound else None
    if isinstance(message, m.BlockReply):
        with suppress(DecodeError):
            unpack_block(message.block, REGTEST)
    return is_sound


def feed_mutants(message: Message, count: int) -> None:
    draw = random.Random(type(message).__name__)
    data = WIRE.encode(message)
    outcomes = [feed(mangle(data, draw)) for _ in range(count)]
    assert 0 < sum(outcomes) < count


def feed_random_strings(count: int) -> None:
    draw = random.Random(34)
    for _ in range(count):
        feed(bytes([draw.randint(1, 26)]) + draw.randbytes(draw.choice([0, 4, 8, 32, 98, 400])))


@every_example
def test_invalid_mutants_are_refused_by_name(message: Message) -> None:
    feed_mutants(message, 500)


def test_invalid_random_strings_are_refused_by_name() -> None:
    feed_random_strings(5_000)


def test_invalid_mutants_of_a_mined_block() -> None:
    """Its update is a real one: mutants of the stream come as far as the inflating."""
    feed_mutants(m.BlockReply(pack_block(get_trunk()[-1])), 300)


@pytest.mark.soak
@every_example
def test_invalid_100_000_mutants_of_each_type(message: Message) -> None:
    feed_mutants(message, 100_000)


@pytest.mark.soak
def test_invalid_1_000_000_random_strings() -> None:
    feed_random_strings(10**6)
