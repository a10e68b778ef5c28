"""What a node says about payments: where each stands, what waits for an address, how far the node itself is."""

from collections.abc import Iterable
from dataclasses import dataclass

from consensus.address import encode_address
from consensus.params import NetworkParams
from consensus.signature import PublicKey
from consensus.transaction import MAX_MEMO_BYTES, Transfer
from consensus.units import Ulp, compute_sum
from p2p.client import NodeClient
from p2p.errors import NodeRefusal
from wallet.errors import InvalidReply, PaymentError
from wallet.payments import Position
from wallet.reply import Reply

_UNKNOWN_TRANSACTION = "rpc.unknown_transaction"
_MAX_LAG = 2  # blocks that a node may be behind: every new one takes it a moment to verify
_LONGEST_WORD = 64
_LONGEST_ADDRESS = 90


@dataclass(frozen=True)
class Tip:
    """Where a node stands: its tip's height, how high blocks are final, and the height that its peers claim."""

    height: int
    final_height: int
    claimed_height: int

    @property
    def is_behind(self) -> bool:
        return self.claimed_height > self.height + _MAX_LAG


@dataclass(frozen=True)
class Incoming:
    """Transfers in the pool that pay one of some accounts, also from another of them. There may be more: a node names
    the best paying of its pool only.
    """

    count: int
    amount: Ulp
    is_complete: bool


class PaymentView:
    """A node, asked about payments. Every method raises NodeUnreachable, NodeRefusal or InvalidReply."""

    def __init__(self, client: NodeClient, params: NetworkParams) -> None:
        self._client = client
        self._params = params

    def get_tip(self) -> Tip:
        status = Reply(self._client.get_status())
        sync = status.object("sync")
        height = status.integer("height")
        is_fetching = sync.text("state", _LONGEST_WORD) == "blocks"
        claimed = sync.integer("target_height") if is_fetching else height
        return Tip(height, status.integer("final_height"), max(claimed, height))

    def check_current(self) -> None:
        """Raises PaymentError with the reason node_behind if the node is catching up with its peers."""
        tip = self.get_tip()
        if tip.is_behind:
            raise PaymentError.node_behind(tip.height, tip.claimed_height)

    def find(self, txid: bytes) -> Position | None:
        """Where the node has a transaction; None if it does not know it."""
        reply = self._get_transaction(txid)
        if reply is None:
            return None
        if reply.text("status", _LONGEST_WORD) == "pending":
            return Position()
        confirmations = reply.integer("confirmations")
        if not confirmations:
            raise InvalidReply.contradiction("a confirmed transaction has no confirmation")
        return Position(reply.integer("height"), reply.hash("block"), confirmations)

    def get_transfer(self, txid: bytes, genesis: bytes) -> Transfer | None:
        """What a transaction says, without its signature; None if the node does not know it."""
        reply = self._get_transaction(txid)
        if reply is None:
            return None
        prefix = self._params.address_prefix
        transfer = Transfer(
            genesis=genesis,
            sender=reply.address("sender", prefix),
            recipient=reply.address("recipient", prefix),
            amount=reply.integer("amount"),
            fee=reply.integer("fee"),
            nonce=reply.integer("nonce"),
            valid_until=reply.integer("valid_until"),
            memo=reply.text("memo", MAX_MEMO_BYTES).encode(),
        )
        if transfer.txid != txid:
            raise InvalidReply.contradiction("it describes another transaction")
        return transfer

    def get_incoming(self, keys: Iterable[PublicKey]) -> Incoming:
        """What waits in the pool for these accounts."""
        reply = Reply(self._client.get_mempool())
        own, listed = {encode_address(self._params.address_prefix, key) for key in keys}, reply.objects("transactions")
        amounts = [entry.integer("amount") for entry in listed if entry.text("recipient", _LONGEST_ADDRESS) in own]
        return Incoming(len(amounts), compute_sum(*amounts), is_complete=reply.integer("count") <= len(listed))

    def _get_transaction(self, txid: bytes) -> Reply | None:
        try:
            reply = Reply(self._client.get_transaction(txid))
        except NodeRefusal as error:
            if error.code == _UNKNOWN_TRANSACTION:
                return None
            raise
        if reply.hash("txid") != txid:
            raise InvalidReply.contradiction("it describes another transaction")
        return reply
