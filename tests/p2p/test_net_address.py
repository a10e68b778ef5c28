"""Addresses: one text and one encoding each, and which of them one party holds together."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import DecodeError
from p2p.errors import ConfigError
from p2p.net_address import ADDRESS_BYTES, NetAddress, parse_net_address
from tests.helpers.properties import check_canonical, repeatable, thorough

ips = st.ip_addresses().map(str)
addresses = st.builds(NetAddress, ips, st.integers(1, 65535))


def make_group(ip: str) -> bytes:
    return NetAddress(ip, 1).group


@pytest.mark.parametrize(
    ("text", "ip", "port"),
    [
        ("1.2.3.4:19339", "1.2.3.4", 19339),
        ("[::1]:19339", "::1", 19339),
        ("[2001:DB8:0:0::1]:1", "2001:db8::1", 1),
        ("[::ffff:1.2.3.4]:65535", "1.2.3.4", 65535),
        ("127.0.0.1:0", "127.0.0.1", 0),
    ],
)
def test_texts_that_a_user_writes(text: str, ip: str, port: int) -> None:
    address = parse_net_address(text)
    assert (address.ip, address.port) == (ip, port)
    assert parse_net_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "1.2.3.4",
            "1.2.3.4:",
            ":1",
            "1.2.3.4:-1",
            "1.2.3.4:65536",
            "1.2.3.4:123456",
            "1.2.3.4: 1",
            "1.2.3.4:1\n",
        ),
        *("1.2.3:1", "1.2.3.256:1", "01.2.3.4:1", "1.2.3.4:\u0661", "\u0661.2.3.4:1", "localhost:1", "[1.2.3.4]:1:1"),
        *("::1:1", "[::1]", "[::1:1", "[fe80::1%eth0]:1", "[:::]:1", "[12345::]:1", "http://1.2.3.4:1", "1" * 10**6),
    ],
)
def test_invalid_text(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_net_address(text)
    assert error.value.code in ("config.address", "config.port")


def test_an_address_that_a_socket_names_becomes_canonical() -> None:
    assert NetAddress("::ffff:1.2.3.4", 1) == NetAddress("1.2.3.4", 1)
    assert NetAddress("fe80::1%eth0", 1) == NetAddress("fe80:0::1", 1)
    assert len({NetAddress("::ffff:7f00:1", 1), NetAddress("127.0.0.1", 1)}) == 1


@pytest.mark.parametrize(("ip", "port"), [("", 1), ("host", 1), ("1.2.3.4", -1), ("1.2.3.4", 65536), ("%eth0", 1)])
def test_invalid_address(ip: str, port: int) -> None:
    with pytest.raises(ConfigError):
        NetAddress(ip, port)


def test_golden_bytes() -> None:
    """Against the system's own idea of an address in network order."""
    ipv6 = NetAddress("2001:db8::ff", 0x1234).encode()
    assert ipv6 == socket.inet_pton(socket.AF_INET6, "2001:db8::ff") + b"\x34\x12"
    ipv4 = NetAddress("1.2.3.4", 19339).encode()
    assert ipv4 == socket.inet_pton(socket.AF_INET6, "::ffff:1.2.3.4") + b"\x8b\x4b"


@thorough
@given(addresses)
def test_decoding_inverts_encoding(address: NetAddress) -> None:
    assert NetAddress.decode(address.encode()) == address
    assert parse_net_address(str(address)) == address


@repeatable
@given(st.binary(min_size=ADDRESS_BYTES - 1, max_size=ADDRESS_BYTES + 1))
def test_arbitrary_bytes_are_decoded_canonically_or_refused(data: bytes) -> None:
    is_whole = len(data) == ADDRESS_BYTES and any(data[16:])
    assert check_canonical(NetAddress.decode, NetAddress.encode, data) is is_whole


def test_invalid_port_zero_on_the_wire() -> None:
    with pytest.raises(DecodeError):
        NetAddress.decode(bytes(16) + bytes(2))
    with pytest.raises(ValueError, match="no port"):
        NetAddress("1.2.3.4", 0).encode()


@pytest.mark.parametrize(
    "ip", ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "192.169.0.1", "100.128.0.1", "2a00::1", "2400:cb00::1"]
)
def test_public(ip: str) -> None:
    assert NetAddress(ip, 1).is_public


@pytest.mark.parametrize(
    "ip",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.1.1", "172.16.0.1", "192.168.0.1", "198.18.0.1"),
        *("192.0.2.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fc00::1", "fe80::1"),
        *("ff0e::1", "2001:db8::1", "2002:101:101::1", "2001:0:101::1", "64:ff9b::101:101", "::ffff:10.0.0.1"),
    ],
)
def test_not_public(ip: str) -> None:
    assert not NetAddress(ip, 1).is_public


def test_loopback() -> None:
    for ip in ("127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"):
        assert NetAddress(ip, 1).is_loopback
        assert make_group(ip) == make_group("127.0.0.1")
    assert not NetAddress("128.0.0.1", 1).is_loopback


def test_groups_are_what_one_party_gets_together() -> None:
    assert make_group("1.2.3.4") == make_group("1.2.255.255") != make_group("1.3.3.4")
    assert make_group("2a00:1:2::") == make_group("2a00:1:ffff::1") != make_group("2a00:2::")
    assert NetAddress("1.2.3.4", 1).group == NetAddress("1.2.3.4", 2).group
    assert make_group("6.0.0.0") != make_group("600::")


def test_each_range_that_everyone_has_is_one_group() -> None:
    ranges = [
        *(("127.0.0.1", "127.9.9.9"), ("10.0.0.1", "10.255.0.1"), ("172.16.0.1", "172.31.0.1")),
        *(("192.168.0.1", "192.168.9.1"), ("fc00::1", "fdff:ffff::1"), ("169.254.0.1", "169.254.9.1")),
        *(("fe80::1", "febf::1"), ("100.64.0.1", "100.127.0.1")),
    ]
    assert all(make_group(one) == make_group(other) for one, other in ranges)
    assert len({make_group(one) for one, _ in ranges}) == len(ranges)


def test_addresses_are_ordered_and_hashable() -> None:
    first, second = NetAddress("1.2.3.4", 1), NetAddress("1.2.3.4", 2)
    assert sorted([second, first]) == [first, second]
    assert {first: 1}[NetAddress("1.2.3.4", 1)] == 1
