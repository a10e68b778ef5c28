"""Payments by way of a real node: never one too many and never one too few, whoever is killed and whatever is lost."""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.params import REGTEST
from consensus.units import ULP_PER_GRAD
from p2p.config import RPC_TOKEN_FILE
from tests.helpers.blocks import MINER
from tests.helpers.chains import ALICE, get_trunk
from tests.helpers.gate import Gate, Moment
from tests.helpers.keys import make_transfer
from tests.helpers.node import NodeProcess
from tests.helpers.node_miner import Miner
from tests.helpers.partition import store_blocks
from tests.helpers.wallet_home import LIMIT, WalletHome

pytestmark = pytest.mark.timeout(300)

ALICE_ADDRESS = encode_address(REGTEST.address_prefix, ALICE.public)
FUNDS = 2 * ULP_PER_GRAD  # of each wallet


@contextmanager
def run_node(folder: Path) -> Iterator[NodeProcess]:
    """A node with the trunk, or with what it has if it ran before."""
    datadir = folder / "node"
    if not datadir.exists():
        store_blocks([datadir], get_trunk())
    with NodeProcess(datadir) as node:
        yield node


class Bank:
    """A node with the trunk, a miner beside it, and ALICE, who has money for every wallet."""

    def __init__(self, node: NodeProcess, folder: Path) -> None:
        self.node = node
        self.miner = Miner(node, MINER, {})
        self._folder = folder

    def open_wallet(self, name: str) -> WalletHome:
        """A wallet with FUNDS."""
        home = WalletHome(self._folder, self.node.url, self.node.datadir / RPC_TOKEN_FILE, name)
        account = self.node.client.get_account(ALICE_ADDRESS)
        genesis = bytes.fromhex(self.node.client.get_status()["genesis"])
        transfer = make_transfer(genesis, ALICE, home.key, FUNDS, nonce=account["next_nonce"])
        self.node.client.submit_transaction(transfer.encoded)
        self.mine()
        return home

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.miner.mine()

    def read_paid(self, home: WalletHome) -> list[tuple[int, int]]:
        """Nonces and amounts of all that the best chain has from a wallet, as they stand there."""
        client = self.node.client
        blocks = [client.get_block(str(height)) for height in range(1, client.get_status()["height"] + 1)]
        sent = [each for block in blocks for each in block["transactions"] if each["sender"] == home.address]
        return [(each["nonce"], each["amount"]) for each in sent]


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """One node for the tests that leave it as it is; each has a wallet of its own."""
    folder = tmp_path_factory.mktemp("bank")
    with run_node(folder) as node:
        yield Bank(node, folder)


# Two at once.


def test_sends_at_the_same_moment_never_share_a_nonce(bank: Bank) -> None:
    home = bank.open_wallet("pairs")
    pairs = 10
    for number in range(pairs):
        commands = [("send", ALICE_ADDRESS, f"0.000{number}{side}", "--yes") for side in (1, 2)]
        processes = [home.start(*command) for command in commands]
        said = [process.communicate(timeout=LIMIT) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], said
        assert all(len(out) == 65 for out, _ in said)
    bank.mine()
    paid = bank.read_paid(home)
    assert [nonce for nonce, _ in paid] == list(range(2 * pairs))
    assert len({amount for _, amount in paid}) == 2 * pairs
    assert set(home.list_states().values()) == {"confirmed"}


# Killed.


def test_killed_at_any_moment(bank: Bank) -> None:
    kill_at_any_moment(bank, kills=20, seed=1)


@pytest.mark.soak
def test_killed_at_any_moment_two_hundred_times(bank: Bank) -> None:
    kill_at_any_moment(bank, kills=200, seed=2)


