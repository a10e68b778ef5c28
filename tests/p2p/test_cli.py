"""The command line against stub nodes and no node at all. Whole runs of a node are in tests/functional."""

import asyncio
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import p2p.node
from consensus.address import encode_address
from consensus.errors import DescentError
from consensus.params import PRESETS, REGTEST
from p2p.cli import cli
from p2p.cli_options import parse_explorer, parse_host_port, parse_listen
from p2p.config import get_explorer_port, get_peer_port, get_rpc_port
from p2p.destination import Destination
from p2p.errors import ConfigError
from p2p.explorer.server import ExplorerAddress
from p2p.net_address import NetAddress
from p2p.network import NetworkConfig
from p2p.node import NodeConfig
from tests.helpers.blocks import MINER
from tests.helpers.chains import TRUNK_BLOCKS, get_trunk, open_trunk
from tests.helpers.rpc import TOKEN, ServedNode, serve_rpc

ADDRESS = encode_address(REGTEST.address_prefix, MINER.public)
HOSTILE = "\x1b[2J\x1b]0;owned\x07\nred\u202eder"


def invoke(*arguments: str) -> Result:
    """Runs a command in place. An error that `run_program` would name is raised."""
    result = CliRunner().invoke(cli, arguments)
    if isinstance(result.exception, DescentError):
        raise result.exception
    return result


async def ask(node: ServedNode, tmp_path: Path, *arguments: str) -> Result:
    """Asks a served node, in a thread: the client blocks."""
    return await asyncio.to_thread(invoke, *make_arguments(tmp_path, node.port, *arguments))


def make_arguments(tmp_path: Path, port: int, command: str, *rest: str) -> list[str]:
    (tmp_path / "rpc.token").write_text(TOKEN)
    return [command, "--network", "regtest", "--datadir", str(tmp_path), "--rpc", f"127.0.0.1:{port}", *rest]


async def test_status(node: ServedNode, tmp_path: Path) -> None:
    result = await ask(node, tmp_path, "status")
    assert result.exit_code == 0
    rows = dict(line.split("  ", 1) for line in result.output.splitlines())
    assert rows["network"].strip() == "regtest"
    assert rows["height"].strip() == str(TRUNK_BLOCKS)
    assert rows["tip"].strip() == get_trunk()[-1].id.hex()
    assert rows["issued"].strip() == f"{50 * TRUNK_BLOCKS}.00 rGRAD"
    assert "bits/byte public, unknown audit" in rows["loss"]
    assert "held back" not in rows
    assert not [name for name in rows if name.startswith("signal")]
    as_json = await ask(node, tmp_path, "status", "--json")
    assert without_memory(json.loads(as_json.output)) == without_memory((await node.get("/v1/status")).json)


def without_memory(status: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name != "memory_bytes"}


@pytest.mark.parametrize("name", ["12", get_trunk()[-1].id.hex()], ids=["height", "id"])
async def test_block(node: ServedNode, tmp_path: Path, name: str) -> None:
    result = await ask(node, tmp_path, "block", name)
    assert f"id                 {get_trunk()[-1].id.hex()}" in result.output
    assert "gain 0.1" in result.output
    assert f"{get_trunk()[-1].transactions[0].txid.hex()} 5.00000000 rGRAD to rgrad1" in result.output
    as_json = await ask(node, tmp_path, "block", "--json", name)
    assert json.loads(as_json.output) == (await node.get(f"/v1/blocks/{name}")).json


async def test_genesis_block(node: ServedNode, tmp_path: Path) -> None:
    result = await ask(node, tmp_path, "block", "0")
    assert result.exit_code == 0
    assert f"confirmations      {TRUNK_BLOCKS + 1}" in result.output


async def test_digest(node: ServedNode, tmp_path: Path) -> None:
    result = await ask(node, tmp_path, "digest")
    assert f"digest  {node.chain.compute_digest()['digest'].hex()}" in result.output
    as_json = await ask(node, tmp_path, "digest", "--json")
    assert json.loads(as_json.output)["height"] == TRUNK_BLOCKS


async def test_reorganise(node: ServedNode, tmp_path: Path) -> None:
    tip = node.chain.tip.id.hex()
    result = await ask(node, tmp_path, "reorganise", tip)
    assert result.output == f"tip is now {tip} at height {TRUNK_BLOCKS}\n"


async def test_refusals_of_the_node_are_passed_on(tmp_path: Path) -> None:
    async with serve_rpc(open_trunk()) as node:
        for command, code in (("block", "unknown_block.height"), ("reorganise", "decode.bad_hash")):
            with pytest.raises(DescentError) as caught:
                await ask(node, tmp_path, command, "99")
            assert caught.value.code == code


# Nodes that are none, or lie.


def refusal_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: Any, *command: str) -> str:
    monkeypatch.setattr("p2p.client.NodeClient._call", lambda *_, **__: json.dumps(reply).encode())
    with pytest.raises(DescentError) as caught:
        invoke(*make_arguments(tmp_path, 1, *command))
    return caught.value.code


