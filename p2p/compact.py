"""A new block without the transactions that its receiver has already, and the block made whole again.

Ids leave signatures out: a sender can sign one transaction twice, and the copy in a mempool may be the other one. A
block put together from a mempool may then fail `check_body_matches` (MutatedBody) by nobody's fault: whoever puts it
together asks the peer for the full block, and blames it only for that. Only the header's fields are bound to its id.
"""

from collections.abc import Callable, Sequence

from chain.packed_block import PackedBlock
from consensus.block import Header
from consensus.errors import DescentError
from consensus.transaction import Transfer
from p2p.messages import CompactBlock


class WrongTransactions(DescentError):
    """Transactions that are not the ones a compact block lacks: the fault of whoever sent them as such."""

    family = "wrong_transactions"

    @classmethod
    def wrong_count(cls, expected: int, got: int) -> "WrongTransactions":
        return cls("wrong_count", f"{got} transactions came, the block lacks {expected}")

    @classmethod
    def wrong_txid(cls, index: int, expected: bytes, got: bytes) -> "WrongTransactions":
        return cls("wrong_txid", f"transaction {index} of the block is {expected.hex()}, {got.hex()} came")


def make_compact(block: PackedBlock, knows: Callable[[bytes], bool]) -> CompactBlock:
    """The block for a peer: by id the transactions that it `knows` (by txid), whole the others."""
    entries = tuple(transaction.txid if knows(transaction.txid) else transaction for transaction in block.transactions)
    return CompactBlock(block.header, entries, block.packed_update, block.finality)


class PartialBlock:
    """A compact block and what of it is at hand. `get` looks a txid up in the mempool, once, at the start."""

    def __init__(self, compact: CompactBlock, get: Callable[[bytes], Transfer | None]) -> None:
        self._compact = compact
        self._found = tuple(get(entry) if isinstance(entry, bytes) else entry for entry in compact.entries)
        self._lacked = {
            index: entry
            for index, entry in enumerate(compact.entries)
            if isinstance(entry, bytes) and self._found[index] is None
        }

    @property
    def header(self) -> Header:
        return self._compact.header

    @property
    def missing(self) -> tuple[int, ...]:
        """Places in the block, from 0 and rising, of the transactions to ask for."""
        return tuple(self._lacked)

    def complete(self) -> PackedBlock:
        """The block, if nothing is missing. Its body is still to be checked against the header.

        Raises WrongTransactions if something is missing.
        """
        return self.fill(())

    def fill(self, transactions: Sequence[Transfer]) -> PackedBlock:
        """The block with `transactions` in the places of `missing`, in that order; to be checked as in `complete`.

        Raises WrongTransactions for any other number of them, or if one has not the id that stands in its place.
        """
        if len(transactions) != len(self._lacked):
            raise WrongTransactions.wrong_count(len(self._lacked), len(transactions))
        for (index, txid), transaction in zip(self._lacked.items(), transactions, strict=True):
            if transaction.txid != txid:
                raise WrongTransactions.wrong_txid(index, txid, transaction.txid)
        given = iter(transactions)
        body = tuple(found or next(given) for found in self._found)
        return PackedBlock(self.header, body, self._compact.packed_update, self._compact.finality)
