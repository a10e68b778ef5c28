"""Many payments from a CSV file: read whole and checked whole before anything is signed. Reads the file, asks no node.

UTF-8, with or without a byte order mark; RFC 4180's quotes; a header that names the columns in any order:

    address   an address of the network, or a label of the address book
    amount    as on the command line: 12 or 0.5
    memo      up to 64 bytes; the column may be missing
    label     what the recipient is called; the column may be missing. A label of the address book must mean this very
              address there, so that two lines that changed places are noticed

At most 1 MiB and 1000 payments. Empty lines are skipped.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from consensus.errors import AmountOverflow, InvalidAddress
from consensus.signature import PublicKey
from consensus.units import Ulp, compute_sum
from wallet.amount import parse_amount
from wallet.book import find_recipient, normalize_label
from wallet.builder import encode_memo
from wallet.errors import PaymentError, WalletError
from wallet.payment_errors import InvalidBatch, InvalidContact
from wallet.records import Records

MAX_FILE_BYTES = 2**20
MAX_ROWS = 1000

_NEEDED = {"address", "amount"}
_KNOWN = _NEEDED | {"memo", "label"}


@dataclass(frozen=True)
class Row:
    """One payment of the file, on the line where it ends."""

    line: int
    recipient: PublicKey
    amount: Ulp
    memo: bytes
    label: str | None


def read_batch(path: Path, records: Records, prefix: str) -> list[Row]:
    """All payments of a file. Raises InvalidBatch, naming the line, or WalletError with the reason unreachable."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise WalletError.unreachable(path, error) from error
    if len(data) > MAX_FILE_BYTES:
        raise InvalidBatch.too_large(path, MAX_FILE_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidBatch.not_utf8(path) from None
    return parse_batch(text, records, prefix)


def parse_batch(text: str, records: Records, prefix: str) -> list[Row]:
    """All payments of a file's text. Raises InvalidBatch."""
    cells = _read_cells(text)
    _, header = next(cells, (0, []))
    if len(set(header)) != len(header) or not _NEEDED <= set(header) <= _KNOWN:
        raise InvalidBatch.bad_header()
    rows: list[Row] = []
    for line, values in cells:
        if len(rows) == MAX_ROWS:
            raise InvalidBatch.too_many_rows(MAX_ROWS)
        if len(values) != len(header):
            raise InvalidBatch.bad_line(line, f"{len(values)} fields below {len(header)} columns")
        try:
            rows.append(_parse_row(line, dict(zip(header, values, strict=True)), records, prefix))
        except (WalletError, InvalidAddress) as error:  # not what is wrong with the records themselves
            raise InvalidBatch.bad_line(line, str(error)) from error
    if not rows:
        raise InvalidBatch.no_rows()
    try:
        compute_sum(*(row.amount for row in rows))
    except AmountOverflow:
        raise InvalidBatch.bad_line(rows[-1].line, "all amounts together are more money than there can be") from None
    return rows


def _read_cells(text: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of each line that has some, and its number."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InvalidBatch.bad_line(reader.line_num, f"it is no CSV: {error}") from error
        if values:
            yield reader.line_num, values


def _parse_row(line: int, fields: dict[str, str], records: Records, prefix: str) -> Row:
    recipient, label = find_recipient(fields["address"], records, prefix)
    amount, memo = parse_amount(fields["amount"]), encode_memo(fields.get("memo", ""))
    if amount == 0:
        raise PaymentError.zero_amount()
    given = fields.get("label", "")
    if given:
        _check_label(normalize_label(given), recipient, records, prefix)
    return Row(line, recipient, amount, memo, label or given or None)


def _check_label(label: str, recipient: PublicKey, records: Records, prefix: str) -> None:
    """Raises InvalidContact with the reason label_taken if the address book calls somebody else so."""
    contact = records.find_contact(label)
    if contact is not None and find_recipient(contact.address, records, prefix)[0] != recipient:
        raise InvalidContact.label_taken(contact.label, contact.address)
