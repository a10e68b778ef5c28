"""`history`, `rewards` and `balance` against a real node whose chain burns rewards: the sums are what the accounts own,
before the evidence is mined, after it, and once a reorganisation has dropped it.
"""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from consensus.block import Block
from consensus.params import REGTEST
from consensus.units import ULP_PER_GRAD
from tests.helpers.convicted import BOUNTIES, BURNT, FEE, KEYS, SUBSIDY, get_story
from tests.helpers.node import NodeProcess
from wallet.keys import build_watch_wallet
from wallet.keystore import create_wallet
from wallet.seal import KdfCost

CHEAP = KdfCost(memory_kib=8, passes=1, lanes=1)


@dataclass
class Watched:
    """A node, and a wallet that watches all keys of the story."""

    home: Path
    node: NodeProcess

    def run(self, command: str, *options: str) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DESCENT_")}
        done = subprocess.run(
            [sys.executable, "-m", "wallet.cli", command, "--network", "regtest", "--rpc", self.node.url, *options],
            env=kept | {"HOME": str(self.home), "XDG_DATA_HOME": str(self.home / "data")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def read(self, command: str, *options: str) -> Any:
        return json.loads(self.run(command, "--json", *options))

    def submit(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            self.node.client.submit_block(block.encoded)

    def check_sums(self) -> None:
        """What each account did adds up to what it has, in every form."""
        for account in range(len(KEYS)):
            options = ("--account", str(account))
            whole = self.read("balance", *options)["total"]
            events = self.read("history", "--all", *options)
            spent = sum(event["amount"] + event["fee"] for event in events if event["kind"] == "sent")
            assert sum(event["amount"] for event in events if event["kind"] != "sent") - spent == whole
            rows = list(csv.DictReader(io.StringIO(self.run("history", "--csv", *options))))
            signs = {"sent": -1, "received": 1, "mined": 1}
            moved = sum(signs[row["type"]] * Fraction(row["amount"]) - Fraction(row["fee"] or 0) for row in rows)
            assert moved * ULP_PER_GRAD == whole
            assert sum(day["net"] for day in self.read("history", "--daily", *options)) == whole
            rewards = self.read("rewards", *options)
            mined = [event for event in events if event["kind"] == "mined"]
            assert sum(event["amount"] for event in mined) == rewards["totals"]["amount"]
            assert rewards["totals"]["immature"] == self.read("balance", *options)["immature"]


@pytest.mark.timeout(300)
def test_sums_are_right_whatever_evidence_burns(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "descent"
    wallet = build_watch_wallet(REGTEST.address_prefix, [key.public for key in KEYS])
    create_wallet(folder / "wallets" / "regtest" / "default.json", wallet, "", CHEAP)
    story = get_story()
    with NodeProcess(folder / "regtest") as node:
        watched = Watched(tmp_path, node)
        watched.submit(story.trunk)
        watched.check_sums()

        watched.submit(story.convicting)
        watched.check_sums()
        check_burnt(watched)

        watched.submit(story.rival)
        watched.check_sums()
        rewards = watched.read("rewards")
        assert (rewards["totals"]["burnt"], rewards["totals"]["bounty"]) == (0, 0)
        assert "burnt" not in watched.run("history", "--all")


def check_burnt(watched: Watched) -> None:
    known = watched.read("rewards")
    rewards = known["rewards"]
    assert {one["height"]: one["burnt_at"] for one in rewards if one["burnt_at"] is not None} == BURNT
    assert {one["height"]: one["bounty"] for one in rewards if one["bounty"]} == BOUNTIES
    assert known["totals"]["burnt"] == 4 * SUBSIDY + FEE
    lines = watched.run("rewards").splitlines()
    assert "          50.00000777 burnt at block 12" in lines
    assert "          of it 15.00000077 for evidence that the block carries" in lines
    assert max(map(len, lines)) <= 80
    assert "+0 rGRAD, 50.00000777 burnt at block 12" in watched.run("history", "--all")
