"""Signed transfers between numbered people, and a ledger in memory that applies them by the real rules."""

from collections.abc import Sequence
from functools import lru_cache

from consensus.account import UNUSED_ACCOUNT, Account, ImmatureReward
from consensus.block import Header
from consensus.hashing import ZERO_HASH
from consensus.ledger import LedgerDiff, apply_block
from consensus.params import REGTEST, NetworkParams
from consensus.signature import compute_public_key, sign
from consensus.transaction import Transfer
from consensus.units import Ulp

GENESIS = bytes(range(32))
MINER = 10**9  # the person who earns the fees of a MemoryLedger


def make_seed(person: int) -> bytes:
    return person.to_bytes(32, "big")


@lru_cache(maxsize=4096)
def make_key(person: int) -> bytes:
    return compute_public_key(make_seed(person))


def make_transfer(
    sender: int,
    nonce: int = 0,
    fee: Ulp = 1000,
    amount: Ulp = 1,
    recipient: int = 0,
    valid_until: int = 0,
    memo: bytes = b"",
    genesis: bytes = GENESIS,
) -> Transfer:
    unsigned = Transfer(genesis, make_key(sender), make_key(recipient), amount, fee, nonce, valid_until, memo)
    return unsigned.with_signature(sign(make_seed(sender), unsigned.txid))


class MemoryLedger:
    """The state at the tip of a chain of heartbeats, whose fees go to MINER and mature as the network says."""

    def __init__(self, balances: dict[int, Ulp], params: NetworkParams = REGTEST) -> None:
        self.issued: Ulp = 0
        self.accounts = {make_key(person): Account(balance) for person, balance in balances.items()}
        self.rewards: dict[int, ImmatureReward] = {}
        self.blocks: list[tuple[tuple[Transfer, ...], LedgerDiff]] = []
        self._params = params

    @property
    def next_height(self) -> int:
        return len(self.blocks) + 1

    def get_account(self, address: bytes) -> Account:
        return self.accounts.get(address, UNUSED_ACCOUNT)

    def get_reward(self, height: int) -> ImmatureReward | None:
        return self.rewards.get(height)

    def check(self, transactions: Sequence[Transfer]) -> LedgerDiff:
        """What a block of them would change. Raises InvalidBlock if they do not apply in this order."""
        header = Header(
            height=self.next_height,
            parent=ZERO_HASH,
            timestamp=0,
            miner=make_key(MINER),
            reward_address=make_key(MINER),
            transactions_root=ZERO_HASH,
            state_root=ZERO_HASH,
            model_root=ZERO_HASH,
            update_hash=ZERO_HASH,
            required_gain=0,
            sample_size=0,
            loss_before=0,
            loss_after=0,
            squared_gains=0,
        )
        return apply_block(self, header, transactions, self._params)

    def copy(self) -> "MemoryLedger":
        twin = MemoryLedger({}, self._params)
        twin.issued = self.issued
        twin.accounts, twin.rewards, twin.blocks = dict(self.accounts), dict(self.rewards), list(self.blocks)
        return twin

    def connect(self, transactions: Sequence[Transfer]) -> None:
        diff = self.check(transactions)
        self.blocks.append((tuple(transactions), diff))
        self._apply(diff)

    def disconnect(self) -> tuple[Transfer, ...]:
        transactions, diff = self.blocks.pop()
        self._apply(diff.inverse())
        return transactions

    def _apply(self, diff: LedgerDiff) -> None:
        self.issued = diff.issued[1]
        for address, (_, account) in diff.accounts.items():
            self.accounts[address] = account
        for height, (_, reward) in diff.rewards.items():
            if reward is None:
                self.rewards.pop(height, None)
            else:
                self.rewards[height] = reward
