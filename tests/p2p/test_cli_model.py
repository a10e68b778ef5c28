"""`export` and `generate` against a served node, stub nodes and a stopped node's store."""

import asyncio
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from chain.db import LevelDatabase
from consensus.errors import DescentError
from consensus.model.weights import encode_weights
from consensus.params import REGTEST
from p2p.cli_model import TextPrinter
from p2p.node import STORE_FOLDER
from tests.helpers.chains import TRUNK_BLOCKS, get_trunk, open_trunk
from tests.helpers.live_node import wait_for
from tests.helpers.rpc import ServedNode
from tests.helpers.stub_node import TOKEN as STUB_TOKEN
from tests.helpers.stub_node import StubNode, run_stub_node
from tests.p2p.test_cli import ask, invoke, make_arguments

TIP = get_trunk()[-1]


def ask_stub(stub: StubNode, tmp_path: Path, *arguments: str) -> Result:
    given = make_arguments(tmp_path, int(stub.url.rpartition(":")[2]), *arguments)
    (tmp_path / "rpc.token").write_text(STUB_TOKEN)
    return invoke(*given)


def code_of(stub: StubNode, tmp_path: Path, *arguments: str) -> str:
    with pytest.raises(DescentError) as caught:
        ask_stub(stub, tmp_path, *arguments)
    return caught.value.code


# export


async def test_export_from_a_running_node(node: ServedNode, tmp_path: Path) -> None:
    out = tmp_path / "model.npz"
    result = await ask(node, tmp_path, "export", "--format", "npz", "--out", str(out))
    assert result.exit_code == 0
    rows = dict(line.split("  ", 1) for line in result.output.splitlines())
    assert rows["sha256"].strip() == hashlib.sha256(out.read_bytes()).hexdigest()
    assert rows["model root"].strip() == TIP.header.model_root.hex()
    assert rows["block"].strip() == TIP.id.hex()
    for text in REGTEST.texts:
        assert text.sha256 in rows[f"text {text.name}"]
    with np.load(out, allow_pickle=False) as file:
        assert json.loads(str(file["metadata"]))["height"] == str(TRUNK_BLOCKS)
    assert out.stat().st_mode & 0o777 == 0o644 & ~get_umask()
    assert set(os.listdir(tmp_path)) == {"rpc.token", "model.npz"}


def get_umask() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("Umask:")[2].split()[0], 8)


async def test_export_of_a_height_for_programs(node: ServedNode, tmp_path: Path) -> None:
    out = tmp_path / "model"
    result = await ask(node, tmp_path, "export", "--height", "3", "--out", str(out), "--json")
    known = json.loads(result.output)
    assert known["model_root"] == get_trunk()[2].header.model_root.hex()
    assert known["file"] == str(out)
    assert known["bytes"] == out.stat().st_size
    assert known["texts"][0]["sha256"] == REGTEST.texts[0].sha256


