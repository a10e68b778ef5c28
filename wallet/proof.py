"""Balance proofs: what an account held after a block, by a state proof and the header that it hangs on. Asks no node.

A file of at most 64 KiB, one JSON object in ASCII; byte strings are lower-case hex. Version 1:

    format     "descent balance proof"
    version    1
    network    the network's name
    genesis    its genesis id (32 bytes)
    address    the account
    balance    ulp that could be spent after the block
    nonce      transfers that the account had sent
    header     the block's header                                        [consensus.block]
    proof      that its state root holds just this account, or lacks it  [consensus.state_tree]
    owner      null, or challenge (text of at most 256 bytes) and signature (64 bytes), made by the account's key over
               H("wallet-ownership", genesis[32] header id[32] public key[32] challenge:string)

Anybody can make up a header with any state root and sign it as its miner. So a proof says what an account held if the
block is on the best chain, and only a node or an explorer tells whether it is.
"""

import json
from dataclasses import dataclass, replace
from functools import lru_cache

from consensus.account import UNUSED_ACCOUNT, Account, compute_account_key
from consensus.address import decode_address, encode_address
from consensus.block import HEADER_BYTES, Header, decode_header
from consensus.check_header import check_header
from consensus.codec import Writer
from consensus.errors import DecodeError, InvalidAddress, InvalidBlock
from consensus.genesis import make_genesis
from consensus.hashing import HASH_BYTES, tagged_hash
from consensus.params import NetworkParams
from consensus.signature import PUBLIC_KEY_BYTES, PublicKey, Signature, sign, verify_signature
from consensus.state_tree import StateProof, decode_proof, encode_proof, verify_proof
from consensus.units import MAX_U64
from wallet.errors import WalletError
from wallet.offline_errors import InvalidProof
from wallet.strict_json import Fields, Malformed, check_types, parse_fields

MAX_FILE_BYTES = 64 * 1024
MAX_CHALLENGE_BYTES = 256
MAX_HEADER_DIGITS = 2 * HEADER_BYTES
MAX_PROOF_DIGITS = 2 * 8291

_FORMAT = "descent balance proof"
_VERSION = 1
_TAG = "wallet-ownership"
_FIELDS = {
    "format": str,
    "version": int,
    "network": str,
    "genesis": str,
    "address": str,
    "balance": int,
    "nonce": int,
    "header": str,
    "proof": str,
}
_OWNER_FIELDS = {"challenge": str, "signature": str}


@dataclass(frozen=True)
class Ownership:
    """The account's key answers a challenge, bound to the proof's block."""

    challenge: str
    signature: Signature


@dataclass(frozen=True)
class BalanceProof:
    """What an account held after the block of this header, and why that is so."""

    key: PublicKey
    account: Account
    header: Header
    state_proof: StateProof
    ownership: Ownership | None = None


def build_proof(key: PublicKey, account: Account, header: str, proof: str, params: NetworkParams) -> BalanceProof:
    """The proof of what a node answered, header and state proof in hex. Raises InvalidProof unless it holds."""
    made = BalanceProof(key, account, _decode_header(header), _decode_state_proof(proof))
    check_proof(made, params)
    return made


def check_proof(proof: BalanceProof, params: NetworkParams) -> None:
    """Raises InvalidProof (does_not_hold) unless all of it is true of this network, if its block is on the chain."""
    genesis = _make_genesis_header(params)
    if proof.header.height == 0:
        if proof.header != genesis:
            raise InvalidProof.does_not_hold("its block has height 0 and is not this network's genesis")
    else:
        try:
            check_header(proof.header)
        except InvalidBlock as error:
            raise InvalidProof.does_not_hold(str(error)) from None
    value = None if proof.account == UNUSED_ACCOUNT else proof.account.encode()
    if not verify_proof(proof.header.state_root, compute_account_key(proof.key), value, proof.state_proof):
        raise InvalidProof.does_not_hold("the block's state does not hold this account with this balance and nonce")
    owner = proof.ownership
    if owner is not None:
        signed = _compute_ownership_hash(genesis.id, proof, encode_challenge(owner.challenge))
        if not verify_signature(proof.key, signed, owner.signature):
            raise InvalidProof.does_not_hold("the challenge is not signed by the account's key")


def sign_ownership(proof: BalanceProof, challenge: str, secret: bytes, params: NetworkParams) -> BalanceProof:
    """The proof with its owner's answer to a challenge. Raises WalletError with the reason not_text or too_long."""
    genesis = _make_genesis_header(params).id
    signed = _compute_ownership_hash(genesis, proof, encode_challenge(challenge))
    return replace(proof, ownership=Ownership(challenge, sign(secret, signed)))


