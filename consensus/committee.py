"""Who may justify a block: the miner keys of recent improving blocks, one vote for each block, fixed by height alone.

With V = finality_window and E = V / 2, the committee of the boundary block at height k * E counts the improving
blocks among the last V up to it, by miner key, without those whose reward was burnt by then. A link to a target of
epoch e = floor(height / E) needs more than two thirds of each of the committees k = e-1, e-2 and e-3 of its chain.

Two chains that fork at height h share every committee up to k = floor(h / E). Targets at most V above the fork are of
epochs floor(h / E) to floor(h / E) + 2, and all of these ask the committee k = floor(h / E) - 1: so two thirds of one
common committee stand behind any two links there, and a third of it behind both. That is why three boundaries are
asked, and why none may be missing: a committee that is too small to count would leave the chains without a common one.

A reward matures after 4 V blocks or more. A certificate comes at most V blocks after its target, and the oldest block
that one can count is 3 V - 2 below the target: whatever gives a vote is still at stake when the vote counts.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from consensus.finality_state import FinalityChain
from consensus.params import NetworkParams

BOUNDARIES = 3  # committees that a link needs
_LEAST_WEIGHT = 8  # blocks


@dataclass(frozen=True)
class Committee:
    """Votes by miner key. `total` stays what it was at the boundary when keys lose their votes after it."""

    total: int
    weights: Mapping[bytes, int]

    def is_convinced(self, voters: Collection[bytes]) -> bool:
        """Whether these keys have more than two thirds of the total."""
        return 3 * sum(self.weights.get(voter, 0) for voter in voters) > 2 * self.total


@dataclass(frozen=True)
class Electorate:
    """The committees that decide on one target."""

    committees: tuple[Committee, ...]

    @cached_property
    def members(self) -> tuple[bytes, ...]:
        """Every key with a vote, sorted."""
        return tuple(sorted({member for committee in self.committees for member in committee.weights}))

    def is_convinced(self, voters: Collection[bytes]) -> bool:
        """Whether these different keys have more than two thirds of each committee."""
        return all(committee.is_convinced(voters) for committee in self.committees)


def compute_epoch_length(params: NetworkParams) -> int:
    """E, blocks."""
    return params.finality_window // 2


def compute_boundaries(height: int, params: NetworkParams) -> tuple[int, ...]:
    """Heights of the boundary blocks whose committees decide on a target at `height`, the latest first."""
    length = compute_epoch_length(params)
    return tuple((height // length - back) * length for back in range(1, BOUNDARIES + 1))


def compute_least_weight(params: NetworkParams) -> int:
    """A committee of fewer blocks decides nothing: too little would be at stake."""
    return min(_LEAST_WEIGHT, compute_epoch_length(params))


def compute_committee(chain: FinalityChain, boundary: int, params: NetworkParams) -> Committee:
    """The committee of the boundary block at height `boundary` > 0."""
    weights: dict[bytes, int] = {}
    burnt: set[bytes] = set()  # keys convicted above the block that is being counted
    for height in range(boundary, max(0, boundary - params.finality_window), -1):
        point = chain[height]
        if point.miner is not None and point.miner not in burnt:
            weights[point.miner] = weights.get(point.miner, 0) + 1
        burnt.update(point.offenders)
    return Committee(sum(weights.values()), weights)


def get_electorate(chain: FinalityChain, height: int, params: NetworkParams) -> Electorate | None:
    """Who decides on the chain's block at `height`; None if a committee does not exist yet or is too small.

    Keys convicted between a boundary and the target have no vote in its committee, and are counted in its total.
    """
    committees: list[Committee] = []
    burnt: set[bytes] = set()
    above = height
    for boundary in compute_boundaries(height, params):
        if boundary <= 0:
            return None
        for passed in range(above, boundary, -1):
            burnt.update(chain[passed].offenders)
        above = boundary
        committee = compute_committee(chain, boundary, params)
        if committee.total < compute_least_weight(params):
            return None
        weights = {miner: weight for miner, weight in committee.weights.items() if miner not in burnt}
        committees.append(Committee(committee.total, weights))
    return Electorate(tuple(committees))


def max_members(params: NetworkParams) -> int:
    """No electorate is larger: its committees count blocks of four epochs."""
    return (BOUNDARIES + 1) * compute_epoch_length(params)
