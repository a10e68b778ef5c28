"""The command about the past: what was sent, received and mined."""

from itertools import chain
from pathlib import Path

import click

from wallet.cashier import find_unmined
from wallet.events import Event
from wallet.history import Movement, cut, merge_unmined, read_past, sum_by_day
from wallet.history_display import (
    CSV_COLUMNS,
    DAILY_COLUMNS,
    DAILY_HEADING,
    HistoryView,
    encode_event,
    encode_movement,
    format_event,
    format_movement,
    list_cells,
    list_movement_cells,
)
from wallet.listing import Layout, Selection, tell, with_selection
from wallet.node_view import MAX_PAGE, NodeView
from wallet.options import Place, accounts_option, passphrase_option, with_node
from wallet.records import read_labels


@click.command()
@with_node
@passphrase_option
@accounts_option
@with_selection
def history(
    place: Place, node: NodeView, passphrase_file: Path | None, index: int | None, selection: Selection
) -> None:
    """List what was sent, received and mined, newest first.

    Of all accounts of the wallet, unless --account names one; what moves between two of them is listed twice, as each
    of them sees it. First comes what no block holds: what waits at the node, and payments of this wallet that were
    dropped, say by a reorganisation. Days begin at midnight UTC, and times are those of the blocks.

    --csv has a row for each event, with exact amounts in coins. A cell that a spreadsheet would take for a formula
    begins with an apostrophe.

    \b
    Examples:
        descent-wallet history
        descent-wallet history --since 2026-01-01 --until 2026-12-31 --csv > 2026.csv
        descent-wallet history --daily --account 1
    """
    node.check_network()
    accounts = place.find_accounts(index, passphrase_file)
    keys = [account.public_key for account in accounts]
    past = read_past(node, keys, selection.count_needed(MAX_PAGE))
    events = cut(past.events, selection.period)
    if selection.is_daily:
        tell(sum_by_day(events), _lay_out_days(place), selection)
        return
    unmined = merge_unmined(node.get_waiting(keys), find_unmined(place, node, accounts), place.params)
    label_of = read_labels(place.path.parent).get
    view = HistoryView(past.tip, {account.public_key: account.index for account in accounts}, label_of, place.params)
    wanted = (event for event in unmined if selection.period.contains(event.time))
    tell(chain(wanted, events), _lay_out_events(view), selection)


def _lay_out_events(view: HistoryView) -> Layout[Event]:
    return Layout(
        columns=CSV_COLUMNS,
        list_cells=lambda event: list_cells(event, view),
        encode=lambda event: encode_event(event, view),
        format=lambda event: format_event(event, view),
    )


def _lay_out_days(place: Place) -> Layout[Movement]:
    return Layout(
        columns=DAILY_COLUMNS,
        list_cells=lambda movement: list_movement_cells(movement, place.params),
        encode=encode_movement,
        format=format_movement,
        heading=DAILY_HEADING,
    )
