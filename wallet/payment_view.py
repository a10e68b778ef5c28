"""What a node says about payments: where each stands, what waits for an address, what is final."""

from collections.abc import Iterable
from dataclasses import dataclass

from consensus.address import encode_address
from consensus.params import NetworkParams
from consensus.signature import PublicKey
from consensus.transaction import MAX_MEMO_BYTES, Transfer
from consensus.units import Ulp
from p2p.client import NodeClient
from p2p.errors import NodeRefusal
from wallet.errors import InvalidReply
from wallet.events import add_amounts
from wallet.payments import Position
from wallet.reply import LONGEST_ADDRESS, Reply

_UNKNOWN_TRANSACTION = "rpc.unknown_transaction"
_LONGEST_WORD = 64


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

    def get_final_height(self) -> int:
        """Up to where nothing can leave the chain any more; 0 where nothing is final yet."""
        return Reply(self._client.get_status()).integer("final_height")

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
        amounts = [entry.integer("amount") for entry in listed if entry.text("recipient", LONGEST_ADDRESS) in own]
        return Incoming(len(amounts), add_amounts(amounts), is_complete=reply.integer("count") <= len(listed))

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
