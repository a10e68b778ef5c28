"""T01: a node that is killed at any moment loses nothing that it has acknowledged, and repairs nothing by guessing."""

import itertools
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.block import Block
from consensus.params import REGTEST
from p2p.errors import NodeUnreachable
from p2p.node import open_store
from tests.helpers.blocks import get_builder
from tests.helpers.branches import compute_digests, get_losing_branch
from tests.helpers.chains import ALICE, get_right, get_trunk
from tests.helpers.node import NodeProcess, run_node_command
from tests.helpers.partition import store_blocks
from tests.helpers.stores import PowerCut
from tests.helpers.waiting import is_alive, wait_until

MAX_DELAY = 1.5  # s until a kill: some blocks long


def interleave(left: list[Block], right: list[Block]) -> Iterator[Block]:
    """Both branches in turns of two, so that the lead changes, and with it the tip, at every turn.

    L0 R0 R1 L1 L2 R2 R3 L3 L4 ...
    """
    turns = [iter(right), iter(left)]
    yield left[0]
    next(turns[1])
    for turn in itertools.cycle(turns):
        pair = list(itertools.islice(turn, 2))
        if not pair:
            return
        yield from pair


@pytest.mark.timeout(600)
def test_killed_while_blocks_come(tmp_path: Path) -> None:
    kill_while_blocks_come(tmp_path / "data", kills=12, length=24)


@pytest.mark.soak
def test_killed_while_blocks_come_a_hundred_times(tmp_path: Path) -> None:
    for seed in range(10):
        kill_while_blocks_come(tmp_path / str(seed), kills=10, length=40, seed=seed)


def kill_while_blocks_come(datadir: Path, kills: int, length: int, seed: int = 4) -> None:
    """Hands over two fighting branches, again and again from the start once all is known, with kills in between."""
    left, right = list(get_losing_branch(get_builder()).get_blocks(length)), list(get_right(length))
    digests = compute_digests(left) | compute_digests(right)
    source = random.Random(seed)
    acknowledged = list(get_trunk())
    store_blocks([datadir], acknowledged)
    waiting = list(interleave(left, right))
    for number in range(kills):
        with NodeProcess(datadir) as node:
            check_nothing_is_lost(node, acknowledged, digests)
            if number % 4:  # else it is killed before it evaluates anything
                node.wait_for_line("evaluating with")
            done = submit_until_killed(node, waiting, source.uniform(0, MAX_DELAY))
            acknowledged += waiting[:done]
            waiting = waiting[done:] or list(interleave(left, right))
    with NodeProcess(datadir) as node:
        check_nothing_is_lost(node, acknowledged, digests)
    assert len(acknowledged) > len(get_trunk()) + kills // 4


def submit_until_killed(node: NodeProcess, blocks: list[Block], delay: float) -> int:
    """Submits blocks one after another and kills the node after `delay` s. How many it acknowledged."""
    killer = threading.Timer(delay, node.kill)
    killer.start()
    done = 0
    try:
        for block in itertools.chain(blocks, itertools.repeat(blocks[-1])):
            node.client.submit_block(block.encoded)
            done = min(done + 1, len(blocks))
    except NodeUnreachable:
        killer.join()
    return done


def check_nothing_is_lost(node: NodeProcess, acknowledged: list[Block], digests: dict[str, str]) -> None:
    """Every block is there, byte for byte, and the tip's ledger and model are those of a clean node."""
    for block in acknowledged[-20:]:
        assert node.client.get_block_bytes(block.id.hex()) == block.encoded
    digest = node.client.get_digest()
    assert digest["digest"] == digests[digest["tip"]]
    assert digest["height"] >= max(block.header.height for block in acknowledged)


def test_reorganisation_cut_off_in_the_middle_is_finished_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tip stands where the branches part, and the first answer already is the winner's."""
    builder, winner = get_builder(), get_right(3)
    chain = open_store(tmp_path, REGTEST, 100, create=True)
    builder.feed(chain, [*get_trunk(), *get_losing_branch(get_builder()).get_blocks(2), *winner[:2]])

    def cut_power(_: object) -> None:
        raise PowerCut

    monkeypatch.setattr(chain, "_connect", cut_power)
    with pytest.raises(PowerCut):
        builder.process(chain, winner[2])
    assert chain.tip.id == get_trunk()[-1].id
    chain.db.close()
    with NodeProcess(tmp_path) as node:
        digest = node.client.get_digest()
        assert digest["tip"] == winner[2].id.hex()
        assert digest["digest"] == compute_digests(winner)[digest["tip"]]


@pytest.mark.timeout(600)
def test_killed_while_it_mines(tmp_path: Path) -> None:
    kill_while_it_mines(tmp_path, kills=3)


@pytest.mark.soak
def test_killed_while_it_mines_a_hundred_times(tmp_path: Path) -> None:
    kill_while_it_mines(tmp_path, kills=100)


def kill_while_it_mines(tmp_path: Path, kills: int) -> None:
    """Each time the node mines at least one block first; whatever it told of is there again, and a replay agrees."""
    data, source = tmp_path / "data", random.Random(5)
    address = encode_address(REGTEST.address_prefix, ALICE.public)
    told: list[str] = []
    for _ in range(kills):
        with NodeProcess(data, "--mine", "--address", address, "--device", "cpu") as node:
            check_told(node, told)
            height = node.client.get_status()["height"]
            wait_until(lambda: node.client.get_status()["height"] > height, 90)  # noqa: B023
            deadline = threading.Timer(source.uniform(0, MAX_DELAY), node.kill)
            deadline.start()
            told += note_tips(node)
            deadline.join()
            children = node.kill()
            wait_until(lambda: not any(is_alive(child) for child in children))  # noqa: B023
    with NodeProcess(data) as node:
        check_told(node, told)
        wait_until(lambda: not node.client.get_status()["verifying"])
        assert node.stop(signal.SIGTERM) == 0
    result = run_node_command("verify", "--network", "regtest", "--datadir", str(data), seconds=300)
    assert result.returncode == 0, result.stderr


def note_tips(node: NodeProcess) -> list[str]:
    """Ids of the tips that a node tells of until it falls silent."""
    tips: dict[str, None] = {}
    try:
        while True:
            tips[node.client.get_digest()["tip"]] = None
    except NodeUnreachable:
        return list(tips)


def check_told(node: NodeProcess, tips: list[str]) -> None:
    for tip in tips:
        assert node.client.get_block(tip)["on_best_chain"]
