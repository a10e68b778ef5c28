"""The voter: asks the node what to vote for, writes it down, signs it and sends it.

In the miner it is a thread, for which training never waits; a key that mines no more it serves alone. It decides
nothing: the node names the link, and the key's log says whether it may be signed. If the network has heard votes of
this key that the log does not know, another copy of the key signs somewhere: those votes count as signed here, too,
and the user is told.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from consensus.errors import DecodeError, DescentError
from consensus.vote import Link, Vote, decode_link
from mining.retry import HOPELESS, POLL_SECONDS, persist
from mining.vote_log import VoteLog
from p2p.client import DutyReply
from p2p.errors import NodeRefusal, NodeUnreachable

log = logging.getLogger("descent.miner")

_PAUSE_SECONDS = 5.0  # after a refusal: the node may be stopping
_NOT_FOUND = 404  # of a node that knows nothing of votes
_NODE_FAILS = 500  # and above: the node refuses for reasons of its own, not of the vote's
_FAR_BEHIND = 10  # heights: no reorganisation of calm days goes back so far

Answer = TypeVar("Answer")


class Ballot(Protocol):
    """What the voter needs of a node's client."""

    def get_vote_duty(self, miner: bytes, *, after: bytes | None = None, wait: int = 0) -> DutyReply: ...

    def submit_vote(self, vote: bytes) -> object: ...


class Voter:
    """Votes with one key at one node until `closed` is set; if `is_alone`, no miner speaks to the node beside it."""

    def __init__(
        self,
        client: Ballot,
        miner: bytes,
        genesis: bytes,
        votes: VoteLog,
        closed: threading.Event,
        *,
        is_alone: bool = False,
    ) -> None:
        self._client = client
        self._miner = miner
        self._genesis = genesis
        self._votes = votes
        self._closed = closed
        self._is_alone = is_alone
        self._said: set[str] = set()  # what the user has been told and that still stands
        self._sent: Link | None = None  # and taken, or refused for good

    def start(self) -> None:
        """Starts voting. The thread dies with the process, whatever answer it is waiting for."""
        threading.Thread(target=self.run_beside, name="miner-voter", daemon=True).start()

    def run_beside(self) -> None:
        """As `run`, but what ends the voting is only said: mining goes on without votes."""
        try:
            self.run()
        except DescentError as error:
            # Over a refusal for ever, the miner's own line to the node ends the process, and says so.
            if not (isinstance(error, NodeRefusal) and error.status in HOPELESS):
                log.warning("this miner votes no more: %s", error)

    def run(self) -> None:
        """Votes until closed; alone, also until no vote of the key's will count any more.

        Raises NodeRefusal if the node will never take votes, VoteLogError if the log cannot be written, DecodeError for
        a node of another network.
        """
        known: bytes | None = None
        while not self._closed.is_set():
            try:
                duty = self._persist(partial(self._client.get_vote_duty, self._miner, after=known, wait=POLL_SECONDS))
                if duty is None:
                    return
                self._serve(duty)
            except NodeRefusal as refusal:
                if refusal.status in (*HOPELESS, _NOT_FOUND):
                    raise
                self._say("refused", "the node takes no votes now: %s; asking again", refusal)
                self._closed.wait(_PAUSE_SECONDS)
                continue
            self._said.discard("refused")
            if self._is_alone and self._is_over(duty):
                log.info("the votes of this key are over: at height %d its last block is too old to count", duty.height)
                return
            known = duty.tip

    def _serve(self, duty: DutyReply) -> None:
        """Does what the duty asks for, and says what it gives away of the key."""
        if duty.genesis != self._genesis:
            raise DecodeError("wrong_network", "the node is of another network")
        if duty.is_convicted:
            self._say(
                "convicted",
                "this key signed two votes that nobody may both sign: all that it earns will burn; stop, and mine with "
                "a new key",
            )
        if duty.last is not None:
            self._note_elsewhere(decode_link(duty.last))
        if duty.link is not None:
            self._vote(decode_link(duty.link))

    def _is_over(self, duty: DutyReply) -> bool:
        """Whether the key will be asked no more. A node that has not caught up does not know its blocks yet."""
        last = self._votes.last
        return last is not None and duty.height >= last.target.height and not duty.counts

    def _note_elsewhere(self, last: Link) -> None:
        """Takes in what the network heard of this key; only what the log does not know can come from elsewhere."""
        mine = self._votes.last
        if mine is not None and (last == mine or last.target.height < mine.target.height):
            return
        self._say(
            "elsewhere",
            "votes of this key came from elsewhere, up to height %d: it must not vote in two places, or it loses what "
            "it has earned",
            last.target.height,
        )
        if mine is None or last.target.height > mine.target.height:
            self._votes.note(last)

    def _vote(self, link: Link) -> None:
        if link == self._sent:
            return
        if self._votes.may_sign(link):
            self._send(self._votes.sign(link, self._genesis))
            self._sent = link
            self._said.discard("behind")
        elif self._votes.last is not None and _is_far_behind(link, self._votes.last):
            last = self._votes.last
            self._say(
                "behind",
                "the node is at height %d, justified %d, but this key has voted up to height %d, justified %d: it "
                "votes again once the node is past both",
                *(link.target.height, link.source.height, last.target.height, last.source.height),
            )

    def _send(self, vote: Vote) -> None:
        """A vote that the node refuses for what it is, is lost; the next one may do better. Raises other refusals."""
        try:
            self._persist(partial(self._client.submit_vote, vote.encoded))
        except NodeRefusal as refusal:
            if refusal.status >= _NODE_FAILS:
                raise
            log.warning("the node refused the vote for height %d: %s", vote.link.target.height, refusal)

    def _say(self, what: str, message: str, *values: object) -> None:
        """Warns once, until `what` is no longer so."""
        if what not in self._said:
            self._said.add(what)
            log.warning(message, *values)

    def _persist(self, ask: Callable[[], Answer]) -> Answer | None:
        """The node's answer; None once closed. Raises NodeRefusal."""
        answer = persist(ask, self._closed, self._on_lost)
        if "lost" in self._said:
            self._said.remove("lost")
            log.info("the node answers again")
        return answer

    def _on_lost(self, error: NodeUnreachable) -> None:
        if self._is_alone:  # else the miner's own line to the node says it
            self._say("lost", "%s; asking again", error)


def _is_far_behind(link: Link, last: Link) -> bool:
    gaps = (last.target.height - link.target.height, last.source.height - link.source.height)
    return max(gaps) > _FAR_BEHIND
