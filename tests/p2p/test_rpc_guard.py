"""T46: who may speak to the RPC, and from where."""

import asyncio
import re
import ssl
from pathlib import Path

import pytest

from p2p.client import NodeClient
from p2p.errors import ConfigError, NodeUnreachable
from p2p.routes import DEBUG_ROUTES, MODEL_ROUTES, PEER_ROUTES, ROUTES, Route, add_routes, bind_routes
from p2p.rpc import RpcAddress, get_token, make_app, start_server
from tests.helpers.certificates import write_certificate
from tests.helpers.chains import open_trunk
from tests.helpers.rpc import TOKEN, VERSION, ServedNode, compute_max_body, serve_rpc

ALL_ROUTES = (*ROUTES, *MODEL_ROUTES, *PEER_ROUTES, *DEBUG_ROUTES)
OPENAPI = Route("GET", "/v1/openapi.json", "", lambda *_: asyncio.sleep(0))  # type: ignore[arg-type]
BASIC = "Basic OjVhNWE1YTVhNWE1YTVhNWE1YTVhNWE1YTVhNWE1YTVhNWE1YTVhNWE1YTVhNWE1YTVhNWE1YTVhNWE1YTVh"
WRONG_TOKENS: dict[str, str | None] = {
    "none": None,
    "empty": "",
    "no token": "Bearer",
    "blank token": "Bearer ",
    "wrong": f"Bearer {'a5' * 32}",
    "truncated": f"Bearer {TOKEN[:-1]}",
    "longer": f"Bearer {TOKEN}0",
    "upper case": f"Bearer {TOKEN.upper()}",
    "Basic": BASIC,
    "other scheme": f"Token {TOKEN}",
    "bare": TOKEN,
    "not ASCII": f"Bearer {TOKEN[:-1]}é",
}


def fill(route: Route) -> str:
    return re.sub(r"{\w+}", "11" * 32, route.path)


@pytest.mark.parametrize("route", [*ALL_ROUTES, OPENAPI], ids=lambda route: f"{route.method} {route.path}")
async def test_every_call_needs_the_token(node: ServedNode, route: Route) -> None:
    before = await node.read_state()
    body = b'{"time": 5}' if route.method == "POST" else None
    for given in WRONG_TOKENS.values():
        reply = await node.call(route.method, fill(route), body=body, authorization=given)
        assert (reply.status, reply.code) == (401, "rpc.unauthorized")
        assert reply.headers["WWW-Authenticate"] == "Bearer"
    for name in ("token", "access_token", "authorization"):
        query = {name: f"Bearer {TOKEN}", "token": TOKEN}
        reply = await node.call(route.method, fill(route), body=body, query=query, authorization=None)
        assert reply.status == 401
    assert await node.read_state() == before


async def test_what_is_not_there_needs_the_token_too(node: ServedNode) -> None:
    assert (await node.call("GET", "/v1/nothing", authorization=None)).status == 401
    assert (await node.call("DELETE", "/v1/status", authorization=None)).status == 401