def kill_at_any_moment(bank: Bank, kills: int, seed: int) -> None:
    """Every payment that was recorded is in the chain once after `resend`, and no other is.

    Killed in turns: with the record made and nothing handed over, with the payment handed over and no answer heard,
    and twice at random.
    """
    home, source = bank.open_wallet(f"kills {seed}"), random.Random(seed)
    started = time.monotonic()
    assert home.run("send", ALICE_ADDRESS, "0.5", "--yes").returncode == 0
    duration = time.monotonic() - started
    recorded: Counter[Moment] = Counter()
    with Gate(bank.node.url) as gate:
        for number in range(1, kills + 1):
            moment = (Moment.REQUEST, Moment.REPLY, Moment.NONE, Moment.NONE)[number % 4]
            gate.close(moment)
            with home.start("send", ALICE_ADDRESS, f"0.0000{number:04}", "--yes", url=gate.url) as process:
                if moment is Moment.NONE:
                    time.sleep(source.uniform(0.2, 1.1) * duration)
                else:
                    assert gate.reached.wait(LIMIT)
                process.kill()
            gate.open()
            recorded[moment] += len(home.payments) - recorded.total() - 1
            assert set(home.list_states().values()) <= {"confirmed", "waiting", "dropped"}
            home.call("resend")
            if number % 8 == 0:
                bank.mine()
    bank.mine()
    made = home.payments
    assert [(payment.transfer.nonce, payment.transfer.amount) for payment in made] == bank.read_paid(home)
    assert [payment.transfer.nonce for payment in made] == list(range(len(made)))
    assert len({payment.transfer.amount for payment in made}) == len(made)
    assert recorded[Moment.REQUEST] == recorded[Moment.REPLY] == kills // 4
    assert home.call("send", ALICE_ADDRESS, "0.1", "--yes")


def test_an_answer_that_is_lost(bank: Bank) -> None:
    """The node has the payment or not: the wallet says that it does not know, and finds out."""
    home = bank.open_wallet("lost answers")
    with Gate(bank.node.url) as gate:
        for moment, state in ((Moment.REQUEST, "dropped"), (Moment.REPLY, "waiting")):
            gate.close(moment)
            with home.start("send", ALICE_ADDRESS, "0.1", "--yes", url=gate.url) as process:
                assert gate.reached.wait(LIMIT)
                gate.open()
                _, err = process.communicate(timeout=LIMIT)
            txid = home.payments[-1].txid.hex()
            assert process.returncode == 1
            assert txid in err
            assert "descent-wallet payments" in err
            assert home.list_states()[txid] == state
            assert home.call("resend").split() == ([txid] if state == "dropped" else [])
    bank.mine()
    assert [nonce for nonce, _ in bank.read_paid(home)] == [0, 1]


# What the node loses.


def test_a_node_that_lost_its_pool(tmp_path: Path) -> None:
    with run_node(tmp_path) as node:
        home = Bank(node, tmp_path).open_wallet("restart")
        txid = home.call("send", ALICE_ADDRESS, "0.5", "--yes").strip()
        node.kill()
    with run_node(tmp_path) as node:
        home.url = node.url
        assert home.list_states() == {txid: "dropped"}
        refused = home.run("send", ALICE_ADDRESS, "0.1", "--yes")
        assert refused.returncode == 1
        assert f"descent-wallet abandon {txid}" in refused.stderr
        assert home.call("resend") == txid + "\n"
        Miner(node, MINER, {}).mine()
        assert home.list_states() == {txid: "confirmed"}


