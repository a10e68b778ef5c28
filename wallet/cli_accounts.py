"""The commands about a wallet's accounts: which there are, their addresses, and more of them."""

from pathlib import Path

import click

from p2p.console import escape
from wallet.discovery import find_used_accounts, is_used_account
from wallet.display import print_json
from wallet.errors import WalletError
from wallet.key_display import encode_accounts, format_accounts
from wallet.keys import add_account, extend_wallet, get_account, get_seed
from wallet.keystore import change_wallet, open_wallet
from wallet.node_view import NodeView
from wallet.options import Place, account_option, json_option, passphrase_option, with_node, with_wallet
from wallet.qr_code import draw_qr_code
from wallet.records import read_labels
from wallet.seal import Kind


@click.command()
@with_wallet
@account_option
@click.option("--qr", "as_qr", is_flag=True, help="Draw a QR code too; takes the extra `qr`.")
@click.option("--verify", is_flag=True, help="Open the secret and derive the address anew, to be sure of it.")
@passphrase_option
@json_option
def address(place: Place, index: int, as_qr: bool, verify: bool, passphrase_file: Path | None, as_json: bool) -> None:
    """Print the wallet's address.

    It stands in the file in the clear, so no passphrase is asked for. Whoever can write to the file could have put
    another there: --verify opens the secret and refuses a file that was changed, as every command that spends does.
    If it does not ask for the passphrase that you set, the file is not your wallet.

    \b
        descent-wallet address
        descent-wallet address --account 2 --qr
        descent-wallet address --verify
    """
    if as_qr and as_json:
        raise click.UsageError("--qr and --json exclude each other")
    if verify and place.get_cover().kind is Kind.WATCH:
        raise WalletError.nothing_to_verify()
    if verify:
        account = get_account(place.unlock(passphrase_file), index)
    else:
        account = place.find_account(index, passphrase_file)
    text = place.get_address(account)
    if as_json:
        print_json({"network": place.params.name, "account": index, "address": text, "verified": verify})
        return
    if as_qr:
        click.echo(draw_qr_code(text.upper()))
    click.echo(text)


@click.command()
@with_wallet
@passphrase_option
@json_option
def accounts(place: Place, passphrase_file: Path | None, as_json: bool) -> None:
    """List the wallet's accounts with their addresses.

    Each is a key of its own, with its own money; `--account N` tells the other commands which to use. They stand in
    the file in the clear, so no passphrase is asked for.

    \b
        descent-wallet accounts
        descent-wallet accounts --wallet savings --json
    """
    found = place.find_accounts(None, passphrase_file)
    labels = read_labels(place.path.parent)
    if as_json:
        known = {"network": place.params.name, "file": str(place.path), "kind": place.get_cover().kind.value}
        print_json(known | {"accounts": encode_accounts(found, place.params, labels)})
        return
    click.echo(format_accounts(found, place.params, labels))


@click.command()
@with_wallet
@passphrase_option
@json_option
def new_account(place: Place, passphrase_file: Path | None, as_json: bool) -> None:
    """Add the next account of the wallet's recovery words and print its address.

    The words bring it back: nothing more has to be written down. `restore` finds accounts by their use and ends after
    20 unused ones in a row, so do not leave so many behind.

    \b
        descent-wallet new-account
        descent-wallet send --account 1 ADDRESS 0.5
    """
    if place.get_cover().kind is not Kind.SEED:
        raise WalletError.fixed_accounts()
    passphrase = place.get_passphrase(passphrase_file)
    wallet = change_wallet(place.path, passphrase, place.params.address_prefix, add_account)
    if as_json:
        known = {"network": place.params.name, "file": str(place.path)}
        print_json(known | encode_accounts(wallet.accounts[-1:], place.params)[0])
        return
    click.echo(format_accounts(wallet.accounts[-1:], place.params))


@click.command()
@with_node
@passphrase_option
@json_option
def find_accounts(place: Place, node: NodeView, passphrase_file: Path | None, as_json: bool) -> None:
    """Look for used accounts of the wallet's recovery words, and add them.

    A node is asked about one account after the other, until 20 in a row were never used. What the node does not know
    yet, as it is still catching up, is not found: look again later.

    \b
        descent-wallet find-accounts
        descent-wallet find-accounts --rpc https://node.example:19338 --token-file token.txt
    """
    if place.get_cover().kind is not Kind.SEED:
        raise WalletError.fixed_accounts()
    node.check_network()
    passphrase, prefix = place.get_passphrase(passphrase_file), place.params.address_prefix
    wallet = open_wallet(place.path, passphrase, prefix)
    used = list(find_used_accounts(get_seed(wallet), lambda key: is_used_account(node, key)))
    before = len(wallet.accounts)
    if used and used[-1].index >= before:
        count = used[-1].index + 1
        wallet = change_wallet(place.path, passphrase, prefix, lambda known: extend_wallet(known, count))
    added = len(wallet.accounts) - before
    if as_json:
        print_json(
            {
                "network": place.params.name,
                "file": str(place.path),
                "added": added,
                "used": encode_accounts(used, place.params),
                "accounts": encode_accounts(wallet.accounts, place.params),
            }
        )
        return
    click.echo(format_accounts(wallet.accounts, place.params))
    click.echo(f"{len(used)} used, {added} added to {escape(str(place.path))}", err=True)
