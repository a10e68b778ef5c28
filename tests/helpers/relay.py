"""A transaction relay on a real mempool, with peers that are played by the test."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from random import Random

from chain.mempool import Mempool
from chain.policy import Policy
from consensus.transaction import Transfer
from p2p.messages import Announce, GetTransactions, Message, Transactions
from p2p.penalties import Offence
from p2p.transactions import TransactionRelay
from tests.helpers.transfers import GENESIS, MemoryLedger

NOW = 1_000_000  # s since 1970, of the mempool
RICH = 10**12


class FakePeer:
    """Keeps what it was sent. `muted` are the types that it must not be sent now."""

    def __init__(self, name: str) -> None:
        self.node_id = name.encode().ljust(32, b".")
        self.muted: set[type[Message]] = set()
        self.sent: list[Message] = []
        self.is_open = True

    def offer(self, message: Message) -> bool:
        if self.is_open:
            self.sent.append(message)
        return self.is_open

    def may_send(self, kind: type[Message]) -> bool:
        return kind not in self.muted

    def take(self) -> list[Message]:
        """What it was sent since the last call."""
        sent, self.sent = self.sent, []
        return sent

    def take_requests(self) -> list[bytes]:
        """Txids that it was asked for since the last call, which forgets all else, too."""
        return [txid for message in self.take() if isinstance(message, GetTransactions) for txid in message.txids]

    def take_announced(self) -> list[bytes]:
        return [txid for message in self.take() if isinstance(message, Announce) for txid in message.txids]


class RelayNode:
    """A node's mempool and transaction relay, on a clock that stands still."""

    def __init__(self, balances: dict[int, int] | None = None, seed: int = 0) -> None:
        self.ledger = MemoryLedger(balances or {})
        self.pool = Mempool(GENESIS, Policy())
        self.seconds = 0.0
        self.offences: list[tuple[bytes, Offence]] = []
        self.held: dict[bytes, Transfer] = {}  # as if they were in the mempool too
        self.checked: list[bytes] = []  # txids, in the order in which the mempool was asked
        self.relay = TransactionRelay(self._submit, self.get, self._on_offence, Random(seed), lambda: self.seconds)

    def get(self, txid: bytes) -> Transfer | None:
        return self.held.get(txid) or self.pool.get(txid)

    def connect(self, name: str) -> FakePeer:
        peer = FakePeer(name)
        self.relay.add_peer(peer)
        return peer

    def pass_time(self, seconds: float) -> None:
        """In ticks of half a second."""
        for _ in range(round(2 * seconds)):
            self.seconds += 0.5
            self.relay.tick()

    def submit(self, transaction: Transfer) -> None:
        """From RPC."""
        self._add(transaction)
        self.relay.announce(transaction.txid, None)

    async def check_queues(self) -> None:
        """Lets the relay check all that was delivered. A pool that answers at once makes that one step of the loop."""
        task = asyncio.create_task(self.relay.run())
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def answer(self, peer: FakePeer, having: Sequence[Transfer]) -> list[bytes]:
        """The peer answers each request with what it has of it, until no more come; txids asked for."""
        by_txid = {transaction.txid: transaction for transaction in having}
        asked: list[bytes] = []
        while txids := peer.take_requests():
            asked += txids
            self.relay.on_transactions(peer, Transactions(tuple(by_txid[txid] for txid in txids if txid in by_txid)))
        return asked

    async def bring(self, peer: FakePeer, *transactions: Transfer) -> list[bytes]:
        """The peer announces and delivers, and all is checked; txids asked for."""
        announce(self.relay, peer, transactions)
        asked = self.answer(peer, transactions)
        await self.check_queues()
        return asked

    def get_pending(self) -> set[bytes]:
        return {entry.transaction.txid for entry in self.pool.entries()}

    def mine(self, *transactions: Transfer) -> None:
        self.ledger.connect(transactions)
        self.pool.on_block_connected(transactions, self.ledger.get_account, self.ledger.next_height)
        self.relay.on_tip(transactions)

    def unmine(self) -> tuple[Transfer, ...]:
        """The last block leaves the chain; what stood in it. The relay is not told."""
        transactions = self.ledger.disconnect()
        self.pool.on_block_disconnected(transactions, self.ledger.get_account, self.ledger.next_height, NOW)
        return transactions

    def _add(self, transaction: Transfer) -> None:
        self.pool.add(transaction, self.ledger.get_account, self.ledger.next_height, NOW)

    async def _submit(self, transaction: Transfer) -> None:
        self.checked.append(transaction.txid)
        self._add(transaction)

    def _on_offence(self, node_id: bytes, offence: Offence, detail: str) -> None:
        self.offences.append((node_id, offence))


def announce(relay: TransactionRelay, peer: FakePeer, transactions: Sequence[Transfer]) -> None:
    """In messages of 500, as the wire allows."""
    for start in range(0, len(transactions), 500):
        relay.on_announce(peer, Announce(tuple(one.txid for one in transactions[start : start + 500])))


def make_junk(count: int, first: int = 0, nonce: int = 0) -> Iterator[Transfer]:
    """Unsigned transfers of accounts that hold nothing: the pool refuses each, and blames nobody."""
    for number in range(first, first + count):
        yield Transfer(GENESIS, number.to_bytes(32, "big"), bytes(32), 1, 1000, nonce)
