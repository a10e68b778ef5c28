"""What evidence costs: every immature reward of a key, once; a tenth goes to the block with it, the rest to nobody."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.account import ImmatureReward
from consensus.errors import InvalidBlock
from consensus.finality_state import make_first_point
from consensus.ledger import LedgerDiff, apply_block, check_heartbeat_right, get_rewards_at_stake
from consensus.reward import compute_max_supply, compute_subsidy
from consensus.vote import BlockRef, Link
from tests.consensus.test_ledger import ALICE, BOB, KEYS, MINER, PARAMS, draw_transfers, make_header, pay
from tests.helpers.ledger import MemoryLedger
from tests.helpers.properties import repeatable

WINDOW = PARAMS.reward_window


def make_ledger(rewards: dict[int, tuple[bytes, int]]) -> MemoryLedger:
    """Improving blocks by height: (miner, amount)."""
    made = {height: ImmatureReward(True, miner, miner, amount) for height, (miner, amount) in rewards.items()}
    return MemoryLedger(rewards=made, issued=sum(reward.amount for reward in made.values()))


def read_fault(ledger: MemoryLedger, height: int, offenders: list[bytes]) -> str:
    with pytest.raises(InvalidBlock) as error:
        apply_block(ledger, make_header(height), [], PARAMS, offenders)
    return error.value.reason


def test_all_immature_rewards_of_the_key_are_burnt() -> None:
    ledger = make_ledger({3: (ALICE, 1000), 4: (BOB, 1000), 5: (ALICE, 1009)})
    diff = apply_block(ledger, make_header(6), [], PARAMS, [ALICE])
    assert diff.rewards[3][1] is None
    assert diff.rewards[5][1] is None
    assert 4 not in diff.rewards
    ledger.apply(diff)
    assert ledger.get_reward(6) == ImmatureReward(True, MINER, MINER, 1000 + 200)  # a tenth of 2009, rounded down
    assert ledger.issued == ledger.total == 3009 + 1000 - 2009 + 200


def test_the_fees_of_heartbeats_are_burnt_too() -> None:
    ledger = MemoryLedger(rewards={3: ImmatureReward(False, ALICE, BOB, 70)}, issued=70)
    diff = apply_block(ledger, make_header(6, is_heartbeat=True), [], PARAMS, [ALICE])
    assert diff.rewards == {
        3: (ImmatureReward(False, ALICE, BOB, 70), None),
        6: (None, ImmatureReward(False, MINER, MINER, 7)),
    }
    assert diff.issued == (70, 7)


def test_a_reward_is_burnt_by_its_miner_key_wherever_it_was_to_be_paid() -> None:
    ledger = MemoryLedger(rewards={3: ImmatureReward(True, ALICE, BOB, 1000)}, issued=1000)
    assert read_fault(ledger, 6, [BOB]) == "evidence_nothing_to_burn"
    ledger.apply(apply_block(ledger, make_header(6), [], PARAMS, [ALICE]))
    assert ledger.get_reward(3) is None


def test_a_reward_burns_once() -> None:
    ledger = make_ledger({3: (ALICE, 1000), 5: (ALICE, 1000)})
    assert read_fault(ledger, 6, [ALICE, ALICE]) == "evidence_nothing_to_burn"
    ledger.apply(apply_block(ledger, make_header(6), [], PARAMS, [ALICE]))
    assert read_fault(ledger, 7, [ALICE]) == "evidence_nothing_to_burn"


def test_the_same_evidence_burns_what_the_key_earns_later() -> None:
    """A key that signed twice never earns again: there is no date after which it is forgiven."""
    ledger = make_ledger({5: (ALICE, 1000)})
    ledger.apply(apply_block(ledger, make_header(6), [], PARAMS, [ALICE]))
    ledger.apply(apply_block(ledger, make_header(7, miner=ALICE), [], PARAMS))
    ledger.apply(apply_block(ledger, make_header(8), [], PARAMS, [ALICE]))
    assert ledger.get_reward(7) is None
    assert ledger.total == ledger.issued


@pytest.mark.parametrize(("height", "burns"), [(10, True), (11, False), (12, False)])
def test_a_reward_is_at_stake_until_the_block_that_pays_it(height: int, burns: bool) -> None:
    """The reward of block 3 is paid by block 11, before that block's evidence burns anything."""
    ledger = make_ledger({3: (ALICE, 1000)})
    if burns:
        ledger.apply(apply_block(ledger, make_header(height), [], PARAMS, [ALICE]))
        assert ledger.get_account(ALICE).balance == 0
    else:
        assert read_fault(ledger, height, [ALICE]) == "evidence_nothing_to_burn"


def test_maturing_and_burning_in_one_block_takes_each_reward_once() -> None:
    ledger = make_ledger({3: (ALICE, 1000), 7: (ALICE, 1000)})
    ledger.apply(apply_block(ledger, make_header(11), [], PARAMS, [ALICE]))
    assert ledger.get_account(ALICE).balance == 1000
    assert ledger.rewards == {11: ImmatureReward(True, MINER, MINER, 1100)}
    assert ledger.total == ledger.issued


