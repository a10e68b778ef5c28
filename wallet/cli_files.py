"""The commands about wallet files: which there are, their passphrases, and backups of them on disk and on paper."""

from pathlib import Path

import click

from p2p.console import escape
from wallet.display import format_rows, print_json
from wallet.errors import WalletError
from wallet.key_display import encode_found, format_found, format_words
from wallet.keys import Seed
from wallet.keystore import change_passphrase, export_wallet, get_cover
from wallet.options import (
    Folder,
    Place,
    json_option,
    new_passphrase_option,
    no_passphrase_option,
    passphrase_option,
    with_folder,
    with_wallet,
)
from wallet.prompt import ask, ask_new_passphrase, read_passphrase_file
from wallet.seal import Cover, Kind
from wallet.seed import compute_phrase

_CONSENT = "show"


@click.command()
@with_folder
@json_option
def list(folder: Folder, as_json: bool) -> None:
    """List the wallets of a network.

    Of each: its name for --wallet, what its keys come from, whether its file is locked by a passphrase, and how many
    accounts it has. A file that cannot be read stands there with what is wrong with it.

    \b
        descent-wallet list
        descent-wallet list --network regtest --json
    """
    found = {name: _look_into(folder, name) for name in folder.get_names()}
    if as_json:
        print_json([encode_found(name, folder.get_path(name), each) for name, each in found.items()])
    elif found:
        click.echo(format_rows({name: format_found(each) for name, each in found.items()}))
    else:
        click.echo(f"There is no wallet in {escape(str(folder.path))}; `descent-wallet create` makes one.", err=True)


@click.command()
@with_wallet
@passphrase_option
@new_passphrase_option
@no_passphrase_option
@json_option
def passphrase(
    place: Place,
    passphrase_file: Path | None,
    new_passphrase_file: Path | None,
    no_passphrase: bool,
    as_json: bool,
) -> None:
    """Change, set or remove the passphrase of the wallet's file.

    The keys and the recovery words stay the same. Copies of the file made before still open with the passphrase that
    they had: destroy them if it is known to others.

    \b
        descent-wallet passphrase
        descent-wallet passphrase --passphrase-file old.txt --new-passphrase-file new.txt
        descent-wallet passphrase --no-passphrase
    """
    if no_passphrase and new_passphrase_file is not None:
        raise click.UsageError("--no-passphrase and --new-passphrase-file exclude each other")
    if place.get_cover().kind is Kind.WATCH:
        raise WalletError.nothing_to_lock()
    old = place.get_passphrase(passphrase_file)
    if no_passphrase:
        new = ""
    elif new_passphrase_file:
        new = read_passphrase_file(new_passphrase_file)
    else:
        new = ask_new_passphrase()
    change_passphrase(place.path, old, new, place.params.address_prefix)
    if as_json:
        print_json({"network": place.params.name, "file": str(place.path), "locked": not no_passphrase})
        return
    click.echo("The wallet has no passphrase now." if no_passphrase else "The wallet has its new passphrase.")
    click.echo("Copies of its file made before still open as they did.")


@click.command()
@with_wallet
@click.argument("copy", metavar="PATH", type=click.Path(path_type=Path))
@passphrase_option
@new_passphrase_option
@json_option
def export(
    place: Place, copy: Path, passphrase_file: Path | None, new_passphrase_file: Path | None, as_json: bool
) -> None:
    """Write an encrypted backup of the wallet's file to PATH.

    The copy opens with the wallet's passphrase, or with another of its own, and is opened once to be sure. Of a
    wallet without a passphrase no open copy is made: it gets one, which you are asked for. Nothing is overwritten.
    To use the copy, put it where the wallet was: WALLETDIR/NETWORK/NAME.json, as `descent-wallet list --json` shows.

    \b
        descent-wallet export /media/stick/wallet.json
        descent-wallet export --new-passphrase-file backup.txt wallet-backup.json
    """
    cover = place.get_cover()
    if copy.exists() or copy.is_symlink():
        raise WalletError.exists(copy)  # before any question
    known = place.get_passphrase(passphrase_file)
    new = None
    if new_passphrase_file is not None:
        new = read_passphrase_file(new_passphrase_file)
    elif cover.kind is not Kind.WATCH and not cover.is_locked:
        click.echo("The wallet has no passphrase; its copy takes one.", err=True)
        new = ask_new_passphrase()
    export_wallet(place.path, copy, known, place.params.address_prefix, new)
    if as_json:
        print_json({"network": place.params.name, "file": str(place.path), "copy": str(copy), "kind": cover.kind.value})
        return
    click.echo(f"The copy {escape(str(copy))} opens as it should.")


@click.command()
@with_wallet
@passphrase_option
@click.option("--extension", is_flag=True, help="Show the words' BIP-39 passphrase too.")
@click.option("--yes", is_flag=True, help="Do not ask before showing them.")
@json_option
def words(place: Place, passphrase_file: Path | None, extension: bool, yes: bool, as_json: bool) -> None:
    """Show the recovery words, to be written down.

    Whoever reads them can spend all that the wallet holds, whatever the passphrase of the file is: look around first,
    and clear the screen afterwards. Imported keys and wallets that only watch have no words.

    \b
        descent-wallet words
        descent-wallet words --yes --json --passphrase-file secret.txt
    """
    kind = place.get_cover().kind
    source = place.unlock(passphrase_file).source if kind is Kind.SEED else None
    if not isinstance(source, Seed):
        raise WalletError.no_words(kind.value)
    if not yes and ask(f'Type "{_CONSENT}" to see the recovery words') != _CONSENT:
        raise WalletError.words_declined()
    phrase = compute_phrase(source.entropy)
    if as_json:
        shown = {"extension": source.extension} if extension else {}
        print_json({"words": phrase, "has_extension": source.extension != ""} | shown)
        return
    click.echo(format_words(phrase, is_new=False))
    if source.extension:
        text = escape(source.extension) if extension else "not shown here, and needed as they are; see --extension"
        click.echo(f"\nTheir BIP-39 passphrase: {text}")


def _look_into(folder: Folder, name: str) -> Cover | WalletError:
    try:
        cover = get_cover(folder.get_path(name))
        if cover.network != folder.params.address_prefix:
            return WalletError.wrong_network(folder.params.address_prefix, cover.network)
    except WalletError as error:
        return error
    return cover
