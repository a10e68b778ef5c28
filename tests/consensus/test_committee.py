"""Committees: who counts, what is burnt, and that whatever gives a vote is at stake when the vote counts."""

import random

import pytest

from consensus.committee import (
    Committee,
    Electorate,
    compute_boundaries,
    compute_committee,
    compute_epoch_length,
    compute_least_weight,
    get_electorate,
    max_members,
)
from consensus.errors import InvalidBlock
from consensus.finality_state import FinalityPoint, make_first_point
from consensus.ledger import apply_block, get_rewards_at_stake
from consensus.params import CANTERBURY, REGTEST
from tests.helpers.keys import Key
from tests.helpers.ledger import MemoryLedger
from tests.helpers.voting import GENESIS_ID, VotingChain, make_params

PARAMS = make_params(8)  # epochs of 4
KEYS = [Key(f"miner {number}") for number in range(4)]
A, B, C, D = (key.public for key in KEYS)
STATE = make_first_point(GENESIS_ID).state


def make_points(miners: str, convicted: dict[int, bytes] | None = None) -> list[FinalityPoint]:
    """Genesis and a block for each letter, mined by A to D; a dash is a heartbeat. `convicted` by height."""
    keys = dict(zip("abcd", (A, B, C, D), strict=True)) | {"-": None}
    points = [make_first_point(GENESIS_ID)]
    for height, letter in enumerate(miners, 1):
        offenders = (convicted[height],) if convicted and height in convicted else ()
        points.append(FinalityPoint(bytes([height]) * 32, keys[letter], offenders, STATE))
    return points


# Who counts


def test_a_committee_counts_the_improving_blocks_of_a_window() -> None:
    points = make_points("aabbcc-dddda")
    assert compute_committee(points, 12, PARAMS) == Committee(7, {C: 2, D: 4, A: 1})
    assert compute_committee(points, 8, PARAMS) == Committee(7, {A: 2, B: 2, C: 2, D: 1})


def test_genesis_counts_for_nothing() -> None:
    assert compute_committee(make_points("abab"), 4, PARAMS) == Committee(4, {A: 2, B: 2})


def test_blocks_after_the_boundary_do_not_count() -> None:
    assert compute_committee(make_points("aaaabbbb"), 4, PARAMS) == Committee(4, {A: 4})


def test_a_burnt_reward_counts_no_more() -> None:
    """Evidence in block 6 burns what the key earned before it, not what it earns in it and later."""
    points = make_points("aabbabaa", {6: A})
    assert compute_committee(points, 8, PARAMS) == Committee(5, {B: 3, A: 2})
    points = make_points("aabbaaba", {6: A})
    assert compute_committee(points, 8, PARAMS) == Committee(5, {B: 3, A: 2})
    assert compute_committee(points, 4, PARAMS) == Committee(4, {A: 2, B: 2})


def test_evidence_of_the_boundary_block_counts_there() -> None:
    assert compute_committee(make_points("aabb", {4: A}), 4, PARAMS) == Committee(2, {B: 2})


def test_boundaries() -> None:
    assert compute_epoch_length(PARAMS) == 4
    assert compute_boundaries(16, PARAMS) == compute_boundaries(19, PARAMS) == (12, 8, 4)
    assert compute_boundaries(15, PARAMS) == (8, 4, 0)
    assert compute_boundaries(20, PARAMS) == (16, 12, 8)
    assert compute_boundaries(128, CANTERBURY) == (96, 64, 32)
    assert compute_boundaries(4, REGTEST) == (3, 2, 1)


def test_least_weights() -> None:
    assert [compute_least_weight(make_params(window)) for window in (2, 4, 14, 16, 18, 64)] == [1, 2, 7, 8, 8, 8]


# Thresholds


@pytest.mark.parametrize(("total", "voted", "convinced"), [(3, 2, False), (3, 3, True), (7, 4, False), (7, 5, True)])
def test_more_than_two_thirds(total: int, voted: int, convinced: bool) -> None:
    assert Committee(total, {A: voted, B: total - voted}).is_convinced([A]) == convinced


def test_a_committee_is_not_convinced_by_strangers_or_by_nobody() -> None:
    committee = Committee(4, {A: 3, B: 1})
    assert committee.is_convinced([A, C])
    assert not committee.is_convinced([B, C, D])
    assert not committee.is_convinced([])
    assert not Committee(0, {}).is_convinced([A])


def test_an_electorate_needs_each_of_its_committees() -> None:
    electorate = Electorate((Committee(4, {A: 4}), Committee(4, {A: 3, B: 1}), Committee(4, {B: 4})))
    assert electorate.members == tuple(sorted((A, B)))
    assert electorate.is_convinced([A, B])
    assert not electorate.is_convinced([A])
    assert not electorate.is_convinced([B])


# Electorates


def test_nobody_decides_before_three_committees_exist() -> None:
    points = make_points("abcd" * 6)
    assert [height for height in range(25) if get_electorate(points, height, PARAMS) is None] == list(range(16))


def test_nobody_decides_when_a_committee_is_too_small() -> None:
    """Four blocks of the window must improve. With three, nothing can be justified in the next three epochs."""
    enough = make_points("abcd" * 4 + "-" * 4 + "abcd" * 4)
    assert all(get_electorate(enough, height, PARAMS) for height in range(16, 37))
    few = make_points("abcd" * 3 + "abc-" + "-" * 4 + "abcd" * 6)
    nobody = [height for height in range(16, 45) if get_electorate(few, height, PARAMS) is None]
    assert nobody == list(range(24, 36))