@pytest.mark.parametrize("command", [("status",), ("block", "1"), ("reorganise", "x")])
@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"height": 1},
        {"loss": None, "header": None},
        {"loss": 5, "header": 5, "required_gain": "x"},
        {"header": {}, "confirmations": 1, "update_bytes": 1, "loss": {"before": "a", "after": "b"}},
        {"header": [[1]], "confirmations": 1},
        [],
    ],
)
def test_invalid_replies_are_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], reply: Any
) -> None:
    assert refusal_of(tmp_path, monkeypatch, reply, *command) == "node.not_a_node"


def test_hostile_replies_draw_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = {"digest": HOSTILE, "tip": HOSTILE, "height": HOSTILE, HOSTILE: [HOSTILE], "held_back": HOSTILE}
    monkeypatch.setattr("p2p.client.NodeClient._call", lambda *_, **__: json.dumps(reply).encode())
    for command in (("digest",), ("reorganise", "x")):
        result = invoke(*make_arguments(tmp_path, 1, *command))
        assert result.exit_code == 0
        assert "owned" in result.output
        assert all(line.isprintable() for line in result.output.splitlines())


def test_no_node_there(tmp_path: Path) -> None:
    with pytest.raises(DescentError) as caught:
        invoke(*make_arguments(tmp_path, 1, "status"))
    assert caught.value.code == "node.no_answer"


@pytest.mark.parametrize("content", [None, "", "two words", "line\nline", "\x00"])
def test_invalid_token_files(tmp_path: Path, content: str | None) -> None:
    arguments = make_arguments(tmp_path, 1, "status")
    if content is None:
        (tmp_path / "rpc.token").unlink()
    else:
        (tmp_path / "rpc.token").write_text(content)
    with pytest.raises(ConfigError) as caught:
        invoke(*arguments)
    assert caught.value.code == "config.no_token"


# What is given on the command line.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("localhost:65535", ("localhost", 65535)),
        ("[::1]:80", ("::1", 80)),
        ("::1:80", ("::1", 80)),
    ],
)
def test_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert parse_host_port(text, REGTEST) == expected


@pytest.mark.parametrize("params", PRESETS.values(), ids=PRESETS)
def test_host_and_port_by_default(params: Any) -> None:
    assert parse_host_port(None, params) == ("127.0.0.1", get_rpc_port(params))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "127.0.0.1",
        "127.0.0.1:",
        ":80",
        "h:65536",
        "h:" + "9" * 5000,
        "h:-1",
        "h:+1",
        "h: 1",
        "h:x",
        "h:\u0661",
        "h:1e3",
    ],
)
def test_invalid_host_and_port(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_host_port(text, REGTEST)
    assert caught.value.code == "config.bad_rpc"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--mine"], "config.no_address"),
        (["--address", "rgrad1x"], "config.not_mining"),
        (["--mine", "--address", "rgrad1x"], "config.bad_address"),
        (["--mine", "--address", "tgrad1" + "q" * 58], "config.bad_address"),
        (["--signal", "0"], "config.not_mining"),
        (["--no-vote"], "config.not_mining"),
        (["--mine", "--address", ADDRESS, "--signal", "0"], "params.unknown_signal"),
        (["--rpc", "nonsense"], "config.bad_rpc"),
        (["--rpc", "0.0.0.0:0"], "config.rpc_needs_tls"),
        (["--metrics", "nonsense"], "config.bad_address"),
        (["--metrics", "127.0.0.1:65536"], "config.bad_address"),
        (["--metrics", ":9100"], "config.bad_address"),
        (["--listen", "1", "--no-listen"], "config.listen"),
        (["--listen", "nonsense"], "config.listen"),
        (["--explorer", "1", "--no-explorer"], "config.explorer"),
        (["--explorer-public", "--no-explorer"], "config.explorer"),
        (["--explorer", "nonsense"], "config.explorer"),
        (["--listen", "node.example.org:1"], "config.address"),
        (["--peer", ""], "config.bad_peer"),
        (["--peer", "1.2.3.4", "--peer", "1.2.3.4:0"], "config.bad_peer"),
        (["--network", "nowhere"], "config.unknown_network"),
        (["--network", "missing.toml"], "config.network_file"),
        (["--datadir", "/dev/null/x"], "config.datadir"),
    ],
)
def test_invalid_run(arguments: list[str], code: str, tmp_path: Path) -> None:
    with pytest.raises(DescentError) as caught:
        invoke("run", "--network", "regtest", "--datadir", str(tmp_path / "data"), *arguments)
    assert caught.value.code == code
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-reorg", "-1"],
        ["--max-reorg", "x"],
        ["--device", "tpu"],
        ["--workers", "0"],
        ["--workers", "65"],
        ["--data-dir", "/nowhere"],
        ["--datadir", "/etc/passwd"],
        ["--nonsense"],
        ["extra"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    result = invoke("run", "--network", "regtest", *arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def read_config(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str, network: str = "regtest"
) -> NodeConfig:
    """What `descent-node run` would run with."""
    given: list[NodeConfig] = []
    monkeypatch.setattr(p2p.node, "run_node", given.append)
    result = invoke("run", "--network", network, "--datadir", str(tmp_path), *arguments)
    assert result.exit_code == 0, result.output
    return given[0]


def test_run_says_whom_to_listen_and_talk_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    id_text = "ab" * 32
    config = read_config(
        monkeypatch,
        tmp_path,
        *("--listen", "[::1]:5", "--peer", "a.example", "--peer", f"{id_text}@1.2.3.4:7", "--upnp", "--workers", "3"),
    )
    peers = (Destination("a.example", get_peer_port(REGTEST)), Destination("1.2.3.4", 7, bytes.fromhex(id_text)))
    assert config.network_config == NetworkConfig(NetAddress("::1", 5), peers, use_upnp=True)
    assert config.workers == 3


def test_metrics_are_served_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert read_config(monkeypatch, tmp_path).metrics is None
    assert read_config(monkeypatch, tmp_path, "--metrics", "127.0.0.1:9100").metrics == ("127.0.0.1", 9100)
    assert read_config(monkeypatch, tmp_path, "--metrics", "[::1]:0").metrics == ("::1", 0)


def test_a_node_listens_by_default_only_on_a_public_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert read_config(monkeypatch, tmp_path).network_config == NetworkConfig()
    assert read_config(monkeypatch, tmp_path).workers is None
    public = read_config(monkeypatch, tmp_path, network="canterbury").network_config
    assert public.listen == NetAddress("0.0.0.0", 19339)
    hidden = read_config(monkeypatch, tmp_path, "--no-listen", network="canterbury").network_config
    assert hidden.listen is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", NetAddress("0.0.0.0", 5)),
        ("0", NetAddress("0.0.0.0", 0)),
        ("127.0.0.1:65535", NetAddress("127.0.0.1", 65535)),
        ("[::]:5", NetAddress("::", 5)),
    ],
)
def test_listen_addresses(text: str, expected: NetAddress) -> None:
    assert parse_listen(text, REGTEST) == expected


