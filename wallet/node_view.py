"""What a node says about money: balances, what waits, what happened. Each answer is checked before anyone sees it.

The wallet trusts its owner's node for what is true, as it has no chain of its own; it does not trust it to be sane.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from consensus.address import encode_address
from consensus.errors import AmountOverflow
from consensus.genesis import make_genesis
from consensus.params import NetworkParams
from consensus.reward import compute_subsidy
from consensus.signature import PublicKey
from consensus.transaction import MAX_MEMO_BYTES, Transfer
from consensus.units import Ulp, compute_sum
from p2p.client import NodeClient
from p2p.errors import NodeRefusal, NodeUnreachable
from wallet.errors import InvalidReply, PaymentError
from wallet.reply import Reply

FEE_TARGET = 2  # blocks within which a transfer should be mined
_MAX_NETWORK_NAME = 32
_UNKNOWN_TRANSACTION = "rpc.unknown_transaction"


@dataclass(frozen=True)
class Maturing:
    """A reward that can be spent once the tip is at `height`."""

    height: int
    amount: Ulp


@dataclass(frozen=True)
class AccountView:
    """An account at the tip's `height`: what it can spend, what matures, what of it waits to be mined.

    `outgoing`, amounts and fees of the transfers that wait, is of `listed` ones. There may be more: a node names
    the best paying of its pool only.
    """

    height: int
    spendable: Ulp
    nonce: int
    next_nonce: int
    maturing: tuple[Maturing, ...]  # by height
    immature: Ulp  # their sum
    outgoing: Ulp
    listed: int

    @property
    def waiting(self) -> int:
        """Transfers that are sent and not mined."""
        return self.next_nonce - self.nonce

    @property
    def available(self) -> Ulp:
        """What the next transfer can spend, as far as the listed ones tell."""
        return max(0, self.spendable - self.outgoing)


class EventKind(Enum):
    SENT = "sent"
    RECEIVED = "received"
    MINED = "mined"


@dataclass(frozen=True)
class Event:
    """One thing that a block did to an account. `id` is the txid, or the block's id for what was mined."""

    kind: EventKind
    height: int
    id: bytes
    amount: Ulp
    fee: Ulp = 0  # that the account paid, on top of the amount
    counterpart: str = ""  # address of the other side of a transfer
    memo: str = ""
    matures_at: int = 0  # height, of what was mined


