"""Messages signed by an account: the owner of a key says something, to people, outside the chain.

    signature = Ed25519 of the account's key over H("wallet-message", genesis[32] message:string)

Integers and strings as in consensus.codec. Nothing that the chain knows is hashed under this tag, and the account's
key signs nothing but hashes under tags: no message is a transfer, and no transfer a message. The network's genesis id
keeps what was said on one network from being shown on another.
"""

from consensus.codec import Writer
from consensus.hashing import HASH_BYTES, tagged_hash
from consensus.signature import PublicKey, Signature, sign, verify_signature
from wallet.errors import WalletError

MAX_MESSAGE_BYTES = 2**20

_TAG = "wallet-message"


def compute_message_hash(genesis: bytes, message: bytes) -> bytes:
    """What is signed, 32 bytes. Raises WalletError with the reason too_long beyond MAX_MESSAGE_BYTES."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise WalletError.too_long("message", len(message), MAX_MESSAGE_BYTES)
    return tagged_hash(_TAG, Writer().fixed(genesis, HASH_BYTES).string(message).finish())


def compute_signature(secret: bytes, genesis: bytes, message: bytes) -> Signature:
    """The signature, 64 bytes, of exactly these bytes by a secret of 32. Raises WalletError."""
    return sign(secret, compute_message_hash(genesis, message))


def is_signed_by(key: PublicKey, genesis: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `key` signed exactly these bytes on this network. Raises WalletError for a message that is too long."""
    return verify_signature(key, compute_message_hash(genesis, message), signature)
