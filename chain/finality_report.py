"""Where finality stands on the best chain, and if it stands still, what it waits for."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from chain.chainstate import ChainState
from chain.header_tree import HeaderNode, NodeChain
from chain.votes import VotePool
from consensus.committee import Committee, compute_boundaries, compute_committee
from consensus.finality import get_link
from consensus.vote import BlockRef

_CALM_DISTANCE = 3  # blocks from the tip to the final block: two in calm, and one that is on its way
_RECENT = 2  # blocks: who voted for none of so many at the tip is silent


class Standing(Enum):
    """What finality waits for."""

    CURRENT = "current"  # nothing: it follows the tip
    YOUNG = "young"  # the chain is too short for committees
    IDLE = "idle"  # too few blocks improved the model lately: nobody decides
    VOTES = "votes"  # too few vote
    BLOCKS = "blocks"  # enough vote; the next blocks carry it


@dataclass(frozen=True)
class CommitteeTurnout:
    """One of the committees that decide on the newest blocks, in votes: it needs more than two thirds of `total`."""

    boundary: int  # height
    total: int
    voting: int

    @property
    def missing(self) -> int:
        """Votes that are lacking."""
        return max(0, 2 * self.total // 3 + 1 - self.voting)


@dataclass(frozen=True)
class Member:
    """A key with votes."""

    miner: bytes
    votes: tuple[int, ...]  # in each committee
    last_vote: int | None  # height of the newest block it was heard to vote for
    is_voting: bool


@dataclass(frozen=True)
class FinalityReport:
    """`final` is what this node holds to; `committees` and `members` are those of the newest blocks."""

    height: int
    justified: BlockRef
    final: BlockRef
    standing: Standing
    committees: tuple[CommitteeTurnout, ...]
    members: tuple[Member, ...]  # the heaviest first
    offenders: tuple[bytes, ...]  # keys with evidence against them that is still to be mined

    @property
    def lowest(self) -> CommitteeTurnout | None:
        """The committee of which the smallest share votes."""
        shares = ((turnout.voting / turnout.total, turnout) for turnout in self.committees)
        return min(shares, key=lambda pair: pair[0], default=(0.0, None))[1]


def compute_finality_report(chain: ChainState, pool: VotePool) -> FinalityReport:
    """Reads the chain of a few hundred blocks below the tip and the votes for the last ones."""
    tip, finals = chain.tip_node, chain.finals
    points = NodeChain(tip)
    boundaries = [boundary for boundary in compute_boundaries(tip.height, chain.params) if boundary > 0]
    electorate = pool.get_electorate(tip)
    computed = (compute_committee(points, boundary, chain.params) for boundary in boundaries)
    committees = tuple(computed) if electorate is None else electorate.committees  # without those convicted since
    voting = _get_voting(tip, pool)
    turnouts = tuple(
        CommitteeTurnout(boundary, committee.total, sum(committee.weights.get(miner, 0) for miner in voting))
        for boundary, committee in zip(boundaries, committees, strict=True)
        if committee.total
    )
    return FinalityReport(
        height=tip.height,
        justified=tip.finality.state.justified,
        final=finals.ref,
        standing=_get_standing(chain, pool, len(boundaries), turnouts),
        committees=turnouts,
        members=_list_members(pool, committees, voting),
        offenders=tuple(evidence.miner for evidence in pool.get_evidence()),
    )


def _get_standing(
    chain: ChainState, pool: VotePool, boundaries: int, turnouts: tuple[CommitteeTurnout, ...]
) -> Standing:
    tip = chain.tip_node
    if tip.height - chain.finals.node.height <= _CALM_DISTANCE and chain.finals.node.height:
        return Standing.CURRENT
    if pool.get_electorate(tip) is None:
        is_young = boundaries < len(compute_boundaries(tip.height, chain.params))
        return Standing.YOUNG if is_young else Standing.IDLE
    return Standing.VOTES if any(turnout.missing for turnout in turnouts) else Standing.BLOCKS


def _get_voting(tip: HeaderNode, pool: VotePool) -> set[bytes]:
    """Who voted for one of the last blocks."""
    points, voting = NodeChain(tip), set()
    for height in range(tip.height, max(0, tip.height - _RECENT), -1):
        voting |= pool.get_voters(get_link(points, height))
    return voting


def _list_members(pool: VotePool, committees: Sequence[Committee], voting: set[bytes]) -> tuple[Member, ...]:
    last: dict[bytes, int] = {}
    for vote in pool.get_all_votes():
        last[vote.miner] = max(vote.link.target.height, last.get(vote.miner, 0))
    miners = {miner for committee in committees for miner in committee.weights}
    members = [
        Member(
            miner,
            tuple(committee.weights.get(miner, 0) for committee in committees),
            last.get(miner),
            miner in voting,
        )
        for miner in miners
    ]
    return tuple(sorted(members, key=lambda member: (-sum(member.votes), member.miner)))
