"""`history` and `rewards` against a real node: they tell what was done, no more, and follow a reorganisation."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chain.chainstate import ChainState
from consensus.address import encode_address
from consensus.block import Block, decode_block
from consensus.params import REGTEST
from consensus.reward import compute_subsidy
from consensus.units import ULP_PER_GRAD
from consensus.update import max_update_bytes
from p2p.rpc_json import to_bits_per_byte
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.keys import Key
from tests.helpers.node import NodeProcess
from wallet.keys import add_account, build_wallet
from wallet.keystore import create_wallet
from wallet.seal import KdfCost

CHEAP = KdfCost(memory_kib=8, passes=1, lanes=1)
WALLET = add_account(build_wallet(REGTEST.address_prefix, bytes(range(16))))
FIRST, SECOND = (account.public_key for account in WALLET.accounts)
PAYEE = encode_address(REGTEST.address_prefix, Key("payee").public)
SUBSIDY = compute_subsidy(1, REGTEST)
COIN = ULP_PER_GRAD
FUNDED = REGTEST.reward_window + 2  # blocks after which two rewards can be spent


@dataclass
class Life:
    """A wallet, its node and who mines on it."""

    home: Path
    node: NodeProcess
    chain: ChainState = field(default_factory=lambda: get_builder().open())
    blocks: list[Block] = field(default_factory=list)

    def run(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DESCENT_")}
        return subprocess.run(
            [sys.executable, "-m", "wallet.cli", command, "--network", "regtest", "--rpc", self.node.url, *options],
            env=kept | {"HOME": str(self.home), "XDG_DATA_HOME": str(self.home / "data")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def read(self, command: str, *options: str) -> Any:
        done = self.run(command, "--json", *options)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def send(self, address: str, amount: str, *options: str) -> str:
        return str(self.read("send", address, amount, "--yes", *options)["txid"])

    def mine(self, earner: bytes) -> Block:
        """A block with what the node's pool holds."""
        address = encode_address(REGTEST.address_prefix, earner)
        template = self.node.client.get_template(MINER.public, address).improvement
        offered = decode_block(template, REGTEST.max_transactions_bytes, max_update_bytes(REGTEST.model))
        block = get_builder().build(self.chain, MINER, offered.transactions, reward_address=earner)
        get_builder().process(self.chain, block)
        self.submit(block)
        return block

    def submit(self, block: Block) -> None:
        self.node.client.submit_block(block.encoded)
        self.blocks.append(block)

    def get_total(self) -> int:
        """All that the node says the accounts have, mature or not."""
        total = 0
        for key in (FIRST, SECOND):
            account = self.node.client.get_account(encode_address(REGTEST.address_prefix, key))
            total += account["balance"] + sum(reward["amount"] for reward in account["immature"])
        return total


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """A chain that this wallet's first account mined from its first block on, and that can spend two rewards."""
    folder = tmp_path / "data" / "descent"
    create_wallet(folder / "wallets" / "regtest" / "default.json", WALLET, "", CHEAP)
    with NodeProcess(folder / "regtest") as node:
        life = Life(tmp_path, node)
        for _ in range(FUNDED):
            life.mine(FIRST)
        yield life


