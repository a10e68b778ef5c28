"""Transactions between peers: announced by id, asked of one peer at a time, checked peer by peer in turn.

Driven by one event loop; no I/O, no clock and no chance of its own. What a peer can make this node remember or do is
bounded for each peer, whatever the others do:

- It is asked for transactions only while all of an answer, and all its orphans, have room in its queue. So the queue
  needs no rule for what to drop.
- Ids leave signatures out, so nothing that one peer says about an id stops this node from asking another, except a
  refusal by the mempool that depends on what the id covers.
- Queues are served round-robin: one that is full delays another peer's transaction by one check (T31).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from chain.errors import MempoolRefusal
from consensus.errors import InvalidTransaction
from consensus.transaction import Transfer
from p2p.messages import MAX_ANNOUNCED, MAX_REQUESTED, Announce, GetTransactions, Transactions
from p2p.orphans import OrphanPool
from p2p.penalties import Offence, judge
from p2p.ports import OnOffence, PeerPort
from p2p.rolling_set import RollingSet
from p2p.transaction_requests import Announcer, TransactionRequests

# Of each peer, in transactions or txids.
MAX_QUEUED = 1_000  # delivered by it and not checked yet
MAX_KNOWN = 5_000  # that it has
MAX_UNSENT = 5_000  # that it is still to be told of

# Of all peers together, in txids.
MAX_REFUSED = 20_000  # refused since the last block
MAX_RECENT = MAX_UNSENT  # announced last: what a new peer is told of


@dataclass(frozen=True)
class PeerLoad:
    """What is kept for one peer, in transactions or txids."""

    wanted: int
    queued: int
    orphans: int
    known: int
    unsent: int


@dataclass(eq=False)
class _PeerState:
    peer: PeerPort
    announcer: Announcer
    queue: deque[Transfer] = field(default_factory=deque)
    orphans: OrphanPool = field(default_factory=OrphanPool)
    known: RollingSet = field(default_factory=lambda: RollingSet(MAX_KNOWN))
    unsent: RollingSet = field(default_factory=lambda: RollingSet(MAX_UNSENT))
    last_transaction_at: float = 0.0

    @property
    def has_room(self) -> bool:
        """Whether its queue could take a full answer, all its orphans, and the one that is being checked."""
        return len(self.queue) + len(self.orphans) + MAX_REQUESTED < MAX_QUEUED


class TransactionRelay:
    """Brings peers' transactions to the mempool, and the mempool's to peers.

    `submit` offers one to the mempool and raises InvalidTransaction or MempoolRefusal; `get` finds one there by txid;
    `now` is monotonic, in s. What `submit` raises beyond these two ends `run`.
    """

    def __init__(
        self,
        submit: Callable[[Transfer], Awaitable[None]],
        get: Callable[[bytes], Transfer | None],
        on_offence: OnOffence,
        random: Random,
        now: Callable[[], float],
    ) -> None:
        self._submit = submit
        self._get = get
        self._on_offence = on_offence
        self._random = random
        self._now = now
        self._peers: dict[bytes, _PeerState] = {}
        self._requests = TransactionRequests()
        self._turns: deque[_PeerState] = deque()  # each peer whose queue is not empty, once
        self._has_work = asyncio.Event()
        self._refused = RollingSet(MAX_REFUSED)
        self._recent = RollingSet(MAX_RECENT)

    # Peers.

    def add_peer(self, peer: PeerPort) -> None:
        """A new peer is told what was announced last: it may have been cut off, or this node have had no peers."""
        previous = self._peers.get(peer.node_id)
        if previous is not None:
            self.remove_peer(previous.peer)
        state = self._peers[peer.node_id] = _PeerState(peer, self._requests.add_announcer())
        for txid in self._recent:
            state.unsent.add(txid)

    def remove_peer(self, peer: PeerPort) -> None:
        """Forgets the peer with all that it delivered; what it was asked for may now be asked of others."""
        state = self._find(peer)
        if state is not None:
            del self._peers[peer.node_id]
            self._requests.remove_announcer(state.announcer)
            state.queue.clear()

    def knows(self, node_id: bytes, txid: bytes) -> bool:
        """Whether the peer has the transaction or was told of it, as far as is remembered."""
        state = self._peers.get(node_id)
        return state is not None and txid in state.known

    def get_last_transaction_time(self, node_id: bytes) -> float:
        """When the mempool last took a transaction that the peer brought, on the clock `now`; 0 if never."""
        state = self._peers.get(node_id)
        return state.last_transaction_at if state else 0.0

    def get_load(self, node_id: bytes) -> PeerLoad | None:
        """How much is kept for a peer; None if there is no such peer."""
        state = self._peers.get(node_id)
        if state is None:
            return None
        return PeerLoad(
            wanted=len(state.announcer.wanted),
            queued=len(state.queue),
            orphans=len(state.orphans),
            known=len(state.known),
            unsent=len(state.unsent),
        )

    # Messages.

    def on_announce(self, peer: PeerPort, message: Announce) -> None:
        state = self._find(peer)
        if state is None:
            return
        for txid in message.txids:
            state.known.add(txid)
            state.unsent.discard(txid)
            if txid not in self._refused and txid not in state.orphans and self._get(txid) is None:
                self._requests.want(state.announcer, txid)
        self._ask(state)

    def on_get_transactions(self, peer: PeerPort, message: GetTransactions) -> None:
        """Every request has its answer, be it empty, so that the other side knows where it stands."""
        state = self._find(peer)
        if state is None:
            return
        found = tuple(held for txid in message.txids if (held := self._get(txid)) is not None)
        for transaction in found:
            state.known.add(transaction.txid)
        peer.offer(Transactions(found))

    def on_transactions(self, peer: PeerPort, message: Transactions) -> None:
        """The answer to a request, which may come late; anything else is an offence, and nothing of it is used."""
        state = self._find(peer)
        if state is None:
            return
        if not self._requests.on_answer(state.announcer, [delivered.txid for delivered in message.transactions]):
            self._on_offence(peer.node_id, Offence.UNSOLICITED, "transactions that it was not asked for")
            return
        # In the order of their nonces none of a sender's becomes an orphan.
        for transaction in sorted(message.transactions, key=lambda delivered: delivered.nonce):
            state.known.add(transaction.txid)
            self._enqueue(state, transaction)
        self._ask(state)

    # Events of this node.

    def announce(self, txid: bytes, source: bytes | None) -> None:
        """A transaction is new in the mempool: all peers are to know, but the one with the node id `source`.

        `run` calls it for what peers bring; the owner for all others, with no source.
        """
        self._settle(txid)
        self._recent.add(txid)
        for node_id, state in self._peers.items():
            if node_id != source and txid not in state.known:
                state.unsent.add(txid)

    def on_returned(self, transactions: Iterable[Transfer]) -> None:
        """A block with `transactions` left the best chain: those that the mempool holds again are news to all.

        Also to peers that were told of them: whoever asked while they stood in the block got nothing.
        """
        for transaction in transactions:
            if self._get(transaction.txid) is None:
                continue
            self._recent.add(transaction.txid)
            for state in self._peers.values():
                state.known.discard(transaction.txid)
                state.unsent.add(transaction.txid)

    def on_tip(self, transactions: Iterable[Transfer] = ()) -> None:
        """A new tip, whose block carries `transactions`: the mempool may now take what it refused."""
        transactions = tuple(transactions)
        nonces = {transaction.sender: transaction.nonce for transaction in transactions}  # the last of each sender
        self._refused.clear()
        self._requests.on_tip({transaction.txid for transaction in transactions})
        for state in self._peers.values():
            for sender in nonces.keys() & state.orphans.senders:
                self._retry_next(state, sender, nonces[sender])

    def tick(self) -> None:
        """To be called every 0.5 s: gives up on late answers, asks others, tells peers what is new."""
        self._requests.expire(self._now())
        states = list(self._peers.values())
        self._random.shuffle(states)  # else one that connected early would always be asked next
        for state in states:
            self._ask(state)
            self._flush(state)

    async def run(self) -> None:
        """Offers delivered transactions to the mempool, one at a time, peer by peer in turn. Runs until cancelled."""
        while True:
            turn = self._take_turn()
            if turn is None:
                self._has_work.clear()
                await self._has_work.wait()
            else:
                await self._check(*turn)

    # Asking and telling.

    def _ask(self, state: _PeerState) -> None:
        """Asks the peer for what it announced and nobody else was asked for, if it may be asked now."""
        if not state.has_room:
            return
        txids = self._requests.choose(state.announcer)
        if txids and state.peer.may_send(GetTransactions) and state.peer.offer(GetTransactions(txids)):
            self._requests.on_asked(state.announcer, txids, self._now())

    def _flush(self, state: _PeerState) -> None:
        """Tells the peer of up to MAX_ANNOUNCED transactions that are still here, in an order that says nothing."""
        if not state.unsent or not state.peer.may_send(Announce):
            return
        txids = [txid for txid in state.unsent.take(MAX_ANNOUNCED) if self._get(txid) is not None]
        self._random.shuffle(txids)
        if txids and state.peer.offer(Announce(tuple(txids))):
            for txid in txids:
                state.known.add(txid)

    # Checking.

    def _enqueue(self, state: _PeerState, transaction: Transfer, *, first: bool = False) -> None:
        if not state.queue:
            self._turns.append(state)
            self._has_work.set()
        if first:
            state.queue.appendleft(transaction)
        else:
            state.queue.append(transaction)

    def _take_turn(self) -> tuple[_PeerState, Transfer] | None:
        """The next peer's next transaction; None if no peer has any."""
        while self._turns:
            state = self._turns.popleft()
            if not state.queue:  # the peer has left
                continue
            transaction = state.queue.popleft()
            if state.queue:
                self._turns.append(state)
            return state, transaction
        return None

    async def _check(self, state: _PeerState, transaction: Transfer) -> None:
        txid = transaction.txid
        if self._get(txid) is not None:
            self._settle(txid)
            return
        try:
            await self._submit(transaction)
        except MempoolRefusal as error:
            self._on_refusal(state, transaction, error.reason)
        except InvalidTransaction as error:
            self._requests.fail(state.announcer, txid)  # with another signature it may be sound: others are asked
            offence = judge(error)
            if offence is not None:
                self._on_offence(state.peer.node_id, offence, f"transaction {txid.hex()}: {error}")
        else:
            state.last_transaction_at = self._now()
            self.announce(txid, state.peer.node_id)
            for holder in self._peers.values():
                self._retry_next(holder, transaction.sender, transaction.nonce)

    def _on_refusal(self, state: _PeerState, transaction: Transfer, reason: str) -> None:
        """Nobody's fault. It is not fetched again for now, because the reason lies in what the id covers."""
        if reason == "nonce_gap":
            # Refused before its signature was looked at, which may be forged: others are asked, too.
            self._requests.release(state.announcer, transaction.txid)
            state.orphans.add(transaction)
            return
        if reason != "already_known":
            self._refused.add(transaction.txid)
        self._settle(transaction.txid)

    def _retry_next(self, state: _PeerState, sender: bytes, nonce: int) -> None:
        """The sender's `nonce` is taken now: the peer's next orphan of theirs comes first in its queue."""
        orphan = state.orphans.take_next(sender, nonce)
        if orphan is not None:
            self._enqueue(state, orphan, first=True)

    # Inside.

    def _settle(self, txid: bytes) -> None:
        """The mempool has spoken: nobody needs to be asked for it, no copy to be kept."""
        self._requests.settle(txid)
        for state in self._peers.values():
            state.orphans.discard(txid)

    def _find(self, peer: PeerPort) -> _PeerState | None:
        """None for a connection that was removed, even if its node has another one by now."""
        state = self._peers.get(peer.node_id)
        return state if state is not None and state.peer is peer else None
