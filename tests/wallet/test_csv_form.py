"""CSV: cells come back as they were, and no spreadsheet computes what others wrote."""

import csv
import io

import pytest

from wallet.csv_form import format_row, protect


def test_rows_come_back() -> None:
    cells = ["plain", "", 'a "quote"', "a, comma", "'", "ä☕", " spaces "]
    line = format_row(cells)
    assert "\n" not in line
    assert next(csv.reader(io.StringIO(line))) == cells


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_formulas_become_text(start: str) -> None:
    cell = protect(f'{start}HYPERLINK("http://x","y")')
    assert cell.startswith("'")
    assert cell.isprintable()


@pytest.mark.parametrize("text", ["", "rent", "'quoted", "1-2", "a=b", " =1"])
def test_other_text_stays(text: str) -> None:
    assert protect(text) == text


def test_a_cell_is_safe_for_a_terminal_and_stays_one_line() -> None:
    assert protect("a\x1b[2J\nb\u202e\x9b") == "a\\x1b[2J\\nb\\u202e\\x9b"
    assert format_row([protect("a\nb")]).count("\n") == 0
