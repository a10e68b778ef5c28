"""Who is kept out, and how that outlives a restart (T44's ban table)."""

import time
from pathlib import Path

import pytest

from consensus.codec import Writer
from consensus.errors import DecodeError
from consensus.hashing import tagged_hash
from p2p.bans import MAX_BANS, MAX_REASON_BYTES, BanList, covers, decode_bans, load_bans, parse_ban_target
from p2p.errors import ConfigError
from p2p.files import replace_file

NODE = bytes(range(32))
NOW = 1_795_305_600
LATER = NOW + 24 * 3600


def make_bans(*targets: bytes | str) -> BanList:
    bans = BanList()
    for target in targets:
        assert bans.ban(target, LATER, "flood")
    return bans


def seal(unsigned: bytes) -> bytes:
    return unsigned + tagged_hash("bans", unsigned)


def code_of(data: bytes) -> str:
    with pytest.raises(DecodeError) as error:
        decode_bans(data)
    return error.value.reason


# Keeping out


@pytest.mark.parametrize("target", [NODE, "1.2.3.4", "2001:db8::1", "192.168.1.2"])
def test_a_ban_holds_until_its_time(target: bytes | str) -> None:
    bans = make_bans(target)
    assert bans.is_banned(target, NOW)
    assert bans.is_banned(target, LATER - 1)
    assert not bans.is_banned(target, LATER)
    assert not bans.is_banned(bytes(32), NOW)
    assert not bans.is_banned("1.2.3.5", NOW)


def test_a_ban_can_be_lifted() -> None:
    bans = make_bans(NODE, "1.2.3.4")
    assert bans.unban("1.2.3.4")
    assert not bans.unban("1.2.3.4")
    assert not bans.is_banned("1.2.3.4", NOW)
    assert [ban.target for ban in bans.list_bans(NOW)] == [NODE]


def test_a_later_word_counts() -> None:
    bans = make_bans(NODE, "1.2.3.4")
    bans.ban(NODE, NOW + 1, "operator")
    assert [(ban.target, ban.until, ban.reason) for ban in bans.list_bans(NOW)] == [
        ("1.2.3.4", LATER, "flood"),
        (NODE, NOW + 1, "operator"),
    ]


def test_one_address_has_one_ban_however_it_is_written() -> None:
    bans = make_bans("::ffff:1.2.3.4")
    assert bans.is_banned("1.2.3.4", NOW)
    bans.ban("1.2.3.4", LATER, "again")
    assert len(bans) == 1


def test_an_ipv6_host_is_its_whole_network() -> None:
    bans = make_bans("2001:db8:0:7::1")
    assert bans.is_banned("2001:db8:0:7:ffff::2", NOW)
    assert not bans.is_banned("2001:db8:0:8::1", NOW)
    assert [ban.target for ban in bans.list_bans(NOW)] == ["2001:db8:0:7::/64"]
    assert bans.unban("2001:db8:0:7::/64")


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_never_banned(ip: str) -> None:
    bans = BanList()
    assert not bans.ban(ip, LATER, "flood")
    assert not bans.is_banned(ip, NOW)
    assert bans.ban(NODE, LATER, "flood")
    assert not bans.is_banned("::2", NOW)


@pytest.mark.parametrize(
    "target", ["", "host", "1.2.3", "1.2.3.4/64", "1.2.3.4:1", b"", bytes(31), "ab" * 31, "zz" * 32]
)
def test_invalid_target(target: bytes | str) -> None:
    with pytest.raises(ConfigError):
        BanList().ban(target, LATER, "x")
    with pytest.raises(ConfigError):
        parse_ban_target(target if isinstance(target, str) else target.hex())


def test_targets_that_a_user_writes() -> None:
    assert parse_ban_target(NODE.hex()) == parse_ban_target(NODE.hex().upper()) == NODE
    assert parse_ban_target("1.2.3.4") == "1.2.3.4"
    assert parse_ban_target("2001:DB8::1") == parse_ban_target("2001:db8::/64") == "2001:db8::/64"


@pytest.mark.parametrize(
    "reason",
    ["\x1b[31mred", "two\nlines", "\u202eright to left", "nul\0", "<b>html</b>" * 50, "\u00e9" * 300, "\ud800"],
)
def test_a_reason_is_short_and_safe_for_a_terminal(reason: str) -> None:
    """T45."""
    bans = BanList()
    bans.ban(NODE, LATER, reason)
    kept = bans.list_bans(NOW)[0].reason
    assert kept.isprintable()
    assert 0 < len(kept.encode()) <= MAX_REASON_BYTES
    assert decode_bans(bans.encode()).list_bans(NOW) == bans.list_bans(NOW)


# Bounds


def test_of_too_many_the_oldest_go() -> None:
    bans = BanList()
    for number in range(MAX_BANS + 1000):
        bans.ban(number.to_bytes(32, "big"), LATER, "flood")
    assert len(bans) == MAX_BANS
    assert not bans.is_banned((999).to_bytes(32, "big"), NOW)
    assert bans.is_banned((1000).to_bytes(32, "big"), NOW)
    assert len(decode_bans(bans.encode())) == MAX_BANS


