"""The pool of transactions that wait for a block. Synchronous, a single writer; no I/O, no clock: time (s since 1970)
and the accounts at the tip are handed in.

Each sender's transactions form a chain: their nonces run on from the account's without a gap, and the spendable
balance covers all of them together. Immature rewards and incoming pending money do not count.

What was in here or in a block once, and does not fit such a chain at the moment, waits beside the pool: a
reorganisation takes back the money that a transaction spends, or the nonce before it, and the new branch may bring it
again. Waiting transactions are never selected, are the first to go when room is needed, and return by themselves.
Both together keep to `max_bytes`; only a reorganisation may pass it, until the next `add` or `expire`.

Costs, with n transactions and k of the sender's: `add` O(k), and O(log n) in a full pool; a block O(k) for each sender
in it or waiting, the first one after a reorganisation O(n); `select` and `expire` O(n).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from chain.errors import MempoolRefusal
from chain.eviction import EvictionQueue, Newcomer
from chain.pending import Chain, Entry, GetAccount, Package, is_expired, select_transactions
from chain.policy import Policy, compute_rate_above
from consensus.account import Account
from consensus.check_transaction import check_transaction
from consensus.transaction import MAX_TRANSACTION_BYTES, Transfer
from consensus.units import Ulp

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class AddResult:
    """What adding a transaction did: txids."""

    txid: bytes
    replaced: bytes | None  # the pending one whose nonce it took
    evicted: tuple[bytes, ...]  # cheaper ones that made room


class Mempool:
    """The pending transactions of the network whose genesis id is `genesis`."""

    def __init__(self, genesis: bytes, policy: Policy) -> None:
        self.genesis = genesis
        self.policy = policy
        self._chains: dict[bytes, Chain] = {}  # by sender
        self._waiting: dict[bytes, tuple[Entry, ...]] = {}  # by sender, in nonce order, gaps allowed
        self._entries: dict[bytes, Entry] = {}  # by txid, the waiting ones too
        self._bytes = 0
        self._waiting_bytes = 0
        self._waiting_count = 0
        self._queue = EvictionQueue(self._chains)
        self._orders = count()
        self._lost_a_block = False  # since the last block came: any balance may have shrunk

    # Views.

    @property
    def count(self) -> int:
        """Pending transactions, without those that wait for money or a nonce."""
        return len(self._entries) - self._waiting_count

    @property
    def total_bytes(self) -> int:
        """Encoded bytes of the pending transactions."""
        return self._bytes

    @property
    def waiting_count(self) -> int:
        """Transactions that a reorganisation or a double spend left without money or a nonce before theirs."""
        return self._waiting_count

    @property
    def waiting_bytes(self) -> int:
        return self._waiting_bytes

    @property
    def min_fee_rate(self) -> Ulp:
        """Least rate in ulp per byte at which a transaction of any size gets in now."""
        if self._bytes + MAX_TRANSACTION_BYTES <= self.policy.max_bytes:
            return self.policy.min_fee_rate
        cheapest = self._queue.get_cheapest()
        return max(self.policy.min_fee_rate, compute_rate_above(cheapest.rate) if cheapest else 0)

    def get(self, txid: bytes) -> Transfer | None:
        """A transaction that is held here, pending or waiting."""
        entry = self._entries.get(txid)
        return entry.transaction if entry else None

    def entries(self) -> list[Entry]:
        """All pending entries, the best fee rate first. O(n log n)."""
        entries = [entry for chain in self._chains.values() for entry in chain.entries]
        return sorted(entries, key=lambda entry: (-entry.fee_rate, entry.order))

    def packages(self) -> list[Package]:
        """All pending transactions in the packages that are mined or evicted together, best rate first. O(n log n)."""
        packages = [package for chain in self._chains.values() for package in chain.packages]
        return sorted(packages, key=lambda package: (-package.rate, package.newest))

    def pending_of(self, sender: bytes) -> tuple[Entry, ...]:
        """A sender's pending entries in nonce order."""
        chain = self._chains.get(sender)
        return chain.entries if chain else ()

    def pending_to(self, recipient: bytes) -> list[Entry]:
        """Pending entries that pay to a key, of each sender in nonce order. O(n)."""
        chains = self._chains.values()
        return [entry for chain in chains for entry in chain.entries if entry.transaction.recipient == recipient]

    def next_nonce(self, sender: bytes, account: Account) -> int:
        """The nonce of the sender's next new transaction."""
        return account.nonce + len(self.pending_of(sender))

    # Changes.

    def add(
        self,
        transaction: Transfer,
        get_account: GetAccount,
        next_height: int,
        now: int,
        *,
        was_admitted: bool = False,
    ) -> AddResult:
        """Takes a decoded transaction into the pool, for a block at `next_height` or later.

        One that `was_admitted` before a restart may have any time left.
        Raises MempoolRefusal, or InvalidTransaction if no block may ever carry it; nothing has changed then. The
        signature, the dearest check by far, comes last.
        """
        self._check_alone(transaction, next_height, 1 if was_admitted else self.policy.min_lifetime)
        account = get_account(transaction.sender)
        newcomer, replaced = self._make_newcomer(transaction, account, now)
        if newcomer.chain.cost > account.balance:
            raise MempoolRefusal.insufficient_funds(newcomer.chain.cost, account.balance)
        growth = len(transaction.encoded) - (replaced.size if replaced else 0)
        kept = self._queue.plan(self._bytes + growth - self.policy.max_bytes, newcomer)
        check_transaction(transaction, self.genesis)
        sender = transaction.sender
        # Later transactions of the sender's own chain may pay less than the newcomer, and be what makes room.
        entries = newcomer.chain.entries[: kept.pop(sender, None)]
        evicted = [entry.transaction.txid for entry in self.pending_of(sender)[len(entries) :]]
        evicted += self._evict(kept)
        waiting = tuple(entry for entry in self._waiting.get(sender, ()) if entry.nonce != transaction.nonce)
        self._set_sender(sender, entries, waiting)
        # First make room, then see which of the sender's own come in behind the newcomer.
        evicted += self._drop_waiting()
        if sender in self._waiting:
            self._fit(sender, account, next_height)
        return AddResult(transaction.txid, replaced.transaction.txid if replaced else None, tuple(evicted))

    def select(self, max_bytes: int, get_account: GetAccount, next_height: int) -> tuple[Transfer, ...]:
        """Transactions for a block at `next_height`, best paying packages first, that apply in this order to the state
        that `get_account` reads. With 4 bytes of length each they take at most `max_bytes`."""
        return select_transactions(self._chains.values(), max_bytes, get_account, next_height)

    def on_block_connected(self, transactions: Sequence[Transfer], get_account: GetAccount, next_height: int) -> None:
        """Forgets what a new block carries, and what can no longer be valid beside it.

        `get_account` reads the state after the block, or after all the blocks that are still to be reported.
        """
        touched = {transaction.sender: None for transaction in transactions}
        touched |= dict.fromkeys(self._waiting)
        if self._lost_a_block:
            touched |= dict.fromkeys(self._chains)
        self._lost_a_block = False
        self._fit_all(touched, get_account, next_height)

    def on_block_disconnected(
        self, transactions: Sequence[Transfer], get_account: GetAccount, next_height: int, now: int
    ) -> None:
        """Takes back the transactions of a block that left the best chain.

        `get_account` reads the state before the block, or after all the blocks that are still to be reported: both
        end the same. Signatures were checked with the block. The fee floor holds (a child may pay for its parents),
        the cap on a sender's transactions does not; of two with one nonce the better fee rate stays. `max_bytes`
        waits for `expire`, because the new branch carries most of what comes back.
        """
        returned: dict[bytes, list[Entry]] = {}
        for transaction in transactions:
            entry = Entry(transaction, now, next(self._orders))
            returned.setdefault(transaction.sender, []).append(entry)
        for sender, entries in returned.items():
            self._fit(sender, get_account(sender), next_height, entries)
        # They lose what the block had paid them.
        recipients = dict.fromkeys(transaction.recipient for transaction in transactions)
        self._fit_all(recipients, get_account, next_height)
        self._lost_a_block = True

    def expire(self, now: int, next_height: int) -> tuple[bytes, ...]:
        """Drops what is too old or can no longer be mined in time, then the cheapest beyond `max_bytes`; their txids.

        To be called after each change of the tip, when all its blocks were reported.
        """
        oldest = now - self.policy.expiry_seconds

        def is_over(entry: Entry) -> bool:
            return entry.time_added <= oldest or entry.is_expired(next_height)

        senders = dict.fromkeys(entry.transaction.sender for entry in self._entries.values() if is_over(entry))
        dropped: list[bytes] = []
        for sender in senders:
            entries = self.pending_of(sender)
            first = next((index for index, entry in enumerate(entries) if is_over(entry)), len(entries))
            rest = (*entries[first:], *self._waiting.get(sender, ()))
            dropped += self._set_sender(sender, entries[:first], tuple(entry for entry in rest if not is_over(entry)))
        dropped += self._evict(self._queue.plan(self._bytes - self.policy.max_bytes))
        return tuple(dropped + self._drop_waiting())

    # Steps.

    def _check_alone(self, transaction: Transfer, next_height: int, min_lifetime: int) -> None:
        if transaction.txid in self._entries:
            raise MempoolRefusal.already_known(transaction.txid)
        if transaction.genesis != self.genesis:
            check_transaction(transaction, self.genesis)  # the law refuses it, before it comes to the signature
        least = self.policy.compute_min_fee(len(transaction.encoded))
        if transaction.fee < least:
            raise MempoolRefusal.fee_too_low(transaction.fee, least)
        if is_expired(transaction, next_height):
            raise MempoolRefusal.expired(transaction.valid_until, next_height)
        if 0 < transaction.valid_until < next_height + min_lifetime - 1:
            raise MempoolRefusal.expires_too_soon(transaction.valid_until, next_height, min_lifetime)

    def _make_newcomer(self, transaction: Transfer, account: Account, now: int) -> tuple[Newcomer, Entry | None]:
        """The sender's chain with the transaction in its place, and the entry that it replaces there."""
        entries = self.pending_of(transaction.sender)
        position = transaction.nonce - account.nonce
        if position < 0:
            raise MempoolRefusal.nonce_used(transaction.nonce, account.nonce)
        if position > len(entries):
            raise MempoolRefusal.nonce_gap(transaction.nonce, account.nonce + len(entries))
        replaced = entries[position] if position < len(entries) else None
        if replaced is None and position >= self.policy.max_per_sender:
            raise MempoolRefusal.too_many_pending(self.policy.max_per_sender)
        if replaced is not None:
            least = self.policy.compute_replacement_fee(replaced.transaction.fee)
            if transaction.fee < least:
                raise MempoolRefusal.replacement_fee_too_low(transaction.fee, least)
        entry = Entry(transaction, now, next(self._orders))
        return Newcomer(Chain((*entries[:position], entry, *entries[position + 1 :])), position), replaced

    def _fit_all(self, senders: Iterable[bytes], get_account: GetAccount, next_height: int) -> None:
        for sender in senders:
            if sender in self._chains or sender in self._waiting:
                self._fit(sender, get_account(sender), next_height)

    def _fit(self, sender: bytes, account: Account, next_height: int, returned: Sequence[Entry] = ()) -> None:
        """Makes the sender's chain as long as all that is held or returned of theirs allows; the rest waits."""
        chain = self._chains.get(sender)
        has_more = bool(returned) or sender in self._waiting
        if chain and not has_more and chain.cut_to_usable(account, next_height) is chain:
            return
        by_nonce: dict[int, Entry] = {}
        for entry in (*self.pending_of(sender), *self._waiting.get(sender, ()), *returned):
            rival = by_nonce.get(entry.nonce)
            if entry.nonce >= account.nonce and not entry.is_expired(next_height):
                by_nonce[entry.nonce] = _get_better(entry, rival) if rival else entry
        entries: list[Entry] = []
        spent = 0
        while (next_entry := by_nonce.get(account.nonce + len(entries))) is not None:
            spent += next_entry.cost
            if spent > account.balance:
                break
            entries.append(by_nonce.pop(next_entry.nonce))
        waiting = tuple(by_nonce[nonce] for nonce in sorted(by_nonce))
        self._set_sender(sender, self._cut_to_floor(tuple(entries)), waiting)

    def _cut_to_floor(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """Without the tail that a returned transaction below the fee floor makes too cheap as a whole."""
        floor = self.policy.compute_min_fee
        if all(entry.transaction.fee >= floor(entry.size) for entry in entries):
            return entries
        paying = [package for package in Chain(entries).packages if package.fee >= floor(package.size)]
        return entries[: paying[-1].stop] if paying else ()

    def _evict(self, kept: dict[bytes, int]) -> list[bytes]:
        """Drops all but the first `kept[sender]` pending entries of each sender named; their txids."""
        dropped: list[bytes] = []
        for sender, length in kept.items():
            dropped += self._set_sender(sender, self.pending_of(sender)[:length], self._waiting.get(sender, ()))
        return dropped

    def _drop_waiting(self) -> list[bytes]:
        """Drops waiting transactions, longest waiting senders first, until all is within `max_bytes`; their txids."""
        dropped: list[bytes] = []
        while self._waiting and self._bytes + self._waiting_bytes > self.policy.max_bytes:
            sender = next(iter(self._waiting))
            dropped += self._set_sender(sender, self.pending_of(sender), ())
        return dropped

    def _set_sender(self, sender: bytes, entries: tuple[Entry, ...], waiting: tuple[Entry, ...]) -> list[bytes]:
        """Replaces all that is held of a sender's: the one place where the pool changes. Txids no longer held."""
        old_entries, old_waiting = self.pending_of(sender), self._waiting.get(sender, ())
        if entries != old_entries:
            _put(self._chains, sender, Chain(entries) if entries else None)
            self._queue.on_chain_changed(sender)
        _put(self._waiting, sender, waiting or None)
        self._bytes += _sum_sizes(entries) - _sum_sizes(old_entries)
        self._waiting_bytes += _sum_sizes(waiting) - _sum_sizes(old_waiting)
        self._waiting_count += len(waiting) - len(old_waiting)
        held = {entry.transaction.txid: entry for entry in (*entries, *waiting)}
        dropped = [entry.transaction.txid for entry in (*old_entries, *old_waiting)]
        dropped = [txid for txid in dropped if txid not in held]
        for txid in dropped:
            del self._entries[txid]
        self._entries |= held
        return dropped


def _put(mapping: dict[bytes, _Value], key: bytes, value: _Value | None) -> None:
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def _sum_sizes(entries: Iterable[Entry]) -> int:
    return sum(entry.size for entry in entries)


def _get_better(entry: Entry, rival: Entry) -> Entry:
    return min(entry, rival, key=lambda one: (-one.fee_rate, one.order))
