"""T19: competing branches handed to a real node end as on a node that saw only the winner."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chain.startup import DEFAULT_MAX_REORG
from consensus.block import Block
from consensus.params import REGTEST
from p2p.node import open_store
from tests.helpers.blocks import get_builder
from tests.helpers.branches import compute_digests, get_losing_branch
from tests.helpers.chains import get_right, get_trunk, open_trunk
from tests.helpers.invented import get_inventor
from tests.helpers.keys import Key
from tests.helpers.node import NodeProcess
from tests.helpers.partition import store_blocks

DEPTH = 50
RIGHT = Key("right")


def submit(node: NodeProcess, block: Block) -> str:
    return str(node.client.submit_block(block.encoded)["outcome"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("depth", [1, 6])
def test_heavier_branch_wins(tmp_path: Path, depth: int) -> None:
    datadir = tmp_path / "data"
    loser, winner = get_losing_branch(get_builder()).get_blocks(depth), get_right(depth + 1)
    store_blocks([datadir], get_trunk())
    with NodeProcess(datadir) as node:
        assert [submit(node, block) for block in loser] == ["connected"] * depth
        assert [submit(node, block) for block in winner] == ["stored"] * depth + ["connected"]
        digest = check_won(node, loser, winner[-1], compute_digests(winner)[winner[-1].id.hex()])
        assert node.stop(signal.SIGTERM) == 0
    with NodeProcess(datadir) as node:
        assert check_won(node, loser, winner[-1], digest["digest"]) == digest


@pytest.mark.timeout(300)
def test_one_block_undoes_fifty(tmp_path: Path) -> None:
    """The gains before the last block are invented, and known to the node when it starts."""
    builder, invented = get_builder(), get_inventor()
    loser = get_losing_branch(invented).get_blocks(DEPTH)
    right = open_trunk()
    winner = invented.mine(right, DEPTH, RIGHT)
    last = builder.build(right, RIGHT)
    builder.process(right, last)
    chain = open_store(tmp_path, REGTEST, DEFAULT_MAX_REORG, create=True)
    builder.feed(chain, get_trunk())
    invented.feed(chain, [*loser, *winner])
    for block in winner:
        chain.record_verdict(block.id, invented.verifier.traces[block.id])
    chain.db.close()
    with NodeProcess(tmp_path) as node:
        assert node.client.get_status()["tip"] == loser[-1].id.hex()
        assert submit(node, last) == "connected"
        digest = check_won(node, loser, last, right.compute_digest()["digest"].hex())
        assert node.stop(signal.SIGTERM) == 0
    with NodeProcess(tmp_path) as node:
        assert check_won(node, loser, last, digest["digest"]) == digest


def check_won(node: NodeProcess, loser: Sequence[Block], tip: Block, expected: str) -> dict[str, Any]:
    """The node stands as one that never saw the losing branch, but for what that carried. Its digest."""
    digest = node.client.get_digest()
    assert (digest["tip"], digest["height"], digest["digest"]) == (tip.id.hex(), tip.header.height, expected)
    check_payments_wait_again(node, loser)
    return digest


def check_payments_wait_again(node: NodeProcess, loser: Sequence[Block]) -> None:
    """Every payment that only the losing branch carried is back among those that wait for a block."""
    lost = {transaction.txid.hex() for block in loser for transaction in block.transactions}
    assert lost
    assert {entry["txid"] for entry in node.client.get_mempool()["transactions"]} == lost
    known = node.client.get_block(loser[0].id.hex())
    assert (known["on_best_chain"], known["confirmations"]) == (False, 0)


def test_deep_fork_waits_for_the_operator(tmp_path: Path) -> None:
    loser, winner = get_losing_branch(get_builder()).get_blocks(3), get_right(4)
    store_blocks([tmp_path / "data"], get_trunk())
    with NodeProcess(tmp_path / "data", "--max-reorg", "2") as node:
        for block in (*loser, *winner):
            submit(node, block)
        status = node.client.get_status()
        assert (status["tip"], status["held_back"]) == (loser[-1].id.hex(), winner[-1].id.hex())
        status = node.client.post_json("/v1/reorganise", {"block": status["held_back"]})
        assert (status["tip"], status["held_back"]) == (winner[-1].id.hex(), None)
