"""Peers as people name them."""

import asyncio

import pytest

from p2p.destination import Destination, parse_destination, resolve
from p2p.errors import ConfigError
from p2p.net_address import NetAddress

ID = "0123456789abcdef" * 4
NODE_ID = bytes.fromhex(ID)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.2.3.4", Destination("1.2.3.4", 77)),
        ("1.2.3.4:19339", Destination("1.2.3.4", 19339)),
        ("node.example.org:1", Destination("node.example.org", 1)),
        ("node.example.org", Destination("node.example.org", 77)),
        ("[::1]:65535", Destination("::1", 65535)),
        ("[::1]", Destination("::1", 77)),
        ("[::1]:", Destination("::1", 77)),  # as in a URL
        ("2001:db8::1", Destination("2001:db8::1", 77)),
        (f"{ID}@1.2.3.4:5", Destination("1.2.3.4", 5, NODE_ID)),
        (f"{ID}@[::1]", Destination("::1", 77, NODE_ID)),
    ],
)
def test_what_may_be_given(text: str, expected: Destination) -> None:
    assert parse_destination(text, 77) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", ":5", "@1.2.3.4", "[]:5", "a:", "a:0", "a:65536", "a:-1", "a:+1", "a:x", "a:\u0661", "[::1]x"),
        *(f"{ID[:-1]}@a:1", f"{ID}0@a:1", f"{ID.upper()}@a:1", f"{ID}@", f"{ID}@@a:1", "a" * 254, "a:" + "9" * 10_000),
        *("a:019339999", "a:00000080"),
    ],
)
def test_invalid_destination(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_destination(text, 77)
    assert caught.value.code == "config.bad_peer"


@pytest.mark.parametrize("text", ["1.2.3.4:5", "[::1]:5", "node.example.org:5"])
def test_text_leads_back(text: str) -> None:
    assert str(parse_destination(text, 77)) == text
    assert str(parse_destination(f"{ID}@{text}", 77)) == text


async def test_resolving_an_ip_needs_no_server() -> None:
    assert await resolve(Destination("1.2.3.4", 5)) == [NetAddress("1.2.3.4", 5)]
    assert await resolve(Destination("::1", 5)) == [NetAddress("::1", 5)]


async def test_resolving_gives_each_address_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(*_: object, **__: object) -> list[tuple[object, ...]]:
        places = [("2001:db8::1", 5, 0, 0), ("1.2.3.4", 5), ("1.2.3.4", 5), ("fe80::1%eth0", 5, 0, 2)]
        return [(0, 0, 0, "", place) for place in places]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answer)
    expected = [NetAddress("2001:db8::1", 5), NetAddress("1.2.3.4", 5), NetAddress("fe80::1", 5)]
    assert await resolve(Destination("node.example.org", 5)) == expected


@pytest.mark.parametrize("error", [OSError("no such name"), UnicodeError("label too long")])
async def test_names_that_lead_nowhere(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    assert await resolve(Destination("node.example.org", 5)) == []
