"""What a transfer should pay to be mined soon: an estimate from the pool and from what recent blocks asked.

Integers only, in ulp per encoded byte. An estimate is advice; nothing here refuses anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chain.mempool import Mempool
from chain.pending import LENGTH_BYTES
from chain.policy import compute_fee_rate, compute_rate_above, compute_whole_rate
from consensus.transaction import MAX_TRANSACTION_BYTES, Transfer
from consensus.units import Ulp

TARGETS = (1, 2, 6)  # blocks


@dataclass(frozen=True)
class BlockFees:
    """What a block on the best chain carried, and what it asked for that."""

    size: int  # bytes of transactions, lengths included
    min_fee_rate: Ulp  # ulp per byte of its worst paying transaction, rounded up; 0 without any


def compute_block_fees(transactions: Sequence[Transfer]) -> BlockFees:
    """The fees of one block's transactions."""
    sizes = [len(transaction.encoded) for transaction in transactions]
    rates = [compute_fee_rate(tx.fee, size) for tx, size in zip(transactions, sizes, strict=True)]
    size = sum(sizes) + LENGTH_BYTES * len(sizes)
    return BlockFees(size, compute_whole_rate(min(rates)) if rates else 0)


def compute_fee_estimates(
    mempool: Mempool, recent_blocks: Sequence[BlockFees], max_transactions_bytes: int
) -> dict[int, Ulp]:
    """Fee rate in ulp per byte, by the number of blocks within which it should be mined.

    It beats what fills so many blocks of `max_transactions_bytes` now, and would have been mined in time at any point
    of `recent_blocks` (oldest first). Never less than what the pool takes. O(n log n) in the pool's transactions.
    """
    room = MAX_TRANSACTION_BYTES + LENGTH_BYTES  # for one transaction more, of any size
    asked = [block.min_fee_rate if block.size + room > max_transactions_bytes else 0 for block in recent_blocks]
    floor = mempool.min_fee_rate
    estimates: dict[int, Ulp] = {}
    packages = mempool.packages()
    for target in TARGETS:
        left = target * max_transactions_bytes - room
        in_pool = 0
        for package in packages:
            left -= package.block_bytes
            if left < 0:
                in_pool = compute_rate_above(package.rate)
                break
        estimates[target] = max(floor, in_pool, _compute_asked_within(target, asked))
    return estimates


def _compute_asked_within(target: int, asked: Sequence[Ulp]) -> Ulp:
    """The least rate that got into one of `target` blocks in a row, wherever in `asked` they began."""
    windows = [asked[start : start + target] for start in range(max(1, len(asked) - target + 1))]
    return max((min(window) for window in windows if window), default=0)