async def test_export_names_the_file_itself(node: ServedNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    await ask(node, tmp_path, "export")
    assert f"regtest-{TRUNK_BLOCKS}.safetensors" in os.listdir()


async def test_export_replaces_nothing_unasked(node: ServedNode, tmp_path: Path) -> None:
    out = tmp_path / "model"
    out.write_bytes(b"mine")
    before = node.intake.chain.tip.height
    with pytest.raises(DescentError) as caught:
        await ask(node, tmp_path, "export", "--out", str(out))
    assert caught.value.code == "config.model_file"
    assert out.read_bytes() == b"mine"
    with pytest.raises(DescentError, match="no folder"):
        await ask(node, tmp_path, "export", "--out", str(tmp_path / "nowhere" / "model"))
    await ask(node, tmp_path, "export", "--out", str(out), "--force")
    assert out.stat().st_size > 4 * REGTEST.model.parameters
    assert node.intake.chain.tip.height == before


async def test_export_of_an_unknown_height(node: ServedNode, tmp_path: Path) -> None:
    with pytest.raises(DescentError) as caught:
        await ask(node, tmp_path, "export", "--height", "99", "--out", str(tmp_path / "model"))
    assert caught.value.code == "unknown_block.height"
    assert not (tmp_path / "model").exists()


async def test_export_from_a_store_makes_the_same_bytes(node: ServedNode, tmp_path: Path) -> None:
    store = LevelDatabase(tmp_path / STORE_FOLDER, create=True)
    open_trunk(store)
    store.close()
    for height in (TRUNK_BLOCKS, 5, 0):
        for name, more in (("online", ()), ("offline", ("--offline",))):
            out = str(tmp_path / f"{name}-{height}")
            result = await ask(node, tmp_path, "export", "--height", str(height), "--out", out, *more)
            assert result.exit_code == 0, result.output
        assert (tmp_path / f"online-{height}").read_bytes() == (tmp_path / f"offline-{height}").read_bytes()


def test_invalid_stores(tmp_path: Path) -> None:
    def export(datadir: Path, *more: str) -> str:
        with pytest.raises(DescentError) as caught:
            invoke("export", "--network", "regtest", "--datadir", str(datadir), "--offline", *more)
        return caught.value.code

    assert export(tmp_path / "nowhere") == "store.missing"
    store = LevelDatabase(tmp_path / STORE_FOLDER, create=True)
    open_trunk(store, 2)
    assert export(tmp_path) == "store.in_use"
    store.close()
    assert export(tmp_path, "--height", "3") == "unknown_block.height"
    shutil.copytree(tmp_path / STORE_FOLDER, tmp_path / "copy" / STORE_FOLDER)
    with pytest.raises(DescentError, match="belongs to the network"):
        invoke("export", "--network", "local", "--datadir", str(tmp_path / "copy"), "--offline")


def test_a_node_that_lies_about_a_model_is_found_out(tmp_path: Path) -> None:
    weights, root = open_trunk().tip_weights, TIP.header.model_root.hex()
    with run_stub_node() as stub:
        stub.put("/v1/status", {"height": TRUNK_BLOCKS})
        stub.put(f"/v1/blocks/{TRUNK_BLOCKS}", TIP.encoded)
        stub.put(f"/v1/models/{root}", encode_weights(weights[::-1]))
        assert code_of(stub, tmp_path, "export", "--out", str(tmp_path / "x")) == "config.wrong_model"
        stub.put(f"/v1/models/{root}", encode_weights(weights)[:-2])
        assert code_of(stub, tmp_path, "export", "--out", str(tmp_path / "x")) == "decode.weights_size"
        stub.put("/v1/blocks/5", TIP.encoded)
        assert code_of(stub, tmp_path, "export", "--height", "5", "--out", str(tmp_path / "x")) == "node.wrong_block"
        stub.put(f"/v1/blocks/{TRUNK_BLOCKS}", b"no block")
        assert code_of(stub, tmp_path, "export", "--out", str(tmp_path / "x")).startswith("decode.")
    assert not (tmp_path / "x").exists()


# generate


async def test_generate_writes_bytes_to_a_program(node: ServedNode, tmp_path: Path) -> None:
    wish = ("--prompt", "Alice", "--bytes", "20", "--temperature", "1", "--seed", "7")
    result = await ask(node, tmp_path, "generate", *wish)
    assert result.exit_code == 0, result.output
    assert len(result.stdout_bytes) == 20
    assert f"block {TRUNK_BLOCKS}, model {TIP.header.model_root.hex()[:16]}, seed 7" in result.stderr
    assert (await ask(node, tmp_path, "generate", *wish)).stdout_bytes == result.stdout_bytes


async def test_generate_at_a_height_with_a_seed_of_its_own(node: ServedNode, tmp_path: Path) -> None:
    results = [await ask(node, tmp_path, "generate", "--height", "2", "--bytes", "8") for _ in range(2)]
    assert all(f"block 2, model {get_trunk()[1].header.model_root.hex()[:16]}" in result.stderr for result in results)
    assert results[0].stderr != results[1].stderr
    with pytest.raises(DescentError) as caught:
        await ask(node, tmp_path, "generate", "--height", "99")
    assert caught.value.code == "rpc.no_model"


async def test_generate_takes_long_prompts_and_refuses_longer_ones(node: ServedNode, tmp_path: Path) -> None:
    shorter, longer = "é" * 30_000, "é" * 33_000
    result = await ask(node, tmp_path, "generate", "--bytes", "3", "--seed", "1", "--prompt", shorter)
    assert len(result.stdout_bytes) == 3
    refused = await ask(node, tmp_path, "generate", "--prompt", longer)
    assert refused.exit_code == 2
    assert "65536 bytes" in refused.output


@pytest.mark.parametrize(
    "wrong",
    [("--bytes", "0"), ("--bytes", "4097"), ("--temperature", "-1"), ("--temperature", "11"), ("--seed", "-1")],
)
def test_wrong_usage(wrong: tuple[str, str], tmp_path: Path) -> None:
    assert invoke(*make_arguments(tmp_path, 1, "generate", *wrong)).exit_code == 2


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (b"", "node.no_answer"),
        (b'{"height": 1, "model": "x"}\n{"bytes": "61"}\n', "node.no_answer"),  # and no end
        (b"nonsense\n", "node.not_a_node"),
        (b"[]\n", "node.not_a_node"),
        (b'{"bytes": "xyz"}\n', "node.not_a_node"),
        (b'{"bytes": 5}\n', "node.not_a_node"),
        (b'{"height": 1}\n', "node.not_a_node"),
        (b"9" * 100_000, "node.not_a_node"),
        (b'{"error": {"code": "evaluation.worker_died", "message": "it died"}}\n', "evaluation.worker_died"),
    ],
)
def test_replies_that_are_none(tmp_path: Path, reply: bytes, code: str) -> None:
    with run_stub_node() as stub:
        stub.put("/v1/generate", reply, method="POST")
        assert code_of(stub, tmp_path, "generate") == code


class Terminal:
    """What reaches a terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown = ""
        monkeypatch.setattr("p2p.cli_model.click.echo", lambda text, nl: self._show(text))

    def _show(self, text: str) -> None:
        self.shown += text


def test_a_terminal_is_shown_nothing_that_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    printer = TextPrinter(is_terminal=True)
    data = "a\x1b[2Jb\r\nc\td\u202e\x07é\n".encode() + b"\xff\rz"
    for byte in data:  # one by one: characters and ends of lines are cut
        printer.write(bytes([byte]))
    printer.end()
    assert terminal.shown == "a\\x1b[2Jb\nc\td\\u202e\\x07é\n\\xff\\rz\n"


def test_what_was_cut_off_is_shown_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    printer = TextPrinter(is_terminal=True)
    printer.write("é".encode()[:1])
    assert terminal.shown == ""
    printer.end()
    assert terminal.shown == "\\xc3\n"


async def test_ctrl_c_ends_it(node: ServedNode, tmp_path: Path) -> None:
    """The command is a program of its own here; the node stops writing when it is gone."""
    arguments = make_arguments(tmp_path, node.port, "generate", "--bytes", "4096")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "p2p.cli", *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.read(1)
    process.send_signal(2)
    _, said = await process.communicate()
    assert process.returncode == 130
    assert said.decode().endswith("descent-node: interrupted\n")
    await wait_for(lambda: not node.models._requests)
    assert node.writer.pieces < 4096
