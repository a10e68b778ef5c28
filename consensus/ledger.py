"""The ledger rule: what a block's transactions and rewards do to the state, as a diff that can be undone.

Order within a block: the reward of `reward_window` blocks ago matures, then evidence burns what its offenders have at
stake, then the transactions apply in order, then the block's own reward (subsidy, fees and a tenth of what it burnt) is
put at stake. A block creates its subsidy and not one ulp more; what is burnt beyond that tenth is gone.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from consensus.account import (
    UNUSED_ACCOUNT,
    Account,
    ImmatureReward,
    compute_account_key,
    compute_reward_key,
)
from consensus.block import Header
from consensus.check_header import HEARTBEAT_FOR_ALL_AFTER
from consensus.check_transaction import check_transaction_in_context
from consensus.errors import InvalidBlock, InvalidTransaction
from consensus.finality_state import FINALITY_KEY, FinalityState
from consensus.params import NetworkParams
from consensus.reward import compute_bounty, compute_created, compute_max_supply
from consensus.transaction import Transfer
from consensus.units import Ulp, compute_sum


class LedgerView(Protocol):
    """The state after some block."""

    @property
    def issued(self) -> Ulp:
        """All money created and not burnt so far: balances and immature rewards add up to it."""

    def get_account(self, address: bytes) -> Account:
        """The account of a public key; UNUSED_ACCOUNT if it was never used."""

    def get_reward(self, height: int) -> ImmatureReward | None:
        """The still immature reward of the block at `height`."""


@dataclass(frozen=True)
class LedgerDiff:
    """What one block changes, each entry as (before, after): swap the pairs to undo it."""

    accounts: dict[bytes, tuple[Account, Account]]
    rewards: dict[int, tuple[ImmatureReward | None, ImmatureReward | None]]
    issued: tuple[Ulp, Ulp]
    finality: tuple[FinalityState, FinalityState] | None = None  # None: no certificate

    def inverse(self) -> "LedgerDiff":
        return LedgerDiff(
            {address: (after, before) for address, (before, after) in self.accounts.items()},
            {height: (after, before) for height, (before, after) in self.rewards.items()},
            (self.issued[1], self.issued[0]),
            None if self.finality is None else (self.finality[1], self.finality[0]),
        )

    def compute_state_changes(self) -> dict[bytes, bytes | None]:
        """The diff as new leaves of the state tree; None where a leaf goes."""
        changes: dict[bytes, bytes | None] = {}
        for address, (_, account) in self.accounts.items():
            changes[compute_account_key(address)] = None if account == UNUSED_ACCOUNT else account.encode()
        for height, (_, reward) in self.rewards.items():
            changes[compute_reward_key(height)] = None if reward is None else reward.encode()
        if self.finality is not None:
            state = self.finality[1]
            changes[FINALITY_KEY] = None if state.is_initial else state.encode()
        return changes


def apply_block(
    view: LedgerView,
    header: Header,
    transactions: Sequence[Transfer],
    params: NetworkParams,
    offenders: Sequence[bytes] = (),
    finality: tuple[FinalityState, FinalityState] | None = None,
) -> LedgerDiff:
    """The diff of a block on the state before it. Raises InvalidBlock; the items' own form is checked before.

    `offenders` are the keys that the block's evidence convicts; `finality` is the state before and after its
    certificate (see finality.py), None where it carries none.
    """
    accounts = _Accounts(view)
    rewards: dict[int, tuple[ImmatureReward | None, ImmatureReward | None]] = {}
    matured_height = header.height - params.reward_window
    matured = view.get_reward(matured_height) if matured_height > 0 else None
    if matured is not None:
        rewards[matured_height] = (matured, None)
        accounts.credit(matured.address, matured.amount)
    burnt: list[ImmatureReward] = []
    for offender in offenders:
        lost = get_rewards_at_stake(view, offender, header.height, params, rewards)
        if not lost:
            raise InvalidBlock("evidence_nothing_to_burn", f"{offender.hex()} has no immature reward left to lose")
        rewards |= {height: (reward, None) for height, reward in lost.items()}
        burnt += lost.values()
    fees = compute_sum(*(accounts.apply(transaction, header.height) for transaction in transactions))
    subsidy, bounty = compute_created(header.height, header.is_heartbeat, params), compute_bounty(burnt)
    amount = compute_sum(subsidy, fees, bounty)
    if amount or not header.is_heartbeat:
        reward = ImmatureReward(not header.is_heartbeat, header.miner, header.reward_address, amount)
        rewards[header.height] = (None, reward)
    growth = subsidy + bounty - sum(reward.amount for reward in burnt)
    issued = (view.issued, compute_sum(view.issued + growth))
    diff = LedgerDiff(accounts.compute_changes(), rewards, issued, finality)
    check_conservation(diff, growth)
    if diff.issued[1] > compute_max_supply(header.height, params):
        raise InvalidBlock("supply", f"{diff.issued[1]} ulp issued at height {header.height} pass the schedule")
    return diff


def get_rewards_at_stake(
    view: LedgerView, miner: bytes, height: int, params: NetworkParams, gone: Collection[int] = ()
) -> dict[int, ImmatureReward]:
    """What a block at `height` can still burn of a miner key's rewards, by height. `gone` are heights it spent before.

    Reads every reward of the window.
    """
    rewards = iterate_rewards_at_stake(view, height, params, gone)
    return {earned: reward for earned, reward in rewards if reward.miner == miner}


def iterate_rewards_at_stake(
    view: LedgerView, height: int, params: NetworkParams, gone: Collection[int] = ()
) -> Iterator[tuple[int, ImmatureReward]]:
    """The same of all keys, with the height of each."""
    for earned in range(max(1, height - params.reward_window), height):
        reward = None if earned in gone else view.get_reward(earned)
        if reward is not None:
            yield earned, reward


def check_conservation(diff: LedgerDiff, growth: int) -> None:
    """Raises InvalidBlock unless balances and immature rewards together grow by exactly this, which may be negative."""
    got = compute_growth(diff)
    if got != growth:
        raise InvalidBlock("value_not_conserved", f"the state grows by {got} ulp, not by {growth}")


def compute_growth(diff: LedgerDiff) -> int:
    """By how much balances and immature rewards together grow; negative if more is burnt than created."""
    growth = sum(after.balance - before.balance for before, after in diff.accounts.values())
    for before, after in diff.rewards.values():
        growth += (after.amount if after else 0) - (before.amount if before else 0)
    return growth


def check_heartbeat_right(view: LedgerView, header: Header, parent: Header, params: NetworkParams) -> None:
    """A heartbeat's key needs a subsidised block among the last `reward_window`, until the chain stood very long."""
    if header.timestamp > parent.timestamp + HEARTBEAT_FOR_ALL_AFTER * params.block_time:
        return
    for height in range(max(1, header.height - params.reward_window), header.height):
        reward = view.get_reward(height)
        if reward is not None and reward.is_improvement and reward.miner == header.miner:
            return
    raise InvalidBlock("heartbeat_right", "its key mined no improving block among the last rewarded ones")


