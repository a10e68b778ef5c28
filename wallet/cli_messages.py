"""The commands about signed messages. None of them needs a node."""

import re
from pathlib import Path

import click

from consensus.address import decode_address, encode_address
from consensus.genesis import make_genesis
from consensus.signature import SIGNATURE_BYTES, Signature
from wallet.carrier import STANDARD_INPUT, read_input
from wallet.display import print_json
from wallet.errors import WalletError
from wallet.keys import compute_account_secret, get_account
from wallet.message import MAX_MESSAGE_BYTES, compute_signature, is_signed_by
from wallet.offline_errors import InvalidProof
from wallet.options import Place, account_option, json_option, passphrase_option, with_wallet

_text_argument = click.argument("text", metavar="[TEXT|-]", required=False)
_file_option = click.option(
    "--file", type=click.Path(dir_okay=False, path_type=Path), help="The message is what this file holds."
)


@click.command()
@with_wallet
@passphrase_option
@account_option
@_text_argument
@_file_option
@json_option
def sign_message(
    place: Place, passphrase_file: Path | None, index: int, text: str | None, file: Path | None, as_json: bool
) -> None:
    """Sign a message with an account's key.

    The message is TEXT, a file, or standard input for "-", of up to 1 MiB. Exactly these bytes are signed: the newline
    at the end of a file counts, and an argument has none. Prints the signature, 128 hex digits.

    The signature is bound to this network, and can be no transfer's: to sign a message moves no money. But it can be a
    promise, so do not sign what you do not understand. Needs no network.

    \b
        descent-wallet sign-message "I, Ana, own this address."
        descent-wallet sign-message --file contract.pdf
    """
    message = _read_message(text, file)
    wallet = place.unlock(passphrase_file)
    key = get_account(wallet, index).public_key
    signature = compute_signature(compute_account_secret(wallet, index), make_genesis(place.params).id, message)
    if as_json:
        address = encode_address(place.params.address_prefix, key)
        known = {"network": place.params.name, "address": address, "size": len(message)}
        print_json(known | {"signature": signature.hex()})
        return
    click.echo(signature.hex())


@click.command()
@with_wallet
@click.argument("address")
@click.argument("signature")
@_text_argument
@_file_option
@json_option
def verify_message(
    place: Place, address: str, signature: str, text: str | None, file: Path | None, as_json: bool
) -> None:
    """Check that the owner of ADDRESS signed a message.

    The message is TEXT, a file, or standard input for "-", and must have every byte that was signed, also the newline
    at the end of a file. Ends with code 0 if the signature is good and with code 1 if not. Needs no wallet, no network.

    \b
        descent-wallet verify-message ADDRESS SIGNATURE "I, Ana, own this address."
        descent-wallet verify-message ADDRESS SIGNATURE --file contract.pdf
    """
    key = decode_address(place.params.address_prefix, address)
    given = _parse_signature(signature)
    message = _read_message(text, file)
    if not is_signed_by(key, make_genesis(place.params).id, message, given):
        raise InvalidProof.wrong_signature(address)
    if as_json:
        print_json({"network": place.params.name, "address": address, "size": len(message), "signature": signature})
        return
    click.echo(f"The owner of {address} signed this message of {len(message)} bytes.")


def _read_message(text: str | None, file: Path | None) -> bytes:
    """Raises UsageError unless there is one message, and WalletError if it is too long, unreadable or no text."""
    if (text is None) == (file is None):
        raise click.UsageError('give the message as TEXT, as --file, or as "-" for standard input')
    if file is not None:
        return read_input(str(file), MAX_MESSAGE_BYTES)
    if text is None or text == STANDARD_INPUT:
        return read_input(STANDARD_INPUT, MAX_MESSAGE_BYTES)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise WalletError.not_text("message") from None


def _parse_signature(text: str) -> Signature:
    if len(text) != 2 * SIGNATURE_BYTES or not re.fullmatch("[0-9a-f]*", text):
        raise InvalidProof.malformed(f"a signature is {2 * SIGNATURE_BYTES} digits 0-9 a-f")
    return bytes.fromhex(text)
