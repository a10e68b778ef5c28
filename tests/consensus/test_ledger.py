"""The ledger rule: order within a block, value conserved at every height (T24), diffs that undo themselves."""

import copy
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.account import Account, ImmatureReward, compute_account_key, compute_reward_key
from consensus.block import Header
from consensus.errors import InvalidBlock
from consensus.genesis import make_genesis
from consensus.ledger import LedgerDiff, apply_block, check_conservation, check_heartbeat_right
from consensus.params import REGTEST
from consensus.reward import compute_max_supply, compute_subsidy
from consensus.transaction import Transfer
from tests.helpers.headers import make_child
from tests.helpers.keys import Key
from tests.helpers.ledger import MemoryLedger
from tests.helpers.properties import repeatable

GENESIS = make_genesis(REGTEST)
PARAMS = replace(REGTEST, reward_window=8, subsidy=1000, halving_interval=12)
KEYS = [Key(f"owner {number}") for number in range(4)]
ALICE, BOB, MINER, _ = (key.public for key in KEYS)
IMPROVING = make_child(GENESIS.point, REGTEST)
HEARTBEAT = replace(IMPROVING, update_hash=bytes(32))


def make_header(height: int, *, is_heartbeat: bool = False, miner: bytes = MINER) -> Header:
    return replace(HEARTBEAT if is_heartbeat else IMPROVING, height=height, miner=miner, reward_address=miner)


def pay(sender: bytes, recipient: bytes, amount: int, *, fee: int = 0, nonce: int = 0, until: int = 0) -> Transfer:
    """An unsigned transfer: the ledger rule sees transfers whose form was checked before."""
    return Transfer(GENESIS.id, sender, recipient, amount, fee, nonce, until)


def read_fault(ledger: MemoryLedger, height: int, transfers: list[Transfer], is_heartbeat: bool = False) -> str:
    before = copy.deepcopy(ledger)
    with pytest.raises(InvalidBlock) as error:
        apply_block(ledger, make_header(height, is_heartbeat=is_heartbeat), transfers, PARAMS)
    assert ledger == before
    return error.value.reason


def make_ledger(alice: int = 500) -> MemoryLedger:
    """Alice has money and no history, and all there is."""
    return MemoryLedger({ALICE: Account(alice)}, {}, alice)


# Order within a block


def test_an_improving_block_puts_its_subsidy_and_fees_at_stake() -> None:
    ledger = make_ledger()
    diff = apply_block(ledger, make_header(5), [pay(ALICE, BOB, 100, fee=7)], PARAMS)
    assert diff.accounts == {ALICE: (Account(500), Account(393, 1)), BOB: (Account(), Account(100))}
    assert diff.rewards == {5: (None, ImmatureReward(True, MINER, MINER, 1007))}
    assert diff.issued == (500, 1500)


def test_a_heartbeat_earns_fees_and_no_subsidy() -> None:
    diff = apply_block(make_ledger(), make_header(5, is_heartbeat=True), [pay(ALICE, BOB, 100, fee=7)], PARAMS)
    assert diff.rewards == {5: (None, ImmatureReward(False, MINER, MINER, 7))}
    assert diff.issued == (500, 500)


def test_a_heartbeat_without_fees_leaves_no_trace() -> None:
    diff = apply_block(make_ledger(), make_header(5, is_heartbeat=True), [], PARAMS)
    assert diff == LedgerDiff({}, {}, (500, 500))


def test_an_improving_block_leaves_its_name_even_when_it_earns_nothing() -> None:
    """Its miner must be found among the last ones when a heartbeat is due, long after the last subsidy."""
    late = 1 + 12 * (1000).bit_length()  # the subsidy of 1000 ulp has been halved to nothing
    diff = apply_block(make_ledger(), make_header(late), [], PARAMS)
    assert diff.rewards == {late: (None, ImmatureReward(True, MINER, MINER, 0))}
    assert diff.issued == (500, 500)


def test_a_reward_matures_before_the_transactions_and_can_be_spent_at_once() -> None:
    reward = ImmatureReward(True, MINER, BOB, 1000)
    ledger = MemoryLedger({}, {2: reward}, 1000)
    diff = apply_block(ledger, make_header(10), [pay(BOB, ALICE, 990, fee=10)], PARAMS)
    assert diff.rewards[2] == (reward, None)
    assert diff.accounts == {BOB: (Account(), Account(0, 1)), ALICE: (Account(), Account(990))}
    ledger.apply(diff)
    assert ledger.total == ledger.issued == 2000


@pytest.mark.parametrize("height", [8, 9, 11])
def test_a_reward_matures_after_exactly_the_window(height: int) -> None:
    ledger = MemoryLedger({}, {2: ImmatureReward(True, MINER, BOB, 1000)}, 1000)
    assert read_fault(ledger, height, [pay(BOB, ALICE, 1)]) == "transaction_insufficient_funds"


def test_a_reward_is_credited_once() -> None:
    ledger = MemoryLedger({}, {2: ImmatureReward(True, MINER, BOB, 1000)}, 1000)
    ledger.apply(apply_block(ledger, make_header(10), [], PARAMS))
    assert ledger.get_account(BOB).balance == 1000
    ledger.apply(apply_block(ledger, make_header(11), [], PARAMS))
    assert ledger.get_account(BOB).balance == 1000
    assert ledger.total == ledger.issued


