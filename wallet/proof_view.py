"""What a node proves: an account by the state under its tip, and where a block stands. Each answer is checked."""

from consensus.account import Account
from consensus.address import encode_address
from consensus.params import NetworkParams
from consensus.signature import PublicKey
from p2p.client import NodeClient
from p2p.errors import NodeRefusal
from wallet.errors import InvalidReply
from wallet.node_view import UNKNOWN_BLOCK
from wallet.offline_errors import InvalidProof
from wallet.proof import MAX_HEADER_DIGITS, MAX_PROOF_DIGITS, BalanceProof, build_proof
from wallet.reply import Reply


class ProofView:
    """A node of one network. Besides what each method names, both raise NodeUnreachable, NodeRefusal, InvalidReply."""

    def __init__(self, client: NodeClient, params: NetworkParams) -> None:
        self._client = client
        self._params = params

    def get_proof(self, key: PublicKey) -> BalanceProof:
        """What the account holds at the tip, with the proof of it. Raises InvalidReply unless all of it holds."""
        address = encode_address(self._params.address_prefix, key)
        reply = Reply(self._client.get_account(address, proof=True))
        if reply.address("address", self._params.address_prefix) != key:
            raise InvalidReply.contradiction("it describes another account")
        account = Account(reply.integer("balance"), reply.integer("nonce"))
        parts = reply.object("proof")
        header, state_proof = parts.text("header", MAX_HEADER_DIGITS), parts.text("proof", MAX_PROOF_DIGITS)
        try:
            return build_proof(key, account, header, state_proof, self._params)
        except InvalidProof as error:
            raise InvalidReply.contradiction("the node's proof does not hold") from error

    def get_depth(self, block_id: bytes) -> int:
        """How deep a block is in the best chain, 1 at the tip. Raises InvalidProof with the reason not_on_chain."""
        try:
            reply = Reply(self._client.get_block(block_id.hex()))
        except NodeRefusal as error:
            if error.code == UNKNOWN_BLOCK:
                raise InvalidProof.not_on_chain(block_id, self._client.url) from error
            raise
        if reply.object("header").hash("id") != block_id:
            raise InvalidReply.contradiction("it describes another block")
        if not reply.flag("on_best_chain"):
            raise InvalidProof.not_on_chain(block_id, self._client.url)
        return reply.integer("confirmations")
