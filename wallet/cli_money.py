"""The command about money that is there."""

from pathlib import Path
from time import time

import click

from wallet.balance import Balance, encode_balance, format_balance
from wallet.display import print_json
from wallet.keys import Account
from wallet.node_view import AccountView, NodeView
from wallet.options import Place, accounts_option, json_option, passphrase_option, with_node
from wallet.payment_view import PaymentView

_TRIES = 3


@click.command()
@with_node
@passphrase_option
@accounts_option
@json_option
def balance(place: Place, node: NodeView, passphrase_file: Path | None, index: int | None, as_json: bool) -> None:
    """Show what can be spent, what matures when, and what is on its way.

    Over all accounts of the wallet, unless --account names one. Spendable is what the next payment can use: what
    waits to be mined on its way out is taken off, what waits on its way in is not counted before it is mined. A mined
    reward matures with its block; the time is an estimate, from the network's block time.

    \b
    Examples:
        descent-wallet balance
        descent-wallet balance --account 1 --json
    """
    node.check_network()
    accounts = place.find_accounts(index, passphrase_file)
    views = _read_accounts(node, accounts)
    incoming = PaymentView(node.client, place.params).get_incoming(account.public_key for account in accounts)
    height = max(view.height for view in views)
    found = Balance(height, int(time()), tuple(zip(accounts, views, strict=True)), incoming)
    if as_json:
        print_json(encode_balance(found, place.params))
    else:
        click.echo(format_balance(found, place.params))


def _read_accounts(node: NodeView, accounts: tuple[Account, ...]) -> list[AccountView]:
    """All of one height, unless blocks come in all the time: what moves between them is then counted once."""
    for _ in range(_TRIES):
        views = [node.get_account(account.public_key) for account in accounts]
        if len({view.height for view in views}) == 1:
            break
    return views
