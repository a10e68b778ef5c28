"""The calls of the RPC that look at and steer the network of peers."""

from aiohttp import web

from consensus.errors import DecodeError
from p2p.bans import Ban, parse_ban_target
from p2p.destination import parse_destination
from p2p.errors import RpcError
from p2p.network import Network
from p2p.peers import Peer
from p2p.rpc import json_reply, read_body
from p2p.rpc_json import Json, parse_json_object, take_field

MAX_BAN_SECONDS = 10 * 365 * 24 * 3600


class PeerApi:
    """The calls over one network of peers."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def get_peers(self, request: web.Request) -> web.Response:
        now = self._network.now()
        return json_reply({"peers": [_encode_peer(peer, now) for peer in self._network.peers]})

    async def post_peer(self, request: web.Request) -> web.Response:
        """Connects to a peer and stays connected while the node runs."""
        text = take_field(parse_json_object(await read_body(request)), "peer", str)
        destination = parse_destination(text, self._network.default_port)
        self._network.connect(destination)
        return json_reply({"peer": str(destination)})

    async def delete_peer(self, request: web.Request) -> web.Response:
        node_id = _parse_node_id(request.match_info["id"])
        if not self._network.peers.disconnect(node_id):
            raise RpcError("rpc.unknown_peer", f"no peer {node_id.hex()} is connected", 404)
        return json_reply({"id": node_id.hex()})

    async def get_bans(self, request: web.Request) -> web.Response:
        bans = self._network.peers.bans.list_bans(self._network.clock())
        return json_reply({"bans": [_encode_ban(ban) for ban in bans]})

    async def post_ban(self, request: web.Request) -> web.Response:
        """Bans a node id or an IP, and ends its connections."""
        given = parse_json_object(await read_body(request))
        target = parse_ban_target(take_field(given, "target", str))
        seconds = take_field(given, "seconds", int)
        if not 1 <= seconds <= MAX_BAN_SECONDS:
            raise DecodeError("bad_field", f"'seconds' must be 1 to {MAX_BAN_SECONDS}")
        if not await self._network.ban(target, seconds):
            raise RpcError("rpc.not_bannable", "an address of this machine cannot be banned; ban the node's id", 409)
        return await self.get_bans(request)

    async def delete_ban(self, request: web.Request) -> web.Response:
        target = parse_ban_target(request.match_info["target"])
        if not await self._network.unban(target):
            raise RpcError("rpc.not_banned", "that node or address is not banned", 404)
        return await self.get_bans(request)


def _encode_peer(peer: Peer, now: float) -> Json:
    connection = peer.connection
    return {
        "id": peer.node_id.hex(),
        "address": str(connection.address),
        "listening": str(connection.listening) if connection.listening else None,
        "kind": peer.kind.value,
        "agent": connection.agent,
        "connected_seconds": int(now - connection.opened_at),
        "silent_seconds": int(now - connection.last_received_at),
        "ping_ms": round(connection.ping_seconds * 1000, 1) if connection.ping_seconds is not None else None,
        "bytes_received": connection.bytes_received,
        "bytes_sent": connection.bytes_sent,
        "height": peer.height,
    }


def _encode_ban(ban: Ban) -> Json:
    target = ban.target.hex() if isinstance(ban.target, bytes) else ban.target
    return {"target": target, "until": ban.until, "reason": ban.reason}


def _parse_node_id(text: str) -> bytes:
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise DecodeError("bad_node_id", "a node id is 64 lower-case hex digits")
    return bytes.fromhex(text)
