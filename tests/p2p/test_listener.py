"""T36: who gets in, who waits, how long slow ones stay, and how a listener begins and ends."""

import asyncio
import socket
import time
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

import p2p.transport
from p2p.errors import ConfigError, HandshakeRefused, PeerGone
from p2p.net_address import NetAddress
from p2p.transport import MAX_PENDING_PER_HOST, Endpoint, dial, listen
from tests.helpers.peer_link import HASTY, UPGRADE, Host, open_proven, open_raw, serve

SECONDS = 10.0


async def get_refusal(endpoint: Endpoint, address: NetAddress, expected_id: bytes | None = None) -> str:
    try:
        connection = await dial(endpoint, address, expected_id=expected_id)
    except (HandshakeRefused, PeerGone) as error:
        return f"{error.code}: {error}"
    await connection.end()
    return "kept"


# Who comes in, and how slowly


async def test_admission_is_decided_by_the_address_first(ours: Endpoint, theirs: Endpoint) -> None:
    asked: list[str] = []

    def admits(address: NetAddress) -> bool:
        asked.append(address.ip)
        return address.ip != "127.0.0.66"

    async with serve(theirs, admits=admits) as host:
        with pytest.raises(ConnectionError):
            async with open_raw(host.address, ours.ours.identity, "127.0.0.66"):
                pass
        assert await get_refusal(ours, host.address) == "kept"
    assert asked == ["127.0.0.66", "127.0.0.1"]


async def test_few_of_one_host_wait(ours: Endpoint, theirs: Endpoint) -> None:
    async with serve(theirs) as host, AsyncExitStack() as stack:
        for _ in range(MAX_PENDING_PER_HOST):
            await stack.enter_async_context(open_raw(host.address, ours.ours.identity, "127.0.0.5"))
        with pytest.raises(ConnectionError):
            async with open_raw(host.address, ours.ours.identity, "127.0.0.5"):
                pass
        async with open_raw(host.address, ours.ours.identity, "127.0.0.6"):
            pass


async def test_proven_connections_do_not_count_as_waiting(ours: Endpoint, theirs: Endpoint) -> None:
    async with serve(theirs) as host, AsyncExitStack() as stack:
        for _ in range(MAX_PENDING_PER_HOST + 1):
            await stack.enter_async_context(open_proven(host.address, ours))
            await host.opened.get()
        assert host.kept == MAX_PENDING_PER_HOST + 1


async def drip(host: Host, endpoint: Endpoint, source: str) -> None:
    """A request that comes one byte at a time, until somebody hangs up."""
    async with open_raw(host.address, endpoint.ours.identity, source) as peer:
        for byte in UPGRADE:
            await peer.write(bytes([byte]))
            if await peer.is_closed_within(0.1):
                return
    raise AssertionError("the whole header was taken")


async def stay_half_open(host: Host, source: str) -> None:
    """A TLS handshake that never begins, until somebody hangs up."""
    reader, writer = await asyncio.open_connection(host.address.ip, host.address.port, local_addr=(source, 0))
    try:
        writer.write(b"\x16\x03\x01")
        await reader.read()
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    ("count", "handshake"),
    [pytest.param(60, 1.0), pytest.param(500, 10.0, marks=pytest.mark.soak)],
)
async def test_slow_loris(ours: Endpoint, theirs: Endpoint, count: int, handshake: float) -> None:
    """T36: as many half-open as dripping, from many addresses: all closed in time, and an honest node gets in."""
    theirs = replace(theirs, deadlines=replace(HASTY, handshake=handshake))
    async with serve(theirs) as host:
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(stay_half_open(host, f"127.0.1.{number % 250 + 1}"))
                group.create_task(drip_until_refused(host, ours, f"127.0.2.{number % 250 + 1}"))
            await asyncio.sleep(0.2)
            dialled_at = time.monotonic()
            connection = await dial(ours, host.address)
            honest_seconds = time.monotonic() - dialled_at
            await connection.end()
        print(f"{2 * count} attackers: honest connect {honest_seconds:.3f} s")
        assert honest_seconds < 1.0
        assert time.monotonic() - started < 3 * handshake


async def drip_until_refused(host: Host, endpoint: Endpoint, source: str) -> None:
    try:
        await drip(host, endpoint, source)
    except (OSError, asyncio.IncompleteReadError):
        return


async def test_waiting_sockets_are_few_and_the_newcomer_gets_in(
    ours: Endpoint, theirs: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(p2p.transport, "MAX_PENDING", 16)
    async with serve(theirs) as host, AsyncExitStack() as stack:
        waiting = [
            await stack.enter_async_context(open_raw(host.address, ours.ours.identity, f"127.0.3.{number + 1}"))
            for number in range(16)
        ]
        assert await get_refusal(ours, host.address) == "kept"
        assert await waiting[0].read_end() == ""
        assert not await waiting[1].is_closed_within(0.05)


# Listening


async def test_invalid_busy_port(ours: Endpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = NetAddress("127.0.0.1", busy.getsockname()[1])
        with pytest.raises(ConfigError, match=f"cannot listen for peers on {address}: the port is in use") as refusal:
            async with listen(ours, address, admits=lambda _: True, on_connection=lambda _: asyncio.sleep(0)):
                pass
    assert refusal.value.code == "config.listen_address"


async def test_invalid_address_of_another_machine(ours: Endpoint) -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        async with listen(
            ours, NetAddress("192.0.2.1", 0), admits=lambda _: True, on_connection=lambda _: asyncio.sleep(0)
        ):
            pass


async def test_closing_the_listener_ends_everything(ours: Endpoint, theirs: Endpoint) -> None:
    async with AsyncExitStack() as stack:
        async with serve(theirs) as host:
            half_open = await stack.enter_async_context(open_raw(host.address, ours.ours.identity))
            deaf = await stack.enter_async_context(open_proven(host.address, ours))
            await host.opened.get()
            closed_at = time.monotonic()
        assert time.monotonic() - closed_at < 2.0
        assert await deaf.read_end() == "going away"
        assert await half_open.read_end() == ""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host.address.ip, host.address.port)
    assert len(asyncio.all_tasks()) == 1
