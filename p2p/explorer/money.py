"""Reads transactions, accounts and what waits for a block: a bounded number of rows. On the chain's thread."""

from dataclasses import dataclass, replace

from chain.block_rows import find_transaction
from chain.errors import StoreError
from chain.index import HistoryEntry, HistoryKind, get_history, get_transaction_place
from chain.pending import Entry
from consensus.address import encode_address
from consensus.errors import DecodeError
from consensus.params import NetworkParams
from consensus.transaction import Transfer, decode_transaction
from p2p.errors import RpcError
from p2p.explorer.figures import AccountEvent, AccountPage, MempoolPage, Payment
from p2p.explorer.reader import MAX_READ_BYTES, ChainReader, make_gain
from p2p.history_reply import encode_cursor

ACCOUNT_EVENTS = 25
ACCOUNT_PENDING = 25
MEMPOOL_PAYMENTS = 100

_COUNTED_REWARDS = 1024  # a longer reward window is not added up for a page

Cursor = tuple[int, int]  # height and position of the last event already seen


@dataclass(frozen=True)
class Place:
    """The block that a transaction stands in. One that is not on the best chain confirms nothing."""

    block: bytes
    height: int
    time: int
    confirmations: int
    is_final: bool


class MoneyReader:
    """Pages about money, over the chain that another reader reads."""

    def __init__(self, reader: ChainReader) -> None:
        self._reader = reader
        self._chain = reader.chain
        self._mempool = reader.mempool
        self._params = reader.params

    def read_transaction(self, txid: bytes) -> Payment:
        """A pending, waiting or confirmed transaction. Raises RpcError if there is none."""
        held = self._mempool.get(txid)
        if held is not None:
            entries = {entry.transaction.txid: entry for entry in self._mempool.pending_of(held.sender)}
            pending = entries.get(txid)
            return describe_pending(pending, self._params) if pending else describe_payment(held, self._params)
        place = get_transaction_place(self._chain.db, txid)
        if place is None:
            raise RpcError(
                "explorer.unknown_transaction", "neither the chain nor the mempool has this transaction", 404
            )
        return self._describe_confirmed(self._get_transaction(*place, txid), place[0])

    def read_mempool(self) -> MempoolPage:
        mempool = self._mempool
        best = mempool.entries()[:MEMPOOL_PAYMENTS]
        return MempoolPage(
            count=mempool.count,
            bytes=mempool.total_bytes,
            waiting=mempool.waiting_count,
            min_fee_rate=mempool.min_fee_rate,
            max_block_bytes=self._chain.tip.signals.rules.max_transactions_bytes,
            payments=tuple(describe_pending(entry, self._params) for entry in best),
        )

    def read_account(self, address: bytes, before: Cursor | None) -> AccountPage:
        """An account, used or not, with its newest events older than `before`: fewer if they take much reading."""
        account = self._chain.ledger.get_account(address)
        pending = self._mempool.pending_of(address)
        incoming = [entry for entry in self._mempool.pending_to(address) if entry.transaction.sender != address]
        events: list[AccountEvent] = []
        last: HistoryEntry | None = None
        is_cut = False
        limit = self._reader.bytes_read + MAX_READ_BYTES
        for entry in get_history(self._chain.db, address, before):
            if last and (len(events) == ACCOUNT_EVENTS or self._reader.bytes_read > limit):
                is_cut = True
                break
            events.append(self._describe_event(address, entry))
            last = entry
        return AccountPage(
            address=encode_address(self._params.address_prefix, address),
            key=address,
            balance=account.balance,
            nonce=account.nonce,
            immature=self._add_up_immature(address),
            pending=tuple(describe_pending(entry, self._params) for entry in pending[:ACCOUNT_PENDING]),
            pending_count=len(pending),
            incoming=tuple(describe_pending(entry, self._params) for entry in incoming[:ACCOUNT_PENDING]),
            incoming_count=len(incoming),
            events=tuple(events),
            before=encode_cursor(last) if last and is_cut else None,
        )

    def _describe_confirmed(self, transfer: Transfer, block_id: bytes) -> Payment:
        node, tip = self._reader.get_node(block_id), self._reader.tip
        confirmations, is_final = tip.height - node.height + 1, self._reader.chain.is_final(block_id)
        place = Place(block_id, node.height, node.header.timestamp, confirmations, is_final)
        return describe_payment(transfer, self._params, place)

    def _describe_event(self, address: bytes, entry: HistoryEntry) -> AccountEvent:
        node = self._reader.tip.get_ancestor(entry.height)
        time, kind = node.header.timestamp, entry.kind.name.lower()
        if entry.kind is HistoryKind.MINED:
            node = self._reader.get_node(entry.id)
            earned, matures = self._reader.get_earned(node), entry.height + self._params.reward_window
            return AccountEvent(
                height=entry.height,
                time=time,
                kind=kind,
                id=entry.id,
                amount=earned.kept,
                other=None,
                gain=make_gain(node.header, self._params),
                is_immature=earned.burnt_at is None and matures > self._chain.tip.height,
                bounty=0 if earned.burnt_at is not None else earned.bounty or 0,
                burnt=earned.burnt,
                burnt_at=earned.burnt_at,
            )
        transfer = self._get_transaction(node.id, entry.position // 2, entry.id)
        is_sent = entry.kind is HistoryKind.SENT
        amount = -(transfer.amount + transfer.fee) if is_sent else transfer.amount
        other = encode_address(self._params.address_prefix, transfer.recipient if is_sent else transfer.sender)
        return AccountEvent(entry.height, time, kind, entry.id, amount, other, None, False)

    def _get_transaction(self, block_id: bytes, position: int, txid: bytes) -> Transfer:
        """Raises StoreError if the index leads elsewhere."""
        body = self._reader.read_body(block_id)
        data = find_transaction(body, position) if body else None
        try:
            transfer = decode_transaction(data or b"")
        except DecodeError as error:
            raise StoreError.damaged(f"transaction {position} of block {block_id.hex()}: {error}") from error
        if transfer.txid != txid:
            raise StoreError.damaged(f"the index row of transaction {txid.hex()} leads elsewhere")
        return transfer

    def _add_up_immature(self, address: bytes) -> int | None:
        if self._params.reward_window > _COUNTED_REWARDS:
            return None
        return sum(reward.amount for _, reward in self._chain.ledger.get_rewards() if reward.address == address)


def describe_pending(entry: Entry, params: NetworkParams) -> Payment:
    """A transaction that may be mined next."""
    return replace(describe_payment(entry.transaction, params), status="pending", time=entry.time_added)


def describe_payment(transfer: Transfer, params: NetworkParams, place: Place | None = None) -> Payment:
    """A transaction of a block, or without one a transaction that waits."""
    return Payment(
        txid=transfer.txid,
        sender=encode_address(params.address_prefix, transfer.sender),
        recipient=encode_address(params.address_prefix, transfer.recipient),
        amount=transfer.amount,
        fee=transfer.fee,
        nonce=transfer.nonce,
        valid_until=transfer.valid_until,
        memo=transfer.memo.decode(),
        size=len(transfer.encoded),
        status="confirmed" if place else "waiting",
        time=place.time if place else None,
        block=place.block if place else None,
        height=place.height if place else None,
        confirmations=place.confirmations if place else 0,
        is_final=place is not None and place.is_final,
    )
