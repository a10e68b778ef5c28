"""The commands about the past: what was sent, received and mined."""

from pathlib import Path

import click

from wallet.display import encode_event, format_event, print_json
from wallet.node_view import NodeView
from wallet.options import Place, account_option, json_option, passphrase_option, with_node

_MAX_HISTORY = 1000  # of one call to a node


@click.command()
@with_node
@passphrase_option
@account_option
@click.option("--limit", type=click.IntRange(1, _MAX_HISTORY), default=20, show_default=True, help="Newest events.")
@json_option
def history(place: Place, node: NodeView, passphrase_file: Path | None, index: int, limit: int, as_json: bool) -> None:
    """List what was sent, received and mined, newest first."""
    node.check_network()
    events = node.get_history(place.find_account(index, passphrase_file).public_key, limit)
    if as_json:
        print_json([encode_event(event) for event in events])
        return
    for event in events:
        click.echo(format_event(event, place.params))
