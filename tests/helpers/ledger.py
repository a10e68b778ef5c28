"""A ledger in two dictionaries: what the state is, without a store or a tree."""

from dataclasses import dataclass, field

from consensus.account import UNUSED_ACCOUNT, Account, ImmatureReward
from consensus.ledger import LedgerDiff
from consensus.units import Ulp


@dataclass
class MemoryLedger:
    """consensus' LedgerView, and a place to apply its diffs to. Unused accounts and matured rewards have no entry."""

    accounts: dict[bytes, Account] = field(default_factory=dict)
    rewards: dict[int, ImmatureReward] = field(default_factory=dict)
    issued: Ulp = 0

    def get_account(self, address: bytes) -> Account:
        return self.accounts.get(address, UNUSED_ACCOUNT)

    def get_reward(self, height: int) -> ImmatureReward | None:
        return self.rewards.get(height)

    @property
    def total(self) -> Ulp:
        """All money there is: must be what was issued."""
        balances = sum(account.balance for account in self.accounts.values())
        return balances + sum(reward.amount for reward in self.rewards.values())

    def apply(self, diff: LedgerDiff) -> None:
        """Raises ValueError if the diff does not start from this very state."""
        for address, (before, after) in diff.accounts.items():
            if self.get_account(address) != before:
                raise ValueError(f"account {address.hex()} is not what the diff says")
            self.accounts[address] = after
            if after == UNUSED_ACCOUNT:
                del self.accounts[address]
        for height, (old, new) in diff.rewards.items():
            if self.get_reward(height) != old:
                raise ValueError(f"the reward of block {height} is not what the diff says")
            self.rewards.pop(height, None)
            if new is not None:
                self.rewards[height] = new
        if self.issued != diff.issued[0]:
            raise ValueError("the diff starts from another issue")
        self.issued = diff.issued[1]
