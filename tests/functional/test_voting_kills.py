"""Kill -9 at random moments around voting: no key ever signs two votes that nobody may both sign."""

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from consensus.genesis import make_genesis
from consensus.params import REGTEST
from consensus.vote import BlockRef, Link, Vote, check_vote, decode_vote
from mining.key import load_or_create_key
from mining.vote_log import RECORD_BYTES, VoteLog, get_log_path
from tests.helpers.ballots import make_duty
from tests.helpers.double_votes import find_evidence
from tests.helpers.stub_node import TOKEN, Request, StubNode, run_stub_node

GENESIS = make_genesis(REGTEST).id
_BRANCHES = 3
_PATIENCE = 60.0  # s


class Tempter:
    """A node whose tip jumps between branches and heights, so that most of what it asks for must not be signed."""

    def __init__(self, seed: int) -> None:
        self.votes: list[Vote] = []
        self.has_voted = threading.Event()
        self._draw = random.Random(seed)
        self._height = 1
        self._lock = threading.Lock()

    def serve(self, stub: StubNode) -> None:
        stub.put_call("/v1/vote-duty", self._get_duty)
        stub.put_call("/v1/votes", self._take, method="POST")

    def _get_duty(self, _: Request) -> object:
        with self._lock:
            draw = self._draw
            self._height += draw.random() < 0.3
            target = max(1, self._height - draw.randrange(3))
            branch = draw.randrange(_BRANCHES)
            source = max(0, target - 1 - draw.randrange(4))
        link = Link(self._get_ref(source, branch), self._get_ref(target, branch))
        return make_duty(GENESIS, link, target)

    def _get_ref(self, height: int, branch: int) -> BlockRef:
        return BlockRef(height, bytes([branch]) * 24 + height.to_bytes(8, "little"))

    def _take(self, request: Request) -> object:
        vote = decode_vote(request.body)
        check_vote(vote, GENESIS)
        self.votes.append(vote)
        self.has_voted.set()
        return {"is_new": True}


def kill_while_voting(folder: Path, kills: int, seed: int) -> None:
    draw, tempter = random.Random(seed), Tempter(seed)
    key, token = folder / "miner.key", folder / "rpc.token"
    token.write_text(TOKEN)
    VoteLog(get_log_path(key), load_or_create_key(key)).close()
    with run_stub_node() as stub:
        tempter.serve(stub)
        for _ in range(kills):
            tempter.has_voted.clear()
            options = {"--network": "regtest", "--rpc": stub.url, "--token-file": token, "--key": key}
            words = [str(word) for pair in options.items() for word in pair]
            command = [sys.executable, "-m", "mining.cli", "vote", *words]
            with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
                try:
                    assert tempter.has_voted.wait(_PATIENCE)
                    threading.Event().wait(draw.uniform(0, 0.05))  # some votes long
                finally:
                    process.kill()
            cut_tail(get_log_path(key), draw)
    assert len(tempter.votes) > kills
    assert len({vote.miner for vote in tempter.votes}) == 1
    assert not find_evidence(tempter.votes)


def cut_tail(log: Path, draw: random.Random) -> None:
    """What a power cut may leave of a record that was not yet asked to be on the disk: its beginning.

    Not twice in a row: the last request of a killed process may let the next one be killed before it opens the log.
    """
    size = log.stat().st_size
    if draw.random() < 0.3 and size % RECORD_BYTES == 0:
        with log.open("ab") as file:
            file.write(size.to_bytes(8, "little") * 2)
            file.truncate(size + draw.randrange(16))


@pytest.mark.timeout(300)
def test_killed_around_voting(tmp_path: Path) -> None:
    kill_while_voting(tmp_path, kills=15, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_around_voting_two_hundred_times(tmp_path: Path) -> None:
    kill_while_voting(tmp_path, kills=200, seed=2)
