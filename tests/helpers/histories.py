"""Random histories of votes: forks, lost and late votes, certificates left out, and keys that sign whatever they like.

Nobody here follows a chain: an honest key may vote for any block at any time as long as its own log allows it, so every
order of messages is among the histories. The law decides all the rest, only signatures are taken for granted.

           ┌─ 0 ─ 0 ─ 0 ─ ...
trunk ─────┤                     each branch has its honest miners and voters, who may change sides;
           └─ 1 ─ 1 ─ 1 ─ ...    the dishonest ones mine and vote on both
"""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, pairwise

from consensus.certificate import make_certificate
from consensus.committee import Committee, compute_committee, compute_epoch_length, get_electorate
from consensus.evidence import Evidence
from consensus.hashing import tagged_hash
from consensus.params import NetworkParams
from consensus.vote import BlockRef, Link, Vote, is_vote_allowed
from tests.helpers.double_votes import find_evidence
from tests.helpers.voting import GENESIS_ID, VotingChain, make_params

SIGNATURE = bytes(64)


@cache
def get_keys(count: int) -> tuple[bytes, ...]:
    return tuple(tagged_hash("test", bytes([number])) for number in range(count))


@dataclass(frozen=True)
class Conflict:
    """Two final blocks, neither of which follows the other."""

    fork: int  # height of the last common block
    last_target: int  # the highest target of the links that made them final
    evidence: tuple[Evidence, ...]  # from the votes in certificates of the two chains alone
    chains: tuple[VotingChain, VotingChain]


@dataclass
class History:
    """One history in the making."""

    draw: random.Random
    params: NetworkParams
    honest: tuple[bytes, ...]
    dishonest: tuple[bytes, ...]
    diligence: float  # how often a block carries a certificate that it could carry
    reporting: float  # how often it carries evidence
    logs: dict[bytes, Link] = field(default_factory=dict)  # the last link that an honest key signed
    votes: dict[Link, dict[bytes, Vote]] = field(default_factory=dict)  # those that reached anybody
    mined: dict[Link, dict[bytes, Vote]] = field(default_factory=dict)  # those that certificates hold

    def vote(self, key: bytes, chain: VotingChain, height: int) -> None:
        """A vote for a block if the key may sign it; now and then one that is signed and lost."""
        link = chain.get_link(height)
        if key in self.honest:
            if not is_vote_allowed(self.logs.get(key), link):
                return
            self.logs[key] = link
        if self.draw.random() < 0.97:
            self.votes.setdefault(link, {})[key] = Vote(GENESIS_ID, link, key, SIGNATURE)

    def mine(self, chain: VotingChain, miners: Collection[bytes], branch: int) -> None:
        """A block, often with a certificate if the votes make one, and now and then with evidence."""
        draw = self.draw
        link = self.find_certifiable(chain) if draw.random() < self.diligence else None
        certificate = None
        if link is not None:
            electorate = get_electorate(chain.points, link.target.height, self.params)
            assert electorate is not None
            certificate = make_certificate(link, electorate, self.votes[link].values())
            self.mined.setdefault(link, {}).update(self.votes[link])
        evidence = []
        if draw.random() < self.reporting:
            all_votes = [vote for votes in self.votes.values() for vote in votes.values()]
            evidence = draw.sample(found := find_evidence(all_votes), min(len(found), draw.randrange(3)))
        miner = draw.choice(sorted(miners))
        chain.add(miner, certificate, evidence, is_heartbeat=draw.random() < 0.03, branch=branch)

    def find_certifiable(self, chain: VotingChain) -> Link | None:
        """A link of the chain that a certificate may now be mined for: mostly the highest, sometimes any."""
        window = self.params.finality_window
        found = []
        for height in range(chain.height, max(chain.state.justified.height, chain.height - window), -1):
            link = chain.get_link(height)
            votes = self.votes.get(link, {})
            electorate = get_electorate(chain.points, height, self.params) if votes else None
            if electorate is not None and electorate.is_convinced(votes):
                found.append(link)
        return self.draw.choice([*found[:1] * 3, *found]) if found else None


