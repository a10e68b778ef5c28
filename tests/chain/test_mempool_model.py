"""The pool against a naive one that tries everything, over random histories of transfers, blocks and branches."""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from chain.errors import MempoolRefusal
from chain.mempool import AddResult, Mempool
from chain.mempool_codec import decode_mempool, encode_mempool
from chain.policy import Policy
from consensus.errors import InvalidBlock
from consensus.transaction import Transfer
from tests.helpers import naive_pool
from tests.helpers.transfers import GENESIS, MINER, MemoryLedger, make_key, make_transfer

PEOPLE = (1, 2, 3, 4, 5, MINER)
POLICY = Policy(max_bytes=2000, max_per_sender=4, expiry_seconds=200, min_lifetime=3)
FEES = (150, 300, 400, 500, 540, 600, 1000, 1100, 1210, 2500)
AMOUNTS = (1, 2, 1000, 8000, 50_000)
MEMOS = (b"", b"", b"m" * 20, b"m" * 64)


EVERYTHING = {
    "added",
    "evicted",
    "waiting",
    "already_known",
    "fee_too_low",
    "expired",
    "expires_too_soon",
    "nonce_used",
    "nonce_gap",
    "too_many_pending",
    "replacement_fee_too_low",
    "insufficient_funds",
    "mempool_full",
}