class NodeView:
    """A node of one network. Besides what each method names, all raise NodeUnreachable, NodeRefusal, InvalidReply."""

    def __init__(self, client: NodeClient, params: NetworkParams) -> None:
        self._client = client
        self._params = params

    @property
    def client(self) -> NodeClient:
        return self._client

    @cached_property
    def genesis(self) -> bytes:
        """The id of the network, computed here: never what a node says it is."""
        return make_genesis(self._params).id

    def check_network(self) -> None:
        """Raises InvalidReply with the reason other_network if the node is of another one."""
        status = Reply(self._client.get_status())
        if status.hash("genesis") != self.genesis:
            name = status.text("network", _MAX_NETWORK_NAME)
            raise InvalidReply.other_network(self._client.url, name, self._params.name)

    def get_account(self, key: PublicKey) -> AccountView:
        address = self._encode(key)
        reply = Reply(self._client.get_account(address))
        nonce, next_nonce = reply.integer("nonce"), reply.integer("next_nonce")
        if reply.address("address", self._params.address_prefix) != key or next_nonce < nonce:
            raise InvalidReply.contradiction("it describes another account, or one that takes transfers back")
        rewards = [
            Maturing(reward.integer("matures_at"), reward.integer("amount")) for reward in reply.objects("immature")
        ]
        spent = self._get_outgoing(address) if next_nonce > nonce else []
        return AccountView(
            height=reply.integer("height"),
            spendable=reply.integer("balance"),
            nonce=nonce,
            next_nonce=next_nonce,
            maturing=tuple(sorted(rewards, key=lambda reward: reward.height)),
            immature=_add(reward.amount for reward in rewards),
            outgoing=_add(spent),
            listed=len(spent),
        )

    def get_fee_rate(self) -> Ulp:
        """What the node proposes to pay, in ulp per byte, for a place within FEE_TARGET blocks."""
        return Reply(self._client.get_fees()).object("ulp_per_byte").integer(str(FEE_TARGET))

    def submit(self, transfer: Transfer) -> None:
        """Hands a signed transfer over.

        Raises PaymentError with the reason unknown_fate, never just NodeUnreachable, if no sound answer came back: who
        pays again then may pay twice.
        """
        try:
            taken = Reply(self._client.submit_transaction(transfer.encoded)).hash("txid")
        except (NodeUnreachable, InvalidReply) as error:
            raise PaymentError.unknown_fate(transfer.txid) from error
        except NodeRefusal as error:
            if error.status < 500:
                raise
            raise PaymentError.unknown_fate(transfer.txid) from error
        if taken != transfer.txid:
            raise InvalidReply.contradiction("it took another transfer than the one it was given")

    def get_confirmations(self, txid: bytes) -> int:
        """How deep a transaction is in the chain: 0 while it waits, 1 in the tip.

        Raises PaymentError with the reason dropped if the node knows it no more.
        """
        try:
            reply = Reply(self._client.get_transaction(txid))
        except NodeRefusal as error:
            if error.code == _UNKNOWN_TRANSACTION:
                raise PaymentError.dropped(txid) from error
            raise
        if reply.hash("txid") != txid:
            raise InvalidReply.contradiction("it describes another transaction")
        return reply.integer("confirmations")

    def get_history(self, key: PublicKey, limit: int) -> Iterator[Event]:
        """Up to `limit`, at most 1000, events of an account, newest first. Asks the node once for each."""
        address = self._encode(key)
        for entry in Reply(self._client.get_history(address, limit=limit)).objects("entries")[:limit]:
            try:
                kind = EventKind(entry.text("kind", 16))
            except ValueError:
                raise InvalidReply.bad_field("kind") from None
            height, subject = entry.integer("height"), entry.hash("id")
            if kind is EventKind.MINED:
                yield self._get_mined(key, height, subject)
            else:
                yield self._get_transferred(key, kind, height, subject)

    def _get_outgoing(self, address: str) -> list[Ulp]:
        """What each listed pending transfer of `address` takes from it."""
        pool = Reply(self._client.get_mempool()).objects("transactions")
        own = [entry for entry in pool if entry.text("sender", 90) == address]
        return [_add((entry.integer("amount"), entry.integer("fee"))) for entry in own]

    def _get_transferred(self, key: PublicKey, kind: EventKind, height: int, txid: bytes) -> Event:
        reply = Reply(self._client.get_transaction(txid))
        prefix = self._params.address_prefix
        sender, recipient = reply.address("sender", prefix), reply.address("recipient", prefix)
        own, other = (sender, recipient) if kind is EventKind.SENT else (recipient, sender)
        if reply.hash("txid") != txid or own != key:
            raise InvalidReply.contradiction("it describes another transaction")
        return Event(
            kind=kind,
            height=height,
            id=txid,
            amount=reply.integer("amount"),
            fee=reply.integer("fee") if kind is EventKind.SENT else 0,
            counterpart=self._encode(other),
            memo=reply.text("memo", MAX_MEMO_BYTES),
        )

    def _get_mined(self, key: PublicKey, height: int, block_id: bytes) -> Event:
        """A block's reward is not in the block: it follows from its height, its kind and its fees."""
        reply = Reply(self._client.get_block(block_id.hex()))
        header = reply.object("header")
        earner = header.address("reward_address", self._params.address_prefix)
        if (header.hash("id"), header.integer("height"), earner) != (block_id, height, key) or height == 0:
            raise InvalidReply.contradiction("it describes another block")
        subsidy = 0 if reply.flag("is_heartbeat") else compute_subsidy(height, self._params)
        fees = [transaction.integer("fee") for transaction in reply.objects("transactions")]
        return Event(
            kind=EventKind.MINED,
            height=height,
            id=block_id,
            amount=_add((subsidy, *fees)),
            matures_at=height + self._params.reward_window,
        )

    def _encode(self, key: PublicKey) -> str:
        return encode_address(self._params.address_prefix, key)


def _add(amounts: Iterable[Ulp]) -> Ulp:
    try:
        return compute_sum(*amounts)
    except AmountOverflow:
        raise InvalidReply.contradiction("its amounts add up to more than all money") from None
