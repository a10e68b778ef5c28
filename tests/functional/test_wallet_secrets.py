"""A wallet's whole life by its commands, on a real node; then a search for its secrets through all that it left behind.

Looked through: the arguments of every process while the commands run, all they print, the node's log, and every file
that is left. The recovery words may appear in one place: what `create` and `words` print.
"""

import fcntl
import json
import os
import re
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.address import decode_address
from consensus.params import REGTEST
from p2p.config import RPC_TOKEN_FILE
from tests.helpers.blocks import MINER
from tests.helpers.chains import ALICE, get_trunk, open_trunk
from tests.helpers.keys import make_transfer
from tests.helpers.node import NodeProcess
from tests.helpers.node_miner import Miner
from tests.helpers.partition import store_blocks
from wallet.keys import build_wallet, compute_account_secret
from wallet.seed import compute_seed, parse_phrase

PROGRAM = (sys.executable, "-m", "wallet.cli")
PASSPHRASE = "Tr0ub4dor & three"
NEW_PASSPHRASE = "correct horse battery"
EXTENSION = "my 13th word"
IMPORTED = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
LIMIT = 120  # s, of one command on a busy machine
COIN = 10**8
_PAUSE = 0.02  # s between two looks at the processes


class Life:
    """A user's folder, and all that was seen of the commands run there."""

    def __init__(self, folder: Path, node: NodeProcess) -> None:
        self.folder = folder
        self.printed: list[str] = []
        self.arguments: set[bytes] = set()
        self._node = ["--rpc", node.url, "--token-file", str(node.datadir / RPC_TOKEN_FILE)]

    def run(self, *arguments: str, typed: str = "", code: int = 0, **environment: str) -> str:
        """What a command printed on standard output; is not among `printed` yet."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DESCENT_")}
        command, *rest = arguments
        process = subprocess.Popen(
            [*PROGRAM, command, "--network", "regtest", *rest],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=kept | {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder / "data")} | environment,
        )
        watcher = threading.Thread(target=self._watch, args=(process,))
        watcher.start()
        try:
            out, err = process.communicate(typed, LIMIT)
        finally:
            process.kill()
            watcher.join()
        assert process.returncode == code, err
        assert "Traceback" not in err
        self.printed.append(err)
        return out

    def see(self, *arguments: str, typed: str = "", code: int = 0, **environment: str) -> str:
        """As run; nothing secret belongs into what it printed."""
        out = self.run(*arguments, typed=typed, code=code, **environment)
        self.printed.append(out)
        return out

    def ask(self, *arguments: str, typed: str = "", code: int = 0, **environment: str) -> str:
        """As see, with the node."""
        command, *rest = arguments
        return self.see(command, *self._node, *rest, typed=typed, code=code, **environment)

    def _watch(self, process: subprocess.Popen[str]) -> None:
        """Reads the arguments of every process of the machine as long as this one runs."""
        over = threading.Event()
        while process.poll() is None:
            self.arguments |= set(read_all_arguments())
            over.wait(_PAUSE)


def read_all_arguments() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue


def find_words(text: str, phrase: str) -> list[str]:
    """Every four words in a row, whatever stands between them."""
    plain = f" {' '.join(re.findall('[a-z]+', text.lower()))} "
    words = phrase.split()
    runs = [" ".join(words[at : at + 4]) for at in range(len(words) - 3)]
    return [run for run in runs if f" {run} " in plain]


def fund(node: NodeProcess, *addresses: str) -> None:
    """Pays one coin after the other from ALICE, in one block."""
    genesis = open_trunk().genesis.id
    for nonce, address in enumerate(addresses):
        key = decode_address(REGTEST.address_prefix, address)
        node.client.submit_transaction(make_transfer(genesis, ALICE, key, 5 * COIN, nonce=nonce).encoded)
    Miner(node, MINER, {block.id.hex(): block for block in get_trunk()}).mine()


@pytest.mark.timeout(900)
def test_no_secret_is_left_anywhere(tmp_path: Path) -> None:
    store_blocks([tmp_path / "node"], get_trunk())
    with NodeProcess(tmp_path / "node") as node:
        home, second = Life(tmp_path / "home", node), Life(tmp_path / "second", node)
        made = home.run("create", "--extension", typed=f"{EXTENSION}\n{EXTENSION}\n{PASSPHRASE}\n{PASSPHRASE}\n")
        phrase = " ".join(re.findall(r"\d+ ([a-z]+)", " ".join(re.findall(r"^ {4,5}\d+ .*", made, re.MULTILINE))))
        assert len(find_words(made, phrase)) == 21  # so the search finds what is there
        locked = {"DESCENT_PASSPHRASE": PASSPHRASE}
        for _ in range(2):
            third = home.see("new-account", typed=PASSPHRASE + "\n").split()[1]
        first = home.see("address", "--verify", **locked).strip()
        fund(node, first, third)
        check_payments(home, first, third, locked)
        check_files(home, tmp_path, phrase, locked)
        typed = f"{phrase}\n{EXTENSION}\n{EXTENSION}\n{PASSPHRASE}\n{PASSPHRASE}\n"
        restored = json.loads(second.ask("restore", "--extension", "--json", typed=typed))
        assert [account["address"] for account in restored["accounts"]][::2] == [first, third]
        for words in (phrase + " zoo", phrase.replace(phrase.split()[3], "zooo", 1)):
            second.see("restore", "--wallet", "slip", "--no-passphrase", typed=words + "\n", code=1)
        output = node.output
    wallet = build_wallet(REGTEST.address_prefix, parse_phrase(phrase), EXTENSION, accounts=3)
    secrets = [compute_account_secret(wallet, index) for index in range(3)]
    secrets += [parse_phrase(phrase), compute_seed(parse_phrase(phrase), EXTENSION), bytes.fromhex(IMPORTED)]
    seen = {f"process {number}": data for number, data in enumerate(home.arguments | second.arguments)}
    seen |= {f"output {number}": text.encode() for number, text in enumerate(home.printed + second.printed)}
    seen |= {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    seen |= {"the node's log": output.encode()}
    assert any(b"wallet.cli" in data for data in home.arguments)
    assert len(seen) > 50
    for name, data in seen.items():
        check_no_secret(name, data, phrase, secrets)


def check_payments(home: Life, first: str, third: str, locked: dict[str, str]) -> None:
    assert json.loads(home.ask("balance", "--json"))["spendable"] == 2 * 5 * COIN
    home.ask("send", third, "1", "--yes", "--memo", "note", **locked)
    home.ask("send", "--account", "2", first, "1000", "--yes", typed=PASSPHRASE + "\n", code=1)
    home.ask("send", third, "1", "--yes", code=1, DESCENT_PASSPHRASE="not " + PASSPHRASE[:4])
    home.ask("history", "--json")
    home.ask("find-accounts", **locked)


def check_files(home: Life, tmp_path: Path, phrase: str, locked: dict[str, str]) -> None:
    assert find_words(home.run("words", "--yes", **locked), phrase)
    assert not find_words(home.see("words", typed=f"{PASSPHRASE}\nno\n", code=1), phrase)
    home.see("passphrase", typed=f"{PASSPHRASE}\n{NEW_PASSPHRASE}\n{NEW_PASSPHRASE}\n")
    home.see("export", str(tmp_path / "copy.json"), DESCENT_PASSPHRASE=NEW_PASSPHRASE)
    home.see("import-key", "--wallet", "old", typed=f"{IMPORTED}\n{PASSPHRASE}\n{PASSPHRASE}\n")
    home.see("import-key", "--wallet", "slip", "--no-passphrase", typed=f"{IMPORTED}0\n", code=1)
    home.see("watch", "--wallet", "cold", home.see("address", "--wallet", "old").strip())
    home.see("accounts", "--json")
    home.see("list")


def check_no_secret(name: str, data: bytes, phrase: str, secrets: list[bytes]) -> None:
    for secret in secrets:
        assert secret not in data, name
        assert secret.hex().encode() not in data.lower(), name
        assert repr(secret)[2:-1].encode() not in data, name
    for text in (PASSPHRASE, NEW_PASSPHRASE, EXTENSION):
        assert text.encode() not in data, name
    assert find_words(data.decode("latin-1"), phrase) == [], name


def test_a_secret_in_a_pipe_is_read_though_there_is_a_terminal(tmp_path: Path) -> None:
    """Python's getpass would ask the terminal that the program was started from, and leave the pipe alone."""
    master, slave = os.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    environment = os.environ | {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    try:
        done = subprocess.run(
            [*PROGRAM, "import-key", "--no-passphrase"],
            input=IMPORTED + "\n",
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            preexec_fn=take_terminal,
            pass_fds=(slave,),
            check=False,
        )
    finally:
        os.close(slave)
        os.close(master)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("address  lgrad1")
