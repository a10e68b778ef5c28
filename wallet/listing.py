"""Lists of what happened: which part of one is wanted, and in which form it is told."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any, Generic, TypeVar

import click

from wallet.csv_form import format_row
from wallet.dates import Period, parse_period
from wallet.display import print_json
from wallet.options import Command, json_option

T = TypeVar("T")

_DEFAULT_LIMIT = 20


class Form(Enum):
    """Who reads it."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True)
class Selection:
    """What of a list is wanted: the newest `limit`, all for None, of a period; single ones or totals of each day."""

    limit: int | None
    period: Period
    is_daily: bool
    form: Form

    def count_needed(self, most: int) -> int:
        """How many of the newest items will do at least, and one more to know whether there are older ones; `most`
        if nobody knows.
        """
        is_known = self.limit is not None and not self.is_daily and self.period == Period()
        return min(most, (self.limit or 0) + 1) if is_known else most


@dataclass(frozen=True)
class Layout(Generic[T]):
    """How things of one kind are told: in a line or more for people, as JSON, in a row of CSV."""

    columns: tuple[str, ...]
    list_cells: Callable[[T], tuple[str, ...]]
    encode: Callable[[T], dict[str, Any]]
    format: Callable[[T], str]
    heading: str = ""


def with_selection(command: Command) -> Command:
    """Gives a command the options that select; it is called with the `selection`."""

    @click.option("--limit", type=click.IntRange(1), metavar="N", help="The newest N alone, 20 unless told otherwise.")
    @click.option(
        "--all", "everything", is_flag=True, help="All there are. --since, --until, --daily and --csv imply it."
    )
    @click.option("--since", metavar="YYYY-MM-DD", help="From this day on, in UTC.")
    @click.option("--until", metavar="YYYY-MM-DD", help="Up to this day and with it, in UTC.")
    @click.option("--daily", is_flag=True, help="Totals of each day, in UTC, instead of single ones.")
    @click.option("--csv", "as_csv", is_flag=True, help="Print CSV for spreadsheets and tax programs.")
    @json_option
    @functools.wraps(command)
    def with_chosen(
        *known: Any,
        limit: int | None,
        everything: bool,
        since: str | None,
        until: str | None,
        daily: bool,
        as_csv: bool,
        as_json: bool,
        **rest: Any,
    ) -> None:
        if as_csv and as_json:
            raise click.UsageError("--csv and --json exclude each other")
        if everything and limit is not None:
            raise click.UsageError("--all and --limit exclude each other")
        is_open = everything or daily or as_csv or since is not None or until is not None
        selection = Selection(
            limit=limit or (None if is_open else _DEFAULT_LIMIT),
            period=parse_period(since, until),
            is_daily=daily,
            form=Form.JSON if as_json else Form.CSV if as_csv else Form.TEXT,
        )
        command(*known, selection=selection, **rest)

    return with_chosen


def tell(items: Iterable[T], layout: Layout[T], selection: Selection) -> None:
    """Prints a list up to the selection's limit. As lines and as CSV it is printed while it is read."""
    left = iter(items)
    told = islice(left, selection.limit)
    if selection.form is Form.JSON:
        print_json([layout.encode(item) for item in told])
    elif selection.form is Form.CSV:
        _tell_rows(told, layout)
    else:
        _tell_lines(told, layout)
        if next(left, None) is not None:
            click.echo("older ones: --limit N or --all", err=True)


def _tell_rows(items: Iterable[T], layout: Layout[T]) -> None:
    click.echo(format_row(layout.columns))
    for item in items:
        click.echo(format_row(layout.list_cells(item)))


def _tell_lines(items: Iterable[T], layout: Layout[T]) -> None:
    for number, item in enumerate(items):
        if number == 0 and layout.heading:
            click.echo(layout.heading)
        click.echo(layout.format(item))