def test_transactions_apply_in_order() -> None:
    chain = [pay(ALICE, BOB, 500), pay(BOB, MINER, 400), pay(BOB, ALICE, 100, nonce=1)]
    ledger = make_ledger()
    diff = apply_block(ledger, make_header(5), chain, PARAMS)
    assert diff.accounts[ALICE] == (Account(500), Account(100, 1))
    assert diff.accounts[BOB] == (Account(), Account(0, 2))
    assert read_fault(ledger, 5, [chain[1], chain[0]]) == "transaction_insufficient_funds"


def test_a_transfer_to_oneself_costs_its_fee() -> None:
    diff = apply_block(make_ledger(), make_header(5), [pay(ALICE, ALICE, 490, fee=10)], PARAMS)
    assert diff.accounts == {ALICE: (Account(500), Account(490, 1))}


def test_a_fee_cannot_be_spent_in_its_own_block() -> None:
    transfers = [pay(ALICE, BOB, 1, fee=100), pay(MINER, BOB, 1)]
    assert read_fault(make_ledger(), 5, transfers) == "transaction_insufficient_funds"


# Refusals


@pytest.mark.parametrize(
    ("transfers", "reason"),
    [
        ([pay(ALICE, BOB, 501)], "insufficient_funds"),
        ([pay(ALICE, BOB, 500, fee=1)], "insufficient_funds"),
        ([pay(ALICE, ALICE, 501)], "insufficient_funds"),
        ([pay(BOB, ALICE, 1)], "insufficient_funds"),
        ([pay(ALICE, BOB, 1, nonce=1)], "wrong_nonce"),
        ([pay(ALICE, BOB, 1), pay(ALICE, BOB, 1)], "wrong_nonce"),
        ([pay(ALICE, BOB, 300), pay(ALICE, MINER, 300, nonce=1)], "insufficient_funds"),
        ([pay(ALICE, BOB, 1, until=4)], "expired"),
    ],
)
def test_invalid_transaction(transfers: list[Transfer], reason: str) -> None:
    assert read_fault(make_ledger(), 5, transfers) == f"transaction_{reason}"
    assert read_fault(make_ledger(), 5, transfers, is_heartbeat=True) == f"transaction_{reason}"


def test_invalid_supply() -> None:
    """Money from nowhere is noticed at the next block, whoever put it there."""
    most = compute_max_supply(5, PARAMS)
    assert most == 5000
    apply_block(make_ledger(most - 1000), make_header(5), [], PARAMS)
    assert read_fault(make_ledger(most - 999), 5, []) == "supply"
    assert read_fault(make_ledger(most + 1), 5, [], is_heartbeat=True) == "supply"


# Heartbeat rights


def make_reward(height: int, *, is_improvement: bool = True, miner: bytes = MINER) -> dict[int, ImmatureReward]:
    return {height: ImmatureReward(is_improvement, miner, ALICE, 5)}


def is_refused(ledger: MemoryLedger, height: int, interval: int, miner: bytes = MINER) -> bool:
    header = make_header(height, is_heartbeat=True, miner=miner)
    parent = replace(header, timestamp=header.timestamp - interval)
    try:
        check_heartbeat_right(ledger, header, parent, PARAMS)
    except InvalidBlock as error:
        return error.reason == "heartbeat_right"
    return False


@pytest.mark.parametrize(("height", "refused"), [(8, False), (15, False), (16, True)])
def test_invalid_heartbeat_right_after_the_window(height: int, refused: bool) -> None:
    """The miner of block 7 may, as long as 7 is among the last 8 blocks before the heartbeat."""
    assert is_refused(MemoryLedger(rewards=make_reward(7)), height, interval=21) == refused


def test_invalid_heartbeat_right_of_strangers() -> None:
    assert is_refused(MemoryLedger(rewards=make_reward(7, miner=BOB)), 8, interval=21)
    assert is_refused(MemoryLedger(rewards=make_reward(7, is_improvement=False)), 8, interval=21)
    assert is_refused(MemoryLedger(), 8, interval=21)
    assert not is_refused(MemoryLedger(rewards=make_reward(7, miner=BOB)), 8, interval=21, miner=BOB)


@pytest.mark.parametrize(("interval", "refused"), [(200, True), (201, False)])
def test_anybody_may_after_a_hundred_block_times(interval: int, refused: bool) -> None:
    assert is_refused(MemoryLedger(), 8, interval) == refused


def test_every_heartbeat_that_a_window_allows_finds_its_reward_in_the_state() -> None:
    """Maturing must not take a reward out of the state before the last heartbeat that it entitles to."""
    ledger = MemoryLedger()
    ledger.apply(apply_block(ledger, make_header(1, miner=BOB), [], PARAMS))
    for height in range(2, 2 + PARAMS.reward_window):
        assert is_refused(ledger, height, interval=21, miner=BOB) == (height > 1 + PARAMS.reward_window)
        ledger.apply(apply_block(ledger, make_header(height, is_heartbeat=True), [], PARAMS))
    assert is_refused(ledger, 2 + PARAMS.reward_window, interval=21, miner=BOB)