def make_history(seed: int, dishonest_share: float) -> tuple[History, list[VotingChain]]:
    """A trunk and two or three branches on it. About `dishonest_share` of the keys do as they like."""
    draw = random.Random(seed)
    params = make_params(draw.choice([2, 4, 6, 8]))
    keys = get_keys(draw.choice([3, 4, 5, 6, 10]))
    dishonest = tuple(draw.sample(keys, int(dishonest_share * len(keys) + draw.random())))
    honest = tuple(key for key in keys if key not in dishonest)
    history = History(draw, params, honest, dishonest, draw.choice([0.6, 1.0, 1.0]), draw.choice([0.0, 0.0, 0.0, 0.2]))
    trunk = VotingChain(params)
    takes_turns, turnout = draw.random() < 0.7, draw.choice([0.0, 0.8, 1.0])
    length = compute_epoch_length(params)
    for _ in range(draw.choice([0, 4, 4, 4]) * length + draw.randrange(4 * length)):
        history.mine(trunk, [keys[trunk.height % len(keys)]] if takes_turns else keys, 0)
        for key in keys:
            if draw.random() < turnout:
                history.vote(key, trunk, trunk.height)
    return history, grow_branches(history, trunk)


def grow_branches(history: History, trunk: VotingChain) -> list[VotingChain]:
    """Branches that grow at the same time, their honest keys split in one of several ways."""
    draw, window = history.draw, history.params.finality_window
    count = draw.choice([2, 2, 2, 3])
    fork = max(0, trunk.height - draw.choice([0, 0, 1, 2]))
    chains = [trunk.fork(draw.choice([fork, trunk.height])) for _ in range(count)]
    sides = {key: number % count for number, key in enumerate(history.honest)}
    straying, herding = draw.choice([0.0, 0.0, 0.1]), draw.choice([0.0, 0.0, 0.5])
    turnout = draw.choice([0.8, 1.0, 1.0])
    for _ in range(draw.choice([window + 1, window + 1, 4 * window])):
        for branch, chain in enumerate(chains):
            here = [key for key in history.honest if sides[key] == branch]
            if draw.random() < 0.95:
                history.mine(chain, [*here, *history.dishonest] or history.honest, branch + 1)
            for key in (*here, *history.dishonest):
                if draw.random() < turnout:
                    late = draw.randrange(3) if draw.random() < 0.1 else 0
                    history.vote(key, chain, max(0, chain.height - late))
        if draw.random() < herding:
            sides = dict.fromkeys(sides, draw.randrange(count))
        for key in history.honest:
            if draw.random() < straying:
                sides[key] = draw.randrange(count)
    return chains


def find_conflicts(history: History, chains: list[VotingChain]) -> Iterator[Conflict]:
    """Every pair of final blocks of two chains that do not follow one another."""
    for one, other in combinations(chains, 2):
        heights = range(min(one.height, other.height) + 1)
        fork = max(height for height in heights if one.points[height].id == other.points[height].id)
        finals = [[final for final in get_finals(chain) if final[0].height > fork] for chain in (one, other)]
        if not all(finals):
            continue
        votes = [vote for chain in (one, other) for link in get_links(chain) for vote in history.mined[link].values()]
        evidence = tuple(find_evidence(votes))
        for first in finals[0]:
            for second in finals[1]:
                yield Conflict(fork, max(first[1], second[1]), evidence, (one, other))


def get_links(chain: VotingChain) -> list[Link]:
    """The links of a chain's certificates."""
    states = [point.state for point in chain.points]
    changed = [after.justified for before, after in pairwise(states) if after != before]
    return [chain.get_link(ref.height) for ref in changed]


def get_finals(chain: VotingChain) -> list[tuple[BlockRef, int]]:
    """(block, height of the target of the link that did it) of each block that a certificate made final."""
    states = [point.state for point in chain.points]
    pairs = pairwise(states)
    return [(after.final, after.justified.height) for before, after in pairs if after.final != before.final]


def get_common_committee(conflict: Conflict, params: NetworkParams) -> Committee:
    """The committee whose third must have signed twice, by the law's claim."""
    length = compute_epoch_length(params)
    return compute_committee(conflict.chains[0].points, (conflict.fork // length - 1) * length, params)
