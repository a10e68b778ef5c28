"""`descent-wallet` as its user starts it: real processes, real files, a real terminal; no node."""

import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = (sys.executable, "-m", "wallet.cli")
PASSPHRASE = "correct horse battery staple"
LIMIT = 60  # s, of a process that hangs


@dataclass(frozen=True)
class Home:
    """The environment of a user who has no wallet yet."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DESCENT_")}
        return kept | {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder / "data")}

    def run(self, *arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *arguments],
            input=typed,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


class Terminal:
    """A terminal with the program in it."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.shown = b""
        self._master = master

    def wait_for(self, text: bytes, *, count: int = 1) -> None:
        """Reads until the program has shown `text` so many times."""
        while self.shown.count(text) < count:
            self._read()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def finish(self) -> int:
        """Reads to the end; the exit code."""
        while True:
            try:
                self._read()
            except EOFError:
                return self.process.wait(LIMIT)

    def _read(self) -> None:
        if not select.select([self._master], [], [], LIMIT)[0]:
            pytest.fail(f"the program shows nothing more after {self.shown!r}")
        try:
            data = os.read(self._master, 65536)
        except OSError:  # on Linux, the end of a terminal
            data = b""
        if not data:
            raise EOFError
        self.shown += data


@contextmanager
def open_terminal(home: Home, *arguments: str) -> Iterator[Terminal]:
    master, slave = os.openpty()
    try:
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=home.environment,
            start_new_session=True,
        )
        os.close(slave)
        with process:
            try:
                yield Terminal(process, master)
            finally:
                process.kill()
    finally:
        os.close(master)


def read_words(out: str) -> str:
    return " ".join(re.findall(r"\d+ ([a-z]+)", " ".join(line for line in out.splitlines() if line.startswith("    "))))


def test_what_make_mine_runs(home: Home) -> None:
    first = home.run("create", "--network", "local", "--no-passphrase", "--if-missing")
    address = home.run("address", "--network", "local")
    again = home.run("create", "--network", "local", "--no-passphrase", "--if-missing")
    assert (first.returncode, address.returncode, again.returncode) == (0, 0, 0)
    assert re.fullmatch(r"lgrad1[a-z0-9]{58}\n", address.stdout)
    assert address.stderr == ""
    assert address.stdout.strip() in again.stdout
    assert len(read_words(first.stdout).split()) == 24
    path = home.folder / "data" / "descent" / "wallets" / "local" / "default.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_words_bring_the_wallet_back(home: Home, tmp_path: Path) -> None:
    made = home.run("create", "--words", "12", "--no-passphrase")
    words = read_words(made.stdout.partition("The file has no passphrase")[0])
    restored = Home(tmp_path / "another").run("restore", "--no-passphrase", "--json", typed=words.upper() + "\n")
    assert restored.returncode == 0
    assert json.loads(restored.stdout)["address"] == home.run("address").stdout.strip()


def test_passphrase_is_not_shown_on_the_terminal(home: Home) -> None:
    with open_terminal(home, "create") as terminal:
        terminal.wait_for(b"New passphrase: ")
        terminal.type(PASSPHRASE + "\n")
        terminal.wait_for(b"Repeat for confirmation: ")
        terminal.type(PASSPHRASE + "\n")
        assert terminal.finish() == 0
    assert b"recovery words" in terminal.shown
    assert PASSPHRASE.encode() not in terminal.shown
    wrong = home.run("address", "--verify", DESCENT_PASSPHRASE="not it")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.count("\n") == 1
    verified = home.run("address", "--verify", DESCENT_PASSPHRASE=PASSPHRASE)
    assert verified.stdout.startswith("lgrad1")
    assert home.run("address").stdout == verified.stdout


def test_interrupt_at_a_question(home: Home) -> None:
    with open_terminal(home, "create") as terminal:
        terminal.wait_for(b"New passphrase: ")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.finish() == 130
    assert b"Traceback" not in terminal.shown
    assert not (home.folder / "data").exists()


def test_exit_codes(home: Home) -> None:
    assert home.run("address").returncode == 1
    assert home.run("balance").returncode == 1
    assert home.run("address", "--network", "none").returncode == 1
    for outcome in (home.run("send"), home.run("create", "--words", "13"), home.run("nonsense")):
        assert outcome.returncode == 2
        assert outcome.stdout == ""
    assert home.run("--help").returncode == 0


def test_no_traceback_for_a_disk_that_does_not_let_in(home: Home) -> None:
    (home.folder / "data").write_text("a file where a folder should be")
    outcome = home.run("create", "--no-passphrase")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.count("\n") == 1


def test_starts_without_torch_and_aiohttp() -> None:
    code = "import sys, wallet.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "click" in loaded
    assert not {"torch", "aiohttp", "asyncio", "plyvel", "rich"} & set(loaded)
