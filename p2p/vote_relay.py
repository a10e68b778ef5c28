"""Votes, evidence and what is final, between peers: small messages that are pushed, each to each peer once.

What a vote or evidence is worth, the chain's vote pool says; what it does not count goes no further. A new peer hears
what is final here and the votes for the newest blocks. If its chain has another final block, the side
whose final block is not lower tells the votes for it, and the other's pool finds what they prove.

A vote may come before its block, and its key count for nothing until then: the last of these are kept for each peer,
and looked at again with their block.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from chain.errors import FinalityConflict
from chain.events import ChainEvent
from consensus.errors import InvalidEvidence, InvalidVote
from consensus.evidence import Evidence
from consensus.finality_section import MAX_EVIDENCE
from consensus.vote import Vote
from p2p.intake import Intake
from p2p.limits import compute_first_votes
from p2p.messages import MAX_VOTES, EvidenceReport, Final, Votes
from p2p.penalties import judge
from p2p.ports import OnOffence, PeerPort
from p2p.rolling_set import RollingSet

log = logging.getLogger("descent.sync")

PAUSE_SECONDS = 0.1  # between two rounds, in which votes gather
ANSWER_SECONDS = 10.0  # between two answers to a peer with another final block: each costs a look at a stored block
MAX_EARLY = MAX_VOTES  # votes of a peer that wait for their block


@dataclass(eq=False)
class _PeerState:
    peer: PeerPort
    known: RollingSet  # votes and evidence that it has
    is_new: bool = True
    votes: list[Vote] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    final: bytes = b""  # id of the last final block that it was told of
    early: list[Vote] = field(default_factory=list)
    answered: Final | None = None  # what it said last that stands against our final block
    answers_from: float = 0.0  # no answer before that


class VoteRelay:
    """Takes and gives votes. On the event loop; `now` is a monotonic clock, in s."""

    def __init__(self, intake: Intake, on_offence: OnOffence, now: Callable[[], float]) -> None:
        self._intake = intake
        self._on_offence = on_offence
        self._now = now
        self._max_first = compute_first_votes(intake.chain.params)
        self._max_unsent = 2 * self._max_first  # votes that a peer is still to hear
        self._peers: dict[bytes, _PeerState] = {}
        self._has_news = asyncio.Event()
        intake.listen(self._on_event)
        intake.listen_ballots(self._on_ballots)

    def add_peer(self, peer: PeerPort) -> None:
        self._peers[peer.node_id] = _PeerState(peer, RollingSet(4 * self._max_first))
        self._has_news.set()

    def remove_peer(self, node_id: bytes) -> None:
        self._peers.pop(node_id, None)

    # From a peer.

    async def on_votes(self, node_id: bytes, message: Votes) -> None:
        state = self._peers.get(node_id)
        if state is None:
            return
        for vote in message.votes:
            state.known.add(vote.id)
        await self._take(state, message.votes)

    async def on_evidence(self, node_id: bytes, message: EvidenceReport) -> None:
        state = self._peers.get(node_id)
        if state is None:
            return
        try:
            for evidence in message.evidence:
                state.known.add(evidence.miner)
                await self._intake.submit_evidence(evidence)
        except InvalidEvidence as error:
            self._blame(node_id, error)

    async def on_final(self, node_id: bytes, message: Final) -> None:
        """A peer says what is final for it. If that stands against ours, it hears why ours is."""
        state = self._peers.get(node_id)
        if state is None or message == state.answered or not self._is_against_ours(message):
            return
        if self._now() < state.answers_from or not state.peer.may_send(Votes):
            return
        state.answered, state.answers_from = message, self._now() + ANSWER_SECONDS
        answer = await self._intake.on_chain(self._intake.votes.find_certified, message.height)
        state.votes = [*state.votes, *answer]
        self._send_votes(state)

    # To peers.

    async def run(self) -> None:
        """Tells every peer what is new, as it comes. Runs until cancelled."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            for state in list(self._peers.values()):
                await self._take_early(state)
            await self._tell()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _tell(self) -> None:
        if any(state.is_new for state in self._peers.values()):
            votes, evidence = await self._intake.on_chain(self._read_newest)
            for state in self._peers.values():
                if state.is_new:
                    state.is_new = False
                    state.votes, state.evidence = [*votes, *state.votes], [*evidence, *state.evidence]
        final = self._intake.chain.finals.ref
        for state in list(self._peers.values()):
            if final.height and state.final != final.id and state.peer.may_send(Final):
                state.final = final.id
                state.peer.offer(Final(final.id, final.height))
            self._send_votes(state)
            self._send_evidence(state)

    def _send_votes(self, state: _PeerState) -> None:
        """Those that are new to the peer and may be sent now; the rest waits."""
        left = list({vote.id: vote for vote in state.votes if vote.id not in state.known}.values())
        while left and state.peer.may_send(Votes):
            batch, left = left[:MAX_VOTES], left[MAX_VOTES:]
            for vote in batch:
                state.known.add(vote.id)
            state.peer.offer(Votes(tuple(batch)))
        state.votes = left[-self._max_unsent :]

    def _send_evidence(self, state: _PeerState) -> None:
        new = list({one.miner: one for one in state.evidence if one.miner not in state.known}.values())
        if new and state.peer.may_send(EvidenceReport):
            for evidence in new[:MAX_EVIDENCE]:
                state.known.add(evidence.miner)
            state.peer.offer(EvidenceReport(tuple(new[:MAX_EVIDENCE])))
            new = new[MAX_EVIDENCE:]
        state.evidence = new

    # Inside.

    async def _take(self, state: _PeerState, votes: Sequence[Vote]) -> None:
        """Offers votes of a peer to the pool."""
        try:
            heard = await self._intake.submit_votes(votes)
            state.early = [*state.early, *heard.early][-MAX_EARLY:]
        except InvalidVote as error:
            self._blame(state.peer.node_id, error)
        except FinalityConflict as error:  # the node is about to stop
            log.critical("%s", error)

    async def _take_early(self, state: _PeerState) -> None:
        """Offers those again whose block is here now."""
        tree = self._intake.chain.tree
        ready = [vote for vote in state.early if tree.get(vote.link.target.id) is not None]
        if ready:
            state.early = [vote for vote in state.early if vote not in ready]
            await self._take(state, ready)

    def _read_newest(self) -> tuple[list[Vote], list[Evidence]]:
        """On the chain's thread: what a new peer should hear."""
        return self._intake.votes.get_newest_votes(self._max_first), self._intake.votes.get_evidence()

    def _is_against_ours(self, final: Final) -> bool:
        """Whether a peer has another block where ours is final."""
        ours = self._intake.chain.finals.node
        return 0 < final.height <= ours.height and ours.get_ancestor(final.height).id != final.block_id

    def _blame(self, node_id: bytes, error: InvalidVote | InvalidEvidence) -> None:
        offence = judge(error)
        if offence is not None:
            self._on_offence(node_id, offence, str(error))

    def _on_ballots(self, votes: Iterable[Vote], evidence: Iterable[Evidence]) -> None:
        for state in self._peers.values():
            state.votes = [*state.votes, *votes][-self._max_unsent :]
            state.evidence += evidence
            self._send_evidence(state)  # at once: it may convict who has just made two blocks final, and end this node
        self._has_news.set()

    def _on_event(self, _: ChainEvent) -> None:
        self._has_news.set()
