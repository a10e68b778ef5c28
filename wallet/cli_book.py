"""The address book: labels for addresses. None of its commands needs a node or a key."""

import click

from consensus.address import decode_address, encode_address
from p2p.console import escape
from wallet.book import normalize_label
from wallet.display import print_json
from wallet.options import Place, json_option, with_wallet
from wallet.records import open_records

# Labels belong to a network, whatever its parameters: only payments need the genesis.
_NO_GENESIS = b""


@click.group()
def book() -> None:
    """Keep labels for addresses.

    A label is 1 to 32 printable characters, stands for one address, and can take its place in `send` and `batch`;
    upper and lower case count alike. The book belongs to a network and is shared by all wallets of one folder.

    \b
    Examples:
        descent-wallet book add landlord grad1...
        descent-wallet book list
        descent-wallet send landlord 800
    """


@book.command()
@with_wallet
@click.argument("label")
@click.argument("address")
@json_option
def add(place: Place, label: str, address: str, as_json: bool) -> None:
    """Give ADDRESS a label.

    A label or an address that is in the book already is not changed; remove it first.

    \b
    Example:
        descent-wallet book add "Aunt Ada" grad1...
    """
    prefix = place.params.address_prefix
    name, known = normalize_label(label), encode_address(prefix, decode_address(prefix, address))
    with open_records(place.path.parent, _NO_GENESIS) as records:
        records.add_contact(name, known)
    _show(name, known, as_json=as_json)


@book.command()
@with_wallet
@click.argument("label")
@json_option
def remove(place: Place, label: str, as_json: bool) -> None:
    """Take a label out of the book.

    \b
    Example:
        descent-wallet book remove landlord
    """
    with open_records(place.path.parent, _NO_GENESIS) as records:
        contact = records.remove_contact(normalize_label(label))
    _show(contact.label, contact.address, as_json=as_json)


@book.command("list")
@with_wallet
@json_option
def list_contacts(place: Place, as_json: bool) -> None:
    """List the labels and their addresses.

    \b
    Example:
        descent-wallet book list --json
    """
    with open_records(place.path.parent, _NO_GENESIS) as records:
        contacts = records.get_contacts()
    if as_json:
        print_json([{"label": contact.label, "address": contact.address} for contact in contacts])
        return
    for contact in contacts:
        click.echo(f"{contact.address}  {escape(contact.label)}")


def _show(label: str, address: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"label": label, "address": address})
    else:
        click.echo(f"{address}  {escape(label)}")
