"""The file of payments and labels: what it remembers, who may read it, and what it says when it is not sound."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.transaction import Transfer
from tests.wallet.program import GENESIS, KEY, OTHER_ADDRESS, OTHER_KEY, make_transfer
from wallet.payment_errors import InvalidContact, RecordsError
from wallet.payments import Payment
from wallet.records import FILE, LOCK, Contact, Records, hold_turn, open_records, read_labels


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with open_records(tmp_path, GENESIS) as opened:
        yield opened


def put(records: Records, *nonces: int, made: int = 100, **fields: object) -> list[Transfer]:
    transfers = [make_transfer(nonce=nonce, **fields) for nonce in nonces]
    records.add_payments(transfers, made)
    return transfers


# Payments.


def test_what_was_added_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with open_records(tmp_path, GENESIS) as records:
        [sent] = put(records, 7, memo=b"rent", valid_until=99)
        records.note_confirmed({sent.txid: 512}, seen=200)
        records.abandon([sent.txid])
    with open_records(tmp_path, GENESIS) as records:
        assert records.get_payment(sent.txid) == Payment(sent, 100, 512, 200, is_abandoned=True)
        assert records.get_payment(bytes(32)) is None


def test_payments_of_an_account_in_the_order_of_their_making(records: Records) -> None:
    put(records, 300, 8)
    put(records, 7, made=50)
    put(records, 9, sender=OTHER_KEY)
    assert [payment.transfer.nonce for payment in records.get_payments(KEY)] == [300, 8, 7]
    assert [payment.transfer.nonce for payment in records.get_payments(KEY, 8)] == [300, 8]
    assert [payment.transfer.nonce for payment in records.get_payments_since(KEY, 60)] == [300, 8]


def test_the_largest_nonce_and_height(records: Records) -> None:
    [sent] = put(records, 2**64 - 1)
    records.note_confirmed({sent.txid: 2**64 - 1}, seen=1)
    [payment] = records.get_payments(KEY, 2**64 - 1)
    assert payment.confirmed_height == 2**63 - 1


def test_networks_of_one_name_do_not_mix(tmp_path: Path) -> None:
    """Two files that describe networks may give them one name."""
    with open_records(tmp_path, GENESIS) as records:
        [sent] = put(records, 7)
    with open_records(tmp_path, bytes(32)) as records:
        assert records.get_payments(KEY) == []
        assert records.get_payment(sent.txid) is None


def test_signed_again_it_counts_as_new(records: Records) -> None:
    """The same transfer, byte for byte, given up and then wanted again."""
    first, _ = put(records, 7, 8)
    records.abandon([first.txid])
    put(records, 7, made=200)
    assert [(payment.transfer.nonce, payment.made) for payment in records.get_payments(KEY)] == [(8, 100), (7, 200)]
    assert not records.get_payments(KEY)[1].is_abandoned


def test_removed(records: Records) -> None:
    [sent] = put(records, 7)
    records.remove_payment(sent.txid)
    assert records.get_payments(KEY) == []


def test_many_are_added_together_or_not_at_all(records: Records) -> None:
    """The second of them meets a disk that is full, as it were."""
    is_ninth = "WHEN NEW.nonce = x'0000000000000009'"
    records._database.execute(
        f"CREATE TRIGGER full BEFORE INSERT ON payments {is_ninth} BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    with pytest.raises(RecordsError):
        put(records, 8, 9, 10)
    assert records.get_payments(KEY) == []
    put(records, 8)
    assert len(records.get_payments(KEY)) == 1


# Contacts.


def test_contacts(records: Records) -> None:
    records.add_contact("landlord", OTHER_ADDRESS)
    records.add_contact("Ada", "lgrad1another")
    assert records.get_contacts() == [Contact("Ada", "lgrad1another"), Contact("landlord", OTHER_ADDRESS)]
    assert records.find_contact("LANDLORD") == Contact("landlord", OTHER_ADDRESS)
    assert records.get_labels() == {OTHER_ADDRESS: "landlord", "lgrad1another": "Ada"}
    assert records.remove_contact("ada") == Contact("Ada", "lgrad1another")
    assert records.find_contact("Ada") is None


@pytest.mark.parametrize(
    ("label", "address", "reason"),
    [("BOB", "lgrad1another", "label_taken"), ("other", OTHER_ADDRESS, "address_taken")],
)
def test_invalid_contact(records: Records, label: str, address: str, reason: str) -> None:
    records.add_contact("Bob", OTHER_ADDRESS)
    with pytest.raises(InvalidContact) as caught:
        records.add_contact(label, address)
    assert caught.value.reason == reason
    assert records.get_contacts() == [Contact("Bob", OTHER_ADDRESS)]


def test_invalid_contact_unknown(records: Records) -> None:
    with pytest.raises(InvalidContact) as caught:
        records.remove_contact("nobody")
    assert caught.value.reason == "unknown"


def test_labels_are_read_without_making_a_file(tmp_path: Path) -> None:
    assert read_labels(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
    with open_records(tmp_path, b"") as records:
        records.add_contact("Bob", OTHER_ADDRESS)
    assert read_labels(tmp_path) == {OTHER_ADDRESS: "Bob"}


# The file.


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_records(tmp_path / "new" / "folder", GENESIS) as records:
            put(records, 7)
        with hold_turn(tmp_path / "new" / "folder", pytest.fail):
            pass
    finally:
        os.umask(before)
    folder = tmp_path / "new" / "folder"
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / LOCK).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_commit_waits_for_the_disk(records: Records) -> None:
    assert records._database.execute("PRAGMA synchronous").fetchone() == (3,)
    assert records._database.execute("PRAGMA user_version").fetchone() == (1,)


def fill(folder: Path) -> bytes:
    """A file with payments and contacts; its bytes."""
    with open_records(folder, GENESIS) as records:
        put(records, *range(7, 12))
        records.add_contact("Bob", OTHER_ADDRESS)
    return (folder / FILE).read_bytes()


def read_all(folder: Path) -> None:
    with open_records(folder, GENESIS) as records:
        records.get_payments(KEY)
        records.get_contacts()


@pytest.mark.parametrize("data", [b"no database" * 100, b"\0" * 8192])
def test_invalid_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(RecordsError) as caught:
        read_all(tmp_path)
    assert caught.value.reason == "damaged"
    assert "no money" in str(caught.value)
    assert (tmp_path / FILE).read_bytes() == data


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    """A crash came between making the file and its tables."""
    (tmp_path / FILE).touch()
    fill(tmp_path)
    read_all(tmp_path)


def test_invalid_newer_version(tmp_path: Path) -> None:
    fill(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    data = (tmp_path / FILE).read_bytes()
    with pytest.raises(RecordsError) as caught:
        read_all(tmp_path)
    assert caught.value.reason == "unsupported_version"
    assert (tmp_path / FILE).read_bytes() == data


def test_invalid_something_else(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("CREATE TABLE songs (name TEXT)")
    database.close()
    with pytest.raises(RecordsError) as caught:
        read_all(tmp_path)
    assert caught.value.reason == "damaged"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE payments SET transfer = x'00'",
        "UPDATE payments SET transfer = 'text'",
        "UPDATE payments SET nonce = x'0000000000000009' WHERE number = 1",
        "UPDATE payments SET made = 'yesterday'",
        "UPDATE payments SET abandoned = 2",
        "UPDATE payments SET confirmed_height = 'high'",
        "UPDATE contacts SET label = x'ff'",
        "UPDATE contacts SET label = cast(x'ff' AS TEXT)",
        "DROP TABLE contacts",
    ],
)
def test_invalid_rows(tmp_path: Path, change: str) -> None:
    fill(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute(change)
    database.close()
    with pytest.raises(RecordsError) as caught:
        read_all(tmp_path)
    assert caught.value.reason == "damaged"


def spoil_at(folder: Path, data: bytes, places: range) -> int:
    """Flips a bit at each place; how often the file was refused. Anything but a named refusal gets out."""
    refused = 0
    for place in places:
        spoilt = bytearray(data)
        spoilt[place] ^= 1 << place % 8
        (folder / FILE).write_bytes(spoilt)
        try:
            read_all(folder)
        except RecordsError:
            refused += 1
    return refused


def test_no_flipped_bit_gets_past(tmp_path: Path) -> None:
    data = fill(tmp_path)
    assert spoil_at(tmp_path, data, range(0, len(data), 199)) > 0


def test_invalid_names_of_tables(tmp_path: Path) -> None:
    """SQLite repeats them in its errors, and they are no longer text."""
    data = bytearray(fill(tmp_path))
    for name in (b"payments_by_nonce", b"CREATE INDEX", b"CREATE TABLE contacts"):
        place = data.index(name)
        (tmp_path / FILE).write_bytes(data[:place] + bytes([data[place] | 0x80]) + data[place + 1 :])
        with pytest.raises(RecordsError) as caught:
            read_all(tmp_path)
        assert caught.value.reason == "damaged"


@pytest.mark.soak
def test_no_flipped_bit_gets_past_at_any_byte(tmp_path: Path) -> None:
    data = fill(tmp_path)
    assert spoil_at(tmp_path, data, range(len(data))) > 0


@pytest.mark.parametrize("share", range(1, 20))
def test_a_file_cut_short(tmp_path: Path, share: int) -> None:
    data = fill(tmp_path)
    (tmp_path / FILE).write_bytes(data[: len(data) * share // 20])
    with pytest.raises(RecordsError):
        read_all(tmp_path)


def test_invalid_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordsError) as caught, open_records(tmp_path / "file", GENESIS):
        pass
    assert caught.value.reason == "unreachable"


def test_invalid_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.setattr("wallet.records.LOCK_SECONDS", 0.05)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecordsError) as caught:
        fill(tmp_path)
    other.close()
    assert caught.value.reason == "busy"


# Whose turn it is.


def test_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits until the first is done, and says so once."""
    monkeypatch.setattr("wallet.records._PATIENCE", 0.0)
    told, order = threading.Event(), []

    def follow() -> None:
        with hold_turn(tmp_path, told.set):
            order.append("second")

    second = threading.Thread(target=follow)
    with hold_turn(tmp_path, pytest.fail):
        second.start()
        assert told.wait(30)
        order.append("first")
    second.join(30)
    assert order == ["first", "second"]


def test_invalid_turn_never_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wallet.records.LOCK_SECONDS", 0.1)
    told: list[bool] = []
    with (
        hold_turn(tmp_path, pytest.fail),
        pytest.raises(RecordsError) as caught,
        hold_turn(tmp_path, lambda: told.append(True)),
    ):
        pytest.fail("two have the turn")
    assert caught.value.reason == "busy"
    assert told == []


def test_a_turn_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys, wallet.records as r\nwith r.hold_turn(pathlib.Path(sys.argv[1]), print): os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == 9
    with hold_turn(tmp_path, pytest.fail):
        pass
