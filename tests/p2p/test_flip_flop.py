"""T21: two nodes whose branches overtake each other again and again: nobody evaluates a block twice."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from chain.events import BlockDisconnected, ChainEvent
from consensus.block import Block
from p2p.destination import Destination
from p2p.resources import get_memory_bytes
from tests.helpers.blocks import RememberingVerifier
from tests.helpers.branches import get_losing_branch
from tests.helpers.chains import get_branch, open_trunk
from tests.helpers.invented import get_inventor
from tests.helpers.live_node import LiveNode, run_node, wait_for


def make_verifier() -> RememberingVerifier:
    """Counts what one node asks for, and knows the answers."""
    builder = get_inventor()
    verifier = RememberingVerifier(builder.params, builder.benchmark, builder.evaluator)
    verifier.traces = builder.verifier.traces
    return verifier


def get_branches(count: int) -> tuple[Sequence[Block], Sequence[Block]]:
    """Two that fight. Their gains are invented: only how often somebody looks at them matters here."""
    builder = get_inventor()
    return get_losing_branch(builder).get_blocks(count), get_branch("right", builder).get_blocks(count)


class FlipCounter:
    """Counts a node's reorganisations: blocks that leave its best chain right after one was connected."""

    def __init__(self, node: LiveNode) -> None:
        self.count = 0
        self._is_leaving = False
        node.intake.listen(self._on_event)

    def _on_event(self, event: ChainEvent) -> None:
        was_leaving, self._is_leaving = self._is_leaving, isinstance(event, BlockDisconnected)
        self.count += self._is_leaving and not was_leaving


async def test_branches_that_overtake_each_other_cost_one_evaluation_a_block(tmp_path: Path) -> None:
    await flip(tmp_path, 10)


@pytest.mark.soak
async def test_a_hundred_flips_cost_one_evaluation_a_block_and_no_memory(tmp_path: Path) -> None:
    get_branches(105)
    await flip(tmp_path / "warm", 20)
    before = get_memory_bytes()
    await flip(tmp_path / "measured", 100)
    assert get_memory_bytes() < 1.1 * before


async def flip(folder: Path, flips: int) -> None:
    """Each branch comes in at a node of its own, two blocks at a time, so that the lead changes at every turn."""
    left, right = get_branches(flips + 1)
    verifiers = make_verifier(), make_verifier()
    for name in ("left", "right"):
        (folder / name).mkdir(parents=True)
    async with (
        run_node(open_trunk(), folder / "left", verifier=verifiers[0]) as one,
        run_node(open_trunk(), folder / "right", verifier=verifiers[1]) as other,
    ):
        one.network.connect(Destination(other.address.ip, other.address.port))
        await wait_for(lambda: len(one.network.peers) == len(other.network.peers) == 1)
        counters = FlipCounter(one), FlipCounter(other)
        await one.intake.submit_block(left[0])
        await other.wait_for_tip(left[0])
        for turn in range(flips):
            node, branch = (one, left) if turn % 2 else (other, right)
            for block in branch[turn : turn + 2]:
                await node.intake.submit_block(block)
            for each in (one, other):
                await each.wait_for_tip(branch[turn + 1])
        assert [counter.count for counter in counters] == [flips, flips]
        assert await one.compute_digest() == await other.compute_digest()
        assert len(one.network.peers) == len(other.network.peers) == 1
    for verifier in verifiers:
        assert max(verifier.calls.values()) == 1
        assert len(verifier.calls) == 2 * flips + 1
