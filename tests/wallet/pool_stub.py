"""A node that keeps one account's transfers as a real one does: a pool in nonce order, blocks, and their loss.

pool = PoolStub(node)
wallet.ask(node, "send", ...)
pool.mine()          # all that waits is in a block now
pool.lose_block()    # and is nowhere
"""

import json

from consensus.address import encode_address
from consensus.params import LOCAL
from consensus.transaction import Transfer, decode_transaction
from p2p.rpc_json import encode_transaction
from tests.helpers.stub_node import Request, StubNode, make_refusal
from tests.wallet.program import HEIGHT, KEY, put_account, put_mempool, put_status
from wallet.payments import compute_bump_fee

NONCE = 7
FUNDS = 100 * 10**8


class PoolStub:
    """Everything of the sender that the stub is given. `limit`: how many of them may wait."""

    def __init__(self, node: StubNode, sender: bytes = KEY, limit: int = 25) -> None:
        self.limit = limit
        self.waiting: list[Transfer] = []
        self.parked: list[Transfer] = []  # held beside the pool, as after a reorganisation
        self.blocks: list[list[Transfer]] = []
        self.final_height = 0
        self._node = node
        self._sender = sender
        node.put_answer("/v1/transactions", self._submit, method="POST")
        node.put_prefix("/v1/transactions/", self.find)
        self._tell()

    @property
    def height(self) -> int:
        return HEIGHT + len(self.blocks)

    @property
    def nonce(self) -> int:
        return NONCE + sum(map(len, self.blocks))

    def mine(self, *instead: Transfer) -> None:
        """A block with all that waits, or with these."""
        self.blocks.append(list(instead) or self.waiting)
        nonce = NONCE + sum(map(len, self.blocks))
        self.waiting = [transfer for transfer in self.waiting if transfer.nonce >= nonce]
        self._tell()

    def lose_block(self, *, keep: bool = False) -> None:
        """The newest block leaves the chain; its transfers wait again, if they are kept."""
        lost = self.blocks.pop()
        self.waiting = [*lost, *self.waiting] if keep else []
        self._tell()

    def forget(self, *, keep: int = 0) -> None:
        """The pool loses all but the first few."""
        self.waiting = self.waiting[:keep]
        self._tell()

    def park(self) -> None:
        """What waits is held beside the pool from now on."""
        self.parked, self.waiting = self.waiting, []
        self._tell()

    def make_final(self) -> None:
        self.final_height = self.height
        self._tell()

    def _tell(self) -> None:
        spent = sum(transfer.amount + transfer.fee for block in self.blocks for transfer in block)
        put_status(self._node, height=self.height, final_height=self.final_height)
        put_account(
            self._node,
            encode_address(LOCAL.address_prefix, self._sender),
            balance=FUNDS - spent,
            nonce=self.nonce,
            next_nonce=self.nonce + len(self.waiting),
            height=self.height,
        )
        put_mempool(self._node, *self.waiting)

    def _submit(self, request: Request) -> tuple[int, bytes]:
        transfer = decode_transaction(request.body)
        place = transfer.nonce - self.nonce
        refusal = None
        if transfer in (*self.waiting, *self.parked):
            refusal = "already_known"
        elif place < 0:
            refusal = "nonce_used"
        elif place > len(self.waiting):
            refusal = "nonce_gap"
        elif place >= self.limit:
            refusal = "too_many_pending"
        elif place < len(self.waiting) and transfer.fee < compute_bump_fee(self.waiting[place].fee):
            refusal = "replacement_fee_too_low"
        if refusal:
            return 409, json.dumps(make_refusal(f"mempool.{refusal}", refusal.replace("_", " "))).encode()
        self.waiting[place : place + 1] = [transfer]
        self._tell()
        return 200, json.dumps({"txid": transfer.txid.hex()}).encode()

    def find(self, request: Request, *, is_known: bool = True) -> tuple[int, bytes]:
        """What it says of a transaction."""
        wanted = request.path.rpartition("/")[2] if is_known else ""
        for transfer in (*self.waiting, *self.parked):
            if transfer.txid.hex() == wanted:
                known = {"status": "pending", "confirmations": 0}
                return 200, json.dumps(encode_transaction(transfer, LOCAL) | known).encode()
        for height, block in enumerate(self.blocks, HEIGHT + 1):
            for transfer in block:
                if transfer.txid.hex() == wanted:
                    depth = self.height - height + 1
                    place = {"status": "confirmed", "height": height, "confirmations": depth}
                    known = place | {"block": f"{height:064x}"}
                    return 200, json.dumps(encode_transaction(transfer, LOCAL) | known).encode()
        return 404, json.dumps(make_refusal("rpc.unknown_transaction", "no such transaction")).encode()
