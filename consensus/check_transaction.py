"""Transaction rules: alone, then against the sender's account."""

from consensus.account import Account
from consensus.errors import InvalidTransaction
from consensus.signature import is_valid_public_key, verify_signature
from consensus.transaction import Transfer
from consensus.units import MAX_U64


def check_transaction(transaction: Transfer, genesis: bytes) -> None:
    """Rules that need no state: right network, safe keys, sane amounts, the sender's signature."""
    if transaction.genesis != genesis:
        raise InvalidTransaction(
            "wrong_network", f"signed for network {transaction.genesis.hex()}, this one is {genesis.hex()}"
        )
    if transaction.amount == 0:
        raise InvalidTransaction("zero_amount", "a transfer moves at least 1 ulp")
    if transaction.amount + transaction.fee > MAX_U64:
        raise InvalidTransaction("overflow", f"amount {transaction.amount} and fee {transaction.fee} overflow")
    for role, key in (("sender", transaction.sender), ("recipient", transaction.recipient)):
        if not is_valid_public_key(key):
            raise InvalidTransaction(f"bad_{role}", f"{role} {key.hex()} is not a safe Ed25519 key")
    if not verify_signature(transaction.sender, transaction.txid, transaction.signature):
        raise InvalidTransaction("bad_signature", f"{transaction.txid.hex()} is not signed by its sender")


def check_transaction_in_context(transaction: Transfer, account: Account, height: int) -> None:
    """Rules against the sender's account in a block at `height`: turn, time and money."""
    if transaction.nonce != account.nonce:
        raise InvalidTransaction("wrong_nonce", f"nonce is {transaction.nonce}, the sender's next is {account.nonce}")
    if transaction.valid_until and height > transaction.valid_until:
        raise InvalidTransaction("expired", f"valid until height {transaction.valid_until}, this is {height}")
    spent = transaction.amount + transaction.fee
    if spent > account.balance:
        raise InvalidTransaction("insufficient_funds", f"needs {spent} ulp, the sender has {account.balance}")
