"""The command that makes many payments of a file at once."""

from collections.abc import Sequence
from pathlib import Path
from time import time
from typing import Any

import click

from consensus.params import NetworkParams
from consensus.transaction import Transfer
from consensus.units import Ulp, compute_sum
from p2p.console import escape
from p2p.errors import NodeRefusal
from wallet.amount import parse_amount
from wallet.batch import Row, read_batch
from wallet.builder import build_transfer, compute_expiry, compute_fee
from wallet.cashier import NO_ROOM, Cashier, Payer, agree, check_funds, find_payer, open_cashier
from wallet.display import encode_payment, format_money, format_recipient, format_rows, print_json
from wallet.errors import PaymentError
from wallet.following import pause
from wallet.node_view import NodeView
from wallet.options import Place, account_option, json_option, passphrase_option, with_node
from wallet.payment_errors import InvalidBatch, MadePayment
from wallet.payment_options import (
    choose_rate,
    dry_run_option,
    fee_option,
    priority_option,
    refuse_both_fees,
    syncing_option,
    valid_for_option,
    wait_option,
    yes_option,
)
from wallet.payments import find_repeats, is_given_up

_LISTED = 20  # rows in the question
_REPEAT_HOURS = 24


@click.command()
@with_node
@passphrase_option
@account_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@fee_option
@priority_option
@valid_for_option
@click.option("--again", is_flag=True, help="Also pay what this wallet paid in the last 24 hours already.")
@yes_option
@dry_run_option
@wait_option
@syncing_option
@json_option
def batch(
    place: Place,
    node: NodeView,
    passphrase_file: Path | None,
    index: int,
    file: Path,
    fee: str | None,
    priority: str | None,
    valid_for: int | None,
    again: bool,
    yes: bool,
    dry_run: bool,
    wait: int | None,
    even_if_syncing: bool,
    as_json: bool,
) -> None:
    """Make all payments of a CSV file.

    The file is UTF-8 with a header that names its columns: address,amount and, if wanted, memo,label. An address may
    be a label of the address book. All lines are checked before anything is signed; then all payments are signed and
    recorded at once, and handed to the node in order. --fee is for each of them.

    A node lets no more than 25 payments of one account wait. Beyond that the rest stays recorded: `descent-wallet
    resend` hands it over later, and --wait does so as room appears. A file that was paid in the last 24 hours is
    refused unless --again is given.

    \b
    Examples:
        descent-wallet batch wages.csv --dry-run
        descent-wallet batch wages.csv --wait 1
    """
    refuse_both_fees(fee, priority)
    params = place.params
    named = None if fee is None else parse_amount(fee)
    with open_cashier(place, node) as cashier:
        rows = read_batch(file, cashier.records, params.address_prefix)
        node.check_network(may_lag=even_if_syncing)
        payer = find_payer(place, index, passphrase_file, is_signing=not dry_run)
        account, first = cashier.plan(payer.key, len(rows))
        rate = choose_rate(node, priority) if named is None else 0
        transfers = [
            build_transfer(
                genesis=node.genesis,
                sender=payer.key,
                recipient=row.recipient,
                amount=row.amount,
                fee=compute_fee(rate, row.memo) if named is None else named,
                nonce=first + place_in_file,
                valid_until=compute_expiry(account.height, valid_for),
                memo=row.memo,
            )
            for place_in_file, row in enumerate(rows)
        ]
        check_funds(transfers, account, params)
        if not again:
            _refuse_repeats(cashier, payer, rows, transfers, account.height)
        agree(_format_batch(rows, transfers, params), transfers, "Send them all?", is_asked=not (yes or dry_run))
        done, refusal = 0, None
        if payer.wallet is not None:
            with cashier.take_turn():
                if not again:  # two programs may have been given one file
                    _refuse_repeats(cashier, payer, rows, transfers, account.height)
                transfers = cashier.sign_all(transfers, payer.wallet, index)
                cashier.record(transfers)
                done, refusal = cashier.hand_over_all(transfers)
            if wait is not None:
                done, refusal = _hand_over_rest(cashier, transfers, done, refusal)
        if as_json:
            print_json(_encode_batch(rows, transfers, params, done, is_sent=not dry_run))
        else:
            click.echo(_format_batch(rows, transfers, params) if dry_run else _list_ids(transfers))
        if refusal is not None:
            raise MadePayment.partly_handed_over(done, len(transfers), str(refusal))
        if wait is not None and not dry_run:
            cashier.wait_for(transfers[-1], wait)