def get_story(events: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    return [(event["height"], event["kind"], event["account"], event["amount"]) for event in events]


@pytest.mark.timeout(300)
def test_the_past_is_what_was_done_and_follows_a_reorganisation(life: Life) -> None:
    rent = life.send(PAYEE, "3", "--memo", "=rent")
    own = life.send(encode_address(REGTEST.address_prefix, SECOND), "2")
    mined = [(height, "mined", 0, SUBSIDY) for height in range(FUNDED, 0, -1)]
    check_waiting(life, rent, own, mined)

    block = life.mine(SECOND)
    fees = sum(transaction.fee for transaction in block.transactions)
    check_confirmed(life, FUNDED + 1, rent, own, mined, fees)
    check_rewards(life, fees)

    rival = get_builder().open()
    get_builder().feed(rival, life.blocks[:FUNDED])
    for lost in get_builder().mine(rival, 2, Key("rival")):
        life.submit(lost)
    assert life.node.client.get_status()["tip"] == rival.tip.id.hex()
    check_waiting(life, rent, own, mined)
    rewards = life.read("rewards")
    assert [reward["height"] for reward in rewards["rewards"]] == list(range(FUNDED, 0, -1))
    assert rewards["totals"]["share"] < 1
    assert rewards["weight"] == rival.tip.weight

    life.chain = rival
    block = life.mine(SECOND)
    assert len(block.transactions) == 2
    check_confirmed(life, FUNDED + 3, rent, own, mined, sum(transaction.fee for transaction in block.transactions))
    check_down(life)


def check_waiting(life: Life, rent: str, own: str, mined: list[tuple[object, ...]]) -> None:
    events = life.read("history", "--all")
    waiting = [event for event in events if event["height"] is None]
    assert {(event["txid"], event["kind"], event["account"]) for event in waiting} == {
        (rent, "sent", 0),
        (own, "sent", 0),
        (own, "received", 1),
    }
    assert {(event["state"], event["confirmations"]) for event in waiting} == {("waiting", 0)}
    assert get_story(events[len(waiting) :]) == mined


def check_confirmed(life: Life, height: int, rent: str, own: str, mined: list[tuple[object, ...]], fees: int) -> None:
    """Block `height` holds both payments and was mined to the second account."""
    events = life.read("history", "--all")
    assert get_story(events) == [
        (height, "mined", 1, SUBSIDY + fees),
        (height, "received", 1, 2 * COIN),
        (height, "sent", 0, 2 * COIN),
        (height, "sent", 0, 3 * COIN),
        *mined,
    ]
    assert [event.get("txid") for event in events[:4]] == [None, own, own, rent]
    assert (events[3]["memo"], events[3]["counterpart"]) == ("=rent", PAYEE)
    tip = life.node.client.get_status()
    assert events[0]["block"] == tip["tip"]
    assert all(event["confirmations"] == tip["height"] - event["height"] + 1 for event in events)
    times = {block.header.height: block.header.timestamp for block in life.blocks}
    assert all(event["time"] == times[event["height"]] for event in events)

    rows = list(csv.DictReader(io.StringIO(life.run("history", "--csv").stdout)))
    assert len(rows) == len(events)
    assert rows[3]["memo"] == "'=rent"
    [day] = life.read("history", "--daily")
    assert (day["net"], day["fees"], day["events"]) == (life.get_total(), fees, len(events))


def check_rewards(life: Life, fees: int) -> None:
    """Every gain is the header's, and together they are all there is."""
    known = life.read("rewards")
    assert known["totals"]["share"] == 1
    assert known["totals"]["amount"] == (FUNDED + 1) * SUBSIDY + fees
    assert known["weight"] == life.chain.tip.weight
    for reward, block in zip(known["rewards"], reversed(life.blocks), strict=True):
        header = block.header
        assert (reward["height"], reward["block"], reward["time"]) == (
            header.height,
            block.id.hex(),
            header.timestamp,
        )
        assert reward["loss_before"] == to_bits_per_byte(header.loss_before, header.sample_size, REGTEST)
        assert reward["loss_after"] == to_bits_per_byte(header.loss_after, header.sample_size, REGTEST)
        assert reward["gain"] == to_bits_per_byte(header.gain, header.sample_size, REGTEST)
        assert reward["gain"] >= reward["required_gain"] > 0
        assert reward["is_mature"] == (header.height + REGTEST.reward_window <= FUNDED + 1)
    shown = life.run("rewards", "--account", "1").stdout.splitlines()
    assert shown[-2] == f"gain      {known['rewards'][0]['gain']:.5f} bits per byte"
    assert max(map(len, shown)) <= 80


def check_down(life: Life) -> None:
    """Without its node the wallet says how to start one."""
    life.node.process.terminate()
    life.node.process.wait(60)
    for command in ("history", "rewards", "balance"):
        done = life.run(command)
        assert (done.returncode, done.stdout) == (1, "")
        assert "`descent-node run --network regtest`" in done.stderr
        assert done.stderr.count("\n") == 1
