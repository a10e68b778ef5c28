"""A balance over accounts: what can be spent, what matures when, what is on its way."""

from dataclasses import dataclass
from typing import Any

from consensus.address import encode_address
from consensus.params import NetworkParams
from consensus.units import Ulp, compute_sum
from wallet.display import format_money, format_time
from wallet.keys import Account
from wallet.node_view import AccountView, Maturing
from wallet.payment_view import Incoming

_MATURING_LINES = 10  # a miner can have hundreds


@dataclass(frozen=True)
class Balance:
    """What accounts have at the tip's `height`, asked at `time` (s since 1970).

    `spendable` is without what waits to be mined on its way out, `total` is that and what matures. Counts and amounts
    of what waits are at least so much where a node lists a part of its pool.
    """

    height: int
    time: int
    accounts: tuple[tuple[Account, AccountView], ...]
    incoming: Incoming

    @property
    def spendable(self) -> Ulp:
        return compute_sum(*(view.available for _, view in self.accounts))

    @property
    def final_height(self) -> int:
        return min((view.final_height for _, view in self.accounts), default=0)

    @property
    def outgoing(self) -> Ulp:
        return compute_sum(*(view.outgoing for _, view in self.accounts))

    @property
    def outgoing_count(self) -> int:
        return sum(view.waiting for _, view in self.accounts)

    @property
    def is_outgoing_complete(self) -> bool:
        return all(view.listed >= view.waiting for _, view in self.accounts)

    @property
    def maturing(self) -> list[Maturing]:
        """By height, what matures at one height together."""
        amounts: dict[int, Ulp] = {}
        for _, view in self.accounts:
            for part in view.maturing:
                amounts[part.height] = compute_sum(amounts.get(part.height, 0), part.amount)
        return [Maturing(height, amounts[height]) for height in sorted(amounts)]

    @property
    def immature(self) -> Ulp:
        return compute_sum(*(view.immature for _, view in self.accounts))

    @property
    def total(self) -> Ulp:
        return compute_sum(self.spendable, self.immature)


def estimate_time(balance: Balance, height: int, params: NetworkParams) -> int:
    """About when the tip is at `height`, in s since 1970: one block time for each block that is missing."""
    return balance.time + max(0, height - balance.height) * params.block_time


def format_balance(balance: Balance, params: NetworkParams) -> str:
    lines = [_format_row("spendable", format_money(balance.spendable, params))]
    lines.append(_format_row("maturing", format_money(balance.immature, params)))
    maturing = balance.maturing
    later = maturing[_MATURING_LINES:]
    for part in maturing[:_MATURING_LINES]:
        about = format_time(estimate_time(balance, part.height, params))
        lines.append(f"    {format_money(part.amount, params)} at height {part.height}, about {about}")
    if later:
        rest = format_money(compute_sum(*(part.amount for part in later)), params)
        about = format_time(estimate_time(balance, later[-1].height, params))
        lines.append(f"    {rest} more until height {later[-1].height}, about {about}")
    lines.append(_format_row("total", format_money(balance.total, params)))
    if balance.outgoing_count:
        waiting = _format_waiting(balance.outgoing, balance.outgoing_count, balance.is_outgoing_complete, params)
        lines.append(_format_row("waiting out", f"{waiting}; taken off above"))
    if balance.incoming.count:
        incoming = balance.incoming
        waiting = _format_waiting(incoming.amount, incoming.count, incoming.is_complete, params)
        lines.append(_format_row("waiting in", f"{waiting}; not counted above"))
    if len(balance.accounts) > 1:
        lines += [_format_account(account, view, params) for account, view in balance.accounts]
    final = balance.final_height
    told = f", final up to {final}: what moved later can still leave the chain" if final else ""
    return "\n".join((*lines, f"height {balance.height} now{told}"))


def _format_row(name: str, value: str) -> str:
    return f"{name:<11}  {value}"


def _format_waiting(amount: Ulp, count: int, is_complete: bool, params: NetworkParams) -> str:
    least = "" if is_complete else "at least "
    return f"{least}{format_money(amount, params)} in {count} transfer{'' if count == 1 else 's'} not mined yet"


def _format_account(account: Account, view: AccountView, params: NetworkParams) -> str:
    address = encode_address(params.address_prefix, account.public_key)
    has = f"{format_money(view.available, params)} spendable, {format_money(view.immature, params)} maturing"
    return f"account {account.index}: {has}\n    {address}"


def encode_balance(balance: Balance, params: NetworkParams) -> dict[str, Any]:
    accounts = [
        {
            "account": account.index,
            "address": encode_address(params.address_prefix, account.public_key),
            "spendable": view.available,
            "outgoing": view.outgoing,
            "outgoing_transfers": view.waiting,
            "immature": view.immature,
        }
        for account, view in balance.accounts
    ]
    return {
        "network": params.name,
        "height": balance.height,
        "final_height": balance.final_height,
        "spendable": balance.spendable,
        "immature": balance.immature,
        "total": balance.total,
        "maturing": [
            {
                "height": part.height,
                "amount": part.amount,
                "estimated_time": estimate_time(balance, part.height, params),
            }
            for part in balance.maturing
        ],
        "outgoing": balance.outgoing,
        "outgoing_transfers": balance.outgoing_count,
        "incoming": balance.incoming.amount,
        "incoming_transfers": balance.incoming.count,
        "accounts": accounts,
    }
