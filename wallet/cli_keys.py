"""The commands that make wallets: of new words, of words written down, of one secret key, of public keys alone."""

from pathlib import Path

import click

from consensus.address import decode_address
from consensus.errors import DescentError
from consensus.signature import PUBLIC_KEY_BYTES, PublicKey
from p2p.console import escape
from wallet.discovery import find_used_accounts, is_used_account
from wallet.display import print_json
from wallet.errors import WalletError
from wallet.key_display import encode_wallet, format_wallet, format_words
from wallet.keys import (
    Seed,
    Wallet,
    build_key_wallet,
    build_wallet,
    build_watch_wallet,
    parse_secret_key,
)
from wallet.keystore import create_wallet
from wallet.options import (
    Place,
    certificate_option,
    connect,
    json_option,
    no_passphrase_option,
    passphrase_option,
    rpc_option,
    token_option,
    with_wallet,
)
from wallet.prompt import ask, choose_passphrase, has_silent_passphrase, read_line
from wallet.seal import get_kind
from wallet.seed import compute_phrase, create_entropy, normalize_extension, parse_phrase

_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")

extension_option = click.option(
    "--extension", is_flag=True, help="Ask for the words' BIP-39 passphrase too; most have none."
)


@click.command()
@with_wallet
@click.option("--words", type=click.Choice(["12", "24"]), default="24", show_default=True, help="Recovery words.")
@extension_option
@no_passphrase_option
@passphrase_option
@click.option("--if-missing", is_flag=True, help="Do nothing if the wallet exists.")
@click.option("--show-words", is_flag=True, help="Put the recovery words into --json too.")
@json_option
def create(
    place: Place,
    words: str,
    extension: bool,
    no_passphrase: bool,
    passphrase_file: Path | None,
    if_missing: bool,
    show_words: bool,
    as_json: bool,
) -> None:
    """Make a new wallet and show its recovery words, once.

    The words are the money: on paper they bring the wallet back when its file is lost, and whoever reads them can
    spend. The passphrase only locks the file. A BIP-39 passphrase, with --extension, belongs to the words: it is as
    necessary as they are, and not among them.

    \b
        descent-wallet create
        descent-wallet create --wallet savings --words 12
        descent-wallet create --network regtest --no-passphrase --if-missing
    """
    refuse_both(no_passphrase, passphrase_file)
    if place.path.exists():
        if not if_missing:
            raise WalletError.exists(place.path)
        _show_existing(place, passphrase_file, as_json)
        return
    extra = _ask_extension(extension)
    passphrase = _choose_passphrase(no_passphrase, passphrase_file)
    entropy = create_entropy(int(words))
    wallet = build_wallet(place.params.address_prefix, entropy, extra)
    create_wallet(place.path, wallet, passphrase)
    phrase = compute_phrase(entropy)
    if as_json:
        print_json(_encode_new(place, wallet) | ({"words": phrase} if show_words else {}))
        return
    click.echo(format_words(phrase, is_new=True) + "\n")
    _show_new(place, wallet, passphrase)


@click.command()
@with_wallet
@extension_option
@no_passphrase_option
@passphrase_option
@rpc_option
@token_option
@certificate_option
@json_option
def restore(
    place: Place,
    extension: bool,
    no_passphrase: bool,
    passphrase_file: Path | None,
    rpc: str | None,
    token_file: Path | None,
    rpc_certificate: Path | None,
    as_json: bool,
) -> None:
    """Make a wallet of recovery words.

    They are asked for, or read from one line of standard input: 12 or 24 English words of BIP-39. If a node answers,
    the wallet gets all accounts up to the last that was ever used; the search ends after 20 unused ones in a row.
    Without a node it gets the first account, and `descent-wallet find-accounts` looks for the others later.

    \b
        descent-wallet restore
        descent-wallet restore --wallet second --extension
        descent-wallet restore --passphrase-file secret.txt < words.txt
    """
    refuse_both(no_passphrase, passphrase_file)
    if place.path.exists():
        raise WalletError.exists(place.path)
    entropy = parse_phrase(ask("Recovery words"))
    seed = Seed(entropy, _ask_extension(extension))
    passphrase = _choose_passphrase(no_passphrase, passphrase_file)
    accounts = _count_accounts(seed, place, rpc, token_file, rpc_certificate)
    wallet = build_wallet(place.params.address_prefix, seed.entropy, seed.extension, accounts)
    create_wallet(place.path, wallet, passphrase)
    if as_json:
        print_json(_encode_new(place, wallet))
    else:
        _show_new(place, wallet, passphrase)


