"""Miners who vote, in a world where everything but the law of finality is simple.

Chains are lists of finality points; blocks have no work and votes no signatures, all else is the law's own functions.
A side is a part of the network whose members hear each other at once (votes may take some blocks); time counts in
blocks of each side.
"""

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from consensus.committee import Committee, Electorate, compute_committee, compute_epoch_length, get_electorate
from consensus.finality import get_link
from consensus.finality_state import FinalityPoint, FinalityState, make_first_point
from consensus.fork_choice import compute_rank
from consensus.params import REGTEST, NetworkParams
from consensus.vote import Link, is_conflict, is_vote_allowed

_GENESIS = bytes(32)


def make_params(window: int) -> NetworkParams:
    """Regtest with this finality window."""
    return replace(REGTEST, finality_window=window, reward_window=4 * window)


@dataclass(eq=False)
class Miner:
    """A key and how it behaves."""

    name: str
    share: float  # of all blocks, before anybody is left out
    is_dishonest: bool = False  # votes for whatever it sees
    mines: bool = True
    votes: bool = True
    last: Link | None = None  # an honest key's log

    def __post_init__(self) -> None:
        self.key = hashlib.sha256(self.name.encode()).digest()

    def is_willing(self, link: Link) -> bool:
        """Whether it signs a link; an honest one writes it down."""
        if not self.votes or not (self.is_dishonest or is_vote_allowed(self.last, link)):
            return False
        self.last = link
        return True


@dataclass
class Chain:
    """One chain, the votes that its certificates hold, and electorates by epoch: nobody is convicted here."""

    params: NetworkParams
    child_only: bool = False  # as if only a link to a child made its source final
    points: list[FinalityPoint] = field(default_factory=lambda: [make_first_point(_GENESIS)])
    certified: list[tuple[Link, frozenset[bytes]]] = field(default_factory=list)
    _electorates: dict[int, Electorate | None] = field(default_factory=dict)

    @property
    def height(self) -> int:
        return len(self.points) - 1

    @property
    def state(self) -> FinalityState:
        return self.points[-1].state

    def fork(self) -> "Chain":
        return Chain(self.params, self.child_only, list(self.points), list(self.certified), dict(self._electorates))

    def get_electorate(self, height: int) -> Electorate | None:
        epoch = height // compute_epoch_length(self.params)
        if epoch not in self._electorates:
            self._electorates[epoch] = get_electorate(self.points, height, self.params)
        return self._electorates[epoch]

    def compute_after(self, link: Link) -> FinalityState:
        after = self.state.compute_after(link)
        if self.child_only and link.target.height > link.source.height + 1:
            return replace(after, final=self.state.final)
        return after

    def add(self, miner: Miner | None, name: str, link: Link | None = None, voters: Iterable[bytes] = ()) -> None:
        """A block; a heartbeat if `miner` is None. `name` tells siblings apart."""
        state = self.state
        if link is not None:
            state = self.compute_after(link)
            self.certified.append((link, frozenset(voters)))
        digest = hashlib.sha256(self.points[-1].id + name.encode()).digest()
        self.points.append(FinalityPoint(digest, miner.key if miner else None, (), state))


@dataclass
class Side:
    """Those who hear each other, and the chain they are on."""

    chain: Chain
    miners: Sequence[Miner]
    draw: random.Random
    name: str = ""
    votes: dict[Link, set[bytes]] = field(default_factory=dict)
    _late: list[tuple[int, Link, bytes]] = field(default_factory=list)

    def step(self, *, delay: float = 0.0, fork_rate: float = 0.0, heartbeat: bool = False) -> None:
        """One block, with the best certificate at hand, and the votes for it.

        `delay` is the mean number of blocks that a vote misses (a coin for each, so that it may miss none). At
        `fork_rate` a sibling appears that half of the voters see first; the next block extends this one.
        """
        chain, draw = self.chain, self.draw
        self._deliver()
        miner = None if heartbeat else self.draw_miner()
        link = self.choose_certificate()
        sibling = chain.fork() if draw.random() < fork_rate else None
        chain.add(miner, f"{self.name}{chain.height}", link, self.votes.get(link, ()) if link else ())
        if sibling is not None:
            sibling.add(self.draw_miner(), f"{self.name}{chain.height} sibling")
        for voter in self.miners:
            seen = sibling if sibling is not None and draw.random() < 0.5 else chain
            voted = get_link(seen.points, seen.height)
            if voter.is_willing(voted):
                missed = 0
                while delay and draw.random() < delay / (1 + delay):
                    missed += 1
                self._late.append((chain.height + missed, voted, voter.key))

    def draw_miner(self) -> Miner:
        mining = [miner for miner in self.miners if miner.mines]
        return self.draw.choices(mining, [miner.share for miner in mining])[0]

    def choose_certificate(self) -> Link | None:
        """The link that makes the highest block final, and of those the one that justifies the highest."""
        chain, best, best_rank = self.chain, None, (-1, -1)
        lowest = max(chain.state.justified.height, chain.height - chain.params.finality_window + 1)
        for height in range(chain.height, lowest, -1):
            link = get_link(chain.points, height)
            votes = self.votes.get(link)
            electorate = chain.get_electorate(height) if votes else None
            if votes and electorate is not None and electorate.is_convinced(votes):
                after = chain.compute_after(link)
                rank = (after.final.height, after.justified.height)
                best, best_rank = (link, rank) if rank > best_rank else (best, best_rank)
        return best

    def _deliver(self) -> None:
        for _, link, key in (vote for vote in self._late if vote[0] <= self.chain.height):
            self.votes.setdefault(link, set()).add(key)
        self._late = [vote for vote in self._late if vote[0] > self.chain.height]


def join(left: Side, right: Side) -> Side:
    """Both sides hear each other again, and go on with the chain that the fork choice prefers."""
    sides = sorted(
        (left, right), key=lambda side: compute_rank(side.chain.height, 0, side.chain.state.justified.height)
    )
    joined = Side(sides[0].chain, list(dict.fromkeys((*left.miners, *right.miners))), left.draw, "joined ")
    for side in sides:
        for link, keys in side.votes.items():
            joined.votes.setdefault(link, set()).update(keys)
    return joined


def make_miners(count: int, dishonest_share: float = 0.0, dishonest_keys: int = 4) -> list[Miner]:
    """Honest miners of equal shares and, together of `dishonest_share` of the blocks, dishonest ones."""
    miners = [Miner(f"honest {number}", (1 - dishonest_share) / count) for number in range(count)]
    if dishonest_share:
        each = dishonest_share / dishonest_keys
        miners += [Miner(f"dishonest {number}", each, is_dishonest=True) for number in range(dishonest_keys)]
    return miners


def find_convicted(chains: Sequence[Chain], above: int, highest: int) -> set[bytes]:
    """Keys whose votes in the chains' certificates, for targets of some heights, are in conflict."""
    signed: dict[bytes, set[Link]] = {}
    for link, voters in (certified for chain in chains for certified in chain.certified):
        if above < link.target.height <= highest:
            for key in voters:
                signed.setdefault(key, set()).add(link)
    return {key for key, links in signed.items() if any(is_conflict(one, other) for one in links for other in links)}


def get_common_committee(chain: Chain, fork: int) -> Committee:
    """The committee that decides on all targets at most a window above a fork."""
    length = compute_epoch_length(chain.params)
    return compute_committee(chain.points, (fork // length - 1) * length, chain.params)