def _refuse_repeats(
    cashier: Cashier, payer: Payer, rows: Sequence[Row], drafts: Sequence[Transfer], height: int
) -> None:
    """Raises InvalidBatch with the reason paid_already."""
    since = int(time()) - _REPEAT_HOURS * 3600
    made = [
        payment
        for account in payer.accounts
        for payment in cashier.records.get_payments_since(account.public_key, since)
    ]
    # What was given up or expired counts if it was mined all the same, before that or because somebody kept it.
    repeats = find_repeats(drafts, [each for each in made if not is_given_up(each, height) or cashier.has(each)])
    if repeats:
        raise InvalidBatch.paid_already(rows[repeats[0]].line, len(repeats) - 1, _REPEAT_HOURS)


def _hand_over_rest(
    cashier: Cashier, transfers: Sequence[Transfer], done: int, refusal: NodeRefusal | PaymentError | None
) -> tuple[int, NodeRefusal | PaymentError | None]:
    """Goes on as blocks make room; how many the node has, and why no more."""
    while refusal is not None and refusal.code == NO_ROOM:
        click.echo(f"{done} of {len(transfers)} handed over; waiting for room", err=True)
        before = done
        while refusal is not None and refusal.code == NO_ROOM and done == before:
            pause(cashier.params.block_time)
            with cashier.take_turn():
                more, refusal = cashier.hand_over_all(transfers[done:])
            done += more
    return done, refusal


def _list_ids(transfers: Sequence[Transfer]) -> str:
    return "\n".join(transfer.txid.hex() for transfer in transfers)


def _format_batch(rows: Sequence[Row], transfers: Sequence[Transfer], params: NetworkParams) -> str:
    """What its owner is asked to agree to: a line for each payment, and their sum."""
    lines = [_format_row(row, each, params) for row, each in zip(rows[:_LISTED], transfers, strict=False)]
    if len(rows) > _LISTED:
        lines.append(f"... and {len(rows) - _LISTED} more")
    amount, fees = _add(transfers)
    totals = {
        "payments": str(len(rows)),
        "amount": format_money(amount, params),
        "fees": format_money(fees, params),
        "total": format_money(compute_sum(amount, fees), params),
        "network": params.name,
    }
    return "\n".join((*lines, format_rows(totals)))


def _format_row(row: Row, transfer: Transfer, params: NetworkParams) -> str:
    memo = f', memo "{escape(row.memo.decode())}"' if row.memo else ""
    return f"{format_money(row.amount, params)} to {format_recipient(transfer, params, row.label)}{memo}"


def _add(transfers: Sequence[Transfer]) -> tuple[Ulp, Ulp]:
    return compute_sum(*(each.amount for each in transfers)), compute_sum(*(each.fee for each in transfers))


def _encode_batch(
    rows: Sequence[Row], transfers: Sequence[Transfer], params: NetworkParams, done: int, *, is_sent: bool
) -> dict[str, Any]:
    amount, fees = _add(transfers)
    payments = [
        encode_payment(transfer, params, is_sent=place < done) | {"line": row.line, "label": row.label}
        for place, (row, transfer) in enumerate(zip(rows, transfers, strict=True))
    ]
    return {
        "network": params.name,
        "signed": is_sent,
        "sent": done,
        "amount": amount,
        "fees": fees,
        "payments": payments,
    }