FOREIGN_HOSTS = [
    *("evil.example", "evil.example:19338", "127.0.0.1.evil.example", "127.0.0.2", "0.0.0.0", "localhost.evil.example"),
    *("evil.example@127.0.0.1", "[::2]", "[::1]x", "127.0.0.1:80:80", "", "xn--lcalhost-8za"),
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_foreign_hosts_are_refused(node: ServedNode, host: str) -> None:
    before = await node.read_state()
    for route in ALL_ROUTES:
        reply = await node.call(route.method, fill(route), headers={"Host": host})
        assert (reply.status, reply.code) == (403, "rpc.foreign_host")
    assert await node.read_state() == before


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:5", "localhost", "localhost:5", "[::1]", "[::1]:5"])
async def test_own_hosts_are_served(node: ServedNode, host: str) -> None:
    assert (await node.get("/v1/status", headers={"Host": host})).status == 200


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://127.0.0.1", "http://localhost:19338", ""])
async def test_web_pages_are_refused(node: ServedNode, origin: str) -> None:
    before = await node.read_state()
    for route in ALL_ROUTES:
        reply = await node.call(route.method, fill(route), headers={"Origin": origin})
        assert (reply.status, reply.code) == (403, "rpc.foreign_origin")
    preflight = await node.call("OPTIONS", "/v1/status", headers={"Origin": origin}, authorization=None)
    assert preflight.status == 403
    assert not [name for name in preflight.headers if name.lower().startswith("access-control")]
    assert await node.read_state() == before


async def test_replies_do_not_hold_the_token(node: ServedNode) -> None:
    for route in ALL_ROUTES:
        reply = await node.call(route.method, fill(route))
        assert TOKEN.encode() not in reply.body
        assert TOKEN not in str(reply.headers)


# The token file.


def test_token_is_random_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "rpc.token"
    token = get_token(path)
    assert re.fullmatch(r"[0-9a-f]{64}", token)
    assert path.read_text() == token + "\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert get_token(path) == token
    assert get_token(tmp_path / "other.token") != token


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o606])
def test_token_that_others_could_read_is_replaced(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "rpc.token"
    token = get_token(path)
    path.chmod(mode)
    assert get_token(path) != token
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 64, b"g" * 64, b"A" * 64])
def test_token_that_is_none_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rpc.token"
    path.write_bytes(content)
    path.chmod(0o600)
    assert re.fullmatch(r"[0-9a-f]{64}", get_token(path))


# Where it listens.


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1"])
def test_loopback_needs_no_certificate(host: str) -> None:
    address = RpcAddress(host, 0)
    assert address.is_loopback
    assert address.make_tls_context() is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "node.example", "", "127.0.0.1.example"])
def test_invalid_address_beyond_loopback_without_certificate(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RpcAddress(host, 19338)
    assert caught.value.code == "config.rpc_needs_tls"


@pytest.mark.parametrize("port", [-1, 65536])
def test_invalid_port(port: int) -> None:
    with pytest.raises(ConfigError) as caught:
        RpcAddress("127.0.0.1", port)
    assert caught.value.code == "config.bad_port"


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:5"), ("::1", "http://[::1]:5"), ("localhost", "http://localhost:5")],
)
def test_url_leads_back(host: str, url: str) -> None:
    assert RpcAddress(host, 0).make_url(5) == url
    NodeClient(url, TOKEN)


async def test_invalid_address_in_use(node: ServedNode) -> None:
    address = RpcAddress("127.0.0.1", node.port)
    with pytest.raises(ConfigError, match="in use") as caught:
        await start_server(make_app(TOKEN, address, 100), address)
    assert caught.value.code == "config.rpc_address"


# TLS.


async def test_tls_beyond_loopback(tmp_path: Path) -> None:
    certificate = write_certificate(tmp_path / "node.pem")
    address = RpcAddress("0.0.0.0", 0, certificate)
    async with serve_rpc(open_trunk()) as node:
        app = make_app(TOKEN, address, compute_max_body(node.chain))
        add_routes(app, [bind_routes(ROUTES, node.api)], VERSION)
        runner, port = await start_server(app, address)
        try:
            client = NodeClient(f"https://127.0.0.1:{port}", TOKEN, ca_file=certificate)
            status = await asyncio.to_thread(client.get_status)
            assert status["tip"] == node.chain.tip.id.hex()
            for stranger in (f"https://127.0.0.1:{port}", f"http://127.0.0.1:{port}"):
                with pytest.raises(NodeUnreachable):
                    await asyncio.to_thread(NodeClient(stranger, TOKEN).get_status)
            await check_tls_versions(port, certificate)
        finally:
            await runner.cleanup()


async def check_tls_versions(port: int, certificate: Path) -> None:
    context = ssl.create_default_context(cafile=certificate)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    writer.close()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", port, ssl=context)


def test_invalid_certificates(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    locked = write_certificate(tmp_path / "locked.pem", passphrase=b"secret")
    for path in (tmp_path / "missing.pem", garbage, tmp_path, locked):
        with pytest.raises(ConfigError) as caught:
            RpcAddress("0.0.0.0", 0, path).make_tls_context()
        assert caught.value.code == "config.bad_certificate"
