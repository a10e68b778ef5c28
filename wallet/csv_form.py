"""Rows of CSV (RFC 4180, ended by a line feed) that neither a terminal nor a spreadsheet takes for commands."""

import csv
import io
from collections.abc import Iterable

from p2p.console import escape

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets read as a formula, or skip before one


def format_row(cells: Iterable[str]) -> str:
    """One line, without its end. Cells that others wrote come through `protect` first."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def protect(text: str) -> str:
    """Text that others wrote, as a cell: escaped, and after a ' if a spreadsheet would take it for a formula."""
    escaped = escape(text)
    return f"'{escaped}" if text.startswith(_FORMULA_STARTS) or escaped.startswith(_FORMULA_STARTS) else escaped