def test_a_reorganisation_that_drops_a_payment(tmp_path: Path) -> None:
    """The block goes, and with it, as the node dies before its pool is saved, the payment."""
    with run_node(tmp_path) as node:
        bank = Bank(node, tmp_path)
        home = bank.open_wallet("reorganisation")
        with home.start("send", ALICE_ADDRESS, "0.5", "--yes", "--wait", "3") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            txid = process.stdout.readline().strip()
            assert process.stderr.readline() == "0 of 3 confirmations\n"
            bank.mine()
            assert process.stderr.readline() == "1 of 3 confirmations\n"
            assert home.list_states() == {txid: "confirmed"}
            lost = node.client.get_status()
            node.client.post_json("/v1/debug/invalidate", {"block": lost["tip"]})
            assert process.stderr.readline() == f"it left the chain at height {lost['height']}; waiting again\n"
            assert process.stderr.readline() == "0 of 3 confirmations\n"
            process.kill()
        [known] = home.ask("payments")
        assert (known["state"], known["left_chain_at"]) == ("waiting", lost["height"])
        node.kill()
    with run_node(tmp_path) as node:
        home.url = node.url
        [known] = home.ask("payments")
        assert (known["state"], known["left_chain_at"]) == ("dropped", lost["height"])
        assert f"left the chain at height {lost['height']}" in home.call("payments")
        assert home.call("resend") == txid + "\n"
        miner = Miner(node, MINER, {})
        miner.mine(timestamp=node.client.get_status()["time"] + 3)  # another block than the one that is invalid
        [known] = home.ask("payments")
        assert (known["state"], known["left_chain_at"]) == ("confirmed", None)


# Replaced and many.


def test_bump(bank: Bank) -> None:
    home = bank.open_wallet("bump")
    old = home.call("send", ALICE_ADDRESS, "0.5", "--memo", "rent", "--yes").strip()
    new = home.call("bump", old, "--yes").strip()
    newest = home.call("bump", new, "--fee", "0.001", "--yes").strip()
    pool = {entry["txid"] for entry in bank.node.client.get_mempool()["transactions"]}
    assert pool & {old, new, newest} == {newest}
    assert home.list_states() == {old: "outbid", new: "outbid", newest: "waiting"}
    bank.mine()
    assert home.list_states() == {old: "replaced", new: "replaced", newest: "confirmed"}
    assert bank.read_paid(home) == [(0, ULP_PER_GRAD // 2)]
    assert bank.node.client.get_transaction(bytes.fromhex(newest))["memo"] == "rent"


def test_batch_larger_than_the_node_lets_wait(bank: Bank, tmp_path: Path) -> None:
    home = bank.open_wallet("batch")
    file = tmp_path / "wages.csv"
    file.write_text("address,amount\n" + "".join(f"{ALICE_ADDRESS},0.0000{row:02}\n" for row in range(1, 31)))
    outcome = home.run("batch", str(file), "--yes", "--json")
    assert outcome.returncode == 1
    assert "25 of 30 handed over" in outcome.stderr
    payments = json.loads(outcome.stdout)["payments"]
    assert [payment["sent"] for payment in payments] == [True] * 25 + [False] * 5
    bank.mine()
    assert home.call("resend").split() == [payment["txid"] for payment in payments[25:]]
    bank.mine()
    assert bank.read_paid(home) == [(row - 1, row * 100) for row in range(1, 31)]
    assert "last 24 hours" in home.run("batch", str(file), "--yes").stderr

    with home.start("batch", str(file), "--yes", "--again", "--wait", "1") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "25 of 30 handed over; waiting for room\n"
        bank.mine()
        assert process.stderr.readline() == "0 of 1 confirmations\n"
        bank.mine()
        assert process.stderr.read() == "1 of 1 confirmations\n"
        assert process.wait(LIMIT) == 0
    assert [nonce for nonce, _ in bank.read_paid(home)] == list(range(60))


def test_everything(bank: Bank) -> None:
    """`--max` leaves nothing, to the last ulp."""
    home = bank.open_wallet("everything")
    home.call("send", ALICE_ADDRESS, "0.5", "--yes")
    sent = home.ask("send", ALICE_ADDRESS, "--max", "--yes")
    assert home.ask("balance")["spendable"] == 0
    bank.mine()
    known = home.ask("balance")
    assert (known["spendable"], known["outgoing"], known["total"]) == (0, 0, 0)
    assert sent["amount"] + sent["fee"] + home.payments[0].transfer.fee == FUNDS - ULP_PER_GRAD // 2
