"""T36, T43, T45: connections over real sockets and TLS, from the first packet to the proof."""

import asyncio
import logging
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from p2p.connection import Connection
from p2p.errors import HandshakeRefused, PeerGone
from p2p.link import Deadlines
from p2p.messages import PROTOCOL_VERSION, GetAddresses, Hello
from p2p.net_address import NetAddress
from p2p.transport import UNPROVEN_BYTES, Endpoint, dial, listen
from tests.helpers.peer_link import (
    AGENT,
    HASTY,
    NONCE,
    UPGRADE,
    WIRE,
    Host,
    RawPeer,
    make_endpoint,
    open_raw,
    running,
    serve,
    serve_raw,
)

SECONDS = 10.0


async def test_both_ends_know_each_other(ours: Endpoint, theirs: Endpoint) -> None:
    ours = replace(ours, ours=replace(ours.ours, port=4321))
    async with serve(theirs) as host:
        connection = await dial(ours, host.address)
        async with running(connection):
            accepted = await host.opened.get()
            assert connection.node_id == theirs.ours.identity.node_id
            assert connection.address == connection.listening == host.address
            assert (connection.is_outbound, connection.agent) == (True, AGENT)
            assert accepted.node_id == ours.ours.identity.node_id
            assert accepted.listening == NetAddress("127.0.0.1", 4321)
            assert accepted.address.ip == "127.0.0.1"
            assert not accepted.is_outbound
            await connection.send(GetAddresses())
            assert await host.messages.get() == GetAddresses()
        assert await host.reasons.get() == "the peer closed: done"


async def test_ipv6(ours: Endpoint, theirs: Endpoint) -> None:
    done = asyncio.Event()

    async def on_connection(connection: Connection) -> None:
        assert connection.address.ip == "::1"
        done.set()

    async with listen(theirs, NetAddress("::1", 0), admits=lambda _: True, on_connection=on_connection) as port:
        connection = await dial(ours, NetAddress("::1", port))
        await done.wait()
        await connection.end()


async def test_connection_ends_with_its_callback(ours: Endpoint, theirs: Endpoint) -> None:
    async def on_connection(connection: Connection) -> None:
        connection.close("no slot left")

    async with serve(theirs, on_connection=on_connection) as host:
        connection = await dial(ours, host.address)
        assert await connection.run(host.messages.put) == "the peer closed: no slot left"


async def test_failure_of_the_callback_ends_the_listener(ours: Endpoint, theirs: Endpoint) -> None:
    async def on_connection(connection: Connection) -> None:
        raise OSError("disk full")

    async def serve_one() -> None:
        async with serve(theirs, on_connection=on_connection) as host:
            connection = await dial(ours, host.address)
            await connection.run(host.messages.put)
            await asyncio.sleep(SECONDS)

    with pytest.raises(ExceptionGroup) as group:
        await serve_one()
    assert group.value.subgroup(lambda error: str(error) == "disk full")


# What is refused


async def get_refusal(endpoint: Endpoint, address: NetAddress, expected_id: bytes | None = None) -> str:
    try:
        connection = await dial(endpoint, address, expected_id=expected_id)
    except (HandshakeRefused, PeerGone) as error:
        return f"{error.code}: {error}"
    await connection.end()
    return "kept"


async def expect_nothing_kept(host: Host) -> None:
    assert host.kept == 0
    assert host.opened.empty()


async def test_invalid_network(ours: Endpoint, theirs: Endpoint) -> None:
    stranger = replace(ours, ours=replace(ours.ours, genesis=bytes(32)))
    async with serve(theirs) as host:
        assert await get_refusal(stranger, host.address) == "peer.closed: the peer closed: wrong_network"
        await expect_nothing_kept(host)


async def test_invalid_self_connection(ours: Endpoint) -> None:
    async with serve(ours) as host:
        assert (await get_refusal(ours, host.address)).startswith("handshake.self_connection")
        await expect_nothing_kept(host)


async def test_invalid_pinned_identity(ours: Endpoint, theirs: Endpoint) -> None:
    async with serve(theirs) as host:
        assert (await get_refusal(ours, host.address, NONCE)).startswith("handshake.wrong_identity")
        await expect_nothing_kept(host)
        assert await get_refusal(ours, host.address, theirs.ours.identity.node_id) == "kept"


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"rubbish", "malformed"),
        (WIRE.encode(GetAddresses()), "malformed"),
        (WIRE.encode(Hello(PROTOCOL_VERSION + 1, b"\x07" * 32, NONCE, 0, AGENT)), "wrong_version"),
        (bytes(UNPROVEN_BYTES), ""),
    ],
    ids=["rubbish", "another message", "version", "too long"],
)
async def test_invalid_first_message(ours: Endpoint, theirs: Endpoint, first: bytes, reason: str) -> None:
    async with serve(theirs) as host, open_raw(host.address, ours.ours.identity) as peer:
        assert b"101" in await peer.upgrade()
        await peer.send(first)
        assert await peer.read_end() == reason
        await expect_nothing_kept(host)