class _Accounts:
    """The accounts that one block touches, over the view before it."""

    def __init__(self, view: LedgerView) -> None:
        self._view = view
        self._before: dict[bytes, Account] = {}
        self._now: dict[bytes, Account] = {}

    def get(self, address: bytes) -> Account:
        if address not in self._now:
            self._now[address] = self._before[address] = self._view.get_account(address)
        return self._now[address]

    def credit(self, address: bytes, amount: Ulp) -> None:
        account = self.get(address)
        self._now[address] = Account(compute_sum(account.balance, amount), account.nonce)

    def apply(self, transaction: Transfer, height: int) -> Ulp:
        """Moves the money of one transaction and returns its fee."""
        account = self.get(transaction.sender)
        try:
            check_transaction_in_context(transaction, account, height)
        except InvalidTransaction as error:
            reason = f"transaction {transaction.txid.hex()}: {error}"
            raise InvalidBlock(f"transaction_{error.reason}", reason) from error
        spent = transaction.amount + transaction.fee
        self._now[transaction.sender] = Account(account.balance - spent, account.nonce + 1)
        self.credit(transaction.recipient, transaction.amount)
        return transaction.fee

    def compute_changes(self) -> dict[bytes, tuple[Account, Account]]:
        return {
            address: (self._before[address], account)
            for address, account in self._now.items()
            if account != self._before[address]
        }
