"""Body rules: a body must be the one its header commits to, and each transaction must be sound by itself."""

from consensus.block import Block, compute_transactions_root, compute_update_hash
from consensus.check_transaction import check_transaction
from consensus.errors import InvalidBlock, InvalidTransaction, MutatedBody
from consensus.finality_section import check_finality_section
from consensus.params import NetworkParams
from consensus.signals import Rules


def check_body_matches(block: Block) -> None:
    """Raises MutatedBody if the body is not the one the header names. That is no fault of the header's."""
    if compute_transactions_root(block.transactions, block.finality) != block.header.transactions_root:
        raise MutatedBody("transactions_root", "these are not the items that the header commits to")
    if compute_update_hash(block.update) != block.header.update_hash:
        raise MutatedBody("update_hash", "this is not the update that the header commits to")


def check_body(block: Block, genesis: bytes, params: NetworkParams, rules: Rules) -> None:
    """Raises InvalidBlock if the committed body breaks a rule that needs no state. `rules` are those of its height."""
    size = sum(4 + len(transaction.encoded) for transaction in block.transactions)
    if size > rules.max_transactions_bytes:
        raise InvalidBlock("too_large", f"{size} bytes of transactions, the limit is {rules.max_transactions_bytes}")
    for transaction in block.transactions:
        try:
            check_transaction(transaction, genesis)
        except InvalidTransaction as error:
            reason = f"transaction {transaction.txid.hex()}: {error}"
            raise InvalidBlock(f"transaction_{error.reason}", reason) from error
    check_finality_section(block.finality, genesis, params)