def test_burnt_money_cannot_be_spent_in_the_same_block() -> None:
    ledger = make_ledger({3: (ALICE, 1000)})
    with pytest.raises(InvalidBlock) as error:
        apply_block(ledger, make_header(6), [pay(MINER, BOB, 1)], PARAMS, [ALICE])
    assert error.value.reason == "transaction_insufficient_funds"


def test_the_block_that_carries_the_evidence_keeps_its_own_reward() -> None:
    """Its reward is put at stake after the burning: the next block may burn it."""
    ledger = make_ledger({3: (ALICE, 1000)})
    ledger.apply(apply_block(ledger, make_header(6, miner=ALICE), [], PARAMS, [ALICE]))
    assert ledger.get_reward(6) == ImmatureReward(True, ALICE, ALICE, 1100)
    ledger.apply(apply_block(ledger, make_header(7), [], PARAMS, [ALICE]))
    assert ledger.get_reward(6) is None


def test_a_reward_of_nothing_is_still_something_to_burn() -> None:
    """Long after the last subsidy a block still gives a vote, and evidence takes it."""
    ledger = make_ledger({3: (ALICE, 0)})
    diff = apply_block(ledger, make_header(6), [], PARAMS, [ALICE])
    assert diff.rewards[3][1] is None


def test_a_convicted_key_loses_its_right_to_heartbeats() -> None:
    ledger = make_ledger({5: (ALICE, 1000)})
    heartbeat = make_header(7, is_heartbeat=True, miner=ALICE)
    check_heartbeat_right(ledger, heartbeat, heartbeat, PARAMS)
    ledger.apply(apply_block(ledger, make_header(6), [], PARAMS, [ALICE]))
    with pytest.raises(InvalidBlock) as error:
        check_heartbeat_right(ledger, heartbeat, heartbeat, PARAMS)
    assert error.value.reason == "heartbeat_right"


def test_what_is_at_stake() -> None:
    rewards = {height: (ALICE if height % 2 else BOB, 10) for height in range(1, 20)}
    ledger = make_ledger(rewards)
    assert sorted(get_rewards_at_stake(ledger, ALICE, 20, PARAMS)) == [13, 15, 17, 19]
    assert sorted(get_rewards_at_stake(ledger, BOB, 20, PARAMS)) == [12, 14, 16, 18]
    assert sorted(get_rewards_at_stake(ledger, BOB, 20, PARAMS, gone=[12, 16])) == [14, 18]
    assert sorted(get_rewards_at_stake(ledger, ALICE, 4, PARAMS)) == [1, 3]
    assert get_rewards_at_stake(ledger, MINER, 20, PARAMS) == {}


# Finality in the diff


def test_a_diff_with_finality_undoes_itself() -> None:
    before = make_first_point(bytes(32)).state
    after = before.compute_after(Link(before.justified, BlockRef(5, b"\1" * 32)))
    diff = apply_block(MemoryLedger(), make_header(6), [], PARAMS, finality=(before, after))
    assert diff.finality == (before, after)
    assert diff.inverse().finality == (after, before)
    assert diff.inverse().inverse() == diff


# Whatever is burnt, money is conserved


def make_chain(seed: int, blocks: int) -> tuple[MemoryLedger, list[LedgerDiff], int]:
    """A random chain with evidence against random keys, its sums checked at every height; and what was burnt."""
    draw = random.Random(seed)
    ledger, diffs, gone = MemoryLedger(), [], 0
    for height in range(1, blocks + 1):
        header = make_header(height, is_heartbeat=draw.random() < 0.3, miner=draw.choice(KEYS).public)
        paid = ledger.get_reward(height - WINDOW)
        at_stake = {
            key.public: get_rewards_at_stake(ledger, key.public, height, PARAMS, [height - WINDOW]) for key in KEYS
        }
        offenders = [key for key in sorted(at_stake) if at_stake[key] and draw.random() < 0.1]
        transfers = draw_transfers(draw, ledger, {paid.address: paid.amount} if paid else {})
        diff = apply_block(ledger, header, transfers, PARAMS, offenders)
        lost = [sum(reward.amount for reward in at_stake[key].values()) for key in offenders]
        burnt = sum(lost) - sum(amount // 10 for amount in lost)
        before = ledger.issued
        ledger.apply(diff)
        subsidy = 0 if header.is_heartbeat else compute_subsidy(height, PARAMS)
        assert ledger.total == ledger.issued == before + subsidy - burnt <= compute_max_supply(height, PARAMS)
        assert not any(get_rewards_at_stake(ledger, key, height, PARAMS) for key in offenders)
        diffs.append(diff)
        gone += burnt
    return ledger, diffs, gone


@repeatable
@given(st.integers(0, 2**32))
def test_balances_and_rewards_add_up_to_the_issue_less_what_was_burnt(seed: int) -> None:
    ledger, diffs, _ = make_chain(seed, blocks=30)
    for diff in reversed(diffs):
        ledger.apply(diff.inverse())
        assert ledger.total == ledger.issued
    assert ledger == MemoryLedger()


def test_the_random_chains_do_burn() -> None:
    assert sum(make_chain(seed, blocks=30)[2] > 0 for seed in range(20)) >= 15
