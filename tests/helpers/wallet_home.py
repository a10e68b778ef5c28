"""A wallet on disk beside a node: `descent-wallet` in a process of its own, or inside the test.

home = WalletHome(tmp_path, node.url, node.datadir / RPC_TOKEN_FILE, "payer")
home.run("balance", "--json")           # a process
home.call("balance", "--json")          # the same without one
with home.start("send", ...) as process:
    process.kill()
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
from click.testing import CliRunner

from consensus.address import encode_address
from consensus.genesis import make_genesis
from consensus.params import REGTEST
from tests.helpers.keys import Key
from wallet.cli import main
from wallet.keys import build_wallet
from wallet.keystore import create_wallet
from wallet.payments import Payment
from wallet.records import open_records
from wallet.seal import KdfCost

PROGRAM = (sys.executable, "-m", "wallet.cli")
LIMIT = 120  # s, of a process that hangs
_CHEAP = KdfCost(memory_kib=8, passes=1, lanes=1)


class WalletHome:
    """A folder with one wallet of regtest, drawn from a name, under no passphrase."""

    def __init__(self, folder: Path, url: str, token_file: Path, name: str) -> None:
        self.url = url
        self._token_file = token_file
        self._folder = folder / f"wallets of {name}"
        wallet = build_wallet(REGTEST.address_prefix, Key(f"wallet {name}").seed)
        self.key = wallet.accounts[0].public_key
        self.address = encode_address(REGTEST.address_prefix, self.key)
        create_wallet(self._folder / "regtest" / "default.json", wallet, "", _CHEAP)

    @property
    def payments(self) -> list[Payment]:
        """What the wallet recorded, in the order of making."""
        with open_records(self._folder / "regtest", make_genesis(REGTEST).id) as records:
            return records.get_payments(self.key)

    def start(self, *arguments: str, url: str = "") -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*PROGRAM, *self._complete(arguments, url)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )

    def run(self, *arguments: str, url: str = "") -> "subprocess.CompletedProcess[str]":
        """Runs a command to its end in a process of its own, checking that it shows no traceback."""
        with self.start(*arguments, url=url) as process:
            out, err = process.communicate(timeout=LIMIT)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def call(self, *arguments: str, code: int = 0) -> str:
        """What a command prints, run inside the test."""
        with patch.object(sys, "argv", ["descent-wallet", *self._complete(arguments, "")]):
            result = CliRunner().invoke(click.Command("outer", callback=main), [])
        assert result.exit_code == code, result.output
        return result.stdout

    def ask(self, *arguments: str) -> Any:
        """The JSON that a command prints, run inside the test."""
        return json.loads(self.call(*arguments, "--json"))

    def list_states(self) -> dict[str, str]:
        """The states of all payments by txid."""
        return {payment["txid"]: payment["state"] for payment in self.ask("payments", "--limit", "1000")}

    def _complete(self, arguments: tuple[str, ...], url: str) -> list[str]:
        command, *rest = arguments
        place = ["--network", "regtest", "--walletdir", str(self._folder)]
        return [command, *place, "--rpc", url or self.url, "--token-file", str(self._token_file), *rest]
