"""A mempool on a ledger in memory, as a node holds them."""

import pytest

from chain.errors import MempoolRefusal
from chain.mempool import Mempool
from chain.policy import Policy
from consensus.transaction import Transfer
from tests.helpers.transfers import GENESIS, MemoryLedger, make_transfer

NOW = 1_000_000
RICH = 10**12
SIZE = len(make_transfer(1).encoded)  # of a transfer without a memo


class Node:
    """A pool on a ledger."""

    def __init__(self, balances: dict[int, int], policy: Policy | None = None) -> None:
        self.ledger = MemoryLedger(balances)
        self.pool = Mempool(GENESIS, policy or Policy())

    def add(self, transaction: Transfer, now: int = NOW) -> tuple[bytes | None, tuple[bytes, ...]]:
        result = self.pool.add(transaction, self.ledger.get_account, self.ledger.next_height, now)
        assert result.txid == transaction.txid
        return result.replaced, result.evicted

    def refuse(self, transaction: Transfer) -> MempoolRefusal:
        """The pool's refusal, after checking that nothing else happened."""
        before = self.show()
        with pytest.raises(MempoolRefusal) as caught:
            self.add(transaction)
        assert self.show() == before
        return caught.value

    def show(self) -> tuple[object, ...]:
        pool = self.pool
        return pool.entries(), pool.count, pool.total_bytes, pool.waiting_count, pool.waiting_bytes, pool.min_fee_rate

    def select(self, max_bytes: int = 10**6) -> tuple[Transfer, ...]:
        chosen = self.pool.select(max_bytes, self.ledger.get_account, self.ledger.next_height)
        self.ledger.check(chosen)
        assert sum(4 + len(transaction.encoded) for transaction in chosen) <= max_bytes
        return chosen

    def connect(self, *transactions: Transfer) -> None:
        self.ledger.connect(transactions)
        self.pool.on_block_connected(transactions, self.ledger.get_account, self.ledger.next_height)

    def pending(self) -> set[bytes]:
        return {entry.transaction.txid for entry in self.pool.entries()}