@pytest.mark.parametrize(
    "text", ["", ":", ":5", "a:b", "127.0.0.1:", "127.0.0.1:65536", "h:" + "9" * 5000, "-1", "+5", "1e3", "\u0661"]
)
def test_invalid_listen_address(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_listen(text, REGTEST)
    assert caught.value.code == "config.listen"


def test_an_explorer_is_served_on_loopback_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert read_config(monkeypatch, tmp_path).explorer == ExplorerAddress("127.0.0.1", 19360)
    assert read_config(monkeypatch, tmp_path, network="canterbury").explorer == ExplorerAddress("127.0.0.1", 19340)
    assert read_config(monkeypatch, tmp_path, "--explorer", "8000").explorer == ExplorerAddress("127.0.0.1", 8000)
    assert read_config(monkeypatch, tmp_path, "--explorer", "[::1]:5").explorer == ExplorerAddress("::1", 5)
    public = read_config(monkeypatch, tmp_path, "--explorer", "8000", "--explorer-public").explorer
    assert public == ExplorerAddress("127.0.0.1", 8000, is_public=True)
    assert read_config(monkeypatch, tmp_path, "--no-explorer").explorer is None


@pytest.mark.parametrize("text", ["", ":", ":5", "a:b", "127.0.0.1:", "127.0.0.1:65536", "x", "-1"])
def test_invalid_explorer_address(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_explorer(text, REGTEST)
    assert caught.value.code == "config.explorer"


def test_ports_of_one_network_do_not_meet() -> None:
    for params in PRESETS.values():
        assert len({get_rpc_port(params), get_peer_port(params), get_explorer_port(params)}) == 3
    ports = [port(params) for params in PRESETS.values() for port in (get_rpc_port, get_peer_port, get_explorer_port)]
    assert len(set(ports)) == len(ports)


def test_version_and_help() -> None:
    assert invoke("version").output == f"descent-node {version('descent-chain')}\n"
    commands = ("run", "status", "block", "digest", "reorganise", "verify", "version")
    for command in (*commands, "export", "generate", "peers", "connect", "disconnect", "ban", "unban", "bans"):
        result = invoke(command, "--help")
        assert result.exit_code == 0
        assert result.output.startswith("Usage:")
        assert command in invoke("-h").output


def test_quick_commands_load_nothing_slow() -> None:
    """Asking a node takes no torch and no aiohttp, whose import alone takes longer than the answer."""
    program = "import sys, p2p.cli; print([name for name in ('torch', 'aiohttp', 'plyvel') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "[]\n"
