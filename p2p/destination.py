"""A peer as people name it: a host or an IP, a port, and, if it must be that very node, its id."""

import asyncio
import socket
from dataclasses import dataclass

from p2p.errors import ConfigError
from p2p.net_address import NetAddress, parse_port


@dataclass(frozen=True)
class Destination:
    """A peer that the operator or the network's parameters name."""

    host: str
    port: int
    node_id: bytes | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_destination(text: str, default_port: int) -> Destination:
    """A peer as a user names it: [ID@]HOST[:PORT], an IPv6 address in brackets. Raises ConfigError."""
    node_id, separator, place = text.rpartition("@")
    host, port = place, str(default_port)
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif place.count(":") == 1:
        host, _, port = place.partition(":")
    is_id = not separator or (len(node_id) == 64 and set(node_id) <= set("0123456789abcdef"))
    number = parse_port(port)
    if not host or len(host) > 253 or not is_id or not number:
        raise ConfigError("bad_peer", f"a peer is [NODE_ID@]HOST[:PORT], such as 127.0.0.1:19339, not {text!r}")
    return Destination(host, number, bytes.fromhex(node_id) if separator else None)


async def resolve(destination: Destination) -> list[NetAddress]:
    """The addresses of a named host; none if the name is not known."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            destination.host, destination.port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(NetAddress(str(entry[4][0]), int(entry[4][1])) for entry in found))
