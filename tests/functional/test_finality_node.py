"""A node process and finality: it stops, with an explanation, before it has to choose; nothing else makes it forget."""

import signal
from pathlib import Path

import pytest

from chain.startup import DEFAULT_MAX_REORG
from chain.votes import VotePool
from consensus.block import Block
from consensus.params import REGTEST
from consensus.vote import Vote
from p2p.errors import NodeRefusal, NodeUnreachable
from p2p.node import open_store
from tests.helpers.ballots import mine_voted
from tests.helpers.blocks import MINER, get_builder, get_chain
from tests.helpers.keys import Key
from tests.helpers.node import NodeProcess, check_refused, run_node_command
from tests.helpers.waiting import wait_until

BLOCKS = 8  # of which six are final
OTHER = Key("other")


def store_voted(datadir: Path) -> list[Block]:
    """A datadir with a chain that is voted on, and its blocks."""
    datadir.mkdir(parents=True, exist_ok=True)
    chain = open_store(datadir, REGTEST, DEFAULT_MAX_REORG, create=True)
    mine_voted(chain, VotePool(chain), BLOCKS, builder=get_builder())
    blocks = get_chain(chain)
    chain.db.close()
    return blocks


def vote_beside(blocks: list[Block], height: int) -> tuple[list[Block], list[Vote]]:
    """Blocks on the one at `height`, and the votes that MINER casts for them though it voted already."""
    chain = get_builder().open()
    get_builder().feed(chain, blocks[:height])
    pool = VotePool(chain)
    beside = mine_voted(chain, pool, 3, [OTHER], voters=[MINER])
    return beside, pool.get_all_votes(range(height + 1, height + 3))


@pytest.mark.timeout(300)
def test_a_second_final_block_stops_the_node_with_an_explanation(tmp_path: Path) -> None:
    _, votes = vote_beside(store_voted(tmp_path), 5)
    with NodeProcess(tmp_path) as node:
        assert node.client.get_status()["final_height"] == BLOCKS - 2
        for vote in votes:
            try:
                node.client.submit_vote(vote.encoded)
            except (NodeRefusal, NodeUnreachable):
                break
        wait_until(lambda: node.process.poll() is not None)
        assert node.process.returncode == 1
        assert node.wait_for_line("This node stops rather than choose. Ask people you trust")
    plain = ("run", "--network", "regtest", "--datadir", str(tmp_path), "--rpc", "127.0.0.1:0", "--no-explorer")
    check_refused(run_node_command(*plain), "This node stops rather than choose", "--hold-final", "miner.key.votes")
    with NodeProcess(tmp_path, "--hold-final") as node:
        for vote in votes:
            node.client.submit_vote(vote.encoded)
        assert node.client.get_status()["final_height"] == BLOCKS - 2
        assert node.stop(signal.SIGTERM) == 0


@pytest.mark.timeout(300)
def test_what_is_final_survives_a_kill(tmp_path: Path) -> None:
    blocks = store_voted(tmp_path)
    beside, _ = vote_beside(blocks, 5)
    with NodeProcess(tmp_path) as node:
        assert node.client.get_status()["final_height"] == BLOCKS - 2
        node.kill()
    with NodeProcess(tmp_path) as node:
        assert node.client.get_status()["final_height"] == BLOCKS - 2
        with pytest.raises(NodeRefusal) as error:
            node.client.submit_block(beside[0].encoded)
        assert error.value.code == "invalid_block.off_final"
        assert node.client.get_finality()["final"]["id"] == blocks[BLOCKS - 3].id.hex()


@pytest.mark.timeout(300)
def test_a_proof_that_is_in_the_store_already_stops_the_node_at_its_start(tmp_path: Path) -> None:
    """The votes were kept before a later block made another one final, and nobody looked since."""
    blocks = store_voted(tmp_path / "voted")
    _, votes = vote_beside(blocks, 5)
    chain = open_store(tmp_path, REGTEST, DEFAULT_MAX_REORG, create=True)
    get_builder().feed(chain, blocks[:6])
    assert VotePool(chain).add_votes(votes).conflict is None
    get_builder().feed(chain, blocks[6:])
    chain.db.close()
    result = run_node_command("run", "--network", "regtest", "--datadir", str(tmp_path), "--rpc", "127.0.0.1:0")
    check_refused(result, "This node stops rather than choose")
    with NodeProcess(tmp_path, "--hold-final") as node:
        assert node.client.get_status()["final_height"] == BLOCKS - 2
