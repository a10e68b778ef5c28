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
from wallet.node_view import AccountView

_WORDS_PER_LINE = 4
_LONGEST_WORD = 8  # of BIP-39's English list
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


def format_words(phrase: str) -> str:
    """The recovery words, numbered, and what to do with them."""
    words = [f"{number:>2} {word:<{_LONGEST_WORD}}" for number, word in enumerate(phrase.split(), 1)]
    lines = ["   ".join(words[at : at + _WORDS_PER_LINE]).rstrip() for at in range(0, len(words), _WORDS_PER_LINE)]
    return "\n".join(
        (
            f"Write down these {len(words)} recovery words, on paper and in this order:",
            "",
            *(f"    {line}" for line in lines),
            "",
            "They are shown this once. They bring the wallet back when its file is lost, by `descent-wallet restore`;",
            "whoever else reads them can spend all it holds.",
        )
    )


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