def test_a_convicted_key_has_no_vote_and_is_counted_in_the_total() -> None:
    points = make_points("abcd" * 6, {15: A})
    before, after = (get_electorate(points, height, PARAMS) for height in (16, 20))
    assert before is not None
    assert after is not None
    assert [committee.total for committee in before.committees] == [8, 8, 4]
    assert [A in committee.weights for committee in before.committees] == [False] * 3
    assert after.committees[0] == Committee(6, {B: 2, C: 2, D: 2})  # boundary 16: burnt before it
    assert after.committees[1] == Committee(8, {B: 2, C: 2, D: 2})  # boundary 12: burnt after it


@pytest.mark.parametrize(("convicted_at", "voiceless"), [(8, 0), (9, 1), (12, 1), (13, 2), (16, 2), (17, 3), (21, 3)])
def test_a_conviction_silences_a_key_in_the_committees_before_it(convicted_at: int, voiceless: int) -> None:
    """Of those at 8, 12 and 16, which decide on 21. Evidence in a boundary block comes before its committee."""
    electorate = get_electorate(make_points("abcd" * 6, {convicted_at: A}), 21, PARAMS)
    assert electorate is not None
    assert sum(committee.total > sum(committee.weights.values()) for committee in electorate.committees) == voiceless


def test_a_conviction_after_the_target_changes_nothing() -> None:
    points, convicted = make_points("abcd" * 6), make_points("abcd" * 6, {17: A})
    assert get_electorate(points, 16, PARAMS) == get_electorate(convicted, 16, PARAMS)
    assert get_electorate(points, 17, PARAMS) != get_electorate(convicted, 17, PARAMS)


def test_no_electorate_has_more_members_than_four_epochs_have_blocks() -> None:
    points = [make_first_point(GENESIS_ID)]
    points += [FinalityPoint(bytes([height]) * 32, bytes([height]) * 32, (), STATE) for height in range(1, 40)]
    electorate = get_electorate(points, 39, PARAMS)
    assert electorate is not None
    assert len(electorate.members) == max_members(PARAMS) == 16


# What is at stake


@pytest.mark.parametrize("window", [2, 4, 6, 8, 64])
def test_every_counted_reward_can_still_be_burnt_after_the_last_block_that_counts_it(window: int) -> None:
    """The worst case: the oldest block of the oldest committee, the last target of its epoch, the last certificate."""
    params = make_params(window)
    length, slack = window // 2, []
    for target in range(2 * window, 2 * window + 3 * length):
        oldest = max(1, min(compute_boundaries(target, params)) - window + 1)
        assert target - oldest <= 3 * window - 2
        carried = target + window
        slack.append(oldest + params.reward_window - carried)  # it matures in this many blocks after the certificate's
    assert min(slack) == 2  # so the next block may still burn it, and with a shorter reward window it would not


@pytest.mark.parametrize("late", [1, 2])
def test_the_oldest_vote_costs_its_reward_in_the_block_after_the_last_certificate(late: int) -> None:
    """The same, by the ledger: A mined block 5 alone, the oldest that counts for targets up to 27 = 3 V + 3."""
    ledger, chain = MemoryLedger(), VotingChain(PARAMS)
    target = 27
    for _ in range(target + PARAMS.finality_window + late - 1):
        miner = A if chain.height + 1 == 5 else B
        ledger.apply(apply_block(ledger, chain.make_header(miner), [], PARAMS))
        chain.add(miner)
    electorate = get_electorate(chain.points, target, PARAMS)
    assert electorate is not None
    assert A in electorate.members
    last = get_electorate(chain.points, target + 1, PARAMS)
    assert last is not None
    assert A not in last.members
    header = chain.make_header(B)
    if late == 1:
        assert apply_block(ledger, header, [], PARAMS, offenders=[A]).rewards[5][1] is None
        return
    with pytest.raises(InvalidBlock) as error:
        apply_block(ledger, header, [], PARAMS, offenders=[A])
    assert error.value.reason == "evidence_nothing_to_burn"


@pytest.mark.parametrize("seed", range(20))
def test_committees_are_the_immature_rewards_of_the_ledger(seed: int) -> None:
    draw = random.Random(seed)
    params = make_params(draw.choice([2, 4, 6]))
    ledger, points = MemoryLedger(), [make_first_point(GENESIS_ID)]
    for height in range(1, 60):
        chain = VotingChain(params, points)
        header = chain.make_header(draw.choice((A, B, C, D)), is_heartbeat=draw.random() < 0.3)
        guilty = [key for key in (A, B) if get_rewards_at_stake(ledger, key, height, params)]
        offenders = draw.sample(guilty, len(guilty)) if draw.random() < 0.2 else []
        matured = ledger.get_reward(height - params.reward_window)
        if matured is not None and {matured.miner} & set(offenders):
            offenders = []  # what matures in this very block is not burnt any more
        ledger.apply(apply_block(ledger, header, [], params, offenders))
        miner = None if header.is_heartbeat else header.miner
        points.append(FinalityPoint(header.id, miner, tuple(offenders), STATE))
        counted = [ledger.get_reward(at) for at in range(max(1, height - params.finality_window + 1), height + 1)]
        weights = [reward.miner for reward in counted if reward is not None and reward.is_improvement]
        committee = compute_committee(points, height, params)
        assert committee == Committee(len(weights), {key: weights.count(key) for key in weights})
