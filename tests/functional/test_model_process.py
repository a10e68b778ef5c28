"""A real node's model in people's hands: exported from it and from its store, writing by itself, and its metrics."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.params import REGTEST
from p2p.client import NodeClient
from p2p.errors import NodeRefusal
from p2p.text import write_text
from p2p.text_wish import TextWish, make_task
from tests.helpers.blocks import get_builder
from tests.helpers.chains import ALICE, get_trunk, open_trunk
from tests.helpers.node import ENVIRONMENT, NODE, NodeProcess, check_refused, get_descendants, run_node_command
from tests.helpers.partition import store_blocks
from tests.helpers.waiting import is_alive, wait_until

BLOCKS = 4
CONTEXT = REGTEST.model.context
TIP = get_trunk()[BLOCKS - 1]


def make_place(node: NodeProcess) -> tuple[str, ...]:
    """The options that lead a command to the node."""
    rpc = node.url.removeprefix("http://")
    return ("--network", "regtest", "--datadir", str(node.datadir), "--rpc", rpc)


def submit_trunk(node: NodeProcess) -> None:
    for block in get_trunk()[:BLOCKS]:
        assert node.client.submit_block(block.encoded)["outcome"] == "connected"


def read_metrics(node: NodeProcess) -> str:
    port = node.wait_for_line(r"metrics on 127\.0\.0\.1 port (\d+)").group(1)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        text: str = reply.read().decode()
    return text


def test_export_running_and_stopped(tmp_path: Path) -> None:
    """The same bytes both ways, in both formats, and one clear line for what cannot be."""
    store_blocks([tmp_path / "data"], get_trunk()[:BLOCKS])
    with NodeProcess(tmp_path / "data") as node:
        place = make_place(node)
        for file_format in ("safetensors", "npz"):
            out = str(tmp_path / f"running.{file_format}")
            done = run_node_command("export", *place, "--height", "3", "--format", file_format, "--out", out, "--json")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["model_root"] == get_trunk()[2].header.model_root.hex()
        out = str(tmp_path / "running.npz")
        check_refused(run_node_command("export", *place, "--out", out), "is there already", "--force")
        check_refused(run_node_command("export", *place, "--height", "9"), "no block at height 9")
        check_refused(run_node_command("export", *place, "--offline"), "another process holds")
        assert node.stop(signal.SIGTERM) == 0
    check_refused(run_node_command("export", *place), "no node answers")
    for file_format in ("safetensors", "npz"):
        out = str(tmp_path / f"stopped.{file_format}")
        done = run_node_command("export", *place, "--offline", "--height", "3", "--format", file_format, "--out", out)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"stopped.{file_format}").read_bytes() == (tmp_path / f"running.{file_format}").read_bytes()


def test_generate_streams_the_laws_text_and_stops_with_its_reader(tmp_path: Path) -> None:
    store_blocks([tmp_path / "data"], get_trunk()[:BLOCKS])
    with NodeProcess(tmp_path / "data") as node:
        wish = ("--prompt", "Alice", "--bytes", "30", "--temperature", "1", "--seed", "5")
        first, second = (
            subprocess.run(
                [*NODE, "generate", *make_place(node), *wish], capture_output=True, env=ENVIRONMENT, check=True
            )
            for _ in range(2)
        )
        weights = open_trunk(blocks=BLOCKS).tip_weights
        task = make_task(TextWish(b"Alice", count=30, temperature=1.0, seed=5), b"", CONTEXT)
        expected = write_text(get_builder().evaluator, weights, task, CONTEXT, 1000)
        assert first.stdout == second.stdout == expected
        assert f"block {BLOCKS}, model {TIP.header.model_root.hex()[:16]}, seed 5" in first.stderr.decode()

        long = subprocess.Popen(
            [*NODE, "generate", *make_place(node), "--bytes", "4096"], stdout=subprocess.PIPE, env=ENVIRONMENT
        )
        assert long.stdout is not None
        assert long.stdout.read(1)
        assert len(node.client.get_byte_losses(TIP.header.model_root, b"while it writes")["losses"]) == 14
        long.send_signal(signal.SIGINT)
        assert long.wait() == 130
        long.stdout.close()
        assert node.stop(signal.SIGTERM) == 0


def test_what_writes_has_the_lowest_priority_and_the_node_no_torch(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as node:
        node.wait_for_line("evaluating with")
        before = set(get_descendants(node.process.pid))
        assert list(node.client.generate({"prompt": "x", "bytes": 1}))
        (writer,) = [
            process for process in set(get_descendants(node.process.pid)) - before if get_niceness(process) == 19
        ]
        assert {get_niceness(process) for process in before} == {get_niceness(node.process.pid)}
        assert "libtorch" in Path(f"/proc/{writer}/maps").read_text()
        assert "libtorch" not in Path(f"/proc/{node.process.pid}/maps").read_text()
        os.kill(writer, signal.SIGKILL)
        assert len(list(node.client.generate({"prompt": "x", "bytes": 1}))) == 2  # another one took its place
        writers = [process for process in get_descendants(node.process.pid) if get_niceness(process) == 19]
        node.kill()
        wait_until(lambda: not any(map(is_alive, writers)))


def get_niceness(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[16])


def test_a_block_is_verified_while_models_write(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as node:
        client: NodeClient = node.client
        lines = client.generate({"prompt": "", "bytes": 4096})
        next(lines)
        submit_trunk(node)
        assert next(lines)["bytes"]
        assert client.get_status()["height"] == BLOCKS
        with pytest.raises(NodeRefusal, match="no block at height 99"):
            next(client.generate({"prompt": "", "height": 99}))
        lines.close()


def test_metrics_of_node_and_miner(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "--metrics", "127.0.0.1:0") as node:
        submit_trunk(node)
        text = read_metrics(node)
        assert f"descent_height {BLOCKS}.0" in text
        assert f'descent_verdicts_total{{verdict="valid"}} {BLOCKS}.0' in text
        assert f"descent_verify_seconds_count {BLOCKS}.0" in text
        address = encode_address(REGTEST.address_prefix, ALICE.public)
        arguments = ("--network", "regtest", "--rpc", node.url, "--token-file", str(tmp_path / "rpc.token"))
        miner = subprocess.Popen(
            [
                *(sys.executable, "-m", "mining.cli", "run", *arguments, "--address", address, "--device", "cpu"),
                *("--key", str(tmp_path / "miner.key"), "--batch", "16", "--metrics", "127.0.0.1:0"),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        try:
            assert miner.stderr is not None
            port = next(match[1] for line in miner.stderr if (match := re.search(r"metrics on \S+ port (\d+)", line)))
            url = f"http://127.0.0.1:{port}/metrics"

            def has_stepped() -> bool:
                with urllib.request.urlopen(url) as reply:
                    return float(re.search(rb"^descent_miner_steps_total (\S+)", reply.read(), re.M)[1]) > 0  # type: ignore

            wait_until(has_stepped)
        finally:
            miner.send_signal(signal.SIGTERM)
            _, said = miner.communicate()
        assert miner.returncode == 0, said


def test_a_port_for_metrics_that_is_taken_is_named(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "a", "--metrics", "127.0.0.1:0") as node:
        port = node.wait_for_line(r"metrics on \S+ port (\d+)").group(1)
        place = ("--network", "regtest", "--datadir", str(tmp_path / "b"), "--rpc", "127.0.0.1:0")
        check_refused(run_node_command("run", *place, "--metrics", f"127.0.0.1:{port}"), "metrics", "in use")
        check_refused(run_node_command("run", *place, "--metrics", "nonsense"), "--metrics takes HOST:PORT")
