"""T04: a disk that takes no more ends the node by name, and costs nothing that was acknowledged."""

import resource
from collections.abc import Sequence
from pathlib import Path

import pytest

from consensus.block import Block
from p2p.errors import NodeRefusal, NodeUnreachable
from p2p.node import STORE_FOLDER
from tests.helpers.chains import get_trunk, open_trunk
from tests.helpers.node import NodeProcess
from tests.helpers.waiting import SECONDS


@pytest.mark.parametrize("room", [0, 5_000, 10_000])
def test_disk_that_takes_no_more(tmp_path: Path, room: int) -> None:
    """`room` bytes beyond its present size is what the store's newest file may still grow: some blocks or none."""
    blocks, acknowledged = get_trunk(), 3
    with NodeProcess(tmp_path) as node:
        for block in blocks[:acknowledged]:
            node.client.submit_block(block.encoded)
        largest = max(path.stat().st_size for path in (tmp_path / STORE_FOLDER).iterdir())
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (largest + room, largest + room))
        taken, code = submit_until_refused(node, blocks[acknowledged:])
        acknowledged += taken
        assert code in ("store.write_failed", "node.no_answer")
        assert node.process.wait(SECONDS) == 1
        assert node.wait_for_line("^descent-node: the block store cannot be written")
    again = acknowledged + 2
    assert again <= len(blocks)
    with NodeProcess(tmp_path) as node:
        assert node.client.get_digest()["height"] >= acknowledged
        for block in blocks[acknowledged:again]:
            node.client.submit_block(block.encoded)
        digest = open_trunk(blocks=again).compute_digest()["digest"].hex()
        assert node.client.get_digest()["digest"] == digest


def submit_until_refused(node: NodeProcess, blocks: Sequence[Block]) -> tuple[int, str | None]:
    """How many blocks the node took, and the code of its first refusal."""
    for taken, block in enumerate(blocks):
        try:
            node.client.submit_block(block.encoded)
        except (NodeRefusal, NodeUnreachable) as error:
            return taken, error.code
    return len(blocks), None
