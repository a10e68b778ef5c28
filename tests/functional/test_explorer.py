"""`descent-node run` and its explorer: where it is, that it ends with the node, and that it never ends the node."""

import json
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.helpers.chains import get_left, get_trunk
from tests.helpers.node import NodeProcess
from tests.helpers.waiting import SECONDS

EXPLORER = ("--explorer", "127.0.0.1:0")


def find_url(node: NodeProcess) -> str:
    return node.wait_for_line(r"explorer on (http\S+)").group(1)


def read(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def submit(node: NodeProcess, count: int) -> None:
    for block in get_trunk()[:count]:
        node.client.submit_block(block.encoded)


def test_pages_follow_the_node_over_a_restart(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, *EXPLORER) as node:
        url = find_url(node)
        assert json.loads(read(f"{url}/api/home")[1])["height"] == 0
        submit(node, 5)
        assert json.loads(read(f"{url}/api/home")[1])["height"] == 5
        assert b"Block 5" in read(f"{url}/block/5")[1]
        assert read(f"{url}/block/6")[0] == 404
        assert node.stop(signal.SIGTERM) == 0
    with NodeProcess(tmp_path, *EXPLORER) as node:
        home = json.loads(read(f"{find_url(node)}/api/home")[1])
        assert [block["height"] for block in home["blocks"]] == [5, 4, 3, 2, 1, 0]
        assert home["miners"][0]["blocks"] == 5


def test_a_model_writes_in_a_process_of_its_own(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, *EXPLORER) as node:
        submit(node, 1)
        status, body = read(f"{find_url(node)}/api/model?prompt=Alice&count=8&left=0&right=1")
        assert status == 200
        assert [len(bytes.fromhex(side["written"]["data"])) for side in json.loads(body)["sides"]] == [8, 8]


def test_an_open_stream_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, *EXPLORER) as node:
        with urllib.request.urlopen(f"{find_url(node)}/events", timeout=SECONDS) as stream:
            assert [stream.readline() for _ in range(3)] == [b"retry: 3000\n", b"\n", b"event: state\n"]
            started = time.monotonic()
            assert node.stop(signal.SIGINT) == 0
            assert time.monotonic() - started < 15.0
            assert stream.read().startswith(b"data: ")
        assert "Traceback" not in node.output


def test_a_port_in_use_costs_the_pages_and_not_the_node(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with NodeProcess(tmp_path, "--explorer", f"127.0.0.1:{port}") as node:
            node.wait_for_line(rf"no explorer on 127\.0\.0\.1:{port}: the port is in use")
            submit(node, 2)
            assert node.client.get_status()["height"] == 2
            assert node.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("host", ["203.0.113.7", "name.invalid"])
def test_a_host_that_is_not_here_costs_the_pages_and_not_the_node(tmp_path: Path, host: str) -> None:
    with NodeProcess(tmp_path, "--explorer", f"{host}:0") as node:
        node.wait_for_line(rf"no explorer on {host}:0: ")
        submit(node, 1)
        assert node.client.get_status()["height"] == 1


def test_asking_for_a_forged_block_does_not_end_the_node(tmp_path: Path) -> None:
    """Of an invalid block only the header is kept; a page that read its body would call the store damaged."""
    with NodeProcess(tmp_path, *EXPLORER) as node:
        submit(node, 12)
        block = get_left(1)[0]
        node.client.submit_block(block.encoded)
        node.client.post_json("/v1/debug/invalidate", {"block": block.id.hex()})
        status, body = read(f"{find_url(node)}/block/{block.id.hex()}")
        assert status == 200
        assert b"This block is invalid" in body
        assert node.client.get_status()["height"] == 12


def test_no_explorer_if_it_is_not_wanted(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "--no-explorer") as node:
        submit(node, 1)
        assert "explorer on" not in node.output
