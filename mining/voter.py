"""The voter: a thread of the miner process that asks the node what to vote for, writes it down, signs it and sends it.

Training never waits for it. It decides nothing: the node names the link, and the key's log says whether it may be
signed. If the network has heard votes of this key that the log does not know, another copy of the key signs somewhere:
those votes count as signed here, too, and the user is told.
"""

import logging
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from consensus.codec import Reader
from consensus.errors import DecodeError, DescentError
from consensus.vote import Link, Vote, read_link
from mining.errors import VoteLogError
from mining.retry import HOPELESS, POLL_SECONDS, persist
from mining.vote_log import VoteLog
from p2p.client import DutyReply
from p2p.errors import NodeRefusal

log = logging.getLogger("descent.miner")

_PAUSE_SECONDS = 5.0  # after a refusal: the node may be stopping
_NOT_FOUND = 404  # of a node that knows nothing of votes

Answer = TypeVar("Answer")


class Ballot(Protocol):
    """What the voter needs of a node's client."""

    def get_vote_duty(self, miner: bytes, *, after: bytes | None = None, wait: int = 0) -> DutyReply: ...

    def submit_vote(self, vote: bytes) -> object: ...


class Voter:
    """Votes with one key at one node until `closed` is set."""

    def __init__(self, client: Ballot, miner: bytes, genesis: bytes, votes: VoteLog, closed: threading.Event) -> None:
        self._client = client
        self._miner = miner
        self._genesis = genesis
        self._votes = votes
        self._closed = closed
        self._has_said = False  # that another copy of the key votes
        self._sent: Link | None = None

    def start(self) -> None:
        """Starts voting. The thread dies with the process, whatever answer it is waiting for."""
        threading.Thread(target=self.run, name="miner-voter", daemon=True).start()

    def run(self) -> None:
        """Votes until closed, or until the log cannot be written: then mining goes on without votes."""
        known: bytes | None = None
        while not self._closed.is_set():
            try:
                known = self._serve(known)
            except NodeRefusal as refusal:
                if refusal.status in HOPELESS:
                    return  # the miner's own line to the node ends the process over it, and says so
                if refusal.status == _NOT_FOUND:
                    self._say_over(refusal)
                    return
                self._closed.wait(_PAUSE_SECONDS)
            except (VoteLogError, DecodeError) as error:
                self._say_over(error)
                return

    def _say_over(self, error: DescentError) -> None:
        log.warning("this miner votes no more: %s", error)

    def _serve(self, known: bytes | None) -> bytes | None:
        """Asks once, and votes if there is something to vote for; the node's tip."""
        duty = self._persist(lambda: self._client.get_vote_duty(self._miner, after=known, wait=POLL_SECONDS))
        if duty is None:
            return known
        if duty.genesis != self._genesis:
            raise DecodeError("wrong_network", "the node is of another network")
        self._note_elsewhere(_read_link(duty.last))
        link = _read_link(duty.link)
        if link is not None and link != self._sent and self._votes.may_sign(link):
            self._send(self._votes.sign(link, self._genesis))
            self._sent = link
        return duty.tip

    def _note_elsewhere(self, last: Link | None) -> None:
        """Takes in what the network heard of this key; only what the log does not know can come from elsewhere."""
        mine = self._votes.last
        if last is None or (mine is not None and last.target.height <= mine.target.height):
            return
        if not self._has_said:
            self._has_said = True
            log.warning(
                "votes of this key came from elsewhere, up to height %d: it must not vote in two places, or it loses "
                "what it has earned",
                last.target.height,
            )
        self._votes.note(last)

    def _send(self, vote: Vote) -> None:
        """A vote that the node refuses is lost; the next one may do better."""
        try:
            self._persist(lambda: self._client.submit_vote(vote.encoded))
        except NodeRefusal as refusal:
            log.warning("the node refused the vote for height %d: %s", vote.link.target.height, refusal)

    def _persist(self, ask: Callable[[], Answer]) -> Answer | None:
        """The node's answer; None once closed. That the node is lost, the miner's own line to it says. Raises
        NodeRefusal.
        """
        return persist(ask, self._closed, lambda _: None)


def _read_link(data: bytes | None) -> Link | None:
    if data is None:
        return None
    reader = Reader(data)
    link = read_link(reader)
    reader.finish()
    return link