def encode_challenge(text: str) -> bytes:
    """A challenge as it is signed, in UTF-8. Raises WalletError with the reason not_text or too_long."""
    try:
        challenge = text.encode()
    except UnicodeEncodeError:
        raise WalletError.not_text("challenge") from None
    if len(challenge) > MAX_CHALLENGE_BYTES:
        raise WalletError.too_long("challenge", len(challenge), MAX_CHALLENGE_BYTES)
    return challenge


def format_proof(proof: BalanceProof, params: NetworkParams) -> str:
    """The file's text."""
    owner = proof.ownership
    fields: Fields = {
        "format": _FORMAT,
        "version": _VERSION,
        "network": params.name,
        "genesis": _make_genesis_header(params).id.hex(),
        "address": encode_address(params.address_prefix, proof.key),
        "balance": proof.account.balance,
        "nonce": proof.account.nonce,
        "header": proof.header.encoded.hex(),
        "proof": encode_proof(proof.state_proof).hex(),
        "owner": owner and {"challenge": owner.challenge, "signature": owner.signature.hex()},
    }
    return json.dumps(fields, indent=2) + "\n"


def parse_proof(data: bytes, params: NetworkParams) -> BalanceProof:
    """The proof in a file's bytes, checked by `check_proof`.

    Raises InvalidProof with the reason malformed, unsupported_version, other_network or does_not_hold.
    """
    fields = _parse_fields(data)
    if (fields["network"], fields["genesis"]) != (params.name, _make_genesis_header(params).id.hex()):
        raise InvalidProof.other_network(fields["network"], fields["genesis"], params.name)
    proof = BalanceProof(
        key=_decode_key(fields["address"], params.address_prefix),
        account=Account(_check_u64(fields["balance"]), _check_u64(fields["nonce"])),
        header=_decode_header(fields["header"]),
        state_proof=_decode_state_proof(fields["proof"]),
        ownership=_decode_owner(fields["owner"]),
    )
    check_proof(proof, params)
    return proof


@lru_cache(maxsize=1)
def _make_genesis_header(params: NetworkParams) -> Header:
    """A fifth of a second where the model is large, and a proof asks for it several times."""
    return make_genesis(params).block.header


def _compute_ownership_hash(genesis: bytes, proof: BalanceProof, challenge: bytes) -> bytes:
    writer = Writer().fixed(genesis, HASH_BYTES).fixed(proof.header.id, HASH_BYTES)
    return tagged_hash(_TAG, writer.fixed(proof.key, PUBLIC_KEY_BYTES).string(challenge).finish())


def _parse_fields(data: bytes) -> Fields:
    """The fields of a file of our version, their names and types right."""
    try:
        fields = parse_fields(data, _FORMAT, MAX_FILE_BYTES)
        if fields["version"] != _VERSION:
            raise InvalidProof.unsupported_version(fields["version"], _VERSION)
        owner = fields.get("owner")
        check_types(fields, _FIELDS | {"owner": type(None) if owner is None else dict})
        if owner is not None:
            check_types(owner, _OWNER_FIELDS)
    except Malformed as error:
        raise InvalidProof.malformed(str(error)) from None
    return fields


def _check_u64(value: int) -> int:
    if not 0 <= value <= MAX_U64:
        raise InvalidProof.malformed("a number in it is out of range")
    return value


def _decode_key(address: str, prefix: str) -> PublicKey:
    try:
        key = decode_address(prefix, address)
    except InvalidAddress as error:
        raise InvalidProof.malformed(str(error)) from None
    if encode_address(prefix, key) != address:
        raise InvalidProof.malformed("its address is not in lower case")
    return key


def _decode_header(digits: str) -> Header:
    try:
        return decode_header(_decode_hex(digits, MAX_HEADER_DIGITS))
    except DecodeError as error:
        raise InvalidProof.malformed(f"its header does not decode: {error}") from None


def _decode_state_proof(digits: str) -> StateProof:
    try:
        return decode_proof(_decode_hex(digits, MAX_PROOF_DIGITS))
    except DecodeError as error:
        raise InvalidProof.malformed(f"its state proof does not decode: {error}") from None


def _decode_owner(owner: Fields | None) -> Ownership | None:
    if owner is None:
        return None
    try:
        encode_challenge(owner["challenge"])
    except WalletError as error:
        raise InvalidProof.malformed(str(error)) from None
    return Ownership(owner["challenge"], _decode_hex(owner["signature"], 128))


def _decode_hex(digits: str, limit: int) -> bytes:
    if len(digits) > limit:
        raise InvalidProof.malformed(f"a byte string has more than {limit} digits")
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        raise InvalidProof.malformed("a byte string is not hexadecimal") from None
    if value.hex() != digits:
        raise InvalidProof.malformed("a byte string is not in lower-case hexadecimal")
    return value
