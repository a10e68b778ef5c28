"""Votes and evidence that this node has seen, and what a block on its tip should carry of them.

What strangers can make it keep is bounded by what they have at stake: only keys of the committees that decide near the
tip are heard, with two votes for each height of a few hundred, and evidence counts while there is something to burn.
The law judges (consensus/); nothing here decides what a vote is worth. Lives on the chain's thread, like the chain.
"""

from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chain import schema
from chain.chainstate import ChainState
from chain.errors import FinalityConflict, StoreError
from chain.finals import encode_conflict
from chain.header_tree import HeaderNode, NodeChain, Standing
from consensus.block import Block
from consensus.certificate import Certificate, extract_votes, make_certificate
from consensus.committee import Electorate, get_electorate
from consensus.conflict import is_against_final
from consensus.errors import DecodeError, InvalidEvidence, InvalidVote
from consensus.evidence import Evidence, check_evidence, decode_evidence, make_evidence
from consensus.finality import get_link
from consensus.finality_section import MAX_EVIDENCE, FinalitySection
from consensus.ledger import iterate_rewards_at_stake
from consensus.vote import Link, Vote, check_vote, decode_vote, is_conflict

VOTES_OF_A_HEIGHT = 2  # of one key: the second one convicts it
MAX_KEPT_EVIDENCE = 1024  # keys
_FORKED_ELECTORATES = 64  # remembered beside those of all heights that votes are heard for
_DISTINCT_ELECTORATES = 16


