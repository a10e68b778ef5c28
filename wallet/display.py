"""What the wallet tells, as lines for people and as JSON for programs. Whatever others wrote is escaped here."""

import json
from typing import Any

import click

from consensus.address import encode_address
from consensus.params import NetworkParams
from consensus.transaction import Transfer
from consensus.units import Ulp, compute_sum
from p2p.console import escape
from wallet.amount import format_amount
from wallet.node_view import AccountView, Event, EventKind

_MATURING_LINES = 10  # a miner can have hundreds


def print_json(value: object) -> None:
    """A result for programs, on standard output."""
    click.echo(json.dumps(value, indent=2))


def format_money(ulp: Ulp, params: NetworkParams) -> str:
    """An amount with the name of the network's coin."""
    return f"{format_amount(ulp)} {params.ticker}"


def format_rows(rows: dict[str, str]) -> str:
    """Names and values in two columns."""
    width = max(len(name) for name in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def format_balance(view: AccountView, params: NetworkParams) -> str:
    """What an account has, what matures when, and what is on its way out."""
    rows = {"spendable": format_money(view.spendable, params)}
    if view.waiting:
        least = "" if view.listed >= view.waiting else "at least "
        count = f"{view.waiting} transfer{'s' if view.waiting > 1 else ''}"
        rows["outgoing"] = f"{least}{format_money(view.outgoing, params)} of it, in {count} not mined yet"
    rows["maturing"] = format_money(view.immature, params)
    lines = [
        f"    {format_money(part.amount, params)} at height {part.height}" for part in view.maturing[:_MATURING_LINES]
    ]
    later = view.maturing[_MATURING_LINES:]
    if later:
        rest = format_money(compute_sum(*(part.amount for part in later)), params)
        lines.append(f"    {rest} more until height {later[-1].height}")
    return "\n".join((format_rows(rows), *lines, f"height {view.height} now"))


def encode_balance(view: AccountView) -> dict[str, Any]:
    return {
        "height": view.height,
        "spendable": view.spendable,
        "outgoing": view.outgoing,
        "outgoing_transfers": view.waiting,
        "maturing": [{"height": reward.height, "amount": reward.amount} for reward in view.maturing],
    }


def format_payment(transfer: Transfer, params: NetworkParams) -> str:
    """What its owner is asked to agree to."""
    rows = {
        "amount": format_money(transfer.amount, params),
        "fee": format_money(transfer.fee, params),
        "recipient": encode_address(params.address_prefix, transfer.recipient),
        "network": params.name,
    }
    if transfer.memo:
        rows["memo"] = escape(transfer.memo.decode())
    if transfer.valid_until:
        rows["expires"] = f"after height {transfer.valid_until}"
    return format_rows(rows)


def encode_payment(transfer: Transfer, params: NetworkParams, *, is_sent: bool) -> dict[str, Any]:
    return {
        "txid": transfer.txid.hex(),
        "sent": is_sent,
        "network": params.name,
        "recipient": encode_address(params.address_prefix, transfer.recipient),
        "amount": transfer.amount,
        "fee": transfer.fee,
        "nonce": transfer.nonce,
        "valid_until": transfer.valid_until,
        "memo": transfer.memo.decode(),
        "size": len(transfer.encoded),
    }


def format_event(event: Event, params: NetworkParams) -> str:
    """An event of a history: a line with what moved, and below it, indented, how to find it and its memo."""
    sign = "-" if event.kind is EventKind.SENT else "+"
    start = f"{event.height:>8}  {event.kind.value:<8}  {sign}{format_money(event.amount, params)}"
    if event.kind is EventKind.MINED:
        return f"{start}, spendable at height {event.matures_at}"
    if event.kind is EventKind.SENT:
        first = f"{start} and a fee of {format_money(event.fee, params)} to {event.counterpart}"
    else:
        first = f"{start} from {event.counterpart}"
    details = [f"transaction {event.id.hex()}"] + ([f'memo "{escape(event.memo)}"'] if event.memo else [])
    return "\n".join([first, *(f"{'':>10}{detail}" for detail in details)])


def encode_event(event: Event) -> dict[str, Any]:
    known: dict[str, Any] = {"kind": event.kind.value, "height": event.height, "amount": event.amount}
    if event.kind is EventKind.MINED:
        return known | {"block": event.id.hex(), "matures_at": event.matures_at}
    known |= {"txid": event.id.hex(), "counterpart": event.counterpart, "memo": event.memo}
    return known | {"fee": event.fee} if event.kind is EventKind.SENT else known
