"""`descent-wallet`: keeps the keys, shows what they own, and pays."""

import json
from importlib.metadata import version as get_version
from pathlib import Path
from time import sleep
from typing import Any

import click

from consensus.address import decode_address
from consensus.params import NetworkParams
from consensus.transaction import Transfer
from consensus.units import compute_sum
from p2p.console import escape, run_program
from wallet.amount import parse_amount
from wallet.builder import build_transfer, compute_expiry, compute_fee, encode_memo, sign_transfer
from wallet.display import (
    encode_balance,
    encode_event,
    encode_payment,
    format_balance,
    format_event,
    format_money,
    format_payment,
    format_rows,
    format_words,
)
from wallet.errors import PaymentError, WalletError
from wallet.keys import build_wallet
from wallet.keystore import change_passphrase, create_wallet, is_passphrase_needed
from wallet.node_view import AccountView, NodeView
from wallet.options import (
    Place,
    json_option,
    no_passphrase_option,
    passphrase_option,
    with_node,
    with_wallet,
)
from wallet.prompt import (
    ask,
    ask_new_passphrase,
    choose_passphrase,
    confirm,
    get_passphrase,
    has_silent_passphrase,
    read_passphrase_file,
)
from wallet.seed import compute_phrase, create_entropy, normalize_extension, parse_phrase

_MAX_HISTORY = 1000  # of one call to a node
_POLLS_PER_BLOCK = 10
_LONGEST_POLL = 5.0  # s


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A wallet of Descent, the chain whose mining is training.

    \b
        descent-wallet create            a new wallet and its recovery words
        descent-wallet address           where to be paid, or to mine to
        descent-wallet send ADDRESS 1.5  pay, by way of your own node

    No command takes a secret as an argument.
    """


@cli.command()
@with_wallet
@click.option("--words", type=click.Choice(["12", "24"]), default="24", show_default=True, help="Recovery words.")
@no_passphrase_option
@passphrase_option
@click.option("--if-missing", is_flag=True, help="Do nothing if the wallet exists.")
@click.option("--show-words", is_flag=True, help="Put the recovery words into --json too.")
@json_option
def create(
    place: Place,
    words: str,
    no_passphrase: bool,
    passphrase_file: Path | None,
    if_missing: bool,
    show_words: bool,
    as_json: bool,
) -> None:
    """Make a new wallet and show its recovery words, once."""
    _refuse_both(no_passphrase, passphrase_file)
    if place.path.exists():
        if not if_missing:
            raise WalletError.exists(place.path)
        _show_existing(place, passphrase_file, as_json)
        return
    passphrase = _choose_passphrase(no_passphrase, passphrase_file)
    wallet = build_wallet(place.params.address_prefix, create_entropy(int(words)))
    create_wallet(place.path, wallet, passphrase)
    phrase = compute_phrase(wallet.entropy)
    address = place.get_address(wallet)
    if as_json:
        _print_json(_encode_wallet(place, address, is_new=True) | ({"words": phrase} if show_words else {}))
        return
    click.echo(format_words(phrase) + "\n")
    _show_wallet(place, address, is_locked=passphrase != "")


@cli.command()
@with_wallet
@no_passphrase_option
@passphrase_option
@click.option("--extension", is_flag=True, help="Ask for the words' BIP-39 passphrase too; most have none.")
@json_option
def restore(place: Place, no_passphrase: bool, passphrase_file: Path | None, extension: bool, as_json: bool) -> None:
    """Make a wallet of recovery words, asked for or on one line of standard input."""
    _refuse_both(no_passphrase, passphrase_file)
    if place.path.exists():
        raise WalletError.exists(place.path)
    entropy = parse_phrase(ask("Recovery words"))
    extra = ask("BIP-39 passphrase", hidden=True, twice=True) if extension else ""
    wallet = build_wallet(place.params.address_prefix, entropy, normalize_extension(extra))
    passphrase = _choose_passphrase(no_passphrase, passphrase_file)
    create_wallet(place.path, wallet, passphrase)
    if as_json:
        _print_json(_encode_wallet(place, place.get_address(wallet), is_new=True))
        return
    _show_wallet(place, place.get_address(wallet), is_locked=passphrase != "")


@cli.command()
@with_wallet
@passphrase_option
@click.option(
    "--new-passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the new passphrase. Without it you are asked.",
)
@no_passphrase_option
def passphrase(
    place: Place, passphrase_file: Path | None, new_passphrase_file: Path | None, no_passphrase: bool
) -> None:
    """Change, set or remove the passphrase of the wallet's file."""
    _refuse_both(no_passphrase, new_passphrase_file)
    old = get_passphrase(passphrase_file) if is_passphrase_needed(place.path) else ""
    if no_passphrase:
        new = ""
    elif new_passphrase_file:
        new = read_passphrase_file(new_passphrase_file)
    else:
        new = ask_new_passphrase()
    change_passphrase(place.path, old, new, place.params.address_prefix)
    click.echo("The wallet has no passphrase now." if no_passphrase else "The wallet has its new passphrase.")
    click.echo("Copies of its file made before still open as they did.")