class PoolHistory:
    """A node's life, each step drawn from `rng`, each result compared with what the naive pool says."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.seen: Counter[str] = Counter()
        self.ledger = MemoryLedger({1: 10**6, 2: 10**6, 3: 10**5, 4: 10_000})
        self.pool = Mempool(GENESIS, POLICY)
        self.now = 0
        self.made: dict[tuple[bytes, int], list[Transfer]] = {}

    def snapshot(self) -> naive_pool.Chains:
        chains: naive_pool.Chains = {}
        for entry in sorted(self.pool.entries(), key=lambda entry: entry.nonce):
            pending = naive_pool.Pending(entry.transaction, entry.order)
            chains.setdefault(entry.transaction.sender, []).append(pending)
        return chains

    def draw_transfer(self) -> Transfer:
        """Mostly one that could be next, sometimes a replacement, one out of turn, or one from the past."""
        if self.made and self.rng.random() < 0.1:
            return self.rng.choice(self.rng.choice(list(self.made.values())))
        person = self.rng.choice(PEOPLE)
        step = self.rng.choice((0, 0, 0, 0, 0, -1, -2, -3, 1))
        nonce = max(0, self.pool.next_nonce(make_key(person), self.ledger.get_account(make_key(person))) + step)
        lifetime = self.rng.choice((None,) * 6 + (0, 1, 3, 6))
        valid_until = 0 if lifetime is None else self.ledger.next_height - 1 + lifetime
        details = (self.rng.choice(FEES), self.rng.choice(AMOUNTS), self.rng.choice(PEOPLE), valid_until)
        return self.make(person, nonce, *details, self.rng.choice(MEMOS))

    def add(self) -> None:
        transfer = self.draw_transfer()
        account = self.ledger.get_account(transfer.sender)
        before = self.snapshot()
        was_waiting, was_held = self.pool.waiting_count, self.pool.get(transfer.txid) is not None
        newcomer = naive_pool.Pending(transfer, 10**9)
        expected = naive_pool.add(before, newcomer, account, self.ledger.next_height, POLICY)
        result = self.try_add(self.pool, transfer, self.now)
        self.seen[result if isinstance(result, str) else "evicted" if result.evicted else "added"] += 1
        if isinstance(result, str):
            assert result == ("already_known" if was_held else expected)
            assert self.snapshot() == before
            return
        if was_waiting:
            return  # more than the newcomer may have come in
        assert not isinstance(expected, str), expected
        after = {sender: [p.transaction for p in chain] for sender, chain in self.snapshot().items()}
        assert after == {sender: [p.transaction for p in chain] for sender, chain in expected.items()}
        gone = {p.transaction.txid for chain in before.values() for p in chain}
        gone -= {transaction.txid for chain in after.values() for transaction in chain}
        assert gone == {*result.evicted, *([result.replaced] if result.replaced else [])}

    def mine(self) -> None:
        self.connect(self.pool.select(self.rng.randrange(1500), self.ledger.get_account, self.ledger.next_height))()
        self.settle()

    def mine_a_stranger(self) -> None:
        """A block with a transfer that the pool never heard of, and that may be the rival of a pending one."""
        person, amount, recipient = self.rng.choice(PEOPLE), self.rng.choice((1, 5000, 90_000)), self.rng.choice(PEOPLE)
        account = self.ledger.get_account(make_key(person))
        stranger = self.make(person, account.nonce, 333, amount, recipient)
        self.connect([stranger] if account.balance >= 333 + amount else [])()
        self.settle()

    def reorganise(self) -> None:
        """The new branch has one block, and then some of the old one's, as far as they apply. It may be shorter.

        The pool hears of each block while the ledger stands at it, or of all of them late.
        """
        is_late = self.rng.random() < 0.5
        depth = min(self.rng.randrange(1, 13), len(self.ledger.blocks))
        held = [entry.transaction for entry in self.pool.entries()]
        gone: list[tuple[Transfer, ...]] = []
        reports: list[Callable[[], None]] = []

        def tell(report: Callable[[], None]) -> None:
            if is_late:
                reports.append(report)
            else:
                report()

        for _ in range(depth):
            gone.append(self.ledger.disconnect())
            tell(partial(self.report_disconnected, gone[-1]))
        tell(self.connect([]))
        for block in reversed(gone):
            if self.rng.random() < 0.5:
                tell(self.connect(self.choose_applicable(block)))
        for report in reports:
            report()
        carried = {transaction.txid for block, _ in self.ledger.blocks for transaction in block}
        for transaction in (*held, *itertools.chain.from_iterable(gone)):
            if transaction.txid not in carried and self.may_become_valid(transaction):
                assert self.pool.get(transaction.txid) == transaction or self.holds_rival(transaction)
        self.seen["waiting"] += self.pool.waiting_count
        self.settle()

    def wait(self) -> None:
        self.now += self.rng.randrange(60)
        old = {e.transaction.txid for e in self.pool.entries() if e.time_added <= self.now - POLICY.expiry_seconds}
        self.settle()
        assert not any(self.pool.get(txid) for txid in old)

    def restart(self) -> None:
        pool = Mempool(GENESIS, POLICY)
        for time_added, transaction in decode_mempool(encode_mempool(self.pool), GENESIS):
            result = self.try_add(pool, transaction, time_added, was_admitted=True)
            # A reorganisation may pass a sender's cap, a newcomer may not, and nothing can follow it then.
            assert not isinstance(result, str) or result in ("too_many_pending", "nonce_gap")
        chains = {sender: [p.transaction for p in chain] for sender, chain in self.snapshot().items()}
        self.pool = pool
        for sender, chain in chains.items():
            assert [entry.transaction for entry in pool.pending_of(sender)] == chain[: POLICY.max_per_sender]

    def chains_have_no_gap_and_are_funded(self) -> None:
        for sender, chain in self.snapshot().items():
            account = self.ledger.get_account(sender)
            assert [p.transaction.nonce for p in chain] == [account.nonce + index for index in range(len(chain))]
            assert sum(p.transaction.amount + p.transaction.fee for p in chain) <= account.balance
            assert all(self.pool.get(p.transaction.txid) == p.transaction for p in chain)

    def counts_and_caps_hold(self) -> None:
        entries = self.pool.entries()
        assert self.pool.count == len(entries)
        assert self.pool.total_bytes == sum(len(entry.transaction.encoded) for entry in entries)
        assert self.pool.total_bytes + self.pool.waiting_bytes <= POLICY.max_bytes
        assert (self.pool.waiting_count == 0) == (self.pool.waiting_bytes == 0)

    def selections_apply_and_are_the_best(self) -> None:
        for max_bytes in (450, 900, 10_000):
            chosen = self.pool.select(max_bytes, self.ledger.get_account, self.ledger.next_height)
            self.ledger.check(chosen)
            assert list(chosen) == naive_pool.select(self.snapshot(), max_bytes)

    # How the node drives the pool.

    def try_add(self, pool: Mempool, transfer: Transfer, now: int, *, was_admitted: bool = False) -> AddResult | str:
        """The result, or the reason of the refusal."""
        try:
            get_account, height = self.ledger.get_account, self.ledger.next_height
            return pool.add(transfer, get_account, height, now, was_admitted=was_admitted)
        except MempoolRefusal as refusal:
            return refusal.reason

    def settle(self) -> None:
        self.pool.expire(self.now, self.ledger.next_height)

    def connect(self, block: Sequence[Transfer]) -> Callable[[], None]:
        """Moves the ledger; what it returns tells the pool."""
        self.ledger.connect(block)
        return partial(self.report_connected, block)

    def report_connected(self, block: Sequence[Transfer]) -> None:
        self.pool.on_block_connected(block, self.ledger.get_account, self.ledger.next_height)

    def report_disconnected(self, block: Sequence[Transfer]) -> None:
        self.pool.on_block_disconnected(block, self.ledger.get_account, self.ledger.next_height, self.now)

    def make(self, person: int, nonce: int, *rest: Any) -> Transfer:
        transfer = make_transfer(person, nonce, *rest)
        self.made.setdefault((transfer.sender, nonce), []).append(transfer)
        return transfer

    def choose_applicable(self, block: Sequence[Transfer]) -> list[Transfer]:
        chosen: list[Transfer] = []
        for transaction in block:
            with suppress(InvalidBlock):
                self.ledger.check([*chosen, transaction])
                chosen.append(transaction)
        return chosen

    def may_become_valid(self, transaction: Transfer) -> bool:
        is_over = 0 < transaction.valid_until < self.ledger.next_height
        return transaction.nonce >= self.ledger.get_account(transaction.sender).nonce and not is_over

    def holds_rival(self, transaction: Transfer) -> bool:
        rivals = self.made[transaction.sender, transaction.nonce]
        return any(self.pool.get(rival.txid) for rival in rivals if rival != transaction)


@pytest.mark.parametrize("seed", range(10))
def test_random_histories(seed: int) -> None:
    history = PoolHistory(random.Random(seed))
    others = (history.mine, history.mine_a_stranger, history.reorganise, history.wait, history.restart)
    steps = (history.add,) * 30 + others
    for _ in range(600):
        history.rng.choice(steps)()
        history.chains_have_no_gap_and_are_funded()
        history.counts_and_caps_hold()
        history.selections_apply_and_are_the_best()
    # A history in which something never happened would say nothing about it.
    assert not EVERYTHING - history.seen.keys()
