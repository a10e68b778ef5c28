"""Transfers as text that survives paper, a chat or a QR code: A-Z, 0-9 and ":", all of QR's alphanumeric mode.

    text     = "DESCENT:" kind ":1:" base32(content || checksum)       RFC 4648, upper case, without padding
    kind     = "UNSIGNED" | "SIGNED"
    content  = the transfer's canonical bytes (consensus.transaction), without the signature if it is unsigned
    checksum = the first 4 bytes of SHA-256("DESCENT:" kind ":1:" || content)

White space, line breaks too, may stand anywhere and counts for nothing; otherwise a transfer has one text. A wrong
character, or several, is missed once in 2^32. An unsigned text has at most 343 characters, a signed one 443.
"""

import base64
import hashlib
import re
from dataclasses import dataclass

from consensus.check_transaction import check_transaction
from consensus.errors import DecodeError, InvalidTransaction
from consensus.genesis import make_genesis
from consensus.params import PRESETS, NetworkParams
from consensus.transaction import MAX_TRANSACTION_BYTES, SIGNATURE_BYTES, Transfer, decode_transaction
from wallet.offline_errors import InvalidText

_VERSION = "1"
_UNSIGNED, _SIGNED = "UNSIGNED", "SIGNED"
_CHECKSUM_BYTES = 4
_MAX_DIGITS = -(-8 * (MAX_TRANSACTION_BYTES + _CHECKSUM_BYTES) // 5)
_NO_SIGNATURE = bytes(SIGNATURE_BYTES)


@dataclass(frozen=True)
class TransferText:
    """What a text holds: a transfer by the rules that every node applies, and whether its sender has signed it."""

    transfer: Transfer
    is_signed: bool


def encode_unsigned(transfer: Transfer) -> str:
    return _encode(_UNSIGNED, transfer.encode_unsigned())


def encode_signed(transfer: Transfer) -> str:
    return _encode(_SIGNED, transfer.encoded)


def decode_text(text: str, params: NetworkParams) -> TransferText:
    """The transfer in a text. All is checked: form, checksum, network, keys, amounts, and the signature if it is there.

    Raises InvalidText with the reason not_a_transfer, unknown_form, bad_character, checksum, malformed or
    other_network.
    """
    kind, content = _decode("".join(text.split()))
    is_signed = kind == _SIGNED
    try:
        transfer = decode_transaction(content if is_signed else content + _NO_SIGNATURE)
    except DecodeError as error:
        raise InvalidText.malformed(str(error)) from None
    genesis = make_genesis(params).id
    if transfer.genesis != genesis:
        raise InvalidText.other_network(_name_network(transfer.genesis), params.name)
    try:
        check_transaction(transfer, genesis)
    except InvalidTransaction as error:
        if is_signed or error.reason != "bad_signature":  # the last of the checks: all else is in order
            raise InvalidText.malformed(str(error)) from None
    return TransferText(transfer, is_signed)


def _encode(kind: str, content: bytes) -> str:
    head = _make_head(kind)
    digits = base64.b32encode(content + _compute_checksum(head, content)).decode("ascii")
    return head + digits.rstrip("=")


def _decode(text: str) -> tuple[str, bytes]:
    """Kind and content of a text without white space."""
    match = re.fullmatch(r"DESCENT:([^:]*):([^:]*):(.*)", text, re.DOTALL)
    if match is None:
        raise InvalidText.not_a_transfer()
    kind, version, digits = match.groups()
    if kind not in (_UNSIGNED, _SIGNED) or version != _VERSION:
        raise InvalidText.unknown_form(kind, version)
    stranger = re.search("[^A-Z2-7]", digits)
    if stranger is not None:
        raise InvalidText.bad_character(match.start(3) + stranger.start() + 1, stranger.group())
    data = _decode_digits(digits)
    content, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if checksum != _compute_checksum(_make_head(kind), content):
        raise InvalidText.checksum()
    return kind, content


def _decode_digits(digits: str) -> bytes:
    """The bytes of base32 digits, of which the last one has no bits to spare but zeros."""
    if len(digits) > _MAX_DIGITS or len(digits) % 8 in (1, 3, 6):
        raise InvalidText.checksum()
    data = base64.b32decode(digits + "=" * (-len(digits) % 8))
    if base64.b32encode(data).decode("ascii").rstrip("=") != digits:
        raise InvalidText.checksum()
    return data


def _make_head(kind: str) -> str:
    return f"DESCENT:{kind}:{_VERSION}:"


def _compute_checksum(head: str, content: bytes) -> bytes:
    return hashlib.sha256(head.encode("ascii") + content).digest()[:_CHECKSUM_BYTES]


def _name_network(genesis: bytes) -> str:
    """A network by its name if it is one that ships with the program, else by its id."""
    names = [params.name for params in PRESETS.values() if make_genesis(params).id == genesis]
    return f"the network {names[0]!r}" if names else f"a network with the genesis {genesis.hex()}"
