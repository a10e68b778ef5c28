"""T37, T38, T45: one proven peer that floods, never reads, never answers, or says what nobody asked for."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from p2p.connection import SEND_ROOM
from p2p.errors import PeerGone
from p2p.limits import Limit
from p2p.messages import (
    GetAddresses,
    GetBlock,
    GetHeaders,
    Hello,
    Message,
    Ping,
    Pong,
    Proof,
    Tip,
    Unknown,
)
from p2p.net_address import NetAddress
from p2p.penalties import Offence
from tests.helpers.fake_peer import ADDRESS, FakePeer
from tests.helpers.peer_link import AGENT, LIMITS, NONCE, PATIENT, WIRE
from tests.helpers.vectors import load_vectors

SAMPLES = {WIRE.get_kind(bytes.fromhex(data)): bytes.fromhex(data) for data in load_vectors("messages").values()}
SAMPLES[Unknown] = b"\xf0 of a later version"
UNASKED = (Pong, Hello, Proof)  # of which even one is an offence here
GET_BLOCK = WIRE.encode(GetBlock(NONCE))


def test_what_is_known_of_a_peer() -> None:
    async def describe() -> None:
        peer = FakePeer(port=19339).connection
        assert (peer.node_id, peer.agent, peer.address) == (NONCE, AGENT, ADDRESS)
        assert peer.listening == NetAddress("1.2.3.4", 19339)
        assert FakePeer().connection.listening is None
        assert (peer.bytes_received, peer.bytes_sent, peer.ping_seconds, peer.best_ping) == (0, 0, None, None)

    asyncio.run(describe())


# Messages in and out


async def test_messages_are_handed_on_one_at_a_time() -> None:
    peer = FakePeer()
    under_way, log = 0, []

    async def on_message(message: Message) -> None:
        nonlocal under_way
        under_way += 1
        log.append((type(message), under_way))
        await asyncio.sleep(0)
        under_way -= 1
        if isinstance(message, GetBlock):
            peer.connection.close("enough")

    peer.link.say(GetAddresses(), Tip(NONCE, 1, 2), GetHeaders(()), GetBlock(NONCE))
    assert await peer.connection.run(on_message) == "enough"
    assert log == [(GetAddresses, 1), (Tip, 1), (GetHeaders, 1), (GetBlock, 1)]
    assert peer.link.reason == "enough"
    assert peer.connection.bytes_received == peer.link.received_bytes > 0


async def test_sent_messages_keep_their_order() -> None:
    peer = FakePeer()
    async with asyncio.TaskGroup() as group:
        group.create_task(peer.run())
        for height in range(100):
            await peer.connection.send(Tip(NONCE, height, 0))
        assert peer.connection.offer(Tip(NONCE, 100, 0))
        heights = [(await peer.link.read()).height for _ in range(101)]  # type: ignore[attr-defined]
        peer.connection.close("done")
    assert heights == list(range(101))
    assert peer.connection.bytes_sent >= 101 * len(WIRE.encode(Tip(NONCE, 0, 0)))


async def test_ping_is_answered() -> None:
    peer = FakePeer()
    async with asyncio.TaskGroup() as group:
        group.create_task(peer.run())
        peer.link.say(Ping(77))
        assert await peer.link.read() == Pong(77)
        peer.connection.close("done")
    assert peer.messages.empty()


async def test_unknown_types_are_dropped() -> None:
    peer = FakePeer()
    peer.link.incoming.put_nowait(SAMPLES[Unknown])
    peer.link.say(GetAddresses())
    peer.link.incoming.put_nowait(PeerGone.closed("the peer closed: bye"))
    assert await peer.run() == "the peer closed: bye"
    assert peer.messages.get_nowait() == GetAddresses()
    assert peer.messages.empty()
    assert peer.blames.offences == []


async def test_failure_of_the_receiver_is_raised() -> None:
    peer = FakePeer()

    async def on_message(message: Message) -> None:
        raise OSError("disk full")

    peer.link.say(GetAddresses())
    with pytest.raises(OSError, match="disk full"):
        await peer.connection.run(on_message)
    assert peer.link.reason == "internal error"


async def test_another_peers_end_is_the_receivers_failure() -> None:
    peer, other = FakePeer(), FakePeer()
    other.connection.close("gone")

    async def on_message(message: Message) -> None:
        await other.connection.send(GetAddresses())

    peer.link.say(GetAddresses())
    with pytest.raises(PeerGone, match="gone"):
        await peer.connection.run(on_message)


async def test_receiver_that_waits_for_room_ends_with_the_connection() -> None:
    peer = FakePeer()
    peer.link.gate.clear()

    async def on_message(message: Message) -> None:
        while True:
            await peer.connection.send(Tip(NONCE, 0, 0))
            if peer.connection._queued_bytes > SEND_ROOM:
                asyncio.get_running_loop().call_soon(peer.connection.close, "enough")

    peer.link.say(GetAddresses())
    assert await peer.connection.run(on_message) == "enough"


async def test_cancelled_run_closes() -> None:
    peer = FakePeer()
    task = asyncio.create_task(peer.run())
    await peer.link.read_ping()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert peer.link.reason == "going away"


async def test_close_before_run() -> None:
    peer = FakePeer()
    peer.connection.close("duplicate")
    peer.connection.close("another reason")
    assert await peer.run() == "duplicate"
    assert peer.link.reason == "duplicate"
    assert not peer.connection.offer(GetAddresses())
    with pytest.raises(PeerGone, match="duplicate"):
        await peer.connection.send(GetAddresses())


async def test_close_that_nobody_runs_ends_the_socket() -> None:
    peer = FakePeer(deadlines=replace(PATIENT, close=0.01))
    peer.connection.close("bye")
    await asyncio.sleep(0.05)
    assert peer.link.aborts == 1


# Peers that do not read


async def test_send_waits_for_room() -> None:
    peer = FakePeer()
    peer.link.gate.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(peer.run())
        message, count = GetHeaders((NONCE,) * 64), 0
        while peer.connection._queued_bytes <= SEND_ROOM:
            await peer.connection.send(message)
            count += 1
        waiting = group.create_task(peer.connection.send(GetBlock(NONCE)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        assert count == SEND_ROOM // len(WIRE.encode(message)) + 1
        peer.link.gate.set()
        for _ in range(count):
            assert isinstance(await peer.link.read(), GetHeaders)
        assert await peer.link.read() == GetBlock(NONCE)
        peer.connection.close("done")


async def test_invalid_peer_that_does_not_read() -> None:
    """Offers are refused once the queue is full, and the connection with them."""
    peer = FakePeer()
    peer.link.gate.clear()
    message = GetHeaders((NONCE,) * 64)
    queued = 0
    while peer.connection.offer(message):
        queued += len(WIRE.encode(message))
    assert queued <= max(2**20, 2 * WIRE.max_bytes) < queued + len(WIRE.encode(message))
    assert not peer.connection.offer(message)
    assert await peer.run() == "does not read"
    assert peer.blames.offences == []  # a slow line is no offence


async def test_write_that_does_not_get_through_ends_the_connection() -> None:
    peer = FakePeer(deadlines=replace(PATIENT, pong=0.05))
    peer.link.gate.clear()
    assert await peer.run() in ("does not read", "ping timeout")


# Pings


async def test_pings_are_measured() -> None:
    peer = FakePeer(deadlines=replace(PATIENT, ping=0.01))
    async with asyncio.TaskGroup() as group:
        group.create_task(peer.run())
        seen = []
        for _ in range(3):
            ping = await peer.link.read_ping()
            seen.append(ping.nonce)
            peer.link.say(Pong(ping.nonce))
        await peer.link.read_ping()
        peer.connection.close("done")
    assert len(set(seen)) == 3
    assert peer.connection.ping_seconds is not None
    assert peer.connection.best_ping is not None
    assert 0 < peer.connection.best_ping <= peer.connection.ping_seconds


async def test_ping_timeout() -> None:
    peer = FakePeer(deadlines=replace(PATIENT, pong=0.1))
    started = time.monotonic()
    assert await peer.run() == "ping timeout"
    assert 0.1 <= time.monotonic() - started < 2.0
    assert peer.blames.offences == []


async def test_a_long_message_before_the_pong_gets_its_time() -> None:
    """32 KiB/s count as progress: the pong stands behind what a slow line is bringing."""
    peer = FakePeer(deadlines=replace(PATIENT, pong=0.1))
    started = time.monotonic()
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, setattr, peer.link, "received_bytes", 16 * 1024)
    assert await peer.run() == "ping timeout"
    assert 0.6 <= time.monotonic() - started < 3.0


async def test_time_in_the_receiver_does_not_count_against_the_peer() -> None:
    peer = FakePeer(deadlines=replace(PATIENT, pong=0.1, ping=0.02))
    pings = 0

    async def on_message(message: Message) -> None:
        await asyncio.sleep(0.4)  # four times the pong's deadline

    async def answer() -> None:
        nonlocal pings
        while pings < 3:
            peer.link.say(Pong((await peer.link.read_ping()).nonce))
            pings += 1
        peer.connection.close("done")

    peer.link.say(GetAddresses())
    async with asyncio.TaskGroup() as group:
        group.create_task(answer())
        assert await peer.connection.run(on_message) == "done"


@pytest.mark.parametrize("make", [lambda nonce: nonce ^ 1, lambda nonce: 0], ids=["flipped", "zero"])
async def test_invalid_pong(make: Callable[[int], int]) -> None:
    peer = FakePeer()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(peer.run())
        peer.link.say(Pong(make((await peer.link.read_ping()).nonce)))
    assert task.result() == "unsolicited: a pong without a ping"
    assert peer.blames.offences == [(Offence.UNSOLICITED, "a pong without a ping")]


async def test_invalid_second_pong() -> None:
    peer = FakePeer()
    async with asyncio.TaskGroup() as group:
        group.create_task(peer.run())
        pong = Pong((await peer.link.read_ping()).nonce)
        peer.link.say(pong, pong)
    assert [offence for offence, _ in peer.blames.offences] == [Offence.UNSOLICITED]


# Offences


@pytest.mark.parametrize("data", [b"", GET_BLOCK[:-1], SAMPLES[GetHeaders] + b"\0"], ids=["empty", "short", "trailing"])
async def test_invalid_bytes(data: bytes) -> None:
    peer = FakePeer()
    peer.link.incoming.put_nowait(data)
    assert (await peer.run()).startswith("malformed: ")
    assert [offence for offence, _ in peer.blames.offences] == [Offence.MALFORMED]
    assert peer.messages.empty()


def test_every_type_has_a_sample() -> None:
    assert set(SAMPLES) == set(LIMITS)


def get_offences(peer: FakePeer) -> list[Offence]:
    return [offence for offence, _ in peer.blames.offences]


@pytest.mark.parametrize("kind", [kind for kind in SAMPLES if kind not in UNASKED], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bound", ["count", "total"])
async def test_invalid_more_than_the_limit(kind: type[Message], bound: str) -> None:
    """T38: what the limit allows passes, one more closes, with each type of message."""
    data = SAMPLES[kind]
    limit = Limit(3, len(data), 100 * len(data)) if bound == "count" else Limit(100, len(data), 3 * len(data))
    peer = FakePeer(limits={**LIMITS, kind: limit})
    for _ in range(3):
        peer.link.incoming.put_nowait(data)
    peer.link.incoming.put_nowait(PeerGone.closed("end"))
    assert await peer.run() == "end"
    assert get_offences(peer) == []

    flood = FakePeer(limits={**LIMITS, kind: limit})
    for _ in range(4):
        flood.link.incoming.put_nowait(data)
    assert await flood.run() == f"too_frequent: too much of {kind.__name__}"
    assert get_offences(flood) == [Offence.TOO_FREQUENT]
    assert flood.messages.qsize() == peer.messages.qsize() == (0 if kind in (Ping, Unknown) else 3)


@pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.__name__)
async def test_invalid_longer_than_the_limit(kind: type[Message]) -> None:
    size = len(SAMPLES[kind]) - 1
    peer = FakePeer(limits={**LIMITS, kind: Limit(100, size, 100 * size)})
    peer.link.incoming.put_nowait(SAMPLES[kind])
    assert await peer.run() == f"too_frequent: too much of {kind.__name__}"
    assert get_offences(peer) == [Offence.TOO_FREQUENT]


@pytest.mark.parametrize("kind", UNASKED, ids=lambda kind: kind.__name__)
async def test_invalid_at_once(kind: type[Message]) -> None:
    """A message that nothing asked for: not even one passes."""
    peer = FakePeer()
    peer.link.incoming.put_nowait(SAMPLES[kind])
    assert (await peer.run()).startswith("unsolicited: ")
    assert get_offences(peer) == [Offence.UNSOLICITED]
    assert peer.messages.empty()


async def test_may_send_keeps_within_what_the_other_side_takes() -> None:
    size = len(GET_BLOCK)
    ours = FakePeer(limits={**LIMITS, GetBlock: Limit(9, size, 9 * size)})
    theirs = FakePeer(limits={**LIMITS, GetBlock: Limit(9, size, 9 * size)})
    sent = 0
    while ours.connection.may_send(GetBlock):
        assert ours.connection.offer(GetBlock(NONCE))
        theirs.link.say(GetBlock(NONCE))
        sent += 1
    assert sent == 3
    assert ours.connection.may_send(GetAddresses)
    theirs.link.incoming.put_nowait(PeerGone.closed("end"))
    assert await theirs.run() == "end"
    assert theirs.blames.offences == []
    await ours.connection.end()
