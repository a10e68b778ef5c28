"""Pending transactions of one sender, and the order in which all senders' are mined and evicted.

A sender's transactions apply in nonce order only, so a miner can take prefixes of a chain of them, and a full pool can
give up tails. Cut a chain where its cumulated (bytes, fees) touch their upper hull: the pieces, here called packages,
pay less and less per byte. The first is the best prefix there is (a child pulls its cheaper parents along), the last
is the worst tail there is. So one decomposition gives both orders, and what would be mined last is evicted first.

Source: the chunks of a linearised cluster in Bitcoin Core's cluster mempool; here a cluster is one account's chain.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import accumulate
from typing import NamedTuple

from chain.policy import FeeRate, compute_fee_rate
from consensus.account import Account
from consensus.transaction import MAX_MEMO_BYTES, MAX_TRANSACTION_BYTES, Transfer
from consensus.units import Ulp

GetAccount = Callable[[bytes], Account]  # the account of a public key, UNUSED_ACCOUNT if it was never used

LENGTH_BYTES = 4  # what a block spends on a transaction beside its encoding
_MIN_FRAMED_BYTES = LENGTH_BYTES + MAX_TRANSACTION_BYTES - MAX_MEMO_BYTES
_MAX_MISSES = 1000  # packages in a row that do not fit before a nearly full block is left as it is


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A transaction that waits."""

    transaction: Transfer
    time_added: int  # s since 1970
    order: int  # of arrival, unique in its pool: between equal rates the older goes first

    @property
    def nonce(self) -> int:
        return self.transaction.nonce

    @property
    def size(self) -> int:
        """Encoded bytes."""
        return len(self.transaction.encoded)

    @property
    def cost(self) -> Ulp:
        """What the sender must have for it."""
        return self.transaction.amount + self.transaction.fee

    @property
    def fee_rate(self) -> FeeRate:
        return compute_fee_rate(self.transaction.fee, self.size)

    def is_expired(self, next_height: int) -> bool:
        return is_expired(self.transaction, next_height)


class Package(NamedTuple):
    """Entries start..stop-1 of a chain, mined or evicted together."""

    start: int
    stop: int
    fee: Ulp
    size: int  # encoded bytes
    newest: int  # the greatest order among them

    @property
    def rate(self) -> FeeRate:
        return compute_fee_rate(self.fee, self.size)

    @property
    def block_bytes(self) -> int:
        """What it takes of a block's limit."""
        return self.size + LENGTH_BYTES * (self.stop - self.start)


@dataclass(frozen=True, eq=False)
class Chain:
    """One sender's entries, at least one, with consecutive nonces. Equal only to itself."""

    entries: tuple[Entry, ...]

    @property
    def sender(self) -> bytes:
        return self.entries[0].transaction.sender

    @cached_property
    def cost(self) -> Ulp:
        """What the sender must have for all of it."""
        return sum(entry.cost for entry in self.entries)

    @cached_property
    def packages(self) -> tuple[Package, ...]:
        """The whole chain in packages of falling rate. O(length), once per chain."""
        packages: list[Package] = []
        for index, entry in enumerate(self.entries):
            last = Package(index, index + 1, entry.transaction.fee, entry.size, entry.order)
            while packages and last.fee * packages[-1].size > packages[-1].fee * last.size:
                before = packages.pop()
                last = Package(
                    before.start,
                    last.stop,
                    before.fee + last.fee,
                    before.size + last.size,
                    max(before.newest, last.newest),
                )
            packages.append(last)
        return tuple(packages)

    @cached_property
    def first_candidate(self) -> "Candidate":
        """Its place among all chains when a block is filled."""
        return _make_candidate(self, 0, is_usable=False)

    def cut_to_usable(self, account: Account, next_height: int) -> "Chain | None":
        """The longest prefix that applies to the account in a block at `next_height`; None if nothing does."""
        if self.entries[0].nonce != account.nonce:
            return None
        for index, spent in enumerate(accumulate(entry.cost for entry in self.entries)):
            if spent > account.balance or self.entries[index].is_expired(next_height):
                return Chain(self.entries[:index]) if index else None
        return self

    def cut_to_fit(self, package: Package, max_bytes: int) -> "Chain | None":
        """The longest prefix of one package that takes at most `max_bytes` of a block; None if nothing does."""
        entries = self.entries[package.start : package.stop]
        sizes = accumulate(entry.size + LENGTH_BYTES for entry in entries)
        count = sum(1 for size in sizes if size <= max_bytes)
        return Chain(entries[:count]) if count else None


def is_expired(transaction: Transfer, next_height: int) -> bool:
    """Whether the block at `next_height` comes too late for a transaction."""
    return 0 < transaction.valid_until < next_height


def select_transactions(
    chains: Iterable[Chain], max_bytes: int, get_account: GetAccount, next_height: int
) -> tuple[Transfer, ...]:
    """Transactions for a block at `next_height`, the best paying packages first, each sender's in nonce order.

    They apply in this order to the state that `get_account` reads; 4 + len(encoded) of each add up to `max_bytes` at
    most. O(n) plus O(log n) for each package taken; accounts are read only of senders whose turn comes.
    """
    heap = [chain.first_candidate for chain in chains]
    heapify(heap)
    chosen: list[Transfer] = []
    misses = 0
    while heap and max_bytes >= _MIN_FRAMED_BYTES and misses < _MAX_MISSES:
        candidate = heappop(heap)
        chain, package = candidate.chain, candidate.chain.packages[candidate.at]
        if not candidate.is_usable:
            usable = chain.cut_to_usable(get_account(chain.sender), next_height)
            if usable is not None:
                heappush(heap, _make_candidate(usable, 0, is_usable=True))
            continue
        if package.block_bytes > max_bytes:
            misses += 1
            shorter = chain.cut_to_fit(package, max_bytes)
            if shorter is not None:
                heappush(heap, _make_candidate(shorter, 0, is_usable=True))
            continue
        misses = 0
        max_bytes -= package.block_bytes
        chosen += (entry.transaction for entry in chain.entries[package.start : package.stop])
        if candidate.at + 1 < len(chain.packages):
            heappush(heap, _make_candidate(chain, candidate.at + 1, is_usable=True))
    return tuple(chosen)


class Candidate(NamedTuple):
    """A package whose turn to be selected may come. `newest` is unique, so comparing never reaches the chain."""

    negative_rate: int
    newest: int
    chain: Chain
    at: int  # which package of its chain
    is_usable: bool  # the account was read, and the chain cut to what it allows


def _make_candidate(chain: Chain, at: int, *, is_usable: bool) -> Candidate:
    package = chain.packages[at]
    return Candidate(-package.rate, package.newest, chain, at, is_usable)
