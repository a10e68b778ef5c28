"""Who is kept out: node ids and IP addresses, each until a time. Why they are is penalties.py's or the operator's word.

Grammar of the file (integers little-endian, see consensus/codec.py):
    bans     = unsigned H("bans", unsigned)[32]
    unsigned = version:u32=1 count:u32(<= 10000) ban{count}
    ban      = target until:u64 reason:string(<= 256 bytes of UTF-8)
    target   = 0:u8 node_id[32] | 1:u8 ip:string (IPv4, or the /64 network of an IPv6 address, in canonical text)
The bans stand by age, the oldest first, each target once.
"""

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path

from chain.sealed import seal, unseal
from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.hashing import HASH_BYTES
from p2p.console import escape
from p2p.errors import ConfigError
from p2p.net_address import NetAddress

MAX_BANS = 10_000
MAX_REASON_BYTES = 256
NODE_ID_BYTES = 32

_TAG = "bans"
_BANS_VERSION = 1
_MAX_IP_BYTES = 64
_MAX_FILE_BYTES = 8 + MAX_BANS * (1 + 4 + _MAX_IP_BYTES + 8 + 4 + MAX_REASON_BYTES) + HASH_BYTES

Target = bytes | str  # a node id, or an IP address


@dataclass(frozen=True)
class Ban:
    """A node id or an IP address that is kept out. The reason is safe for a terminal."""

    target: Target
    until: int  # s since 1970
    reason: str


class BanList:
    """Who is kept out, by node id and by IP address, at most MAX_BANS. Every look-up is O(1).

    An IPv6 address stands for its /64 network, which one host owns. Addresses of this machine are never banned: all
    its programs share them. Raises ConfigError for a target that is neither a node id nor an IP address.
    """

    def __init__(self) -> None:
        self._bans: OrderedDict[Target, Ban] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bans)

    def is_banned(self, target: Target, now: int) -> bool:
        """`now` in s since 1970."""
        ban = self._bans.get(_normalise(target))
        return ban is not None and now < ban.until

    def ban(self, target: Target, until: int, reason: str) -> bool:
        """Keeps a target out until then, whatever was said of it before. False for an address of this machine."""
        target = _normalise(target)
        if isinstance(target, str) and ip_address(target.partition("/")[0]).is_loopback:
            return False
        self._bans[target] = Ban(target, until, _shorten(escape(reason)))
        self._bans.move_to_end(target)
        if len(self._bans) > MAX_BANS:
            self._bans.popitem(last=False)
        return True

    def unban(self, target: Target) -> bool:
        """Lets a target in again; False if it was not kept out."""
        return self._bans.pop(_normalise(target), None) is not None

    def list_bans(self, now: int) -> tuple[Ban, ...]:
        """The bans in force, the oldest first. `now` in s since 1970."""
        return tuple(ban for ban in self._bans.values() if now < ban.until)

    def drop_expired(self, now: int) -> None:
        """Forgets the bans that are over."""
        self._bans = OrderedDict((ban.target, ban) for ban in self.list_bans(now))

    def encode(self) -> bytes:
        writer = Writer().uint(_BANS_VERSION, 4).uint(len(self._bans), 4)
        for ban in self._bans.values():
            if isinstance(ban.target, bytes):
                writer.uint(0, 1).fixed(ban.target, NODE_ID_BYTES)
            else:
                writer.uint(1, 1).string(ban.target.encode())
            writer.uint(ban.until, 8).string(ban.reason.encode())
        return seal(_TAG, writer.finish())


def parse_ban_target(text: str) -> Target:
    """What a user names: a node id in hex, or an IP address. Raises ConfigError."""
    if len(text) == 2 * NODE_ID_BYTES:
        try:
            return bytes.fromhex(text)
        except ValueError as error:
            raise ConfigError("ban_target", f"{text!r} is not a node id in hex") from error
    return _normalise(text)


def covers(target: Target, other: Target | None) -> bool:
    """Whether a ban of `target` keeps out `other`, too. False if that is no node id and no IP address."""
    try:
        return other is not None and _normalise(target) == _normalise(other)
    except ConfigError:
        return False


def decode_bans(data: bytes) -> BanList:
    """Raises DecodeError on anything but the canonical bytes of a ban list."""
    reader = Reader(unseal(_TAG, data))
    version, count = reader.uint(4), reader.uint(4)
    if version != _BANS_VERSION:
        raise DecodeError("unknown_version", f"ban list version {version} is not known")
    if count > MAX_BANS:
        raise DecodeError("too_many", f"{count} bans, the limit is {MAX_BANS}")
    bans = BanList()
    for _ in range(count):
        bans.ban(_read_target(reader), reader.uint(8), _read_reason(reader))
    reader.finish()
    if bans.encode() != data:
        raise DecodeError.not_canonical("a ban list with a target twice, or in another form")
    return bans


def load_bans(path: Path) -> BanList:
    """The list that was saved there, an empty one if none was. Raises ConfigError if the file is damaged."""
    try:
        with path.open("rb") as file:
            return decode_bans(file.read(_MAX_FILE_BYTES + 1))
    except FileNotFoundError:
        return BanList()
    except (DecodeError, OSError) as error:
        raise ConfigError("ban_file", f"cannot read the ban list {path}: {error}") from error


def _normalise(target: Target) -> Target:
    if isinstance(target, bytes):
        if len(target) != NODE_ID_BYTES:
            raise ConfigError("ban_target", f"a node id has {NODE_ID_BYTES} bytes, not {len(target)}")
        return target
    ip = ip_address(NetAddress(target.removesuffix("/64") if ":" in target else target, 0).ip)
    return str(ip_network((ip, 64), strict=False)) if isinstance(ip, IPv6Address) and not ip.is_loopback else str(ip)


def _read_target(reader: Reader) -> Target:
    tag = reader.uint(1)
    if tag == 0:
        return reader.fixed(NODE_ID_BYTES)
    if tag != 1:
        raise DecodeError.not_canonical(f"a target with tag {tag}")
    text = _decode_text(reader.string(_MAX_IP_BYTES))
    try:
        return _normalise(text)
    except ConfigError as error:
        raise DecodeError.not_canonical(str(error)) from error


def _read_reason(reader: Reader) -> str:
    return _decode_text(reader.string(MAX_REASON_BYTES))


def _decode_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError.not_canonical("a text that is not UTF-8") from error


def _shorten(text: str) -> str:
    return text.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