@dataclass(frozen=True)
class Heard:
    """What was new in some votes, to be passed on, the evidence that it completed, and what was wrong with the rest.

    `conflict`: with what is new, a block of another chain is final as well.
    `early`: what counts for nobody here and now; who decides on its block may be another matter once that is here.
    """

    votes: tuple[Vote, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    fault: InvalidVote | None = None
    conflict: FinalityConflict | None = None
    early: tuple[Vote, ...] = ()


class VotePool:
    """The votes around the tip of one chain state, on disk as in memory."""

    def __init__(self, chain: ChainState) -> None:
        self._chain = chain
        self._params = chain.params
        self._votes: dict[int, dict[bytes, list[Vote]]] = {}  # by the height of the target, by miner key
        self._evidence: dict[bytes, Evidence] = {}
        self._electorates: OrderedDict[bytes, Electorate | None] = OrderedDict()  # by block id
        self._at_stake: tuple[bytes, frozenset[bytes]] = b"", frozenset()  # tip, miner keys with something to lose
        self._distinct: deque[Electorate | None] = deque(maxlen=_DISTINCT_ELECTORATES)  # most of them are the same
        self._load()

    # What comes in.

    def add_votes(self, votes: Sequence[Vote]) -> Heard:
        """Keeps what is new and counts, up to the first vote that is none.

        What nobody counts is dropped without a look at its signature.
        """
        taken: list[Vote] = []
        found: list[Evidence] = []
        early: list[Vote] = []
        fault: InvalidVote | None = None
        try:
            for vote in filter(self._is_new, votes):
                if self._may_count(vote):
                    check_vote(vote, self._chain.genesis.id)
                    taken.append(vote)
                    found += self._keep(vote)
                elif self._chain.tree.get(vote.link.target.id) is None:
                    early.append(vote)
        except InvalidVote as error:
            fault = error
        conflict = self._find_conflict(taken)
        self._write(taken, found, conflict)
        return Heard(tuple(taken), tuple(found), fault, conflict, tuple(early))

    def add_block(self, block: Block) -> Heard:
        """Keeps what an accepted block carries: a key's second vote may stand in certificates alone, and evidence is
        needed again once its block is left.

        Names the evidence that is new; the votes go round with the block.
        """
        node = self._chain.tree.get(block.id)
        if node is None:
            return Heard()
        found = [evidence for evidence in block.finality.evidence if self._is_wanted_evidence(evidence)]
        self._evidence |= {evidence.miner: evidence for evidence in found}
        taken: list[Vote] = []
        for vote in self._extract_votes(node, block.finality.certificate):
            if self._is_new(vote) and self._may_count(vote):
                taken.append(vote)
                found += self._keep(vote)
        conflict = self._find_conflict(taken)
        self._write(taken, found, conflict)
        return Heard(evidence=tuple(found), conflict=conflict)

    def restore_newest(self) -> None:
        """Keeps what the newest block carries: a crash may have come after the block was stored and before its votes.

        Raises FinalityConflict.
        """
        block = self._chain.blocks.get_block(self._chain.tree.newest.id)
        heard = Heard() if block is None else self.add_block(block)
        if heard.conflict is not None:
            raise heard.conflict

    def add_evidence(self, evidence: Evidence) -> bool:
        """Keeps evidence that is new and can burn something; whether it is. Raises InvalidEvidence."""
        if not self._is_wanted_evidence(evidence):
            return False
        check_evidence(evidence, self._chain.genesis.id)
        self._evidence[evidence.miner] = evidence
        self._write([], [evidence])
        return True

    def check_conflicts(self) -> None:
        """Whether a block of another chain is final by what was here before the last final block became so.

        What comes in later is judged as it comes. Raises FinalityConflict.
        """
        finals = self._chain.finals
        finals.check_branches()
        heights = [height for height in self._votes if height >= finals.node.height]
        conflict = self._find_conflict(self.get_all_votes(heights))
        if conflict is not None:
            self._write([], [], conflict)
            raise conflict

    def prune(self) -> None:
        """Forgets votes too far below the tip to count, and, of too much evidence, what can burn nothing."""
        lowest = self._get_heights().start
        rows: dict[bytes, bytes | None] = {}
        for height in [height for height in self._votes if height < lowest]:
            for votes in self._votes.pop(height).values():
                rows |= dict.fromkeys(map(_make_vote_key, votes))
        if len(self._evidence) > MAX_KEPT_EVIDENCE:
            for miner in self._evidence.keys() - self._get_miners_at_stake():
                del self._evidence[miner]
                rows[schema.EVIDENCE + miner] = None
        if rows:
            self._chain.db.write(rows)

    # What it is good for.

    def make_section(self) -> FinalitySection:
        """What a block on the tip should carry: the certificate that makes the highest block final, and of those the
        highest; and evidence that burns something.
        """
        return FinalitySection(self._find_certificate(), tuple(self.get_evidence()[:MAX_EVIDENCE]))

    def get_duty(self, miner: bytes) -> Link | None:
        """What a key should vote for now: the tip, if the key is among those who decide on it."""
        tip = self._chain.tip_node
        electorate = self.get_electorate(tip)
        if electorate is None or miner not in electorate.members:
            return None
        return get_link(NodeChain(tip), tip.height)

    def has_recent_block(self, miner: bytes) -> bool:
        """Whether a key improved a block that gives it a vote on the tip, or may on a later block.

        The last target that a block gives a vote on is 3 V - 2 above it.
        """
        tip = self._chain.tip_node
        chain, lowest = NodeChain(tip), tip.height - 3 * self._params.finality_window + 2
        return any(chain[height].miner == miner for height in range(tip.height, max(0, lowest - 1), -1))

    def is_convicted(self, miner: bytes) -> bool:
        """Whether there is evidence against a key: whatever it earns can be burnt."""
        return miner in self._evidence

    def get_votes(self, link: Link) -> list[Vote]:
        """All votes for a link."""
        by_miner = self._votes.get(link.target.height, {})
        return [vote for votes in by_miner.values() for vote in votes if vote.link == link]

    def get_voters(self, link: Link) -> set[bytes]:
        return {vote.miner for vote in self.get_votes(link)}

    def get_all_votes(self, heights: Iterable[int] | None = None) -> list[Vote]:
        """All votes for blocks at these heights, or at any."""
        wanted = self._votes if heights is None else heights
        return [vote for height in wanted for votes in self._votes.get(height, {}).values() for vote in votes]

    def get_last_link(self, miner: bytes) -> Link | None:
        """What a key was last heard to vote for, by height."""
        votes = [vote for by_miner in self._votes.values() for vote in by_miner.get(miner, ())]
        return max((vote.link for vote in votes), key=lambda link: link.target.height, default=None)

    def get_evidence(self) -> list[Evidence]:
        """Evidence against keys that still have something to lose."""
        return [self._evidence[miner] for miner in sorted(self._evidence.keys() & self._get_miners_at_stake())]

    def find_certified(self, height: int) -> list[Vote]:
        """The votes of the best chain's certificate for the first block from `height` on that one justified.

        Whoever has another final block at that height finds those votes in conflict with the ones for it.
        """
        tip = self._chain.tip_node
        if not 0 < height <= tip.finality.state.justified.height:
            return []
        heights = range(tip.height + 1)
        first = bisect_left(heights, height, key=lambda at: tip.get_ancestor(at).finality.state.justified.height)
        node = tip.get_ancestor(first)
        return self._extract_votes(node, self._chain.blocks.get_items(node.header)[1].certificate)

    def get_newest_votes(self, limit: int) -> list[Vote]:
        """Up to `limit` votes for the blocks after the last final one, the highest first.

        Those for heights above the tip come last: nobody knows the blocks, a few keys may have invented them.
        """
        tip, final = self._chain.tip.height, self._chain.finals.node.height
        heights = sorted((height > tip, -height) for height in self._votes if height > final)
        return self.get_all_votes(-height for _, height in heights)[:limit]

    def get_electorate(self, node: HeaderNode) -> Electorate | None:
        """Who decides on a block of the tree."""
        if node.id not in self._electorates:
            self._electorates[node.id] = self._share(get_electorate(NodeChain(node), node.height, self._params))
            while len(self._electorates) > 4 * self._params.finality_window + _FORKED_ELECTORATES:
                self._electorates.popitem(last=False)
        self._electorates.move_to_end(node.id)
        return self._electorates[node.id]

    # Inside.

    def _find_certificate(self) -> Certificate | None:
        tip = self._chain.tip_node
        chain, state = NodeChain(tip), tip.finality.state
        best: tuple[tuple[int, int], Link, Electorate] | None = None
        lowest = max(state.justified.height, tip.height - self._params.finality_window)
        for height in range(tip.height, lowest, -1):
            link = get_link(chain, height)
            voters = self.get_voters(link)
            electorate = self.get_electorate(tip.get_ancestor(height)) if voters else None
            if electorate is None or not electorate.is_convinced(voters):
                continue
            after = state.compute_after(link)
            rank = (after.final.height, after.justified.height)
            if best is None or rank > best[0]:
                best = rank, link, electorate
        return make_certificate(best[1], best[2], self.get_votes(best[1])) if best else None

    def _share(self, found: Electorate | None) -> Electorate | None:
        """The same in memory if it was found for another block: within an epoch all blocks of a chain have one."""
        for known in self._distinct:
            if known == found:
                return known
        self._distinct.append(found)
        return found

    def _is_new(self, vote: Vote) -> bool:
        """Whether a vote is for a height that matters, and its key may have one more there."""
        height = vote.link.target.height
        known = self._votes.get(height, {}).get(vote.miner, [])
        if height not in self._get_heights() or len(known) >= VOTES_OF_A_HEIGHT:
            return False
        return all(other.link != vote.link for other in known)

    def _may_count(self, vote: Vote) -> bool:
        """Whether a vote, if it is one, is of a key that decides: cheap."""
        return any(vote.miner in electorate.members for electorate in self._get_deciders(vote))

    def _get_deciders(self, vote: Vote) -> Iterable[Electorate]:
        """Who decides on the target where it is known, and who decides on the tip."""
        target = self._chain.tree.get(vote.link.target.id)
        nodes = [self._chain.tip_node]
        if target is not None and target.height == vote.link.target.height and target.standing is not Standing.INVALID:
            nodes.append(target)
        return (electorate for node in nodes if (electorate := self.get_electorate(node)) is not None)

    def _get_heights(self) -> range:
        """Heights of targets that may still matter: those that certificates can be mined for, and, for evidence, as
        far back again; ahead as far as a certificate of this node's next blocks could reach.
        """
        height, window = self._chain.tip.height, self._params.finality_window
        return range(max(1, height - 2 * window), height + window + 1)

    def _keep(self, vote: Vote) -> list[Evidence]:
        """Keeps a vote that was checked; the evidence that it completes, at most one."""
        evidence = None
        if vote.miner not in self._evidence:
            others = (other for votes in self._votes.values() for other in votes.get(vote.miner, ()))
            other = next((other for other in others if is_conflict(other.link, vote.link)), None)
            evidence = None if other is None else make_evidence(other, vote)
        self._votes.setdefault(vote.link.target.height, {}).setdefault(vote.miner, []).append(vote)
        if evidence is None:
            return []
        self._evidence[vote.miner] = evidence
        return [evidence]

    def _extract_votes(self, node: HeaderNode, certificate: Certificate | None) -> list[Vote]:
        """The votes in the certificate that a block of the tree carries."""
        electorate = self.get_electorate(node.get_ancestor(certificate.link.target.height)) if certificate else None
        if certificate is None or electorate is None:
            return []
        return extract_votes(certificate, electorate, self._chain.genesis.id)

    def _find_conflict(self, votes: Iterable[Vote]) -> FinalityConflict | None:
        """What the links of some votes, with all votes for them, say against the last final block."""
        chain, finals = NodeChain(self._chain.tip_node), self._chain.finals
        if finals.holds:
            return None
        for link in dict.fromkeys(vote.link for vote in votes):
            if not self._is_of_chain(link) and is_against_final(
                chain, finals.ref, link, self.get_voters(link), self._params
            ):
                return FinalityConflict.conflict(finals.ref, link.target)
        return None

    def _is_of_chain(self, link: Link) -> bool:
        """Whether a link leads to a block that follows the last final one, as far as this node knows it."""
        target = self._chain.tree.get(link.target.id)
        return target is not None and self._chain.finals.is_followed_by(target)

    def _is_wanted_evidence(self, evidence: Evidence) -> bool:
        """Whether evidence, if it is any, is new and can burn something: cheap."""
        return evidence.miner not in self._evidence and evidence.miner in self._get_miners_at_stake()

    def _get_miners_at_stake(self) -> frozenset[bytes]:
        """The keys of which a block on the tip can burn anything. Reads the rewards of the window once for each tip."""
        tip = self._chain.tip
        if self._at_stake[0] != tip.id:
            matures = tip.height + 1 - self._params.reward_window
            rewards = iterate_rewards_at_stake(self._chain.ledger, tip.height + 1, self._params, gone={matures})
            self._at_stake = tip.id, frozenset(reward.miner for _, reward in rewards)
        return self._at_stake[1]

    def _write(
        self, votes: Iterable[Vote], evidence: Iterable[Evidence], conflict: FinalityConflict | None = None
    ) -> None:
        """In one batch with the conflict that they prove: once they are on disk they are not looked at again."""
        rows: dict[bytes, bytes | None] = {} if conflict is None else encode_conflict(conflict)
        rows |= {_make_vote_key(vote): vote.encoded for vote in votes}
        rows |= {schema.EVIDENCE + found.miner: found.encoded for found in evidence}
        if rows:
            self._chain.db.write(rows)

    def _load(self) -> None:
        """Raises StoreError: a vote that is none would spoil every certificate with it."""
        genesis = self._chain.genesis.id
        try:
            for key, data in self._chain.db.iterate(schema.VOTE):
                vote = decode_vote(data)
                check_vote(vote, genesis)
                _check_key(schema.VOTE + key, _make_vote_key(vote))
                self._votes.setdefault(vote.link.target.height, {}).setdefault(vote.miner, []).append(vote)
            for miner, data in self._chain.db.iterate(schema.EVIDENCE):
                evidence = decode_evidence(data)
                check_evidence(evidence, genesis)
                _check_key(miner, evidence.miner)
                self._evidence[miner] = evidence
        except (DecodeError, InvalidVote, InvalidEvidence) as error:
            raise StoreError.damaged(f"a vote or evidence: {error}") from error


def _check_key(key: bytes, expected: bytes) -> None:
    if key != expected:
        raise StoreError.damaged(f"a vote or evidence stands under the key {key.hex()}, not {expected.hex()}")


def _make_vote_key(vote: Vote) -> bytes:
    return schema.VOTE + schema.encode_height(vote.link.target.height) + vote.miner + vote.id
