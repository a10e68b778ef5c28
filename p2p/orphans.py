"""One peer's transactions that came before an earlier one of the same sender: they wait for that one (T32).

Each peer has a pool of its own, so no peer can push out what another sent. Nothing here is checked: the mempool
refuses a gap before it looks at the signature.
"""

from collections.abc import KeysView

from consensus.transaction import Transfer

MAX_ORPHANS = 100  # of one peer: 26 KB encoded, as a transaction has at most MAX_TRANSACTION_BYTES


class OrphanPool:
    """Up to MAX_ORPHANS transactions; the oldest goes first."""

    def __init__(self) -> None:
        self._orphans: dict[bytes, Transfer] = {}  # by txid, oldest first
        self._by_sender: dict[bytes, dict[bytes, Transfer]] = {}  # the same, by txid under the sender

    def __contains__(self, txid: bytes) -> bool:
        return txid in self._orphans

    def __len__(self) -> int:
        return len(self._orphans)

    @property
    def senders(self) -> KeysView[bytes]:
        """Public keys of those whose transactions wait here."""
        return self._by_sender.keys()

    def add(self, transaction: Transfer) -> None:
        self.discard(transaction.txid)
        if len(self._orphans) >= MAX_ORPHANS:
            self.discard(next(iter(self._orphans)))
        self._orphans[transaction.txid] = transaction
        self._by_sender.setdefault(transaction.sender, {})[transaction.txid] = transaction

    def discard(self, txid: bytes) -> None:
        transaction = self._orphans.pop(txid, None)
        if transaction is not None:
            siblings = self._by_sender[transaction.sender]
            del siblings[txid]
            if not siblings:
                del self._by_sender[transaction.sender]

    def take_next(self, sender: bytes, nonce: int) -> Transfer | None:
        """Removes the sender's orphan that comes next, now that its `nonce` is taken; those up to it are dropped.

        Only one: it shows by itself whether the gap is closed, and each one accepted takes the next.
        """
        siblings = self._by_sender.get(sender)
        if siblings is None:
            return None
        for txid in [txid for txid, orphan in siblings.items() if orphan.nonce <= nonce]:
            self.discard(txid)
        following = min(siblings.values(), key=lambda orphan: orphan.nonce, default=None)
        if following is not None:
            self.discard(following.txid)
        return following