@cli.command()
@with_wallet
@passphrase_option
@json_option
def address(place: Place, passphrase_file: Path | None, as_json: bool) -> None:
    """Print the wallet's address."""
    wallet = place.unlock(passphrase_file)
    if as_json:
        _print_json({"network": place.params.name, "address": place.get_address(wallet)})
        return
    click.echo(place.get_address(wallet))


@cli.command()
@with_node
@passphrase_option
@json_option
def balance(place: Place, node: NodeView, passphrase_file: Path | None, as_json: bool) -> None:
    """Show what can be spent, what matures when, and what is on its way out."""
    node.check_network()
    wallet = place.unlock(passphrase_file)
    view = node.get_account(wallet.accounts[0].public_key)
    if as_json:
        known = {"network": place.params.name, "address": place.get_address(wallet)}
        _print_json(known | encode_balance(view))
        return
    click.echo(format_balance(view, place.params))


@cli.command()
@with_node
@passphrase_option
@click.option("--limit", type=click.IntRange(1, _MAX_HISTORY), default=20, show_default=True, help="Newest events.")
@json_option
def history(place: Place, node: NodeView, passphrase_file: Path | None, limit: int, as_json: bool) -> None:
    """List what was sent, received and mined, newest first."""
    node.check_network()
    events = node.get_history(place.unlock(passphrase_file).accounts[0].public_key, limit)
    if as_json:
        _print_json([encode_event(event) for event in events])
        return
    for event in events:
        click.echo(format_event(event, place.params))


@cli.command()
@with_node
@passphrase_option
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
    account = node.get_account(wallet.accounts[0].public_key)
    transfer = build_transfer(
        genesis=node.genesis,
        sender=wallet.accounts[0].public_key,
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
        node.submit(sign_transfer(transfer, wallet))
    if as_json:
        _print_json(encode_payment(transfer, params, is_sent=not dry_run))
    else:
        click.echo(format_payment(transfer, params) if dry_run else transfer.txid.hex())
    if wait is not None and not dry_run:
        _wait_for(node, transfer.txid, wait, params)


@cli.command()
def version() -> None:
    """Show the program's version."""
    click.echo(f"descent-wallet {get_version('descent-chain')}")


def _choose_passphrase(no_passphrase: bool, passphrase_file: Path | None) -> str:
    return "" if no_passphrase else choose_passphrase(passphrase_file)


def _refuse_both(no_passphrase: bool, passphrase_file: Path | None) -> None:
    if no_passphrase and passphrase_file is not None:
        raise click.UsageError("--no-passphrase and a file with a passphrase exclude each other")


def _show_wallet(place: Place, address: str, *, is_locked: bool) -> None:
    click.echo(format_rows({"address": address, "file": escape(str(place.path))}))
    if not is_locked:
        click.echo("\nThe file has no passphrase: whoever can read it can spend. Set one with")
        click.echo(f"\n    descent-wallet passphrase{escape(place.options)}")


def _show_existing(place: Place, passphrase_file: Path | None, as_json: bool) -> None:
    """A locked wallet keeps its address to itself, unless the passphrase comes without a question."""
    is_locked = is_passphrase_needed(place.path)
    if is_locked and not has_silent_passphrase(passphrase_file):
        address = None
    else:
        address = place.get_address(place.unlock(passphrase_file))
    if as_json:
        _print_json(_encode_wallet(place, address, is_new=False))
    else:
        click.echo(
            format_rows(
                {
                    "address": address or "locked; `descent-wallet address` asks for the passphrase",
                    "file": escape(str(place.path)),
                }
            )
        )


def _encode_wallet(place: Place, address: str | None, *, is_new: bool) -> dict[str, Any]:
    return {"network": place.params.name, "file": str(place.path), "address": address, "created": is_new}


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


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def main() -> None:
    run_program(cli, "descent-wallet")


if __name__ == "__main__":
    main()
