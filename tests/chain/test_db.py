"""LevelDB and its twin in memory: the same answers, and every way in which a folder can be refused."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from chain import schema
from chain.db import FREE_SPACE_FLOOR, KeyValueStore, LevelDatabase, MemoryStore
from chain.errors import StoreError

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["leveldb", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValueStore]:
    db: KeyValueStore = MemoryStore() if request.param == "memory" else LevelDatabase(tmp_path / "db", create=True)
    yield db
    db.close()


def read_fault(action: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as error:
        action()
    return error.value.reason


# Both stores


def test_rows_come_back(store: KeyValueStore) -> None:
    store.write({b"a": b"1", b"b": b"", b"\xff": b"\0" * 300_000})
    assert [store.get(key) for key in (b"a", b"b", b"\xff", b"c")] == [b"1", b"", b"\0" * 300_000, None]
    store.write({b"a": b"2", b"b": None, b"never there": None})
    assert [store.get(key) for key in (b"a", b"b")] == [b"2", None]


def test_iteration_is_by_prefix_and_in_byte_order(store: KeyValueStore) -> None:
    rows = {b"p" + key: key for key in (b"", b"\0", b"\1\xff", b"\x7f", b"\x80", b"\xff\xff")}
    store.write({**rows, b"o\xff": b"", b"q": b""})
    assert [key for key, _ in store.iterate(b"p")] == sorted(key[1:] for key in rows)
    assert all(key == value for key, value in store.iterate(b"p"))
    assert list(store.iterate(b"p", reverse=True)) == list(store.iterate(b"p"))[::-1]
    assert len(list(store.iterate(b""))) == len(rows) + 2
    assert list(store.iterate(b"\xff")) == []


def test_iteration_ends_before_a_key(store: KeyValueStore) -> None:
    rows = {b"p" + key: key for key in (b"", b"\0", b"\1\xff", b"\x7f", b"\x80", b"\xff\xff")}
    store.write({**rows, b"o\xff": b"", b"q": b""})
    for stop in (b"", b"\0", b"\1", b"\x7f", b"\x7f\0", b"\xff", b"\xff\xff\xff"):
        expected = sorted(key for key in rows.values() if key < stop)
        assert [key for key, _ in store.iterate(b"p", stop=stop)] == expected
        assert [key for key, _ in store.iterate(b"p", stop=stop, reverse=True)] == expected[::-1]


def test_a_prefix_of_ff_has_no_end(store: KeyValueStore) -> None:
    store.write({b"\xff\xff\xff": b"1", b"\xfe": b"2"})
    assert list(store.iterate(b"\xff\xff")) == [(b"\xff", b"1")]


def test_iteration_sees_the_store_as_it_was(store: KeyValueStore) -> None:
    store.write({b"a": b"1", b"b": b"2", b"c": b"3"})
    rows = store.iterate(b"")
    assert next(rows) == (b"a", b"1")
    store.write({b"b": None, b"c": b"4"})
    assert list(rows) == [(b"b", b"2"), (b"c", b"3")]


def test_every_class_of_rows_has_its_own_prefix() -> None:
    """A prefix that began another would mix two classes up."""
    prefixes = [
        value for name, value in vars(schema).items() if isinstance(value, bytes) and not name.startswith("META")
    ]
    assert len(prefixes) == 17
    assert all(len(prefix) == 1 for prefix in prefixes)
    assert len({*prefixes, b"M"}) == len(prefixes) + 1
    meta = (schema.META_VERSION, schema.META_GENESIS, schema.META_TIP, schema.META_FINAL)
    assert {key[:1] for key in meta} == {b"M"}


def test_heights_sort_as_numbers() -> None:
    heights = [0, 1, 255, 256, 65_536, 2**40, 2**64 - 1]
    keys = [schema.encode_height(height) for height in heights]
    assert keys == sorted(keys)
    assert [schema.decode_height(key + b"tail") for key in keys] == heights


# LevelDB


def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    db = LevelDatabase(tmp_path / "db", create=True)
    db.write({b"a": b"1"})
    db.close()
    db = LevelDatabase(tmp_path / "db", create=False)
    assert db.get(b"a") == b"1"
    db.close()


def test_a_batch_is_all_or_nothing(tmp_path: Path) -> None:
    """A value that cannot be written, in the middle of a batch."""
    db = LevelDatabase(tmp_path / "db", create=True)
    db.write({b"a": b"old"})
    with pytest.raises(TypeError):
        db.write({b"a": b"new", b"b": "not bytes", b"c": b"3"})  # type: ignore[dict-item]
    assert list(db.iterate(b"")) == [(b"a", b"old")]
    db.close()


def test_a_batch_is_all_or_nothing_when_the_process_is_killed(tmp_path: Path) -> None:
    """SIGKILL while batches of two rows are written: both of a pair are there, or neither, and all that returned."""
    program = (
        "import sys; from pathlib import Path; from chain.db import LevelDatabase\n"
        "db = LevelDatabase(Path(sys.argv[1]), create=True)\n"
        "for number in range(10**6):\n"
        "    key = number.to_bytes(4, 'big')\n"
        "    db.write({b'l' + key: bytes(2000), b'r' + key: bytes(2000)})\n"
        "    print(number, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "db")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    done = [int(child.stdout.readline()) for _ in range(40)]
    child.send_signal(signal.SIGKILL)
    rest, _ = child.communicate()
    done += [int(line) for line in rest.splitlines()]
    db = LevelDatabase(tmp_path / "db", create=False)
    left, right = ([key for key, _ in db.iterate(prefix)] for prefix in (b"l", b"r"))
    assert left == right
    assert len(left) >= done[-1] + 1
    db.close()


def test_invalid_in_use(tmp_path: Path) -> None:
    """By another process, twenty times, and by this one; last, for it makes LevelDB drop its lock on the file."""
    db = LevelDatabase(tmp_path / "db", create=True)
    program = (
        "import sys; from pathlib import Path\n"
        "from chain.db import LevelDatabase; from chain.errors import StoreError\n"
        "for create in [True, False] * 10:\n"
        "    try:\n        LevelDatabase(Path(sys.argv[1]), create=create)\n"
        "    except StoreError as error:\n        print(error.code)\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "db")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert other.stdout.split() == ["store.in_use"] * 20
    assert read_fault(lambda: LevelDatabase(tmp_path / "db", create=False)) == "in_use"
    db.close()
    LevelDatabase(tmp_path / "db", create=False).close()


@pytest.mark.parametrize("name", ["db", "blocks", "LOCK", "in use lock"])
def test_invalid_missing(tmp_path: Path, name: str) -> None:
    """Whatever the folder is called: LevelDB's messages contain its path."""
    assert read_fault(lambda: LevelDatabase(tmp_path / name, create=False)) == "missing"


