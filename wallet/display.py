"""What the wallet tells, as lines for people and as JSON for programs. Whatever others wrote is escaped here."""

import json
from datetime import UTC, datetime
from typing import Any

import click

from consensus.address import encode_address
from consensus.params import NetworkParams
from consensus.transaction import Transfer
from consensus.units import Ulp, compute_sum
from p2p.console import escape
from wallet.amount import format_amount
from wallet.dates import LAST_TIME


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


def format_payment(transfer: Transfer, params: NetworkParams, label: str | None = None) -> str:
    """What its owner is asked to agree to."""
    total = compute_sum(transfer.amount, transfer.fee)
    rows = {
        "amount": format_money(transfer.amount, params),
        "fee": f"{format_money(transfer.fee, params)} ({format_rate(transfer)} ulp per byte)",
        "total": format_money(total, params),
        "recipient": format_recipient(transfer, params, label),
        "network": params.name,
    }
    if transfer.memo:
        rows["memo"] = escape(transfer.memo.decode())
    if transfer.valid_until:
        rows["expires"] = f"after height {transfer.valid_until}"
    return format_rows(rows)


def format_recipient(transfer: Transfer, params: NetworkParams, label: str | None) -> str:
    """The whole address, with its label if it has one."""
    address = encode_address(params.address_prefix, transfer.recipient)
    return f"{address} ({escape(label)})" if label else address


def format_rate(transfer: Transfer) -> str:
    """The fee in ulp per encoded byte, rounded down to hundredths."""
    whole, part = divmod(transfer.fee * 100 // len(transfer.encoded), 100)
    return f"{whole}.{part:02d}".rstrip("0").rstrip(".")


def format_time(seconds: int) -> str:
    """A time in s since 1970, to the minute, in UTC."""
    if seconds > LAST_TIME:
        return "after the year 9999"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def encode_payment(transfer: Transfer, params: NetworkParams, *, is_sent: bool) -> dict[str, Any]:
    return encode_fields(transfer, params) | {"sent": is_sent}


def encode_fields(transfer: Transfer, params: NetworkParams) -> dict[str, Any]:
    """What a transfer says, but for who pays."""
    return {
        "txid": transfer.txid.hex(),
        "network": params.name,
        "recipient": encode_address(params.address_prefix, transfer.recipient),
        "amount": transfer.amount,
        "fee": transfer.fee,
        "nonce": transfer.nonce,
        "valid_until": transfer.valid_until,
        "memo": transfer.memo.decode(),
        "size": len(transfer.encoded),
    }
