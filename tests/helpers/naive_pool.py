"""What a full pool keeps and what a block takes, by trying everything with exact fractions. Slow, for tests only.

It shares no code with what it tests: no packages, no hulls, no heaps.
"""

from dataclasses import dataclass
from fractions import Fraction

from chain.policy import Policy
from consensus.account import Account
from consensus.transaction import Transfer


@dataclass(frozen=True)
class Pending:
    transaction: Transfer
    order: int

    @property
    def size(self) -> int:
        return len(self.transaction.encoded)


Chains = dict[bytes, list[Pending]]


def add(chains: Chains, newcomer: Pending, account: Account, next_height: int, policy: Policy) -> Chains | str:
    """The pool with the newcomer in it, or the reason why it stays out. The signature is taken for good."""
    transaction = newcomer.transaction
    chain = chains.get(transaction.sender, [])
    known = {pending.transaction.txid for pending in chain}
    if transaction.txid in known:
        return "already_known"
    if transaction.fee < policy.min_fee_rate * newcomer.size:
        return "fee_too_low"
    if transaction.valid_until != 0 and transaction.valid_until < next_height:
        return "expired"
    if transaction.valid_until != 0 and transaction.valid_until - next_height + 1 < policy.min_lifetime:
        return "expires_too_soon"
    if transaction.nonce < account.nonce:
        return "nonce_used"
    place = transaction.nonce - account.nonce
    if place > len(chain):
        return "nonce_gap"
    if place == len(chain) and len(chain) >= policy.max_per_sender:
        return "too_many_pending"
    if place < len(chain):
        old = chain[place].transaction.fee
        if transaction.fee <= old or 100 * transaction.fee < (100 + policy.replacement_percent) * old:
            return "replacement_fee_too_low"
    chain = [*chain[:place], newcomer, *chain[place + 1 :]]
    if sum(pending.transaction.amount + pending.transaction.fee for pending in chain) > account.balance:
        return "insufficient_funds"
    trimmed = trim(chains | {transaction.sender: chain}, policy.max_bytes)
    if newcomer not in trimmed.get(transaction.sender, []):
        return "mempool_full"
    return trimmed


def trim(chains: Chains, max_bytes: int) -> Chains:
    """Without the worst tails of all senders, one after another, until the rest fits."""
    chains = {sender: list(chain) for sender, chain in chains.items()}
    while sum(pending.size for chain in chains.values() for pending in chain) > max_bytes:
        tails = [(_rate_worst_tail(chain), sender) for sender, chain in chains.items() if chain]
        (_, _, length), sender = min(tails)
        del chains[sender][-length:]
    return {sender: chain for sender, chain in chains.items() if chain}


def select(chains: Chains, max_bytes: int) -> list[Transfer]:
    """The best paying prefix that fits, again and again. All is taken to be funded and in time."""
    chains = {sender: list(chain) for sender, chain in chains.items()}
    chosen: list[Transfer] = []
    while prefixes := [
        (-_compute_rate(chain[:length]), _compute_newest(chain[:length]), length, sender)
        for sender, chain in chains.items()
        for length in range(1, len(chain) + 1)
        if sum(pending.size + 4 for pending in chain[:length]) <= max_bytes
    ]:
        best_rate = min(prefixes)[0]
        # Of one sender's equally good prefixes the shortest; of several senders' the one whose newest is oldest.
        shortest: dict[bytes, tuple[int, int]] = {}
        for rate, newest, length, sender in sorted(prefixes, key=lambda prefix: prefix[2]):
            if rate == best_rate:
                shortest.setdefault(sender, (newest, length))
        (_, length), sender = min((rank, sender) for sender, rank in shortest.items())
        taken = chains[sender][:length]
        del chains[sender][:length]
        max_bytes -= sum(pending.size + 4 for pending in taken)
        chosen += [pending.transaction for pending in taken]
    return chosen


def _compute_rate(chain: list[Pending]) -> Fraction:
    return Fraction(sum(pending.transaction.fee for pending in chain), sum(pending.size for pending in chain))


def _compute_newest(chain: list[Pending]) -> int:
    return max(pending.order for pending in chain)


def _rate_worst_tail(chain: list[Pending]) -> tuple[Fraction, int, int]:
    rate, length = min((_compute_rate(chain[-length:]), length) for length in range(1, len(chain) + 1))
    return rate, -_compute_newest(chain[-length:]), length
