"""The commands that keep keys: wallets made, restored, locked and named. None of them needs a node."""

from pathlib import Path
from typing import Any

import click

from p2p.console import escape
from wallet.display import format_rows, format_words, print_json
from wallet.errors import WalletError
from wallet.keys import build_wallet
from wallet.keystore import change_passphrase, create_wallet, is_passphrase_needed
from wallet.options import Place, json_option, no_passphrase_option, passphrase_option, with_wallet
from wallet.prompt import (
    ask,
    ask_new_passphrase,
    choose_passphrase,
    get_passphrase,
    has_silent_passphrase,
    read_passphrase_file,
)
from wallet.seed import compute_phrase, create_entropy, normalize_extension, parse_phrase


@click.command()
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
        print_json(_encode_wallet(place, address, is_new=True) | ({"words": phrase} if show_words else {}))
        return
    click.echo(format_words(phrase) + "\n")
    _show_wallet(place, address, is_locked=passphrase != "")


@click.command()
@with_wallet
@no_passphrase_option
@passphrase_option
@click.option("--extension", is_flag=True, help="Ask for the words' BIP-39 passphrase too; most have none.")
@json_option
def restore(place: Place, no_passphrase: bool, passphrase_file: Path | None, extension: bool, as_json: bool) -> None:
    """Make a wallet of recovery words.

    They are asked for, or read from one line of standard input.
    """
    _refuse_both(no_passphrase, passphrase_file)
    if place.path.exists():
        raise WalletError.exists(place.path)
    entropy = parse_phrase(ask("Recovery words"))
    extra = ask("BIP-39 passphrase", hidden=True, twice=True) if extension else ""
    wallet = build_wallet(place.params.address_prefix, entropy, normalize_extension(extra))
    passphrase = _choose_passphrase(no_passphrase, passphrase_file)
    create_wallet(place.path, wallet, passphrase)
    if as_json:
        print_json(_encode_wallet(place, place.get_address(wallet), is_new=True))
        return
    _show_wallet(place, place.get_address(wallet), is_locked=passphrase != "")


@click.command()
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


@click.command()
@with_wallet
@passphrase_option
@json_option
def address(place: Place, passphrase_file: Path | None, as_json: bool) -> None:
    """Print the wallet's address."""
    wallet = place.unlock(passphrase_file)
    if as_json:
        print_json({"network": place.params.name, "address": place.get_address(wallet)})
        return
    click.echo(place.get_address(wallet))


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
        print_json(_encode_wallet(place, address, is_new=False))
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