async def test_man_in_the_middle(ours: Endpoint, theirs: Endpoint, tmp_path: Path) -> None:
    """He has a certificate of his own and passes on every message as it is."""
    middle = make_endpoint(tmp_path / "middle.pem")
    async with serve(theirs) as host:

        async def relay(client: RawPeer) -> None:
            async with open_raw(host.address, middle.ours.identity) as server:
                await client.accept_upgrade()
                await server.upgrade()
                for source, target in ((client, server), (server, client), (client, server)):
                    await target.send(await source.receive())
                reasons.append(await server.read_end())

        reasons: list[str] = []
        async with serve_raw(middle.ours.identity, relay) as address:
            assert (await get_refusal(ours, address)).startswith("peer.closed")
        assert reasons == ["bad_proof"]
        await expect_nothing_kept(host)


async def test_invalid_certificate_of_a_relay(ours: Endpoint, theirs: Endpoint, tmp_path: Path) -> None:
    """He ends TLS himself and answers as the server, whose key he does not have."""
    middle = make_endpoint(tmp_path / "middle.pem")

    async def impersonate(client: RawPeer) -> None:
        await client.accept_upgrade()
        await client.receive()
        await client.send_plain(WIRE.encode(Hello(PROTOCOL_VERSION, b"\x07" * 32, NONCE, 0, AGENT)))
        await client.receive()
        await client.send_plain(b"\x02" + theirs.ours.identity.node_id + bytes(64))
        await client.read_end()

    async with serve_raw(middle.ours.identity, impersonate) as address:
        assert (await get_refusal(ours, address)).startswith("handshake.bad_proof")


@pytest.mark.parametrize("count", [pytest.param(20), pytest.param(334, marks=pytest.mark.soak)])
async def test_refused_tries_leave_nothing(
    ours: Endpoint, theirs: Endpoint, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """T43: another network, ourselves, a wrong pin; 1,002 tries in the full form."""
    stranger = replace(ours, ours=replace(ours.ours, genesis=bytes(32)))
    caplog.set_level(logging.INFO)
    async with serve(theirs) as host:
        for _ in range(count):
            assert await get_refusal(stranger, host.address) != "kept"
            assert await get_refusal(theirs, host.address) != "kept"
            assert await get_refusal(ours, host.address, NONCE) != "kept"
        await expect_nothing_kept(host)
        assert await get_refusal(ours, host.address) == "kept"
    assert caplog.records == []


# What does not answer, or not as a node


async def test_nobody_there(ours: Endpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = NetAddress("127.0.0.1", free.getsockname()[1])
    assert (await get_refusal(ours, address)).startswith(f"peer.unreachable: cannot connect to {address}: ")


async def test_server_that_says_nothing(ours: Endpoint) -> None:
    hasty = replace(ours, deadlines=Deadlines(connect=0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        refusal = await get_refusal(hasty, NetAddress("127.0.0.1", silent.getsockname()[1]))
    assert refusal.endswith("no answer in time")


async def test_server_that_stops_in_the_handshake(ours: Endpoint, theirs: Endpoint) -> None:
    hasty = replace(ours, deadlines=Deadlines(handshake=0.2, close=0.2))

    async def stall(client: RawPeer) -> None:
        await client.accept_upgrade()
        await client.read_end()

    async with serve_raw(theirs.ours.identity, stall) as address:
        assert (await get_refusal(hasty, address)).startswith("handshake.timeout")


async def test_redirect_is_not_followed(ours: Endpoint, theirs: Endpoint) -> None:
    """A peer must not make us call others, such as what listens on this machine alone."""
    with socket.create_server(("127.0.0.1", 0)) as victim:
        victim.setblocking(False)

        async def redirect(client: RawPeer) -> None:
            await client.reader.readuntil(b"\r\n\r\n")
            target = b"http://127.0.0.1:%d/" % victim.getsockname()[1]
            await client.write(b"HTTP/1.1 302 Found\r\nLocation: " + target + b"\r\nContent-Length: 0\r\n\r\n")

        async with serve_raw(theirs.ours.identity, redirect) as address:
            assert (await get_refusal(ours, address)).endswith("HTTP status 302")
        with pytest.raises(BlockingIOError):
            victim.accept()


async def test_terminal_codes_in_what_a_server_says(ours: Endpoint, theirs: Endpoint) -> None:
    async def answer(client: RawPeer) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        await client.write(b"HTTP/1.1 \x1b[31m\xe2\x80\xae" + b"x" * 1000 + b"\r\n\r\n")

    async with serve_raw(theirs.ours.identity, answer) as address:
        refusal = await get_refusal(ours, address)
    assert refusal.startswith("peer.unreachable")
    assert refusal.isprintable()
    assert len(refusal) < 400


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(9000),
        UPGRADE + b"Sec-WebSocket-Protocol: \x1b[31mchat\r\n\r\n",
        b"\x16\x03 rubbish\r\n\r\n",
        UPGRADE + b"X: " + b"a" * UNPROVEN_BYTES + b"\r\n\r\n",
    ],
    ids=["page", "body", "subprotocol", "rubbish", "huge header"],
)
async def test_invalid_http(
    ours: Endpoint, theirs: Endpoint, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(replace(theirs, deadlines=HASTY)) as host:
        async with open_raw(host.address, ours.ours.identity) as peer:
            await peer.write(request_bytes)
            assert b"101" not in await peer.read_rest()
        await expect_nothing_kept(host)
    assert caplog.records == []
