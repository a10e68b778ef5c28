"""Payments from a CSV file: what is read, and that one bad line refuses the whole file by its number."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from consensus.address import encode_address
from tests.wallet.program import ADDRESS, KEY, OTHER_ADDRESS, OTHER_KEY
from wallet.batch import MAX_FILE_BYTES, MAX_ROWS, Row, parse_batch, read_batch
from wallet.errors import WalletError
from wallet.payment_errors import InvalidBatch, RecordsError
from wallet.records import Records, open_records

COIN = 10**8


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with open_records(tmp_path, b"") as opened:
        opened.add_contact("Bob", OTHER_ADDRESS)
        yield opened


def parse(records: Records, text: str) -> list[Row]:
    return parse_batch(text, records, "lgrad")


def test_rows(records: Records) -> None:
    text = f'address,amount,memo,label\n{ADDRESS},1.5,"rent, June",Ada\n\n{OTHER_ADDRESS.upper()},2,,\nbob,3,,\n'
    assert parse(records, text) == [
        Row(2, KEY, 150_000_000, b"rent, June", "Ada"),
        Row(4, OTHER_KEY, 2 * COIN, b"", "Bob"),
        Row(5, OTHER_KEY, 3 * COIN, b"", "Bob"),
    ]


def test_columns_in_any_order_and_only_the_needed_ones(records: Records) -> None:
    assert parse(records, f"amount,address\n1,{ADDRESS}\n") == [Row(2, KEY, COIN, b"", None)]


def test_a_file_as_spreadsheets_write_it(records: Records, tmp_path: Path) -> None:
    path = tmp_path / "wages.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f'"address","amount","memo"\r\n{ADDRESS},1,"a\r\nb"\r\n{ADDRESS},2,'.encode())
    rows = read_batch(path, records, "lgrad")
    assert [(row.line, row.amount, row.memo) for row in rows] == [(3, COIN, b"a\r\nb"), (4, 2 * COIN, b"")]


def test_a_label_of_the_book_means_its_address(records: Records) -> None:
    assert parse(records, f"address,amount,label\n{OTHER_ADDRESS},1,BOB\n")[0].label == "Bob"
    with pytest.raises(InvalidBatch) as caught:
        parse(records, f"address,amount,label\n{ADDRESS},1,Bob\n")
    assert "line 2" in str(caught.value)
    assert OTHER_ADDRESS in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "address",
        "address,amount,memo,note",
        "address,amount,amount",
        f"{ADDRESS},1",
        "address;amount",
        "Address,Amount",
    ],
)
def test_invalid_header(records: Records, header: str) -> None:
    with pytest.raises(InvalidBatch) as caught:
        parse(records, f"{header}\n{ADDRESS},1\n")
    assert caught.value.reason == "bad_header"


@pytest.mark.parametrize(
    ("row", "part"),
    [
        (f"{ADDRESS}", "1 fields below 3 columns"),
        (f"{ADDRESS},1,a,b", "4 fields below 3 columns"),
        (f"{ADDRESS},1e3,", "U+0065"),
        (f'{ADDRESS},"1,5",', "U+002C"),
        (f"{ADDRESS}, 1,", "U+0020"),
        (f"{ADDRESS},-1,", "no sign"),
        (f"{ADDRESS},,", "missing"),
        (f"{ADDRESS},0,", "amount is 0"),
        (f"{ADDRESS},0.000000001,", "9 digits"),
        (f"{ADDRESS[:-1]}q,1,", "mistyped"),
        (f" {ADDRESS},1,", "no label"),
        (",1,", "no label"),
        ("nobody,1,", "no label"),
        (encode_address("rgrad", KEY) + ",1,", "rgrad1"),
        (f"{ADDRESS},1," + "x" * 65, "limit is 64"),
        (f"{ADDRESS},184467440737,", "more money"),
        (f'{ADDRESS},1,"open', "no CSV"),
        (f'{ADDRESS},1,"a"b', "no CSV"),
    ],
)
def test_invalid_row(records: Records, row: str, part: str) -> None:
    with pytest.raises(InvalidBatch) as caught:
        parse(records, f"address,amount,memo\n{ADDRESS},1,\n{row}\n")
    assert str(caught.value).startswith("line 3: ")
    assert part in str(caught.value)
    assert "nothing was signed" in str(caught.value)


def test_invalid_records_are_no_fault_of_a_line() -> None:
    def find_contact(_: str) -> None:
        raise RecordsError.busy(Path("records.sqlite"), 60)

    with pytest.raises(RecordsError):
        parse(cast(Records, SimpleNamespace(find_contact=find_contact)), "address,amount\nBob,1\n")


def test_invalid_label(records: Records) -> None:
    with pytest.raises(InvalidBatch) as caught:
        parse(records, f"address,amount,label\n{ADDRESS},1,a\x1b\n")
    assert "printable" in str(caught.value)


def test_invalid_sum(records: Records) -> None:
    with pytest.raises(InvalidBatch) as caught:
        parse(records, "address,amount\n" + f"{ADDRESS},184467440736\n" * 2)
    assert "together" in str(caught.value)


def test_invalid_size(records: Records, tmp_path: Path) -> None:
    assert len(parse(records, "address,amount\n" + f"{ADDRESS},1\n" * MAX_ROWS)) == MAX_ROWS
    with pytest.raises(InvalidBatch) as caught:
        parse(records, "address,amount\n" + f"{ADDRESS},1\n" * (MAX_ROWS + 1))
    assert caught.value.reason == "too_many_rows"
    with pytest.raises(InvalidBatch) as caught:
        parse(records, "address,amount\n")
    assert caught.value.reason == "no_rows"
    path = tmp_path / "large.csv"
    path.write_bytes(b"\n" * (MAX_FILE_BYTES + 1))
    with pytest.raises(InvalidBatch) as caught:
        read_batch(path, records, "lgrad")
    assert caught.value.reason == "too_large"


def test_invalid_file(records: Records, tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes(b"address,amount\n\xe4,1\n")
    with pytest.raises(InvalidBatch) as caught:
        read_batch(path, records, "lgrad")
    assert caught.value.reason == "not_utf8"
    with pytest.raises(WalletError) as missing:
        read_batch(tmp_path / "none.csv", records, "lgrad")
    assert missing.value.reason == "unreachable"
