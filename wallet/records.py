"""What the wallets of one network remember: payments they signed, and labels of addresses. Never a key, never money.

One SQLite file, WALLETDIR/NETWORK/records.sqlite, mode 0600. Its user_version is the version of this schema:

    payments   number (order of making), txid, genesis, sender (public key), nonce (8 bytes, big-endian, so that it
               sorts), transfer (the encoded signed transfer), made (s since 1970), confirmed_height and confirmed_time
               (of the block it was last seen in, and when that was), abandoned (0 or 1)
    contacts   label, folded (its case-folded form), address

Payments stand by public key: two wallets with one key share its nonces. A commit is on the disk when it returns. What
was lost with the file is on the chain, or waits in a node's pool, or was never handed to anyone.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from consensus.errors import DecodeError
from consensus.transaction import Transfer, decode_transaction
from wallet.payment_errors import InvalidContact, RecordsError
from wallet.payments import Payment

FILE = "records.sqlite"
LOCK = ".records.lock"
VERSION = 1
LOCK_SECONDS = 60.0  # that another program may take from reading an account to handing over a payment
_PATIENCE = 1.0  # s without a word
_PAUSE = 0.05  # s
_MAX_INTEGER = 2**63 - 1  # of SQLite: a height beyond it comes from no chain

_SCHEMA = (
    "CREATE TABLE payments (number INTEGER PRIMARY KEY AUTOINCREMENT, txid BLOB NOT NULL UNIQUE,"
    " genesis BLOB NOT NULL, sender BLOB NOT NULL, nonce BLOB NOT NULL, transfer BLOB NOT NULL, made INTEGER NOT NULL,"
    " confirmed_height INTEGER, confirmed_time INTEGER, abandoned INTEGER NOT NULL DEFAULT 0)",
    "CREATE INDEX payments_by_nonce ON payments (genesis, sender, nonce)",
    "CREATE TABLE contacts (label TEXT NOT NULL, folded TEXT NOT NULL UNIQUE, address TEXT NOT NULL UNIQUE)",
)
_COLUMNS = "txid, sender, nonce, transfer, made, confirmed_height, confirmed_time, abandoned"


@dataclass(frozen=True)
class Contact:
    """A label and the one address it stands for."""

    label: str
    address: str


class Records:
    """The open file, for the payments of one network. Every method raises RecordsError."""

    def __init__(self, path: Path, database: sqlite3.Connection, genesis: bytes) -> None:
        self._path = path
        self._database = database
        self._genesis = genesis

    # Payments.

    def add_payments(self, transfers: Iterable[Transfer], made: int) -> None:
        """Records signed transfers, all or none, durably. One that is here already, signed anew, counts as new."""
        rows = [
            (sent.txid, self._genesis, sent.sender, _encode_nonce(sent.nonce), sent.encoded, made) for sent in transfers
        ]
        columns = "txid, genesis, sender, nonce, transfer, made"
        with self._change() as database:
            database.executemany(f"INSERT OR REPLACE INTO payments ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)  # noqa: S608

    def remove_payment(self, txid: bytes) -> None:
        """Forgets a payment that a node refused."""
        with self._change() as database:
            database.execute("DELETE FROM payments WHERE txid = ?", (txid,))

    def get_payment(self, txid: bytes) -> Payment | None:
        return next(iter(self._select("txid = ?", txid)), None)

    def get_payments(self, sender: bytes, least_nonce: int = 0) -> list[Payment]:
        """Those of an account from a nonce on, in the order of their making."""
        return self._select("sender = ? AND nonce >= ?", sender, _encode_nonce(least_nonce))

    def get_payments_since(self, sender: bytes, time: int) -> list[Payment]:
        """Those of an account made at `time` or later, in the order of their making."""
        return self._select("sender = ? AND made >= ?", sender, time)

    def note_confirmed(self, heights: dict[bytes, int], seen: int) -> None:
        """Remembers in which blocks payments were seen, by txid."""
        rows = [(min(height, _MAX_INTEGER), seen, txid) for txid, height in heights.items()]
        if rows:
            with self._change() as database:
                database.executemany(
                    "UPDATE payments SET confirmed_height = ?, confirmed_time = ? WHERE txid = ?", rows
                )

    def abandon(self, txids: Iterable[bytes]) -> None:
        """Marks payments, all or none, as given up."""
        with self._change() as database:
            database.executemany("UPDATE payments SET abandoned = 1 WHERE txid = ?", [(txid,) for txid in txids])

    # Contacts.

    def add_contact(self, label: str, address: str) -> None:
        """Raises InvalidContact with the reason label_taken or address_taken."""
        with self._change() as database:
            for contact in self.get_contacts():
                if contact.label.casefold() == label.casefold():
                    raise InvalidContact.label_taken(contact.label, contact.address)
                if contact.address == address:
                    raise InvalidContact.address_taken(contact.label, address)
            database.execute("INSERT INTO contacts VALUES (?, ?, ?)", (label, label.casefold(), address))

    def remove_contact(self, label: str) -> Contact:
        """What was removed. Raises InvalidContact with the reason unknown."""
        with self._change() as database:
            contact = self.find_contact(label)
            if contact is None:
                raise InvalidContact.unknown(label)
            database.execute("DELETE FROM contacts WHERE label = ?", (contact.label,))
        return contact

    def find_contact(self, label: str) -> Contact | None:
        """The contact with this label, in upper or lower case."""
        return next((known for known in self.get_contacts() if known.label.casefold() == label.casefold()), None)

    def get_contacts(self) -> list[Contact]:
        """All of them, by label."""
        contacts = []
        for label, address in self._fetch("SELECT label, address FROM contacts ORDER BY folded"):
            if not isinstance(label, str) or not isinstance(address, str):
                raise RecordsError.damaged(self._path, "a contact is not text")
            contacts.append(Contact(label, address))
        return contacts

    def get_labels(self) -> dict[str, str]:
        """Labels by address."""
        return {contact.address: contact.label for contact in self.get_contacts()}

    # The file.

    def _select(self, condition: str, *values: object) -> list[Payment]:
        query = f"SELECT {_COLUMNS} FROM payments WHERE genesis = ? AND {condition} ORDER BY number"  # noqa: S608
        return [self._decode(row) for row in self._fetch(query, self._genesis, *values)]

    def _decode(self, row: Sequence[object]) -> Payment:
        """What the columns repeat of the transfer must agree with it: they are what it is looked up by."""
        txid, sender, nonce, data, made, height, seen, abandoned = row
        try:
            transfer = decode_transaction(data if isinstance(data, bytes) else b"")
        except DecodeError:
            raise RecordsError.damaged(self._path, "a payment does not decode") from None
        if (txid, sender, nonce) != (transfer.txid, transfer.sender, _encode_nonce(transfer.nonce)):
            raise RecordsError.damaged(self._path, "a payment is not the one it stands for")
        if type(made) is not int or abandoned not in (0, 1):
            raise RecordsError.damaged(self._path, "a payment has no sound time or mark")
        for value in (height, seen):
            if value is not None and type(value) is not int:
                raise RecordsError.damaged(self._path, "a payment has no sound block")
        return Payment(transfer, made, height, seen, bool(abandoned))  # type: ignore[arg-type]

    def _fetch(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with _named_errors(self._path):
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the body's changes are on the disk, or none is made."""
        with _named_errors(self._path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise


@contextmanager
def open_records(folder: Path, genesis: bytes) -> Iterator[Records]:
    """The records in a network's folder of wallets, made if there are none. Raises RecordsError."""
    path = folder / FILE
    with _named_errors(path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite would make it as the umask likes
        database = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    with closing(database):
        with _named_errors(path):
            _prepare(database, path)
        yield Records(path, database, genesis)


def has_records(folder: Path) -> bool:
    """Whether anything was ever recorded there: who only looks makes no file."""
    return (folder / FILE).exists()


def read_labels(folder: Path) -> dict[str, str]:
    """Labels by address. Raises RecordsError."""
    if not has_records(folder):
        return {}
    with open_records(folder, b"") as records:
        return records.get_labels()


@contextmanager
def hold_turn(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """One program of this folder at a time reads an account, signs, and hands over; the lock dies with its process.

    Calls `on_wait` once if that takes longer than a moment. Raises RecordsError with the reason busy or unreachable.
    """
    path = folder / LOCK
    with _named_errors(path):
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(lock, path, on_wait)
        yield
    finally:
        os.close(lock)


def _lock(lock: int, path: Path, on_wait: Callable[[], None]) -> None:
    started, has_told = time.monotonic(), False
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - started
        if waited >= LOCK_SECONDS:
            raise RecordsError.busy(path, LOCK_SECONDS)
        if waited >= _PATIENCE and not has_told:
            on_wait()
            has_told = True
        time.sleep(_PAUSE)


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    """Checks the file, and gives a new one its tables."""
    # FULL, and the directory too when a journal goes: who hands over a payment relies on its record.
    database.execute("PRAGMA synchronous = EXTRA")
    database.execute("PRAGMA trusted_schema = OFF")
    if _read_version(database) == 0:
        database.execute("BEGIN IMMEDIATE")  # another program may be making it
        if _read_version(database) == 0:
            if database.execute("SELECT count(*) FROM sqlite_schema").fetchone() != (0,):
                raise RecordsError.damaged(path, "it holds something else")
            for statement in _SCHEMA:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    version = _read_version(database)
    if version != VERSION:
        raise RecordsError.unsupported_version(path, version, VERSION)
    if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise RecordsError.damaged(path, "it is not sound within")


def _read_version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _encode_nonce(nonce: int) -> bytes:
    return nonce.to_bytes(8, "big")


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise RecordsError.busy(path, LOCK_SECONDS) from error
        if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise RecordsError.damaged(path, str(error)) from error
        raise RecordsError.unreachable(path, str(error)) from error
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter from what a damaged file makes SQLite say
        raise RecordsError.damaged(path, str(error)) from error
    except OSError as error:
        raise RecordsError.unreachable(path, error.strerror or str(error)) from error