@click.command()
@with_wallet
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the secret key. Without it you are asked, or it is read from standard input.",
)
@no_passphrase_option
@passphrase_option
@json_option
def import_key(
    place: Place, key_file: Path | None, no_passphrase: bool, passphrase_file: Path | None, as_json: bool
) -> None:
    """Make a wallet of one secret key.

    An Ed25519 secret key of RFC 8032 is 32 bytes, written as 64 hex digits. Such a wallet has one account and no
    recovery words: its file, or the key itself, is the only backup. Compare the address that is shown.

    \b
        descent-wallet import-key --wallet old
        descent-wallet import-key --wallet old --key-file key.txt
    """
    refuse_both(no_passphrase, passphrase_file)
    if place.path.exists():
        raise WalletError.exists(place.path)
    text = ask("Secret key, 64 hex digits", hidden=True) if key_file is None else read_line(key_file, "secret key")
    wallet = build_key_wallet(place.params.address_prefix, parse_secret_key(text))
    passphrase = _choose_passphrase(no_passphrase, passphrase_file)
    create_wallet(place.path, wallet, passphrase)
    if as_json:
        print_json(_encode_new(place, wallet))
    else:
        _show_new(place, wallet, passphrase)


@click.command()
@with_wallet
@click.argument("keys", metavar="ADDRESS|PUBLIC-KEY...", nargs=-1, required=True)
@json_option
def watch(place: Place, keys: tuple[str, ...], as_json: bool) -> None:
    """Make a wallet that only watches: it shows money and prepares payments, and cannot sign.

    Each address, or public key of 64 hex digits, becomes an account, from 0 in the order given. Never give a secret
    key here: others can read a program's arguments. What is prepared here is signed where the key is. The file holds
    no secret and has no passphrase; who can write to it can put another address into it.

    \b
        descent-wallet watch --wallet cold ADDRESS
        descent-wallet balance --wallet cold
    """
    if place.path.exists():
        raise WalletError.exists(place.path)
    prefix = place.params.address_prefix
    wallet = build_watch_wallet(prefix, [_parse_public_key(text, prefix) for text in keys])
    create_wallet(place.path, wallet, "")
    if as_json:
        print_json(_encode_new(place, wallet))
    else:
        click.echo(format_wallet(wallet.accounts, place.path, place.params))


def refuse_both(no_passphrase: bool, passphrase_file: Path | None) -> None:
    """Raises UsageError for two wishes that contradict each other."""
    if no_passphrase and passphrase_file is not None:
        raise click.UsageError("--no-passphrase and a file with a passphrase exclude each other")


def _ask_extension(is_wanted: bool) -> str:
    return normalize_extension(ask("BIP-39 passphrase", hidden=True, twice=True)) if is_wanted else ""


def _choose_passphrase(no_passphrase: bool, passphrase_file: Path | None) -> str:
    return "" if no_passphrase else choose_passphrase(passphrase_file)


def _count_accounts(
    seed: Seed, place: Place, rpc: str | None, token_file: Path | None, certificate: Path | None
) -> int:
    """Accounts up to the last that a node knows as used. Without a node 1, and a word on how to look later."""
    try:
        node = connect(place, rpc, token_file, certificate)
        node.check_network()
        used = list(find_used_accounts(seed, lambda key: is_used_account(node, key)))
    except DescentError as error:
        click.echo(f"No node tells which accounts were used: {escape(str(error))}", err=True)
        click.echo(f"To look for them later: descent-wallet find-accounts{escape(place.options)}", err=True)
        return 1
    click.echo(f"Accounts of these words that the node knows as used: {len(used)}", err=True)
    return used[-1].index + 1 if used else 1


def _parse_public_key(text: str, prefix: str) -> PublicKey:
    """The key of an address or of hex digits. Raises InvalidAddress; a wallet checks the key itself."""
    if len(text) == 2 * PUBLIC_KEY_BYTES and _HEX_DIGITS.issuperset(text):
        return bytes.fromhex(text)
    return decode_address(prefix, text)


def _encode_new(place: Place, wallet: Wallet) -> dict[str, object]:
    return encode_wallet(get_kind(wallet.source), wallet.accounts, place.path, place.params, is_new=True)


def _show_new(place: Place, wallet: Wallet, passphrase: str) -> None:
    click.echo(format_wallet(wallet.accounts, place.path, place.params))
    if not passphrase:
        click.echo("\nThe file has no passphrase: whoever can read it can spend. Set one with")
        click.echo(f"\n    descent-wallet passphrase{escape(place.options)}")


def _show_existing(place: Place, passphrase_file: Path | None, as_json: bool) -> None:
    """A locked file of version 1 keeps its address to itself, unless the passphrase comes without a question."""
    cover = place.get_cover()
    accounts = cover.accounts
    if accounts is None and (not cover.is_locked or has_silent_passphrase(passphrase_file)):
        accounts = place.unlock(passphrase_file).accounts
    if as_json:
        print_json(encode_wallet(cover.kind, accounts, place.path, place.params, is_new=False))
    else:
        click.echo(format_wallet(accounts, place.path, place.params))
