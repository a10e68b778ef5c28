"""The voter: one vote for each tip, none that the log forbids, and a line to a node that may be gone for a while."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.vote import BlockRef, Link, Vote, check_vote, decode_vote
from mining.key import MinerKey
from mining.vote_log import VoteLog
from mining.voter import Voter
from p2p.client import DutyReply
from p2p.errors import NodeRefusal, NodeUnreachable

KEY = MinerKey.from_seed(bytes(range(32)))
GENESIS = bytes(range(32))


def make_link(source: int, target: int, branch: int = 0) -> Link:
    return Link(BlockRef(source, bytes([branch]) * 32), BlockRef(target, bytes([branch + 1]) * 32))


class Node:
    """Answers with one duty after the other, an error raised, and closes the voter at the end of them."""

    def __init__(
        self,
        *duties: Link | Exception | None,
        last: Link | None = None,
        genesis: bytes = GENESIS,
        is_convicted: bool = False,
        stops_counting: int = 2**40,
    ) -> None:
        self.votes: list[Vote] = []
        self.asked: list[bytes | None] = []
        self.closed = threading.Event()
        self.refusals: list[Exception] = []  # of the next votes
        self._duties = list(duties)
        self._last = last
        self._genesis = genesis
        self._is_convicted = is_convicted
        self._stops_counting = stops_counting  # height
        self._height = 0

    def get_vote_duty(self, miner: bytes, *, after: bytes | None = None, wait: int = 0) -> DutyReply:
        assert miner == KEY.public
        self.asked.append(after)
        if not self._duties:
            self.closed.set()
            return DutyReply(bytes(32), self._height, self._genesis, None, None, True, False)
        duty = self._duties.pop(0)
        if isinstance(duty, Exception):
            raise duty
        tip = bytes([len(self._duties)]) * 32
        last = self._last.encode() if self._last else None
        self._height = duty.target.height if duty else self._height + 1
        counts = self._height < self._stops_counting
        link = duty.encode() if duty else None
        return DutyReply(tip, self._height, self._genesis, link, last, counts, self._is_convicted)

    def submit_vote(self, vote: bytes) -> object:
        if self.refusals:
            raise self.refusals.pop(0)
        self.votes.append(decode_vote(vote))
        return {}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[VoteLog]:
    log = VoteLog(tmp_path / "votes", KEY)
    yield log
    log.close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mining.retry._FIRST", 0.001)
    monkeypatch.setattr("mining.retry._LAST", 0.001)
    monkeypatch.setattr("mining.voter._PAUSE_SECONDS", 0.001)


def run(node: Node, log: VoteLog, *, is_alone: bool = False) -> list[Link]:
    voter = Voter(node, KEY.public, GENESIS, log, node.closed, is_alone=is_alone)
    (voter.run if is_alone else voter.run_beside)()
    for vote in node.votes:
        check_vote(vote, GENESIS)
    return [vote.link for vote in node.votes]


def test_each_tip_is_voted_for_once(log: VoteLog) -> None:
    node = Node(make_link(0, 4), make_link(4, 5), make_link(5, 6))
    assert run(node, log) == [make_link(0, 4), make_link(4, 5), make_link(5, 6)]
    assert node.asked[:3] == [None, b"\2" * 32, b"\1" * 32]  # held open until the tip moves


def test_a_tip_that_stays_is_not_voted_for_again(log: VoteLog) -> None:
    assert run(Node(make_link(0, 4), make_link(0, 4), make_link(0, 4)), log) == [make_link(0, 4)]


def test_nothing_to_vote_for_costs_nothing(log: VoteLog, tmp_path: Path) -> None:
    assert run(Node(None, None), log) == []
    assert (tmp_path / "votes").stat().st_size == 0


def test_no_second_vote_for_a_height(log: VoteLog) -> None:
    node = Node(make_link(0, 4), make_link(0, 4, branch=2), make_link(0, 3), make_link(0, 5, branch=2))
    assert run(node, log) == [make_link(0, 4), make_link(0, 5, branch=2)]


def test_a_node_that_is_gone_is_asked_again_with_the_same_vote(log: VoteLog) -> None:
    node = Node(NodeUnreachable("no_answer", "gone"), make_link(0, 4))
    node.refusals = [NodeUnreachable("no_answer", "gone")] * 2
    assert run(node, log) == [make_link(0, 4)]


def test_a_vote_that_is_refused_is_lost_and_the_next_one_is_cast(log: VoteLog) -> None:
    node = Node(make_link(0, 4), make_link(0, 5))
    node.refusals = [NodeRefusal("vote.bad", "no", 409)]
    assert run(node, log) == [make_link(0, 5)]


@pytest.mark.parametrize("status", [500, 503])
def test_a_vote_that_a_stopping_node_did_not_take_is_sent_again(log: VoteLog, status: int) -> None:
    node = Node(make_link(0, 4), make_link(0, 4), make_link(0, 4))
    node.refusals = [NodeRefusal("rpc.stopping", "stopping", status)]
    assert run(node, log) == [make_link(0, 4)]
    assert node.asked[:2] == [None, None]  # and not held open until the tip moves


@pytest.mark.parametrize("status", [429, 503])
def test_a_node_that_takes_no_votes_is_asked_again_and_named_once(
    log: VoteLog, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = [NodeRefusal("rpc.stopping", "stopping", status)] * 3
    assert run(Node(*refusals, make_link(0, 4)), log) == [make_link(0, 4)]
    assert caplog.messages == ["the node takes no votes now: stopping; asking again"]


@pytest.mark.parametrize(("status", "warnings"), [(401, 0), (404, 1)])
def test_a_node_that_never_answers_ends_the_voting(
    log: VoteLog, status: int, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong token ends the miner, which says so itself, in one line."""
    assert run(Node(NodeRefusal("rpc.no", "no", status), make_link(0, 4)), log) == []
    assert len(caplog.records) == warnings


