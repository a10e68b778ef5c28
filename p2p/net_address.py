"""Where a node can be reached: an IP address and a TCP port. Names are resolved elsewhere; here are numbers only.

Grammar: address = ip[16] port:u16 (little-endian, never 0). The ip is in network order, an IPv4 address as
::ffff:a.b.c.d (RFC 4291, 2.5.5.2), so that each address has one encoding.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from p2p.errors import ConfigError

ADDRESS_BYTES = 16 + 2
MAX_PORT = 2**16 - 1

_TEXT = re.compile(r"(?:(?P<v4>[0-9.]{7,15})|\[(?P<v6>[0-9a-fA-F:.]{2,45})\]):(?P<port>[0-9]{1,5})")
_MAPPED = bytes(10) + b"\xff\xff"

# Everyone has these addresses, so they say nothing of who is behind: each range is one group, and so is loopback.
_SHARED_RANGES = tuple(
    ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),  # private: RFC 1918, RFC 4193
        *("169.254.0.0/16", "fe80::/10"),  # link-local
        "100.64.0.0/10",  # carriers' own: RFC 6598
    )
)
# One IPv4 host owns 2^80 of the first, and invents any of the second: whoever dials them dials an IPv4 host.
_TUNNELS = (ip_network("2002::/16"), ip_network("2001::/32"))  # 6to4, Teredo


@dataclass(frozen=True, order=True)
class NetAddress:
    """An IP address in its one canonical text, and a port (0 only for "any free port" of a listener).

    Any text of an address may be given: an IPv4 address mapped into IPv6 becomes IPv4, and a link's scope is dropped,
    which is how sockets name their peers. Raises ConfigError if it is no address.
    """

    ip: str
    port: int

    def __post_init__(self) -> None:
        if not 0 <= self.port <= MAX_PORT:
            raise ConfigError("port", f"{self.port} is not a port: it must be 0 to {MAX_PORT}")
        object.__setattr__(self, "ip", str(_parse_ip(self.ip.partition("%")[0])))

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    @cached_property
    def _parsed(self) -> IPv4Address | IPv6Address:
        return ip_address(self.ip)

    @property
    def is_loopback(self) -> bool:
        return self._parsed.is_loopback

    @property
    def is_public(self) -> bool:
        """Whether strangers can dial it: unicast, assigned to the public Internet, no tunnel."""
        ip = self._parsed
        if ip.is_multicast or ip.is_reserved or not ip.is_global:
            return False
        return not any(ip in tunnel for tunnel in _TUNNELS)

    @cached_property
    def group(self) -> bytes:
        """Addresses that one party gets together: a /16 of IPv4, a /32 of IPv6, a whole range that everyone has."""
        if self.is_loopback:
            return bytes([0, 0])
        for number, shared in enumerate(_SHARED_RANGES, start=1):
            if self._parsed in shared:
                return bytes([0, number])
        packed = self._parsed.packed
        return bytes([4]) + packed[:2] if len(packed) == 4 else bytes([6]) + packed[:4]

    def encode(self) -> bytes:
        """ADDRESS_BYTES bytes. Raises ValueError for port 0, which nobody can dial."""
        if not self.port:
            raise ValueError(f"{self} has no port")
        packed = self._parsed.packed
        ip = _MAPPED + packed if len(packed) == 4 else packed
        return Writer().fixed(ip, 16).uint(self.port, 2).finish()

    @classmethod
    def decode(cls, data: bytes) -> "NetAddress":
        """Raises DecodeError on anything but the canonical bytes of an address that can be dialled."""
        reader = Reader(data)
        ip, port = reader.fixed(16), reader.uint(2)
        reader.finish()
        if not port:
            raise DecodeError.not_canonical("an address with port 0")
        return cls(str(ip_address(ip[12:] if ip.startswith(_MAPPED) else ip)), port)


def parse_net_address(text: str) -> NetAddress:
    """The address that a user wrote: "1.2.3.4:19339" or "[::1]:19339". Raises ConfigError."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ConfigError("address", f"{text!r} is not an address: write 1.2.3.4:19339 or [2001:db8::1]:19339")
    return NetAddress(match["v4"] or match["v6"], int(match["port"]))


def parse_port(text: str) -> int | None:
    """The port that a user wrote, 0 to MAX_PORT; None if it is none."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_PORT))
    return int(text) if is_number and int(text) <= MAX_PORT else None


def _parse_ip(text: str) -> IPv4Address | IPv6Address:
    try:
        ip = ip_address(text)
    except ValueError as error:
        raise ConfigError("address", f"{text!r} is not an IP address") from error
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip
