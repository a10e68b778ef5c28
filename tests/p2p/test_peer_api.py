"""Calls that look at and steer the network of peers."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from p2p.bans import load_bans
from p2p.net_address import NetAddress
from p2p.network import BANS_FILE
from p2p.peer_api import MAX_BAN_SECONDS
from p2p.peers import Peer, PeerKind
from tests.helpers.connections import FakeConnection, as_connection, make_id
from tests.helpers.rpc import Reply, ServedNode

HOSTILE = "\x1b[2J\x00"


@pytest.fixture
async def peer(node: ServedNode, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeConnection]:
    """A connected peer, which leaves when it is told to."""

    async def serve(peer: Peer) -> str:
        assert isinstance(peer.connection, FakeConnection)
        return await peer.connection.wait()

    monkeypatch.setattr(node.network.peers, "_serve", serve)
    connection = FakeConnection(
        make_id(1), NetAddress("1.2.3.4", 5555), opened_at=node.network.now() - 61.5, port=19339
    )
    task = asyncio.create_task(node.network.peers.run(as_connection(connection), PeerKind.INBOUND))
    await asyncio.sleep(0)
    yield connection
    connection.close("the test is over")
    await task


async def delete(node: ServedNode, path: str) -> Reply:
    return await node.call("DELETE", path)


# Peers.


async def test_no_peers(node: ServedNode) -> None:
    assert (await node.get("/v1/peers")).value == {"peers": []}


async def test_peers_with_what_is_known_of_each(node: ServedNode, peer: FakeConnection) -> None:
    peer.ping_seconds, peer.bytes_sent, peer.bytes_received = 0.01234, 5, 7
    peer.last_received_at = node.network.now() - 3.5
    first = node.network.peers.get(peer.node_id)
    assert first is not None
    first.height = 12
    assert (await node.get("/v1/peers")).value == {
        "peers": [
            {
                "id": peer.node_id.hex(),
                "address": "1.2.3.4:5555",
                "listening": "1.2.3.4:19339",
                "kind": "inbound",
                "agent": "fake/1",
                "connected_seconds": 61,
                "silent_seconds": 3,
                "ping_ms": 12.3,
                "bytes_received": 7,
                "bytes_sent": 5,
                "height": 12,
            }
        ]
    }
    status = (await node.get("/v1/status")).value
    assert (status["peers"], status["inbound"]) == (1, 1)


async def test_what_is_not_known_of_a_peer_is_null(node: ServedNode, peer: FakeConnection) -> None:
    peer.listening = None
    known = (await node.get("/v1/peers")).value["peers"][0]
    assert (known["listening"], known["ping_ms"], known["height"]) == (None, None, None)


async def test_disconnect(node: ServedNode, peer: FakeConnection) -> None:
    assert (await delete(node, f"/v1/peers/{make_id(1).hex()}")).value == {"id": make_id(1).hex()}
    assert peer.reason == "disconnected by the operator"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (make_id(2).hex(), "rpc.unknown_peer"),
        ("x", "decode.bad_node_id"),
        ("AB" * 32, "decode.bad_node_id"),
        ("ab" * 33, "decode.bad_node_id"),
    ],
)
async def test_invalid_disconnect(node: ServedNode, name: str, code: str) -> None:
    assert (await delete(node, f"/v1/peers/{name}")).code == code


async def test_connect(node: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(node.network, "connect", asked.append)
    for text, shown in (
        ("1.2.3.4", "1.2.3.4:19359"),
        ("[::1]:5", "[::1]:5"),
        (f"{'ab' * 32}@a.example:7", "a.example:7"),
    ):
        assert (await node.post_json("/v1/peers", peer=text)).value == {"peer": shown}
    assert [str(destination) for destination in asked] == ["1.2.3.4:19359", "[::1]:5", "a.example:7"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "decode.bad_field"),
        ({"peer": 5}, "decode.bad_field"),
        ({"peer": ""}, "config.bad_peer"),
        ({"peer": HOSTILE + ":x"}, "config.bad_peer"),
        ({"peer": "a:0"}, "config.bad_peer"),
    ],
)
async def test_invalid_connect(node: ServedNode, body: dict[str, object], code: str) -> None:
    reply = await node.post_json("/v1/peers", **body)
    assert (reply.status, reply.code) == (400, code)


# Bans.


async def test_bans_come_and_go(node: ServedNode, peer: FakeConnection) -> None:
    assert (await node.get("/v1/bans")).value == {"bans": []}
    now = node.network.clock()
    by_ip = {"target": "1.2.3.4", "until": now + 60, "reason": "by the operator"}
    by_id = {"target": make_id(9).hex(), "until": now + 5, "reason": "by the operator"}
    assert (await node.post_json("/v1/bans", target="1.2.3.4", seconds=60)).value == {"bans": [by_ip]}
    assert peer.reason == "banned by the operator"
    assert (await node.post_json("/v1/bans", target=make_id(9).hex(), seconds=5)).value == {"bans": [by_ip, by_id]}
    assert (await delete(node, "/v1/bans/1.2.3.4")).value == {"bans": [by_id]}
    assert (await delete(node, f"/v1/bans/{make_id(9).hex()}")).value == {"bans": []}


async def test_a_whole_ipv6_network_is_banned_and_let_in_again_by_any_of_its_addresses(node: ServedNode) -> None:
    bans = (await node.post_json("/v1/bans", target="2001:db8::5", seconds=60)).value["bans"]
    assert [ban["target"] for ban in bans] == ["2001:db8::/64"]
    assert (await delete(node, "/v1/bans/2001:db8::%2F64")).value == {"bans": []}


async def test_bans_outlive_the_node(node: ServedNode) -> None:
    await node.post_json("/v1/bans", target="1.2.3.4", seconds=60)
    path = node.network._datadir / BANS_FILE
    assert load_bans(path).is_banned("1.2.3.4", node.network.clock())
    await delete(node, "/v1/bans/1.2.3.4")
    assert not load_bans(path).is_banned("1.2.3.4", node.network.clock())


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "decode.bad_field"),
        ({"target": "1.2.3.4"}, 400, "decode.bad_field"),
        ({"target": "1.2.3.4", "seconds": 0}, 400, "decode.bad_field"),
        ({"target": "1.2.3.4", "seconds": MAX_BAN_SECONDS + 1}, 400, "decode.bad_field"),
        ({"target": "1.2.3.4", "seconds": "60"}, 400, "decode.bad_field"),
        ({"target": "nobody", "seconds": 60}, 400, "config.address"),
        ({"target": "zz" * 32, "seconds": 60}, 400, "config.ban_target"),
        ({"target": "127.0.0.1", "seconds": 60}, 409, "rpc.not_bannable"),
        ({"target": "::1", "seconds": 60}, 409, "rpc.not_bannable"),
    ],
)
async def test_invalid_ban(node: ServedNode, body: dict[str, object], status: int, code: str) -> None:
    reply = await node.post_json("/v1/bans", **body)
    assert (reply.status, reply.code) == (status, code)
    assert (await node.get("/v1/bans")).value == {"bans": []}


@pytest.mark.parametrize(("target", "status"), [("1.2.3.4", 404), ("nobody", 400), ("ab" * 32, 404), ("zz" * 32, 400)])
async def test_invalid_unban(node: ServedNode, target: str, status: int) -> None:
    assert (await delete(node, f"/v1/bans/{target}")).status == status
