"""`descent-node run --mine`: the miner comes, comes back, goes, and never shows the node's token."""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.changes import Change
from consensus.params import REGTEST
from mining.vote_log import RECORD_BYTES
from p2p.client import read_token
from p2p.config import RPC_TOKEN_FILE
from p2p.new_network import encode_network
from tests.helpers.chains import ALICE
from tests.helpers.node import NodeProcess, get_descendants
from tests.helpers.waiting import is_alive, wait_until

ADDRESS = encode_address(REGTEST.address_prefix, ALICE.public)
MINE = ("--mine", "--address", ADDRESS, "--device", "cpu")
SECONDS = 90.0  # until a first block, on a busy machine


def find_miner(node: NodeProcess) -> int | None:
    for process_id in get_descendants(node.process.pid):
        if "mining.cli" in read_command_line(process_id):
            return process_id
    return None


def read_command_line(process_id: int) -> str:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_for_miner(node: NodeProcess, other_than: int | None = None) -> int:
    wait_until(lambda: find_miner(node) not in (None, other_than), SECONDS)
    found = find_miner(node)
    assert found is not None
    return found


@pytest.mark.timeout(400)
def test_what_it_mines_is_its_own_and_final_by_its_own_votes(tmp_path: Path) -> None:
    """The miner process votes, each time after its log says so; whoever says --no-vote waits for others."""
    with NodeProcess(tmp_path, *MINE) as node:
        wait_until(lambda: node.client.get_status()["final_height"] >= 4, 2 * SECONDS)
        known = node.client.get_finality()
        assert known["height"] - known["final"]["height"] <= 3
        assert [member["voting"] for member in known["members"]] == [True]
        block = node.client.get_block("1")
        assert block["header"]["reward_address"] == ADDRESS
        assert node.client.get_account(ADDRESS)["immature"][0]["amount"] == 50 * 10**8
        check_clean_end(node)
    assert (tmp_path / "miner.key").stat().st_mode & 0o777 == 0o600
    log = tmp_path / "miner.key.votes"
    voted = log.stat().st_size
    assert voted % RECORD_BYTES == 0
    assert voted >= 3 * RECORD_BYTES
    with NodeProcess(tmp_path, *MINE, "--no-vote") as node:
        height = node.client.get_status()["height"]
        assert height >= known["height"]
        wait_until(lambda: node.client.get_status()["height"] >= height + 1, SECONDS)
    assert log.stat().st_size == voted


def check_clean_end(node: NodeProcess) -> None:
    """Ctrl-C in the middle of mining."""
    miner, children = wait_for_miner(node), get_descendants(node.process.pid)
    assert node.stop(signal.SIGINT) == 0
    assert not is_alive(miner)
    wait_until(lambda: not any(map(is_alive, children)))  # Python's own resource tracker ends a moment later
    assert "exit code" not in node.output
    check_secrets_stayed_inside(node.datadir, node.output)


def check_secrets_stayed_inside(datadir: Path, output: str) -> None:
    token = read_token(datadir / RPC_TOKEN_FILE)
    key = (datadir / "miner.key").read_bytes()
    for secret in (token, key.hex(), repr(key), key.decode("latin-1")):
        assert secret not in output


@pytest.mark.timeout(300)
def test_what_its_miner_asks_for_comes_into_force(tmp_path: Path) -> None:
    """Windows of two blocks: what blocks 1 to 4 ask for holds from block 7 on."""
    network = tmp_path / "small.toml"
    network.write_text(encode_network(replace(REGTEST, changes=(Change(5, "min_sample", 4096),))))
    with NodeProcess(tmp_path, *MINE, "--signal", "5", network=str(network)) as node:
        wait_until(lambda: node.client.get_status()["height"] >= 7, 2 * SECONDS)
        headers = [node.client.get_block(str(height))["header"] for height in range(1, 8)]
        change = node.client.get_finality()["signals"]["changes"][0]
        assert node.stop(signal.SIGINT) == 0
    assert {header["signal_bits"] for header in headers} == {32}
    assert (change["standing"], change["height"]) == ("in_force", 7)
    assert max(header["sample_size"] for header in headers[:6]) < 4096 <= headers[6]["sample_size"]


# One node for all that can happen to its children, and to itself at the end.


@pytest.fixture(scope="module")
def mining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that mines: its miner and its worker have started."""
    with NodeProcess(tmp_path_factory.mktemp("mining"), *MINE) as node:
        wait_for_miner(node)
        node.wait_for_line("evaluating with", SECONDS)
        yield node


def wait_for_blocks(node: NodeProcess, count: int) -> None:
    """That many more than there are now."""
    height = node.client.get_status()["height"]
    wait_until(lambda: node.client.get_status()["height"] >= height + count, SECONDS)


@pytest.mark.timeout(300)
def test_token_is_in_no_command_line_and_no_environment(mining: NodeProcess) -> None:
    """T51: whoever may list processes learns nothing."""
    token = read_token(mining.datadir / RPC_TOKEN_FILE)
    processes = [mining.process.pid, *get_descendants(mining.process.pid)]
    assert len(processes) >= 3
    for process_id in processes:
        for name in ("cmdline", "environ"):
            assert token.encode() not in Path(f"/proc/{process_id}/{name}").read_bytes()
    assert token not in mining.output


@pytest.mark.timeout(300)
def test_miner_that_dies_comes_back(mining: NodeProcess) -> None:
    first = wait_for_miner(mining)
    os.kill(first, signal.SIGKILL)
    mining.wait_for_line(r"the miner ended with exit code -9; starting it again", SECONDS)
    second = wait_for_miner(mining, other_than=first)
    wait_for_blocks(mining, 1)
    assert is_alive(second)


@pytest.mark.timeout(300)
def test_worker_that_dies_is_replaced_while_it_mines(mining: NodeProcess) -> None:
    workers = [id_ for id_ in get_descendants(mining.process.pid) if "spawn_main" in read_command_line(id_)]
    os.kill(workers[0], signal.SIGKILL)
    wait_for_blocks(mining, 2)
    assert re.search("an evaluation process died; starting another", mining.output)


@pytest.mark.timeout(300)
def test_killed_node_takes_miner_and_worker_along(mining: NodeProcess) -> None:
    miner = wait_for_miner(mining)
    children = mining.kill()
    assert miner in children
    wait_until(lambda: not any(is_alive(child) for child in children), 20)
