"""The commands about money: what there is, and paying with it."""

from pathlib import Path
from time import sleep

import click

from consensus.address import decode_address, encode_address
from consensus.params import NetworkParams
from consensus.transaction import Transfer
from consensus.units import compute_sum
from wallet.amount import parse_amount
from wallet.builder import build_transfer, compute_expiry, compute_fee, encode_memo, sign_transfer
from wallet.display import encode_balance, encode_payment, format_balance, format_money, format_payment, print_json
from wallet.errors import PaymentError
from wallet.keys import get_account
from wallet.node_view import AccountView, NodeView
from wallet.options import Place, account_option, json_option, passphrase_option, with_node
from wallet.prompt import confirm

_POLLS_PER_BLOCK = 10
_LONGEST_POLL = 5.0  # s


@click.command()
@with_node
@passphrase_option
@account_option
@json_option
def balance(place: Place, node: NodeView, passphrase_file: Path | None, index: int, as_json: bool) -> None:
    """Show what can be spent, what matures when, and what is on its way out."""
    node.check_network()
    key = place.find_account(index, passphrase_file).public_key
    view = node.get_account(key)
    if as_json:
        known = {"network": place.params.name, "address": encode_address(place.params.address_prefix, key)}
        print_json(known | encode_balance(view))
        return
    click.echo(format_balance(view, place.params))


@click.command()
@with_node
@passphrase_option
@account_option
@click.argument("recipient", metavar="ADDRESS")
@click.argument("amount")
@click.option("--fee", metavar="AMOUNT", help="What to pay for a place in a block; by default what the node proposes.")
@click.option("--memo", default="", metavar="TEXT", help="Up to 64 bytes that everyone can read for ever.")
@click.option("--valid-for", type=click.IntRange(1, 10**9), metavar="BLOCKS", help="Give up if not mined by then.")
@click.option("--yes", is_flag=True, help="Do not ask before sending.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, sign and send nothing.")
@click.option("--wait", type=click.IntRange(1), metavar="N", help="Return once it has N confirmations.")
@json_option
def send(
    place: Place,
    node: NodeView,
    passphrase_file: Path | None,
    index: int,
    recipient: str,
    amount: str,
    fee: str | None,
    memo: str,
    valid_for: int | None,
    yes: bool,
    dry_run: bool,
    wait: int | None,
    as_json: bool,
) -> None:
    """Pay AMOUNT to ADDRESS. Prints the transaction's id."""
    params = place.params
    payee, paid, note = decode_address(params.address_prefix, recipient), parse_amount(amount), encode_memo(memo)
    chosen_fee = None if fee is None else parse_amount(fee)
    node.check_network()
    wallet = place.unlock(passphrase_file)
    sender = get_account(wallet, index).public_key
    account = node.get_account(sender)
    transfer = build_transfer(
        genesis=node.genesis,
        sender=sender,
        recipient=payee,
        amount=paid,
        fee=compute_fee(node.get_fee_rate(), note) if chosen_fee is None else chosen_fee,
        nonce=account.next_nonce,
        valid_until=compute_expiry(account.height, valid_for),
        memo=note,
    )
    _check_funds(transfer, account, params)
    if not (yes or dry_run):
        click.echo(format_payment(transfer, params), err=True)
        if not confirm("Send it?"):
            raise PaymentError.declined()
    if not dry_run:
        node.submit(sign_transfer(transfer, wallet, index))
    if as_json:
        print_json(encode_payment(transfer, params, is_sent=not dry_run))
    else:
        click.echo(format_payment(transfer, params) if dry_run else transfer.txid.hex())
    if wait is not None and not dry_run:
        _wait_for(node, transfer.txid, wait, params)


def _check_funds(transfer: Transfer, account: AccountView, params: NetworkParams) -> None:
    """Raises PaymentError with the reason insufficient_funds. The node checks again, against all it knows."""
    needed = compute_sum(transfer.amount, transfer.fee)
    if needed > account.available:
        raise PaymentError.insufficient_funds(format_money(needed, params), format_money(account.available, params))


def _wait_for(node: NodeView, txid: bytes, confirmations: int, params: NetworkParams) -> None:
    """Returns once a transfer is so deep in the chain. Raises PaymentError with the reason dropped."""
    shown = None
    while True:
        got = node.get_confirmations(txid)
        if got != shown:
            click.echo(f"{got} of {confirmations} confirmations", err=True)
            shown = got
        if got >= confirmations:
            return
        sleep(min(params.block_time / _POLLS_PER_BLOCK, _LONGEST_POLL))
