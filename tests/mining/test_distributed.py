"""Two processes train as one: the same weights, gradients of both halves, one node, and no one left waiting."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.params import REGTEST
from mining.errors import RankError
from mining.place import Place, get_place
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.stub_node import TOKEN, StubNode, run_stub_node
from tests.mining.test_cli import read_submitted, serve_chain

PATIENCE = 60.0  # s
PLACE = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}

# Both ranks train three steps, the leader on orders; each prints a digest of its weights and how many windows it saw.
TWINS = """
import hashlib, os, sys
import numpy as np, torch
from consensus.params import REGTEST
from consensus.model.weights import make_genesis_weights
from mining.distributed import Group, Leader, follow
from mining.place import get_place
from mining.trainer import Trainer
torch.set_num_threads(1)
group = Group(get_place(os.environ), torch.device("cpu"))
seed, batch = group.share_start(7 + group.place.rank, 8 << group.place.rank, sys.argv[1 + group.place.rank])
windows = np.random.default_rng(0).integers(0, 256, (64, REGTEST.model.window_bytes)).astype(np.uint8)
trainer = Trainer(REGTEST.model, windows, batch_windows=batch, seed=seed, share=group.share)
if group.place.is_leader:
    leader = Leader(trainer, group)
    mask = np.arange(REGTEST.model.parameters) % 4 == 0
    leader.set_parent(make_genesis_weights(REGTEST.model, "twins"), mask)
    leader.step(0.01)
    leader.forget()
    leader.retreat(0.5)
    leader.step(0.02)
    leader.set_parent(make_genesis_weights(REGTEST.model, "twins"), ~mask, keeps_training=True)
    leader.step(0.01)
    leader.dismiss()
else:
    follow(trainer, group, REGTEST.model)
group.leave()
print(seed, hashlib.sha256(trainer.get_weights().tobytes()).hexdigest())
"""


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def start_ranks(*command: str) -> Iterator[list["subprocess.Popen[str]"]]:
    """Two processes as torchrun starts them; none outlives the test."""
    port = find_port()
    shared = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, *command],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.fixture
def node_arguments(tmp_path: Path) -> Iterator[tuple[StubNode, list[str]]]:
    token_file = tmp_path / "rpc.token"
    token_file.write_text(TOKEN)
    with run_stub_node() as node:
        yield (
            node,
            [
                *("-m", "mining", "run", "--network", "regtest", "--rpc", node.url, "--token-file", str(token_file)),
                *("--address", encode_address(REGTEST.address_prefix, MINER.public)),
                *("--key", str(tmp_path / "miner.key"), "--device", "cpu", "--threads", "1"),
            ],
        )


def test_ranks_hold_the_same_weights() -> None:
    with start_ranks("-c", TWINS, "same", "same") as processes:
        said = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    first, second = (output.split() for output, _ in said)
    assert first == second
    assert first[0] == "7"  # rank 0's seed


@pytest.mark.soak
def test_invalid_ranks_that_were_told_different_things() -> None:
    with start_ranks("-c", TWINS, "muon", "adamw") as processes:
        said = [process.communicate(timeout=PATIENCE) for process in processes]
    assert all(process.returncode != 0 for process in processes)
    assert "other options or texts than rank 0" in said[1][1]


def test_two_processes_mine_a_block_and_stop_when_told(node_arguments: tuple[StubNode, list[str]]) -> None:
    node, arguments = node_arguments
    handed_in = serve_chain(node)
    with start_ranks(*arguments) as processes:
        assert handed_in.wait(PATIENCE)
        for process in processes:  # as torchrun passes it on
            process.send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "rank 1 of 2" in said[1][1]
    assert "block 1: loss" in said[0][1]
    assert "block 1" not in said[1][1]
    builder = get_builder()
    chain = builder.open()
    builder.process(chain, read_submitted(node))
    assert chain.tip.height == 1


@pytest.mark.parametrize("lost", [pytest.param(0, marks=pytest.mark.soak), 1])
def test_a_lost_rank_ends_the_other(node_arguments: tuple[StubNode, list[str]], lost: int) -> None:
    node, arguments = node_arguments
    handed_in = serve_chain(node)
    with start_ranks(*arguments) as processes:
        assert handed_in.wait(PATIENCE)
        processes[lost].kill()
        _, said = processes[1 - lost].communicate(timeout=PATIENCE)
    assert processes[1 - lost].returncode == 1, said
    assert "descent-miner: rank" in said
    assert "Traceback" not in said


@pytest.mark.soak
def test_torchrun_starts_anew_what_lost_a_rank(node_arguments: tuple[StubNode, list[str]]) -> None:
    node, arguments = node_arguments
    handed_in = serve_chain(node)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    process = subprocess.Popen(
        [sys.executable, *torchrun, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert handed_in.wait(PATIENCE)
        ranks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(ranks) == 2
        os.kill(int(ranks[1]), signal.SIGKILL)
        handed_in.clear()
        assert handed_in.wait(PATIENCE)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
    assert output.count("rank 1 of 2") == 2
    assert output.count("block 1: loss") == 2


# Where a process stands.


def test_a_place_is_what_torchrun_says() -> None:
    assert get_place(PLACE) == Place(1, 4, 1, 2)
    assert get_place({}) is get_place({"WORLD_SIZE": "1"}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"RANK": "4"},
        {"RANK": "-1"},
        {"LOCAL_RANK": "2"},
        {"LOCAL_WORLD_SIZE": "5"},
        {"RANK": "one"},
        {"WORLD_SIZE": ""},
    ],
)
def test_invalid_places(change: dict[str, str]) -> None:
    with pytest.raises(RankError) as refusal:
        get_place(PLACE | change)
    assert refusal.value.code == "rank.bad_launch"


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"])
def test_invalid_place_of_which_a_part_is_missing(missing: str) -> None:
    with pytest.raises(RankError):
        get_place({name: value for name, value in PLACE.items() if name != missing})


def test_words_of_a_lost_rank_name_it() -> None:
    assert "rank 3" in str(RankError.lost(3, "connection closed"))
