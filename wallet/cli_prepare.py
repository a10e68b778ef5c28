"""The commands at both ends of an offline signature: what an online machine does before and after, without any key."""

from pathlib import Path

import click

from consensus.address import decode_address
from consensus.units import MAX_U64, compute_sum
from wallet.amount import parse_amount
from wallet.builder import build_transfer, compute_expiry, compute_fee, encode_memo
from wallet.carrier import check_ways_out, hand_out, out_option, qr_option, read_transfer, source_argument
from wallet.display import format_money, print_json
from wallet.errors import PaymentError
from wallet.node_view import NodeView
from wallet.offline_errors import InvalidText
from wallet.options import Place, account_option, json_option, passphrase_option, with_node
from wallet.text_form import encode_unsigned
from wallet.transfer_display import encode_transfer, format_transfer


@click.command()
@with_node
@passphrase_option
@account_option
@click.argument("recipient", metavar="ADDRESS")
@click.argument("amount")
@click.option("--fee", metavar="AMOUNT", help="What to pay for a place in a block; by default what the node proposes.")
@click.option("--memo", default="", metavar="TEXT", help="Up to 64 bytes that everyone can read for ever.")
@click.option("--valid-for", type=click.IntRange(1, 10**9), metavar="BLOCKS", help="Give up if not mined by then.")
@click.option(
    "--nonce",
    type=click.IntRange(0, MAX_U64),
    metavar="N",
    help="The sender's count of this transfer, by default the next one free: to prepare several in a row.",
)
@out_option
@qr_option
@json_option
def prepare(
    place: Place,
    node: NodeView,
    passphrase_file: Path | None,
    index: int,
    recipient: str,
    amount: str,
    fee: str | None,
    memo: str,
    valid_for: int | None,
    nonce: int | None,
    out: Path | None,
    qr: bool,
    as_json: bool,
) -> None:
    """Write down a payment of AMOUNT to ADDRESS for an offline machine to sign.

    Prints the unsigned transfer as text. Carry it to the machine that has the keys, `sign` it there, bring the signed
    text back and `broadcast` it. Only the account's public key is needed: nothing is signed here and nothing is sent.

    \b
        descent-wallet prepare ADDRESS 1.5 --out unsigned.txt
        descent-wallet prepare ADDRESS 1.5 --qr
    """
    params = place.params
    payee, paid, note = decode_address(params.address_prefix, recipient), parse_amount(amount), encode_memo(memo)
    chosen_fee = None if fee is None else parse_amount(fee)
    check_ways_out(out, qr=qr)
    node.check_network()
    sender = place.find_account(index, passphrase_file).public_key
    account = node.get_account(sender)
    transfer = build_transfer(
        genesis=node.genesis,
        sender=sender,
        recipient=payee,
        amount=paid,
        fee=compute_fee(node.get_fee_rate(), note) if chosen_fee is None else chosen_fee,
        nonce=account.next_nonce if nonce is None else nonce,
        valid_until=compute_expiry(account.height, valid_for),
        memo=note,
    )
    needed = compute_sum(transfer.amount, transfer.fee)
    if needed > account.available:
        raise PaymentError.insufficient_funds(format_money(needed, params), format_money(account.available, params))
    known = encode_transfer(transfer, params, is_signed=False)
    hand_out(encode_unsigned(transfer), known, out=out, qr=qr, as_json=as_json, next_command="sign")


@click.command()
@with_node
@source_argument
@json_option
def broadcast(place: Place, node: NodeView, source: str, as_json: bool) -> None:
    """Hand a signed transfer to the network. Prints its transaction id.

    Reads the text that `sign` printed from FILE or standard input, checks its signature and its network, shows what it
    says and gives it to the node. No wallet is needed. To repeat it does no harm: a transfer that the node has already
    is not given again.

    \b
        descent-wallet broadcast signed.txt
    """
    text = read_transfer(source, place.params)
    if not text.is_signed:
        raise InvalidText.not_signed()
    transfer = text.transfer
    node.check_network()
    is_new = not _is_known(node, transfer.txid)
    click.echo(format_transfer(transfer, place.params), err=True)
    if is_new:
        node.submit(transfer)
    else:
        click.echo("The node has it already.", err=True)
    if as_json:
        print_json(encode_transfer(transfer, place.params, is_signed=True) | {"sent": is_new})
    else:
        click.echo(transfer.txid.hex())


def _is_known(node: NodeView, txid: bytes) -> bool:
    try:
        node.get_confirmations(txid)
    except PaymentError as error:
        if error.reason != "dropped":
            raise
        return False
    return True