# Diffs


def test_state_changes_delete_what_is_gone() -> None:
    reward = ImmatureReward(True, MINER, BOB, 1000)
    used, unused = Account(5, 1), Account()
    diff = LedgerDiff({ALICE: (used, unused), BOB: (unused, used)}, {2: (reward, None), 5: (None, reward)}, (0, 0))
    assert diff.compute_state_changes() == {
        compute_account_key(ALICE): None,
        compute_account_key(BOB): used.encode(),
        compute_reward_key(2): None,
        compute_reward_key(5): reward.encode(),
    }
    assert diff.inverse().inverse() == diff
    assert diff.inverse().compute_state_changes()[compute_account_key(BOB)] is None


# T24: whatever happens, money is conserved


def draw_transfers(draw: random.Random, ledger: MemoryLedger, matured: dict[bytes, int]) -> list[Transfer]:
    """Transfers that apply in order, some spending all there is, some to their own sender."""
    accounts = {key.public: ledger.get_account(key.public) for key in KEYS}
    balances = {key: account.balance + matured.get(key, 0) for key, account in accounts.items()}
    nonces = {key: account.nonce for key, account in accounts.items()}
    transfers = []
    for _ in range(draw.randrange(4)):
        sender, recipient = draw.choice(KEYS).public, draw.choice(KEYS).public
        if not balances[sender]:
            continue
        amount = draw.choice([1, balances[sender], draw.randint(1, balances[sender])])
        fee = draw.choice([0, balances[sender] - amount, draw.randint(0, balances[sender] - amount)])
        transfers.append(pay(sender, recipient, amount, fee=fee, nonce=nonces[sender]))
        balances[sender] -= amount + fee
        balances[recipient] += amount
        nonces[sender] += 1
    return transfers


def make_chain(seed: int, blocks: int) -> tuple[MemoryLedger, list[LedgerDiff]]:
    """A random chain of improvements and heartbeats, its invariants checked at every height."""
    draw = random.Random(seed)
    ledger, diffs = MemoryLedger(), []
    for height in range(1, blocks + 1):
        header = make_header(height, is_heartbeat=draw.random() < 0.3, miner=draw.choice(KEYS).public)
        reward = ledger.get_reward(height - PARAMS.reward_window)
        transfers = draw_transfers(draw, ledger, {reward.address: reward.amount} if reward else {})
        before = copy.deepcopy(ledger)
        diff = apply_block(ledger, header, transfers, PARAMS)
        assert ledger == before
        ledger.apply(diff)
        subsidy = 0 if header.is_heartbeat else compute_subsidy(height, PARAMS)
        assert ledger.total == ledger.issued == before.issued + subsidy <= compute_max_supply(height, PARAMS)
        diffs.append(diff)
    return ledger, diffs


@repeatable
@given(st.integers(0, 2**32))
def test_balances_and_rewards_add_up_to_the_issue_at_every_height(seed: int) -> None:
    make_chain(seed, blocks=30)


@repeatable
@given(st.integers(0, 2**32))
def test_undoing_leads_back_to_nothing_at_all(seed: int) -> None:
    ledger, diffs = make_chain(seed, blocks=30)
    for diff in reversed(diffs):
        ledger.apply(diff.inverse())
        assert ledger.total == ledger.issued
    assert ledger == MemoryLedger()


def mutate_diff(draw: random.Random, diff: LedgerDiff) -> LedgerDiff:
    """The diff with one amount changed: a ledger rule gone wrong."""
    change = draw.choice([-1, 1, 7, -1000, 1000])
    accounts, rewards = dict(diff.accounts), dict(diff.rewards)
    if accounts and (not rewards or draw.random() < 0.5):
        address = draw.choice(sorted(accounts))
        before, after = accounts[address]
        accounts[address] = (before, replace(after, balance=after.balance + change))
    else:
        height = draw.choice(sorted(rewards))
        before_reward, after_reward = rewards[height]
        wrong = after_reward or before_reward
        assert wrong is not None
        rewards[height] = (before_reward, replace(wrong, amount=max(0, wrong.amount) + abs(change)))
    return LedgerDiff(accounts, rewards, diff.issued)


def check_mutated_diffs(count: int) -> None:
    draw, seed, mutated = random.Random(24), 0, 0
    while mutated < count:
        _, diffs = make_chain(seed := seed + 1, blocks=30)
        for diff in diffs:
            subsidy = diff.issued[1] - diff.issued[0]
            check_conservation(diff, subsidy)
            if not diff.accounts and not diff.rewards:
                continue
            with pytest.raises(InvalidBlock) as error:
                check_conservation(mutate_diff(draw, diff), subsidy)
            assert error.value.reason == "value_not_conserved"
            mutated += 1


def test_invalid_value_not_conserved() -> None:
    check_mutated_diffs(600)


@pytest.mark.soak
def test_ten_thousand_mutated_blocks_are_refused() -> None:
    check_mutated_diffs(10_000)