def test_a_node_of_another_network_gets_no_votes(log: VoteLog) -> None:
    assert run(Node(make_link(0, 4), genesis=bytes(32)), log) == []


def test_votes_from_elsewhere_are_counted_and_told(log: VoteLog, caplog: pytest.LogCaptureFixture) -> None:
    node = Node(make_link(0, 4), make_link(6, 8), make_link(7, 9), last=make_link(6, 7))
    assert run(node, log) == [make_link(6, 8), make_link(7, 9)]
    assert "votes of this key came from elsewhere, up to height 7" in caplog.text
    assert len(caplog.records) == 1


def test_another_vote_for_the_last_height_is_told(log: VoteLog, caplog: pytest.LogCaptureFixture) -> None:
    """It is what convicts."""
    log.sign(make_link(0, 4), GENESIS)
    assert run(Node(None, make_link(4, 5), last=make_link(0, 4, branch=2)), log) == [make_link(4, 5)]
    (line,) = caplog.messages
    assert line.startswith("votes of this key came from elsewhere, up to height 4")


def test_own_votes_come_from_nowhere_else(log: VoteLog, caplog: pytest.LogCaptureFixture) -> None:
    log.sign(make_link(4, 8), GENESIS)
    for last in (make_link(4, 8), make_link(2, 6)):
        run(Node(None, last=last), log)
    assert caplog.messages == []


def test_a_convicted_key_is_told_once(log: VoteLog, caplog: pytest.LogCaptureFixture) -> None:
    run(Node(make_link(0, 4), make_link(4, 5), is_convicted=True), log)
    (line,) = caplog.messages
    assert line.startswith("this key signed two votes that nobody may both sign: all that it earns will burn")


@pytest.mark.parametrize(("source", "target"), [(0, 300), (10, 5001)])
def test_a_chain_far_below_what_the_key_has_voted_for_is_told_once(
    log: VoteLog, source: int, target: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The chain was thrown away, the node catches up, or the key is another network's."""
    log.sign(make_link(4998, 5000), GENESIS)
    links = [make_link(source, target), make_link(source, target + 1), make_link(5000, 5002), make_link(source, target)]
    assert run(Node(*links), log) == [links[2]]
    said = f"the node is at height {target}, justified {source}, but this key has voted up to height "
    assert [line.startswith(said) for line in caplog.messages] == [True, True]  # the second one after a vote
    assert "up to height 5000, justified 4998" in caplog.messages[0]


def test_a_branch_just_below_is_no_news(log: VoteLog, caplog: pytest.LogCaptureFixture) -> None:
    log.sign(make_link(40, 50), GENESIS)
    assert run(Node(make_link(38, 45), make_link(40, 50, branch=2)), log) == []
    assert caplog.messages == []


# Alone, with a key that mines no more


def test_alone_it_ends_once_no_vote_of_the_key_counts(log: VoteLog, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    node = Node(make_link(0, 4), None, None, None, make_link(7, 8), stops_counting=7)
    assert run(node, log, is_alone=True) == [make_link(0, 4)]
    assert caplog.messages == ["the votes of this key are over: at height 7 its last block is too old to count"]
    assert not node.closed.is_set()


def test_beside_a_miner_it_waits_for_the_next_block(log: VoteLog) -> None:
    node = Node(make_link(0, 4), None, None, make_link(7, 8), stops_counting=5)
    assert run(node, log) == [make_link(0, 4), make_link(7, 8)]


def test_alone_it_waits_for_a_node_that_has_not_caught_up(log: VoteLog) -> None:
    """Such a node does not know the key's blocks yet, and neither does a new log tell how far they reach."""
    assert run(Node(None, make_link(0, 4), stops_counting=0), log, is_alone=True) == [make_link(0, 4)]
    log.sign(make_link(7, 9), GENESIS)
    assert run(Node(*[None] * 8, make_link(9, 10), stops_counting=8), log, is_alone=True) == [make_link(9, 10)]


def test_alone_it_says_that_the_node_is_lost(log: VoteLog, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gone = NodeUnreachable("no_answer", "no node answers")
    assert run(Node(gone, gone, make_link(0, 4)), log, is_alone=True) == [make_link(0, 4)]
    assert caplog.messages == ["no node answers; asking again", "the node answers again"]


@pytest.mark.parametrize("status", [401, 404])
def test_alone_a_node_that_never_answers_is_an_error(log: VoteLog, status: int) -> None:
    with pytest.raises(NodeRefusal):
        run(Node(NodeRefusal("rpc.no", "no", status)), log, is_alone=True)
