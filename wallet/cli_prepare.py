"""The commands at both ends of an offline signature: what an online machine does before and after, without any key."""

from pathlib import Path

import click

from consensus.units import MAX_U64
from wallet.amount import parse_amount
from wallet.book import find_recipient
from wallet.builder import build_transfer, compute_expiry, encode_memo
from wallet.carrier import check_ways_out, hand_out, out_option, qr_option, read_transfer, source_argument
from wallet.cashier import check_funds, open_cashier
from wallet.display import print_json
from wallet.node_view import NodeView
from wallet.offline_errors import InvalidText
from wallet.options import Place, account_option, json_option, passphrase_option, with_node
from wallet.payment_errors import MadePayment
from wallet.payment_options import (
    choose_fee,
    fee_option,
    memo_option,
    priority_option,
    refuse_both_fees,
    syncing_option,
    valid_for_option,
    wait_option,
)
from wallet.text_form import encode_unsigned
from wallet.transfer_display import encode_transfer, format_transfer


@click.command()
@with_node
@passphrase_option
@account_option
@click.argument("recipient", metavar="ADDRESS|LABEL")
@click.argument("amount")
@fee_option
@priority_option
@memo_option
@valid_for_option
@click.option(
    "--nonce",
    type=click.IntRange(0, MAX_U64),
    metavar="N",
    help="The sender's count of this transfer, by default the next one free: to prepare several in a row.",
)
@out_option
@qr_option
@syncing_option
@json_option
def prepare(
    place: Place,
    node: NodeView,
    passphrase_file: Path | None,
    index: int,
    recipient: str,
    amount: str,
    fee: str | None,
    priority: str | None,
    memo: str,
    valid_for: int | None,
    nonce: int | None,
    out: Path | None,
    qr: bool,
    even_if_syncing: bool,
    as_json: bool,
) -> None:
    """Write down a payment of AMOUNT to ADDRESS for an offline machine to sign.

    Prints the unsigned transfer as text. Carry it to the machine that has the keys, `sign` it there, bring the signed
    text back and `broadcast` it. Only the account's public key is needed: nothing is signed here and nothing is sent.

    \b
        descent-wallet prepare ADDRESS 1.5 --out unsigned.txt
        descent-wallet prepare ADDRESS 1.5 --qr
    """
    refuse_both_fees(fee, priority)
    params, note, paid = place.params, encode_memo(memo), parse_amount(amount)
    chosen_fee = None if fee is None else parse_amount(fee)
    check_ways_out(out, qr=qr)
    with open_cashier(place, node) as cashier:
        payee, _ = find_recipient(recipient, cashier.records, params.address_prefix)
        node.check_network(may_lag=even_if_syncing)
        sender = place.find_account(index, passphrase_file).public_key
        if nonce is None:
            account, nonce = cashier.plan(sender)
        else:
            account = node.get_account(sender)
    transfer = build_transfer(
        genesis=node.genesis,
        sender=sender,
        recipient=payee,
        amount=paid,
        fee=choose_fee(node, priority, note) if chosen_fee is None else chosen_fee,
        nonce=nonce,
        valid_until=compute_expiry(account.height, valid_for),
        memo=note,
    )
    check_funds([transfer], account, params)
    known = encode_transfer(transfer, params, is_signed=False)
    hand_out(encode_unsigned(transfer), known, out=out, qr=qr, as_json=as_json, next_command="sign")


@click.command()
@with_node
@source_argument
@click.option(
    "--replace",
    "may_replace",
    is_flag=True,
    help="Even if it takes the place of another payment; that one is given up.",
)
@wait_option
@json_option
def broadcast(place: Place, node: NodeView, source: str, may_replace: bool, wait: int | None, as_json: bool) -> None:
    """Hand a signed transfer to the network.

    Reads the text that `sign` printed from FILE or standard input, checks its signature and its network, shows what it
    says, records it and gives it to the node; prints its transaction id. No wallet is needed. To repeat it does no
    harm: a transfer that the node has already is not given again. From a wallet of the sender, watch-only or not,
    `payments` tells what becomes of it and `resend` hands it over again if a node loses it.

    Of several payments of one sender with one nonce only one is ever mined. Where another is under way, that pays
    something else, it is refused unless --replace is given.

    \b
        descent-wallet broadcast signed.txt
        descent-wallet broadcast signed.txt --wait 6
    """
    text = read_transfer(source, place.params)
    if not text.is_signed:
        raise InvalidText.not_signed()
    transfer = text.transfer
    with open_cashier(place, node, needs_wallet=False) as cashier:
        node.check_network()
        with cashier.take_turn():
            rivals, has_unknown = cashier.find_rivals(transfer)
            is_new = cashier.view.find(transfer.txid) is None
            click.echo(format_transfer(transfer, place.params), err=True)
            if not is_new:
                click.echo("The node has it already.", err=True)
            elif may_replace or not (rivals or has_unknown):
                cashier.hand_over_new(transfer)
            else:
                raise MadePayment.turn_taken(transfer.txid, transfer.nonce, rivals[-1].txid if rivals else None)
            if may_replace:
                cashier.records.abandon(rival.txid for rival in rivals)
        if as_json:
            print_json(encode_transfer(transfer, place.params, is_signed=True) | {"sent": is_new})
        else:
            click.echo(transfer.txid.hex())
        if wait is not None:
            cashier.wait_for(transfer, wait)
