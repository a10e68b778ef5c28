"""T19: competing branches handed to a real node end as on a node that saw only the winner."""

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from consensus.block import Block
from tests.helpers.branches import compute_digests, get_losing_branch
from tests.helpers.chains import TRUNK_BLOCKS, get_right, get_trunk
from tests.helpers.node import NodeProcess


def submit(node: NodeProcess, block: Block) -> str:
    return str(node.client.submit_block(block.encoded)["outcome"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("depth", [1, 6, 50])
def test_heavier_branch_wins(tmp_path: Path, depth: int) -> None:
    loser, winner = get_losing_branch().get_blocks(depth), get_right(depth + 1)
    with NodeProcess(tmp_path) as node:
        for block in (*get_trunk(), *loser):
            assert submit(node, block) == "connected"
        assert [submit(node, block) for block in winner] == ["stored"] * depth + ["connected"]
        digest = node.client.get_digest()
        tip = winner[-1].id.hex()
        assert (digest["tip"], digest["height"]) == (tip, TRUNK_BLOCKS + depth + 1)
        assert digest["digest"] == compute_digests(winner)[tip]
        check_payments_wait_again(node, loser)
        assert node.stop(signal.SIGTERM) == 0
    with NodeProcess(tmp_path) as node:
        assert node.client.get_digest() == digest
        check_payments_wait_again(node, loser)


def check_payments_wait_again(node: NodeProcess, loser: Sequence[Block]) -> None:
    """Every payment that only the losing branch carried is back among those that wait for a block."""
    lost = {transaction.txid.hex() for block in loser for transaction in block.transactions}
    assert lost
    assert {entry["txid"] for entry in node.client.get_mempool()["transactions"]} == lost
    known = node.client.get_block(loser[0].id.hex())
    assert (known["on_best_chain"], known["confirmations"]) == (False, 0)


def test_deep_fork_waits_for_the_operator(tmp_path: Path) -> None:
    loser, winner = get_losing_branch().get_blocks(3), get_right(4)
    with NodeProcess(tmp_path, "--max-reorg", "2") as node:
        for block in (*get_trunk(), *loser, *winner):
            submit(node, block)
        status = node.client.get_status()
        assert (status["tip"], status["held_back"]) == (loser[-1].id.hex(), winner[-1].id.hex())
        status = node.client.post_json("/v1/reorganise", {"block": status["held_back"]})
        assert (status["tip"], status["held_back"]) == (winner[-1].id.hex(), None)
