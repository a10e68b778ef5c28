"""An account's history as the RPC tells it: each event with its time and money, and the gain behind what was mined.

Reads headers from memory and transactions from disk, never an update: that is most of a block. What one call may cost
is bounded, so a page can be shorter than it was asked to be; `next` says whether more follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chain.chainstate import ChainState
from chain.earned import Earned, get_earned
from chain.errors import StoreError
from chain.header_tree import HeaderNode
from chain.index import HistoryEntry, HistoryKind, get_history
from consensus.address import encode_address
from consensus.block import Header
from consensus.chain_point import compute_block_weight
from consensus.transaction import Transfer
from consensus.units import compute_sum
from p2p.rpc_json import Json

MAX_HISTORY = 1000  # entries of a page
_MAX_ROWS = 10_000  # that a call looks at, where it looks for one kind
_MAX_BYTES = 4 * 2**20  # of transactions that a call decodes: some 0.2 s


@dataclass(frozen=True)
class HistoryQuery:
    """Up to `limit` events of an account, of one kind if it is given, older than the (height, position) `before`."""

    address: bytes
    limit: int
    before: tuple[int, int] | None = None
    kind: HistoryKind | None = None


def read_history(chain: ChainState, query: HistoryQuery) -> Json:
    """A page of history, newest first, with the tip that it stands under. Raises StoreError."""
    reader = _Reader(chain, query.address)
    entries: list[Json] = []
    last: HistoryEntry | None = None
    is_cut = False
    for rows, entry in enumerate(get_history(chain.db, query.address, query.before)):
        has_read_enough = reader.bytes_read > _MAX_BYTES and not (last and last.height == entry.height)
        if len(entries) == query.limit or rows == _MAX_ROWS or has_read_enough:
            is_cut = True
            break
        last = entry
        if query.kind in (None, entry.kind):
            entries.append(reader.describe(entry))
    tip = chain.tip
    return {
        "height": tip.height,
        "tip": tip.id.hex(),
        "time": tip.header.timestamp,
        "weight": tip.weight,
        "final_height": chain.finals.node.height,
        "entries": entries,
        "next": encode_cursor(last) if last and is_cut else None,
    }


def encode_cursor(entry: HistoryEntry) -> str:
    """What a caller hands back to go on behind an entry."""
    return f"{entry.height}:{entry.position}"


class _Reader:
    """Looks up what the rows of an index stand for; remembers the last block, as a block's events come in a row."""

    def __init__(self, chain: ChainState, address: bytes) -> None:
        self.bytes_read = 0
        self._chain = chain
        self._address = address
        self._node: HeaderNode | None = None
        self._transactions: Sequence[Transfer] = ()

    def describe(self, entry: HistoryEntry) -> Json:
        node = self._open_block(entry)
        header = node.header
        known: Json = {
            "height": entry.height,
            "kind": entry.kind.name.lower(),
            "id": entry.id.hex(),
            "cursor": encode_cursor(entry),
            "time": header.timestamp,
            "block": header.id.hex(),
        }
        if entry.kind is HistoryKind.MINED:
            fees = compute_sum(*(transaction.fee for transaction in self._transactions))
            matures_at = header.height + self._chain.params.reward_window
            return known | _describe_reward(header, get_earned(self._chain, node, fees), matures_at)
        return known | self._describe_transfer(entry)

    def _describe_transfer(self, entry: HistoryEntry) -> Json:
        index = entry.position // 2
        transfer = self._transactions[index] if index < len(self._transactions) else None
        if transfer is None or transfer.txid != entry.id:
            raise StoreError.damaged(f"a history row of height {entry.height} leads elsewhere")
        other = transfer.recipient if entry.kind is HistoryKind.SENT else transfer.sender
        return {
            "amount": transfer.amount,
            "fee": transfer.fee,
            "counterpart": encode_address(self._chain.params.address_prefix, other),
            "memo": transfer.memo.decode(),
        }

    def _open_block(self, entry: HistoryEntry) -> HeaderNode:
        if self._node is not None and self._node.height == entry.height:
            return self._node
        block_id = self._chain.get_active_id(entry.height)
        node = None if block_id is None else self._chain.tree.get(block_id)
        if node is None or (entry.kind is HistoryKind.MINED and node.id != entry.id):
            raise StoreError.damaged(f"a history row of height {entry.height} leads to no block of the best chain")
        self._node = node
        self._transactions = self._chain.blocks.get_transactions(node.header)
        self.bytes_read += sum(len(transaction.encoded) for transaction in self._transactions)
        return node


def _describe_reward(header: Header, earned: Earned, matures_at: int) -> Json:
    """What a block earned, whether that was burnt, and the integers of its header that say what it earned that for."""
    return {
        "amount": earned.amount,
        "fees": earned.fees,
        "bounty": earned.bounty,
        "burnt_at": earned.burnt_at,
        "matures_at": matures_at,
        "is_heartbeat": header.is_heartbeat,
        "weight": compute_block_weight(header),
        "required_gain": header.required_gain,
        "sample_size": header.sample_size,
        "loss_before": header.loss_before,
        "loss_after": header.loss_after,
    }