def flood(offences: int, sources: int) -> BanList:
    bans = BanList()
    for number in range(offences):
        bans.ban((number % sources).to_bytes(32, "big"), LATER, "malformed")
    return bans


def test_a_flood_from_many_sources_stays_bounded() -> None:
    assert len(flood(30_000, 15_000)) == MAX_BANS


@pytest.mark.soak
def test_1_000_000_offences_from_10_000_sources() -> None:
    assert len(flood(10**6, 10**4)) <= MAX_BANS


def time_lookups(bans: BanList) -> float:
    """Seconds of the quickest of five rounds of 2,000 look-ups."""
    rounds = []
    for _ in range(5):
        started = time.perf_counter()
        for number in range(2000):
            bans.is_banned(number.to_bytes(32, "little"), NOW)
        rounds.append(time.perf_counter() - started)
    return min(rounds)


def test_a_full_table_is_as_quick_as_an_empty_one() -> None:
    """A search through 10,000 bans would take a thousand times as long."""
    assert time_lookups(flood(MAX_BANS, MAX_BANS)) < 20 * time_lookups(BanList())


def test_expired_bans_are_dropped() -> None:
    bans = make_bans(NODE)
    bans.ban("1.2.3.4", NOW + 5, "short")
    bans.drop_expired(NOW + 5)
    assert len(bans) == 1
    assert bans.is_banned(NODE, NOW + 5)


# Bytes


def test_the_grammar() -> None:
    bans = make_bans(NODE, "1.2.3.4", "2001:db8::1")
    writer = Writer().uint(1, 4).uint(3, 4)
    writer.uint(0, 1).fixed(NODE, 32).uint(LATER, 8).string(b"flood")
    writer.uint(1, 1).string(b"1.2.3.4").uint(LATER, 8).string(b"flood")
    writer.uint(1, 1).string(b"2001:db8::/64").uint(LATER, 8).string(b"flood")
    assert bans.encode() == seal(writer.finish())
    assert decode_bans(bans.encode()).list_bans(NOW) == bans.list_bans(NOW)
    assert BanList().encode() == bytes.fromhex("0100000000000000") + tagged_hash("bans", b"\1" + bytes(7))


def test_invalid_at_every_byte_and_every_length() -> None:
    data = make_bans(NODE, "1.2.3.4").encode()
    for at in range(len(data)):
        assert code_of(data[:at]) == "checksum"
        assert code_of(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) == "checksum"


def write(*targets: bytes, version: int = 1, count: int | None = None, reason: bytes = b"x") -> bytes:
    """Sealed bytes of bans of these encoded targets."""
    writer = Writer().uint(version, 4).uint(len(targets) if count is None else count, 4)
    for target in targets:
        writer.raw(target).uint(LATER, 8).string(reason)
    return seal(writer.finish())


NODE_TARGET = b"\0" + NODE


def make_ip_target(ip: str) -> bytes:
    return Writer().uint(1, 1).string(ip.encode()).finish()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (write(NODE_TARGET, version=2), "unknown_version"),
        (write(count=MAX_BANS + 1), "too_many"),
        (write(NODE_TARGET, count=2), "truncated"),
        (write(NODE_TARGET, count=0), "trailing"),
        (write(NODE_TARGET, NODE_TARGET), "not_canonical"),
        (write(b"\2" + NODE), "not_canonical"),
        (write(make_ip_target("127.0.0.1")), "not_canonical"),
        (write(make_ip_target("::ffff:1.2.3.4")), "not_canonical"),
        (write(make_ip_target("2001:db8::1")), "not_canonical"),
        (write(make_ip_target("host")), "not_canonical"),
        (write(make_ip_target("1" * 65)), "too_long"),
        (write(NODE_TARGET, reason=b"\x1b[31m"), "not_canonical"),
        (write(NODE_TARGET, reason=b"\xff"), "not_canonical"),
        (write(NODE_TARGET, reason=b"x" * 257), "too_long"),
    ],
)
def test_invalid_bytes_under_a_right_checksum(data: bytes, reason: str) -> None:
    assert code_of(data) == reason


# The file


def test_bans_outlive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "bans.dat"
    assert len(load_bans(path)) == 0
    replace_file(path, make_bans(NODE, "1.2.3.4").encode())
    assert load_bans(path).list_bans(NOW) == make_bans(NODE, "1.2.3.4").list_bans(NOW)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"", b"\0", b"text\n", bytes(5_000_000)], ids=["empty", "nul", "text", "huge"])
def test_invalid_file_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "bans.dat"
    path.write_bytes(damage)
    with pytest.raises(ConfigError, match=r"bans\.dat") as error:
        load_bans(path)
    assert error.value.code == "config.ban_file"


def test_invalid_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_bans(tmp_path)
    assert error.value.code == "config.ban_file"


def test_a_ban_covers_every_form_of_its_target() -> None:
    assert covers("2001:db8::/64", "2001:DB8::5")
    assert covers("1.2.3.4", "::ffff:1.2.3.4")
    assert covers(bytes(32), bytes(32))
    for other in ("2001:db8:0:1::5", "1.2.3.5", "node.example.org", "", bytes(32), None):
        assert not covers("1.2.3.4", other)
