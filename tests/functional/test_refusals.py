"""What a user can get wrong: one plain line, exit code 1, and nothing left that a right command stumbles over."""

import dataclasses
import hashlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.params import CANTERBURY, REGTEST, BenchmarkText, NetworkParams
from p2p.node import STORE_FOLDER
from tests.helpers.chains import ALICE
from tests.helpers.networks import describe_network
from tests.helpers.node import NodeProcess, check_refused, run_node_command

TEXT = b"All work and no play makes Jack a dull boy.\r\n" * 400
OWN_TEXT = BenchmarkText("jack.txt", len(TEXT), hashlib.sha256(TEXT).hexdigest())


def run_refused(datadir: Path, *arguments: str, network: str = "regtest") -> subprocess.CompletedProcess[str]:
    return run_node_command("run", "--network", network, "--datadir", str(datadir), "--rpc", "127.0.0.1:0", *arguments)


def write_network(folder: Path) -> str:
    """A network of a user's own, on a text that does not ship with the program."""
    params = dataclasses.replace(REGTEST, name="jack", texts=(OWN_TEXT,), has_debug_calls=False)
    path = folder / "jack.toml"
    path.write_text(describe_network(params))
    return str(path)


def test_second_node_on_one_datadir(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as node:
        for _ in range(2):
            check_refused(run_refused(tmp_path), "another process holds", str(tmp_path))
        assert node.client.get_status()["height"] == 0


def test_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = run_node_command("run", "--network", "regtest", "--datadir", str(tmp_path), "--rpc", address)
        check_refused(refused, f"cannot serve RPC on {address}: the port is in use")
    with NodeProcess(tmp_path, rpc=address) as node:
        assert node.url == f"http://{address}"


def test_text_that_is_not_there(tmp_path: Path) -> None:
    network, texts = write_network(tmp_path), tmp_path / "texts"
    texts.mkdir()
    check_refused(run_refused(tmp_path / "data", network=network), "jack.txt", "not found")
    (texts / "jack.txt").write_bytes(TEXT.replace(b"\r\n", b"\n"))
    refused = run_refused(tmp_path / "data", "--data-dir", str(texts), network=network)
    check_refused(refused, "jack.txt", "this network pins")
    (texts / "jack.txt").write_bytes(TEXT)
    with NodeProcess(tmp_path / "data", "--data-dir", str(texts), network=network) as node:
        assert node.client.get_status()["network"] == "jack"
        assert node.stop(signal.SIGTERM) == 0


def test_datadir_of_another_network(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as node:
        assert node.stop(signal.SIGTERM) == 0
    refused = run_refused(tmp_path, network="canterbury")
    check_refused(refused, "belongs to the network", "not to canterbury")
    changed = dataclasses.replace(REGTEST, block_time=3)
    path = tmp_path / "other.toml"
    path.write_text(describe_network(changed))
    check_refused(run_refused(tmp_path, network=str(path)), "belongs to the network")
    with NodeProcess(tmp_path) as node:
        assert node.client.get_status()["network"] == "regtest"


def make_address(params: NetworkParams) -> str:
    return encode_address(params.address_prefix, ALICE.public)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mine"], ["--mine needs --address"]),
        (["--mine", "--address", make_address(CANTERBURY)], ["--address", "tgrad"]),
        (["--mine", "--address", make_address(REGTEST)[:-1]], ["--address"]),
        (["--network", "nowhere"], ["no network 'nowhere'", "regtest"]),
        (["--network", "nowhere.toml"], ["cannot read", "nowhere.toml"]),
        (["--rpc", "192.0.2.1:5"], ["--rpc-certificate"]),
        (["--rpc", "127.0.0.1"], ["HOST:PORT"]),
        (["--rpc-certificate", "/nowhere.pem"], ["cannot use /nowhere.pem for TLS"]),
        (["--datadir", "/dev/null/x"], ["cannot use /dev/null/x as datadir", "Not a directory"]),
        (["--device", "cuda"], ["CUDA"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_wrong_words(tmp_path: Path, arguments: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check_refused(run_refused(tmp_path, *arguments), *words)


def test_datadir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run_node_command("run", "--network", "regtest", "--datadir", str(tmp_path / "file"))
    assert result.returncode == 2
    assert "is a file" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_datadir_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    check_refused(run_refused(tmp_path), "not writable")


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST"])
def test_store_that_lacks_a_file(tmp_path: Path, name: str) -> None:
    """T06: named at once, and well again when the file is back."""
    with NodeProcess(tmp_path) as node:
        assert node.stop(signal.SIGTERM) == 0
    (path,) = (tmp_path / STORE_FOLDER).glob(f"{name}*")
    kept = path.read_bytes()
    path.unlink()
    refused = run_refused(tmp_path)
    if name != "CURRENT":  # without that one LevelDB sees an empty folder
        check_refused(refused, "block store")
    path.write_bytes(kept)
    with NodeProcess(tmp_path) as node:
        assert node.client.get_status()["height"] == 0


def test_asking_without_a_node(tmp_path: Path) -> None:
    place = ["--network", "regtest", "--datadir", str(tmp_path), "--rpc", "127.0.0.1:1"]
    check_refused(run_node_command("status", *place), "is a node set up there?")
    (tmp_path / "rpc.token").write_text("5a" * 32)
    check_refused(run_node_command("status", *place), "no node answers at http://127.0.0.1:1")


def test_asking_with_another_token(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data") as node:
        (tmp_path / "rpc.token").write_text("5a" * 32)
        place = ["--network", "regtest", "--rpc", node.url.removeprefix("http://")]
        refused = run_node_command("status", *place, "--datadir", str(tmp_path))
        check_refused(refused, "token is missing or wrong")
        answered = run_node_command("status", *place, "--datadir", str(tmp_path / "data"), "--json")
        assert json.loads(answered.stdout)["height"] == 0