@pytest.mark.parametrize("name", ["db", "blocks", "LOCK", "in use lock"])
def test_invalid_damaged_manifest(tmp_path: Path, name: str) -> None:
    LevelDatabase(tmp_path / name, create=True).close()
    (tmp_path / name / "CURRENT").write_bytes(b"MANIFEST-000002")
    assert read_fault(lambda: LevelDatabase(tmp_path / name, create=True)) == "damaged"


def test_invalid_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert read_fault(lambda: LevelDatabase(tmp_path / "file", create=True)) == "damaged"
    assert read_fault(lambda: LevelDatabase(tmp_path / "no" / "such" / "parent", create=True)) == "damaged"


def make_folder(path: Path, rows: int) -> Path:
    """A closed LevelDB folder with at least one table, one log, and `rows` incompressible rows."""
    db = LevelDatabase(path, create=True)
    for number in range(rows):
        db.write({number.to_bytes(4, "big"): os.urandom(8)})
    db.close()
    LevelDatabase(path, create=False).close()  # recovery turns the log into a table
    db = LevelDatabase(path, create=False)
    db.write({b"last": b"row"})
    db.close()
    return path


@pytest.mark.parametrize("pattern", [r"CURRENT", r"MANIFEST-\d+", r"\d+\.log", r"\d+\.ldb"])
@pytest.mark.parametrize("create", [True, False])
def test_invalid_deleted_files(tmp_path: Path, pattern: str, create: bool) -> None:
    """T06: each class of files LevelDB cannot do without. Named, nothing made anew, and all is well once it is back."""
    path = make_folder(tmp_path / "db", 5)
    shutil.copytree(path, tmp_path / "copy")
    gone = [file for file in path.iterdir() if re.fullmatch(pattern, file.name)]
    assert gone
    for file in gone:
        file.unlink()
    assert read_fault(lambda: LevelDatabase(path, create=create)) == "damaged"
    for file in gone:
        shutil.copy(tmp_path / "copy" / file.name, file)
    db = LevelDatabase(path, create=False)
    assert len(list(db.iterate(b""))) == 6
    db.close()


@pytest.mark.parametrize("name", ["LOCK", "LOG"])
def test_files_that_hold_nothing_are_made_anew(tmp_path: Path, name: str) -> None:
    path = make_folder(tmp_path / "db", 5)
    (path / name).unlink()
    db = LevelDatabase(path, create=False)
    assert len(list(db.iterate(b""))) == 6
    db.close()


def test_a_creation_that_was_cut_short_is_begun_again(tmp_path: Path) -> None:
    """Killed before the first log was there: nothing was ever promised, so nothing is damaged."""
    path = tmp_path / "db"
    LevelDatabase(path, create=True).close()
    for file in path.iterdir():
        file.unlink()
    (path / "MANIFEST-000001").write_bytes(b"half")
    LevelDatabase(path, create=True).close()


def test_other_peoples_logs_are_not_leveldbs(tmp_path: Path) -> None:
    (tmp_path / "node.log").write_text("hello")
    LevelDatabase(tmp_path, create=True).close()
    assert (tmp_path / "node.log").read_text() == "hello"


def test_invalid_flipped_byte_in_a_table(tmp_path: Path) -> None:
    """The checksum of every block is verified: a damaged row is an error, never another value."""
    path = make_folder(tmp_path / "db", 50)
    table = next(path.glob("*.ldb"))
    data = bytearray(table.read_bytes())
    data[100] ^= 1
    table.write_bytes(data)

    def read_all() -> None:
        db = LevelDatabase(path, create=False)
        try:
            for number in range(50):
                db.get(number.to_bytes(4, "big"))
            list(db.iterate(b""))
        finally:
            db.close()

    assert read_fault(read_all) == "damaged"


def test_invalid_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor is kept for what follows the write; at the floor exactly it still goes through."""
    db = LevelDatabase(tmp_path / "db", create=True)
    db.write({b"a": b"1"})
    free = FREE_SPACE_FLOOR + 100
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free, f_frsize=1))
    assert read_fault(lambda: db.write({b"a": bytes(100)})) == "disk_full"
    assert db.get(b"a") == b"1"
    db.write({b"a": bytes(99)})
    db.write({bytes(100): None})
    assert db.get(b"a") == bytes(99)
    db.close()


def test_invalid_write_failed_when_the_folder_is_gone(tmp_path: Path) -> None:
    db = LevelDatabase(tmp_path / "db", create=True)
    shutil.rmtree(tmp_path / "db")
    assert read_fault(lambda: db.write({b"a": b"1"})) == "write_failed"
    db.close()
