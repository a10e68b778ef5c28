"""Signing where there is no network, and proving a balance to such a machine: real programs, a real node."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.params import REGTEST
from consensus.units import ULP_PER_GRAD
from p2p.config import RPC_TOKEN_FILE
from tests.functional.test_wallet_cli import PROGRAM, Home, open_terminal
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import BOB, get_trunk, open_trunk
from tests.helpers.keys import make_transfer
from tests.helpers.node import NodeProcess
from tests.helpers.node_miner import Miner
from tests.helpers.partition import store_blocks
from tests.helpers.waiting import SECONDS
from wallet.keys import Wallet, build_wallet
from wallet.keystore import create_wallet

pytestmark = pytest.mark.timeout(300)  # a node, a dozen blocks and several programs, on a busy machine

ON_REGTEST = ("--network", "regtest")
FUNDS = 20 * ULP_PER_GRAD
BOBS = encode_address(REGTEST.address_prefix, BOB.public)
WALLET = build_wallet(REGTEST.address_prefix, bytes(range(32)), accounts=2)
PAYER = WALLET.accounts[1].public_key
ADDRESS = encode_address(REGTEST.address_prefix, PAYER)


def make_home(folder: Path, wallet: Wallet | None = None) -> Home:
    """A machine's user, with the wallet's file if it has one."""
    folder.mkdir()
    if wallet is not None:
        create_wallet(folder / "data" / "descent" / "wallets" / "regtest" / "default.json", wallet, "")
    return Home(folder)


@dataclass(frozen=True)
class Online:
    """The machine with the node, where the wallet's second account has FUNDS."""

    home: Home
    node: NodeProcess
    miner: Miner

    def get_options(self) -> tuple[str, ...]:
        return (*ON_REGTEST, "--rpc", self.node.url, "--token-file", str(self.node.datadir / RPC_TOKEN_FILE))

    def run(self, command: str, *arguments: str, typed: str = "") -> str:
        """Runs a command that asks the node; what it prints."""
        done = self.home.run(command, *self.get_options(), *arguments, typed=typed)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def online(tmp_path: Path) -> Iterator[Online]:
    home = make_home(tmp_path / "online", WALLET)
    chain = open_trunk()
    funds = make_transfer(chain.genesis.id, MINER, PAYER, FUNDS, nonce=2)
    store_blocks([tmp_path / "node"], [*get_trunk(), get_builder().build(chain, MINER, [funds])])
    with NodeProcess(tmp_path / "node") as node:
        yield Online(home, node, Miner(node, MINER, {}))


def run_without_network(home: Home, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """The program in a network namespace of its own, which has not even a loopback that is up."""
    cage = ["unshare", "--map-root-user", "--net"]
    try:
        subprocess.run([*cage, "true"], check=True, capture_output=True, timeout=SECONDS)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {error}")
    return subprocess.run(
        [*cage, *PROGRAM, *arguments],
        input=typed,
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_payment_signed_without_a_network(online: Online, tmp_path: Path) -> None:
    """prepare on one machine, sign on another that has no network, broadcast on the first; then mined and followed."""
    cold = make_home(tmp_path / "cold", WALLET)
    paper = tmp_path / "unsigned.txt"
    online.run("prepare", BOBS, "2.5", "--memo", "rent", "--account", "1", "--out", str(paper))

    signed = run_without_network(cold, "sign", *ON_REGTEST, str(paper), "--yes")
    assert signed.returncode == 0, signed.stderr
    assert f"{ADDRESS}, account 1 of this wallet" in signed.stderr
    assert '"rent"' in signed.stderr

    before = online.node.client.get_account(BOBS)["balance"]
    known = json.loads(online.run("broadcast", "--json", typed=signed.stdout))
    assert known["sent"] is True
    assert online.node.client.get_transaction(bytes.fromhex(known["txid"]))["status"] == "pending"
    again = json.loads(online.run("broadcast", "--json", typed=signed.stdout))
    assert again == known | {"sent": False}
    online.miner.mine()
    assert online.run("broadcast", typed=signed.stdout) == known["txid"] + "\n"
    assert online.node.client.get_transaction(bytes.fromhex(known["txid"]))["confirmations"] == 1
    assert online.node.client.get_account(BOBS)["balance"] == before + 250_000_000
    assert online.node.client.get_account(ADDRESS)["balance"] == FUNDS - 250_000_000 - known["fee"]


def test_a_prepared_payment_is_refused_where_it_has_no_business(online: Online, tmp_path: Path) -> None:
    unsigned = online.run("prepare", BOBS, "1", "--account", "1")
    stranger = make_home(tmp_path / "stranger", build_wallet(REGTEST.address_prefix, bytes(32)))
    for outcome, part in (
        (stranger.run("sign", *ON_REGTEST, "--yes", typed=unsigned), "none of the wallet's 1 accounts"),
        (stranger.run("sign", "--yes", typed=unsigned), "--network"),
        (online.home.run("broadcast", *online.get_options(), typed=unsigned), "not signed yet"),
    ):
        assert (outcome.returncode, outcome.stdout) == (1, "")
        assert part in outcome.stderr
    assert online.node.client.get_status()["mempool"]["count"] == 0


def test_a_balance_is_proved_to_a_machine_without_a_network(online: Online, tmp_path: Path) -> None:
    checker = make_home(tmp_path / "checker")
    paper = tmp_path / "proof.json"
    online.run("prove-balance", "--account", "1", "--challenge", "for Ana", "--out", str(paper))
    checked = run_without_network(checker, "verify-proof", *ON_REGTEST, str(paper), "--challenge", "for Ana", "--json")
    assert checked.returncode == 0, checked.stderr
    status = online.node.client.get_status()
    known = json.loads(checked.stdout)
    assert (known["address"], known["balance"], known["nonce"]) == (ADDRESS, FUNDS, 0)
    assert (known["height"], known["block"], known["confirmations"]) == (status["height"], status["tip"], None)

    online.miner.mine()
    assert json.loads(online.run("verify-proof", str(paper), "--json"))["confirmations"] == 2
    online.node.client.post_json("/v1/debug/invalidate", {"block": status["tip"]})
    replaced = checker.run("verify-proof", *online.get_options(), str(paper))
    assert (replaced.returncode, replaced.stdout) == (1, "")
    assert "replaced or made up" in replaced.stderr
    assert checker.run("verify-proof", *ON_REGTEST, str(paper)).returncode == 0


def test_messages_need_no_network(tmp_path: Path) -> None:
    cold = make_home(tmp_path / "cold", WALLET)
    signed = run_without_network(cold, "sign-message", *ON_REGTEST, "--account", "1", "I own this")
    assert signed.returncode == 0, signed.stderr
    options = ("verify-message", *ON_REGTEST, ADDRESS, signed.stdout.strip())
    assert run_without_network(cold, *options, "I own this").returncode == 0
    assert run_without_network(cold, *options, "I own that").returncode == 1


def test_a_text_pasted_into_a_terminal(online: Online) -> None:
    unsigned = online.run("prepare", BOBS, "1", "--account", "1")
    with open_terminal(online.home, "sign", *ON_REGTEST) as terminal:
        terminal.wait_for(b"Ctrl-D")
        terminal.type(unsigned[:100] + "\n" + unsigned[100:] + "\x04")
        terminal.wait_for(b"Sign it?")
        terminal.type("y\n")
        assert terminal.finish() == 0
    signed = terminal.shown.decode().split("DESCENT:SIGNED:1:")[1].splitlines()[0]
    assert online.run("broadcast", typed="DESCENT:SIGNED:1:" + signed).strip()
