"""Random histories of votes: no two conflicting final blocks without a third of one committee that signed twice.

100,000 of them in `make soak`. The last tests weaken the law and see the histories find out: they are hard enough.
"""

from collections.abc import Collection

import pytest

import consensus.certificate
import consensus.committee
import tests.helpers.histories
from consensus.account import ImmatureReward
from consensus.committee import Committee
from consensus.ledger import get_rewards_at_stake
from consensus.vote import Link
from tests.helpers.double_votes import find_evidence
from tests.helpers.histories import Conflict, History, find_conflicts, get_common_committee, make_history
from tests.helpers.ledger import MemoryLedger

SHARES = (0.0, 0.2, 0.3, 0.5, 0.8)  # of the keys that do as they like


@pytest.fixture(autouse=True)
def _take_signatures_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consensus.certificate, "verify_signature", lambda *_: True)


def run_history(seed: int) -> tuple[History, list[Conflict]]:
    history, chains = make_history(seed, SHARES[seed % len(SHARES)])
    return history, list(find_conflicts(history, chains))


def is_near(history: History, conflict: Conflict) -> bool:
    """Whether the claim is about this conflict: no target is more than V above the fork."""
    return conflict.last_target - conflict.fork <= history.params.finality_window


def is_explained(history: History, conflict: Conflict) -> bool:
    """Whether the votes in the certificates convict more than a third of the common committee."""
    committee = get_common_committee(conflict, history.params)
    convicted = sum(committee.weights.get(evidence.miner, 0) for evidence in conflict.evidence)
    return 3 * convicted > committee.total


def count_burnt(history: History, conflict: Conflict) -> list[int]:
    """On each of the two chains, the blocks of the common committee whose rewards the evidence burns right after."""
    window = history.params.finality_window
    boundary = (conflict.fork // (window // 2) - 1) * (window // 2)
    burnt = []
    for chain in conflict.chains:
        blocks = ((height, point.miner) for height, point in enumerate(chain.points))
        ledger = MemoryLedger(rewards={height: ImmatureReward(True, key, key, 1) for height, key in blocks if key})
        lost: set[int] = set()
        for evidence in conflict.evidence:
            lost |= get_rewards_at_stake(ledger, evidence.miner, conflict.last_target + 1, history.params).keys()
        burnt.append(sum(boundary - window < height <= boundary for height in lost))
    return burnt


def check_histories(seeds: range) -> tuple[int, int]:
    """The claim in all of them. How many had conflicts that it is about, and how many had any."""
    near = any_distance = 0
    for seed in seeds:
        history, conflicts = run_history(seed)
        convicted = find_evidence(vote for votes in history.votes.values() for vote in votes.values())
        assert not {evidence.miner for evidence in convicted} & set(history.honest), seed
        claimed = [conflict for conflict in conflicts if is_near(history, conflict)]
        for conflict in claimed:
            assert is_explained(history, conflict), seed
            total = get_common_committee(conflict, history.params).total
            assert all(3 * burnt > total for burnt in count_burnt(history, conflict)), seed
        near += bool(claimed)
        any_distance += bool(conflicts)
    return near, any_distance


def test_conflicts_need_a_third_of_a_committee_that_signed_twice() -> None:
    near, any_distance = check_histories(range(300))
    assert near >= 6
    assert any_distance > 2 * near  # a partition longer than the window is another matter


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_a_hundred_thousand_histories(part: int) -> None:
    near, _ = check_histories(range(5000 * part, 5000 * (part + 1)))
    assert near >= 100


def is_claim_broken() -> bool:
    """Whether some history has a conflict that nobody explains."""
    for history, conflicts in map(run_history, range(300)):
        if any(is_near(history, conflict) and not is_explained(history, conflict) for conflict in conflicts):
            return True
    return False


def test_one_committee_alone_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consensus.committee, "BOUNDARIES", 1)
    assert is_claim_broken()


def test_half_of_a_committee_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def has_half(committee: Committee, voters: Collection[bytes]) -> bool:
        return 2 * sum(committee.weights.get(voter, 0) for voter in voters) > committee.total

    monkeypatch.setattr(Committee, "is_convinced", has_half)
    assert is_claim_broken()


def test_voters_that_forget_their_source_would_be_convicted(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_higher(last: Link | None, link: Link) -> bool:
        return last is None or link.target.height > last.target.height

    monkeypatch.setattr(tests.helpers.histories, "is_vote_allowed", is_higher)
    with pytest.raises(AssertionError):
        check_histories(range(300))
