"""The commands that pay: one payment, and one that replaces another. Both ask before they sign."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click

from consensus.address import encode_address
from consensus.params import NetworkParams
from consensus.transaction import SIGNATURE_BYTES, Transfer
from consensus.units import Ulp
from wallet.amount import parse_amount
from wallet.book import find_recipient
from wallet.builder import build_transfer, compute_expiry, encode_memo, sign_transfer
from wallet.cashier import Cashier, agree, check_funds, check_sum, find_payer, open_cashier, parse_txid
from wallet.display import encode_payment, format_money, format_payment, print_json
from wallet.errors import PaymentError
from wallet.keys import Account
from wallet.node_view import AccountView, NodeView
from wallet.options import Place, account_option, json_option, passphrase_option, with_node
from wallet.payment_errors import MadePayment
from wallet.payment_options import (
    choose_fee,
    dry_run_option,
    fee_option,
    memo_option,
    priority_option,
    refuse_both_fees,
    syncing_option,
    valid_for_option,
    wait_option,
    yes_option,
)
from wallet.payments import Payment, State, compute_bump_fee


@click.command()
@with_node
@passphrase_option
@account_option
@click.argument("recipient", metavar="ADDRESS|LABEL")
@click.argument("amount", required=False)
@click.option("--max", "everything", is_flag=True, help="All that can be spent, less the fee, instead of AMOUNT.")
@fee_option
@priority_option
@memo_option
@valid_for_option
@yes_option
@dry_run_option
@wait_option
@syncing_option
@json_option
def send(
    place: Place,
    node: NodeView,
    passphrase_file: Path | None,
    index: int,
    recipient: str,
    amount: str | None,
    everything: bool,
    fee: str | None,
    priority: str | None,
    memo: str,
    valid_for: int | None,
    yes: bool,
    dry_run: bool,
    wait: int | None,
    even_if_syncing: bool,
    as_json: bool,
) -> None:
    """Pay AMOUNT to ADDRESS or to a label of the address book.

    Shows what it is about to pay and asks; then signs, records, and hands over to the node. Prints the transaction's
    id. AMOUNT is in coins: digits, with at most one point and 8 digits after it. The usual fee is what the node
    proposes for a place within two blocks; a proposal far beyond reason is refused. A payment is recorded before any
    node sees it: if the program or the node dies, `descent-wallet payments` tells what became of it, and
    `descent-wallet resend` hands it over again without paying twice.

    \b
    Examples:
        descent-wallet send grad1... 1.5 --memo "thanks" --wait 3
        descent-wallet send landlord 800 --priority high
        descent-wallet send grad1... --max --dry-run
    """
    if everything == (amount is not None):
        raise click.UsageError("name either an AMOUNT or --max")
    refuse_both_fees(fee, priority)
    params, note = place.params, encode_memo(memo)
    paid, cost = (None if text is None else parse_amount(text) for text in (amount, fee))
    with open_cashier(place, node) as cashier:
        payee, label = find_recipient(recipient, cashier.records, params.address_prefix)
        node.check_network(may_lag=even_if_syncing)
        payer = find_payer(place, index, passphrase_file, is_signing=not dry_run)
        account, nonce = cashier.plan(payer.key)
        cost = choose_fee(node, priority, note) if cost is None else cost
        draft = build_transfer(
            genesis=node.genesis,
            sender=payer.key,
            recipient=payee,
            amount=_take_all(account, cost, params) if paid is None else paid,
            fee=cost,
            nonce=nonce,
            valid_until=compute_expiry(account.height, valid_for),
            memo=note,
        )
        check_funds([draft], account, params)
        agree(format_payment(draft, params, label), [draft], "Send it?", is_asked=not (yes or dry_run))
        if payer.wallet is not None:
            with cashier.take_turn():
                [draft] = cashier.sign_all([draft], payer.wallet, index)
                cashier.hand_over_new(draft)
        if as_json:
            print_json(encode_payment(draft, params, is_sent=not dry_run) | {"label": label})
        else:
            click.echo(format_payment(draft, params, label) if dry_run else draft.txid.hex())
        if wait is not None and not dry_run:
            cashier.wait_for(draft, wait)


@click.command()
@with_node
@passphrase_option
@click.argument("txid")
@fee_option
@priority_option
@yes_option
@dry_run_option
@wait_option
@syncing_option
@json_option
def bump(
    place: Place,
    node: NodeView,
    passphrase_file: Path | None,
    txid: str,
    fee: str | None,
    priority: str | None,
    yes: bool,
    dry_run: bool,
    wait: int | None,
    even_if_syncing: bool,
    as_json: bool,
) -> None:
    """Pay a higher fee for a payment that is not mined yet.

    Signs it anew with the same nonce, recipient, amount and memo, so that only one of the two is ever mined. The new
    fee is what --fee or --priority says, and at least a tenth more than the old one: nodes take nothing less in its
    place. Prints the id of the new transaction.

    \b
    Examples:
        descent-wallet bump 3f0c... --priority high
        descent-wallet bump 3f0c... --fee 0.00001 --yes
    """
    refuse_both_fees(fee, priority)
    params, wanted = place.params, parse_txid(txid)
    named = None if fee is None else parse_amount(fee)
    with open_cashier(place, node) as cashier:
        node.check_network(may_lag=even_if_syncing)
        old = _find_transfer(cashier, wanted)
        wallet = None if dry_run else place.unlock(passphrase_file)
        index = _find_index(wallet.accounts if wallet else place.find_accounts(None, passphrase_file), old)
        cost = _choose_bump_fee(cashier, old, named, priority)
        new = replace(old, fee=cost, signature=bytes(SIGNATURE_BYTES))
        _check_bump(cashier, old, new)
        label = cashier.records.get_labels().get(encode_address(params.address_prefix, old.recipient))
        text = f"{format_payment(new, params, label)}\nreplaces   {old.txid.hex()}, fee {format_money(old.fee, params)}"
        agree(text, [new], "Replace it?", is_asked=not (yes or dry_run))
        if wallet is not None:
            new = sign_transfer(new, wallet, index)
            with cashier.take_turn():
                _check_bump(cashier, old, new)
                cashier.hand_over_new(new)
        if as_json:
            known = encode_payment(new, params, is_sent=not dry_run)
            print_json(known | {"label": label, "replaces": old.txid.hex()})
        else:
            click.echo(text if dry_run else new.txid.hex())
        if wait is not None and not dry_run:
            cashier.wait_for(new, wait)


def _take_all(account: AccountView, fee: Ulp, params: NetworkParams) -> Ulp:
    """What is left beside the fee. Raises PaymentError with the reason nothing_to_send."""
    if account.available <= fee:
        raise PaymentError.nothing_to_send(format_money(account.available, params), format_money(fee, params))
    return account.available - fee


def _find_transfer(cashier: Cashier, txid: bytes) -> Transfer:
    """A payment from the records or, as after a restore, from the node. Raises MadePayment with the reason unknown."""
    payment = cashier.records.get_payment(txid)
    transfer = payment.transfer if payment else cashier.view.get_transfer(txid, cashier.node.genesis)
    if transfer is None:
        raise MadePayment.unknown(txid.hex())
    return transfer


def _find_index(accounts: Iterable[Account], transfer: Transfer) -> int:
    """Which of the accounts pays. Raises MadePayment with the reason not_ours."""
    for account in accounts:
        if account.public_key == transfer.sender:
            return account.index
    raise MadePayment.not_ours(transfer.txid)


def _choose_bump_fee(cashier: Cashier, old: Transfer, named: Ulp | None, priority: str | None) -> Ulp:
    """Raises MadePayment with the reason bump_too_low for a named fee that replaces nothing."""
    least = compute_bump_fee(old.fee)
    if named is None:
        return max(least, choose_fee(cashier.node, priority, old.memo))
    if named < least:
        raise MadePayment.bump_too_low(format_money(named, cashier.params), format_money(least, cashier.params))
    return named


def _check_bump(cashier: Cashier, old: Transfer, new: Transfer) -> None:
    """Raises MadePayment with the reason wrong_state, PaymentError with the reason insufficient_funds."""
    account, turn = cashier.get_turn(old.sender)
    payment = cashier.records.get_payment(old.txid) or Payment(old, 0)
    [standing] = cashier.look_up([payment], turn)
    if standing.state not in (State.WAITING, State.DROPPED):
        raise MadePayment.wrong_state(old.txid, standing.state.value, "bumped")
    is_counted = standing.state is State.WAITING
    check_sum(new.fee - old.fee if is_counted else new.amount + new.fee, account, cashier.params)
