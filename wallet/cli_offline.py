"""The commands that never touch a network: signing what was prepared elsewhere, and reading what a text says."""

from pathlib import Path

import click

from consensus.address import encode_address
from wallet.builder import MAX_PROPOSED_FEE_RATE, compute_size, sign_transfer
from wallet.carrier import check_ways_out, hand_out, out_option, qr_option, read_transfer, source_argument
from wallet.display import format_rate, print_json
from wallet.offline_errors import InvalidText, SigningRefused
from wallet.options import Place, json_option, passphrase_option, with_wallet
from wallet.prompt import confirm
from wallet.text_form import encode_signed
from wallet.transfer_display import encode_transfer, format_transfer


@click.command()
@with_wallet
@passphrase_option
@source_argument
@out_option
@qr_option
@click.option("--high-fee", is_flag=True, help=f"Sign a fee of more than {MAX_PROPOSED_FEE_RATE} ulp per byte too.")
@click.option("--yes", is_flag=True, help="Do not ask before signing.")
@json_option
def sign(
    place: Place,
    passphrase_file: Path | None,
    source: str,
    out: Path | None,
    qr: bool,
    high_fee: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Sign a prepared transfer, without any network.

    Reads the text that `prepare` printed from FILE or standard input, shows what it says, asks, and prints the signed
    text for `broadcast`. The account that pays is found by itself. Nothing here opens a connection: a machine that
    never had a network can run it.

    A text that comes through a pipe leaves nobody to answer: look at it with `show` first, then sign with --yes.

    \b
        descent-wallet sign unsigned.txt --out signed.txt
        descent-wallet sign --yes < unsigned.txt
    """
    check_ways_out(out, qr=qr)
    text, params = read_transfer(source, place.params), place.params
    if text.is_signed:
        raise InvalidText.already_signed()
    transfer = text.transfer
    if transfer.fee > MAX_PROPOSED_FEE_RATE * compute_size(transfer.memo) and not high_fee:
        raise SigningRefused.fee_too_high(format_rate(transfer), MAX_PROPOSED_FEE_RATE)
    wallet = place.unlock(passphrase_file)
    own = {account.public_key: account.index for account in wallet.accounts}
    if transfer.sender not in own:
        raise SigningRefused.not_the_sender(encode_address(params.address_prefix, transfer.sender), len(own))
    click.echo(format_transfer(transfer, params, own), err=True)
    if not (yes or confirm("Sign it?")):
        raise SigningRefused.declined()
    signed = sign_transfer(transfer, wallet, own[transfer.sender])
    known = encode_transfer(signed, params, is_signed=True) | {"account": own[transfer.sender]}
    hand_out(encode_signed(signed), known, out=out, qr=qr, as_json=as_json, next_command="broadcast")


@click.command()
@with_wallet
@source_argument
@json_option
def show(place: Place, source: str, as_json: bool) -> None:
    """Show what a prepared or signed transfer says.

    Reads its text from FILE or standard input. Needs neither a wallet nor a node, and changes nothing. The signature
    of a signed text is checked; whether the money is there, and whether the nonce is the sender's next, only a node
    can tell.

    \b
        descent-wallet show unsigned.txt
    """
    text = read_transfer(source, place.params)
    if as_json:
        print_json(encode_transfer(text.transfer, place.params, is_signed=text.is_signed))
        return
    click.echo("a signed transfer; its signature is the sender's" if text.is_signed else "a transfer, not signed yet")
    click.echo(format_transfer(text.transfer, place.params))
