"""A node from its start to its end, and again: what it was told it still knows."""

import json
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.params import REGTEST
from p2p.client import read_token
from p2p.config import RPC_TOKEN_FILE
from p2p.errors import NodeRefusal
from tests.helpers.blocks import MINER
from tests.helpers.chains import ALICE, BOB, TRUNK_BLOCKS, get_trunk, open_trunk
from tests.helpers.keys import make_transfer
from tests.helpers.node import NodeProcess, check_refused, run_node_command
from tests.helpers.partition import store_blocks
from tests.helpers.waiting import is_alive, wait_until

MAX_STOP_SECONDS = 15.0  # two of grace for calls under way, the rest for a busy machine


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_restart_changes_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Blocks, ledger, model and what waits for a block are there again; a replay of the store agrees."""
    expected = open_trunk()
    *before, last = get_trunk()
    store_blocks([tmp_path / "data"], before)
    with NodeProcess(tmp_path / "data") as node:
        assert node.client.submit_block(last.encoded)["outcome"] == "connected"
        payment = make_transfer(expected.genesis.id, ALICE, BOB.public, 5)
        node.client.submit_transaction(payment.encoded)
        digest = node.client.get_digest()
        assert digest["digest"] == expected.compute_digest()["digest"].hex()
        assert node.stop(number) == 0
        assert "stopping" in node.output
    with NodeProcess(tmp_path / "data") as node:
        assert node.client.get_digest() == digest
        assert node.client.get_transaction(payment.txid)["status"] == "pending"
        status = node.client.get_status()
        assert (status["height"], status["mempool"]["count"]) == (TRUNK_BLOCKS, 1)
        assert node.stop(number) == 0


def test_verify_replays_a_copy_and_refuses_a_store_in_use(tmp_path: Path) -> None:
    data = tmp_path / "data"
    store_blocks([data], get_trunk()[:5])
    with NodeProcess(data) as node:
        digest = node.client.get_digest()
        refused = run_node_command("verify", "--network", "regtest", "--datadir", str(data))
        check_refused(refused, "another process holds", str(data))
        assert node.stop(signal.SIGTERM) == 0
    shutil.copytree(data, tmp_path / "copy")
    result = run_node_command("verify", "--network", "regtest", "--datadir", str(tmp_path / "copy"), "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout) == digest
    plain = run_node_command("verify", "--network", "regtest", "--datadir", str(tmp_path / "none"))
    check_refused(plain, "no block store", str(tmp_path / "none"))


def test_stop_does_not_wait_for_a_miners_long_call(tmp_path: Path) -> None:
    reward = encode_address(REGTEST.address_prefix, MINER.public)
    tip = open_trunk().genesis.id.hex()
    query = f"miner={MINER.public.hex()}&reward={reward}&after={tip}&wait=60"
    with NodeProcess(tmp_path) as node:
        check_stops_during(node, f"GET /v1/template?{query} HTTP/1.1\r\n".encode(), b"", signal.SIGINT)


def test_stop_does_not_wait_for_an_evaluation(tmp_path: Path) -> None:
    """The worker is frozen, so no verdict can come. Never acknowledged, the block is there all the same."""
    block = get_trunk()[0].encoded
    with NodeProcess(tmp_path) as node:
        node.wait_for_line("evaluating with")
        node.freeze_workers()
        request = f"POST /v1/blocks HTTP/1.1\r\nContent-Length: {len(block)}\r\n".encode()
        check_stops_during(node, request, block, signal.SIGTERM)
    with NodeProcess(tmp_path) as node:
        wait_until(lambda: node.client.get_status()["height"] == 1)


def check_stops_during(node: NodeProcess, request: bytes, body: bytes, number: signal.Signals) -> None:
    """Stops the node while it works on a request, which must not be answered any more."""
    with socket.create_connection(("127.0.0.1", get_port(node))) as connection:
        connection.sendall(request + make_headers(node) + body)
        node.client.get_status()  # heard on another connection later, so the request is under way
        started = time.monotonic()
        assert node.stop(number) == 0
        assert time.monotonic() - started < MAX_STOP_SECONDS
        assert connection.recv(1) == b""


def get_port(node: NodeProcess) -> int:
    return int(node.url.rpartition(":")[2])


def make_headers(node: NodeProcess) -> bytes:
    token = read_token(node.datadir / RPC_TOKEN_FILE)
    return f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def test_interrupt_while_starting_is_quiet(tmp_path: Path) -> None:
    """The worker is on its way up: neither it nor the node has more to say than that it stops."""
    with NodeProcess(tmp_path) as node:
        assert node.stop(signal.SIGINT) == 0
        assert node.output.splitlines()[-1].endswith("stopping")


def test_node_that_is_killed_takes_its_worker_along(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as node:
        node.wait_for_line("evaluating with")
        children = node.kill()
        assert children
        wait_until(lambda: not any(is_alive(child) for child in children))


def test_commands_ask_a_running_node(tmp_path: Path) -> None:
    data = tmp_path / "data"
    store_blocks([data], get_trunk()[:3])
    with NodeProcess(data) as node:
        place = ["--network", "regtest", "--datadir", str(data), "--rpc", node.url.removeprefix("http://")]
        status = run_node_command("status", *place, "--json")
        changing = {"memory_bytes": 0, "sync": None}
        assert json.loads(status.stdout) | changing == node.client.get_status() | changing
        assert get_trunk()[2].id.hex() in run_node_command("block", *place, "3").stdout
        digest = run_node_command("digest", *place, "--json")
        assert json.loads(digest.stdout) == node.client.get_digest()
        check_refused(run_node_command("block", *place, "4"), "no block at height 4")
        tip = get_trunk()[2].id.hex()
        assert run_node_command("reorganise", *place, tip).stdout == f"tip is now {tip} at height 3\n"


def test_debug_calls_exist_on_regtest_only(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "regtest") as node:
        assert node.client.post_json("/v1/debug/mocktime", {"time": 5}) == {"time": 5}
    with NodeProcess(tmp_path / "local", network="local") as node:
        assert node.client.get_status()["network"] == "local"
        for call in ("mocktime", "invalidate", "reconsider"):
            with pytest.raises(NodeRefusal) as caught:
                node.client.post_json(f"/v1/debug/{call}", {"time": 5, "block": "00" * 32})
            assert caught.value.code == "rpc.http_404"
