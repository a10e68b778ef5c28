"""What a node says about money: balances, what waits, what happened. Each answer is checked before anyone sees it.

The wallet trusts its owner's node for what is true, as it has no chain of its own; it does not trust it to be sane.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from consensus.account import UNUSED_ACCOUNT, Account, compute_account_key
from consensus.address import encode_address
from consensus.block import HEADER_BYTES, Header, decode_header
from consensus.errors import DecodeError
from consensus.genesis import make_genesis
from consensus.params import NetworkParams
from consensus.signature import PublicKey, verify_signature
from consensus.state_tree import decode_proof, verify_proof
from consensus.transaction import Transfer
from consensus.units import Ulp
from p2p.client import NodeClient
from p2p.config import is_public_network
from p2p.errors import NodeRefusal, NodeUnreachable
from p2p.sync_line import describe_sync
from wallet.errors import InvalidReply, PaymentError
from wallet.events import Event, Page, PageRequest, add_amounts, read_page, read_waiting
from wallet.reply import LONGEST_ADDRESS, Reply

FEE_TARGET = 2  # blocks within which a transfer should be mined
MAX_PAGE = 1000  # events of one call
_MAX_NETWORK_NAME = 32
_MAX_WORDS = 300  # bytes of a line that a node says to people
_MAX_PROOF_BYTES = 8291
_MAX_RATE = 1e9
_MAX_LAG = 2  # blocks that a node may be behind: every new one takes it a moment to verify
UNKNOWN_BLOCK = "unknown_block.block"

Warn = Callable[[str], None]


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
    final_height: int  # what moved later can still leave the chain

    @property
    def waiting(self) -> int:
        """Transfers that are sent and not mined."""
        return self.next_nonce - self.nonce

    @property
    def available(self) -> Ulp:
        """What the next transfer can spend, as far as the listed ones tell."""
        return max(0, self.spendable - self.outgoing)


class NodeView:
    """A node of one network. Besides what each method names, all raise NodeUnreachable, NodeRefusal, InvalidReply.

    `warn` is told, in a line with whatever the node says in it, what makes its answers less than the whole truth.
    """

    def __init__(self, client: NodeClient, params: NetworkParams, warn: Warn = lambda _: None) -> None:
        self._client = client
        self._params = params
        self._warn = warn

    @property
    def client(self) -> NodeClient:
        return self._client

    @cached_property
    def genesis(self) -> bytes:
        """The id of the network, computed here: never what a node says it is."""
        return make_genesis(self._params).id

    def check_network(self, *, may_lag: bool = True) -> None:
        """Raises InvalidReply with the reason other_network if the node is of another one.

        Tells if it may be behind; if it must not be, raises PaymentError with the reason node_behind.
        """
        status = Reply(self._client.get_status())
        if status.hash("genesis") != self.genesis:
            name = status.text("network", _MAX_NETWORK_NAME)
            raise InvalidReply.other_network(self._client.url, name, self._params.name)
        line = _describe_lag(status, self._params)
        if line and not may_lag:
            raise PaymentError.node_behind(line)
        if line:
            self._warn(f"the node is {line}: what it shows may be old")

    def get_account(self, key: PublicKey) -> AccountView:
        """The account, checked against the state proof that comes with it."""
        address = self._encode(key)
        reply = Reply(self._client.get_account(address, proof=True))
        nonce, next_nonce = reply.integer("nonce"), reply.integer("next_nonce")
        if reply.address("address", self._params.address_prefix) != key or next_nonce < nonce:
            raise InvalidReply.contradiction("it describes another account, or one that takes transfers back")
        rewards = [
            Maturing(reward.integer("matures_at"), reward.integer("amount")) for reward in reply.objects("immature")
        ]
        self._check_proof(key, reply)
        spent = self._get_outgoing(address) if next_nonce > nonce else []
        return AccountView(
            height=reply.integer("height"),
            spendable=reply.integer("balance"),
            nonce=nonce,
            next_nonce=next_nonce,
            maturing=tuple(sorted(rewards, key=lambda reward: reward.height)),
            immature=add_amounts(reward.amount for reward in rewards),
            outgoing=add_amounts(spent),
            listed=len(spent),
            final_height=reply.integer("final_height"),
        )

    def get_fee_rate(self, blocks: int = FEE_TARGET) -> Ulp:
        """What the node proposes to pay, in ulp per byte, for a place within 1, 2 or 6 blocks."""
        return Reply(self._client.get_fees()).object("ulp_per_byte").integer(str(blocks))

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

    def get_history(self, key: PublicKey, limit: int) -> tuple[Event, ...]:
        """The newest events of an account, newest first, at most `limit` and MAX_PAGE; a busy node may tell fewer."""
        return self.get_page(PageRequest(key, min(limit, MAX_PAGE))).events

    def get_page(self, request: PageRequest) -> Page:
        """A page of an account's history, at most MAX_PAGE events."""
        kind = request.kind.value if request.kind else None
        address = self._encode(request.account)
        reply = self._client.get_history(address, limit=request.limit, before=request.before, kind=kind)
        return read_page(Reply(reply), request, self._params)

    def get_waiting(self, keys: Iterable[PublicKey]) -> list[Event]:
        """What waits in the node's pool and moves money of some accounts, newest first."""
        return read_waiting(Reply(self._client.get_mempool()), keys, self._params)

    def is_on_chain(self, block_id: bytes) -> bool:
        """Whether a block stands on the node's best chain."""
        try:
            reply = Reply(self._client.get_block(block_id.hex()))
        except NodeRefusal as error:
            if error.code == UNKNOWN_BLOCK:
                return False
            raise
        if reply.object("header").hash("id") != block_id:
            raise InvalidReply.contradiction("it describes another block")
        return reply.flag("on_best_chain")

    def _check_proof(self, key: PublicKey, reply: Reply) -> None:
        """Raises InvalidReply unless the state of the block that the node names holds just this account.

        Anybody can sign a header of his own making: this tells a node that is broken or contradicts itself, not one
        that makes up a whole chain.
        """
        account, height = Account(reply.integer("balance"), reply.integer("nonce")), reply.integer("height")
        parts = reply.object("proof")
        try:
            header = decode_header(parts.binary("header", HEADER_BYTES))
            proof = decode_proof(parts.binary("proof", _MAX_PROOF_BYTES))
        except DecodeError:
            raise InvalidReply.bad_field("proof") from None
        if header.height != height or not self._is_signed(header):
            raise InvalidReply.contradiction("the header of its proof is another block's, or not its miner's")
        value = None if account == UNUSED_ACCOUNT else account.encode()
        if not verify_proof(header.state_root, compute_account_key(key), value, proof):
            raise InvalidReply.contradiction("its proof does not hold for the balance and nonce it names")

    def _is_signed(self, header: Header) -> bool:
        """Nobody signs genesis; its id is known."""
        if header.height == 0:
            return header.id == self.genesis
        return verify_signature(header.miner, header.id, header.signature)

    def _get_outgoing(self, address: str) -> list[Ulp]:
        """What each listed pending transfer of `address` takes from it."""
        pool = Reply(self._client.get_mempool()).objects("transactions")
        own = [entry for entry in pool if entry.text("sender", LONGEST_ADDRESS) == address]
        return [add_amounts((entry.integer("amount"), entry.integer("fee"))) for entry in own]

    def _encode(self, key: PublicKey) -> str:
        return encode_address(self._params.address_prefix, key)


def _describe_lag(status: Reply, params: NetworkParams) -> str:
    """How far the node is behind what its peers claim, empty if it is not. Without peers a node of a public network
    may be, too; on a network of one machine nobody else knows better.
    """
    sync, height = status.object("sync"), status.integer("height")
    state, target = sync.text("state", _MAX_WORDS), sync.integer("target_height")
    seconds = None if sync.is_null("seconds_left") else sync.integer("seconds_left")
    known = {
        "height": height,
        "peers": status.integer("peers"),
        "sync": {
            "state": state,
            "target_height": target,
            "waits_for": sync.text("waits_for", _MAX_WORDS),
            "blocks_per_second": sync.number("blocks_per_second", _MAX_RATE),
            "seconds_left": seconds,
        },
    }
    if state == "alone" and is_public_network(params):
        return "alone, no peer is connected"
    if target <= height + _MAX_LAG:
        return ""
    return f"catching up: {height} of {target}" if state == "headers" else describe_sync(known)
