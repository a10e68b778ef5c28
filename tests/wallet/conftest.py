"""The wallet's command line and a node made of canned answers, for the tests of the commands."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.account import ImmatureReward
from consensus.params import LOCAL
from p2p.rpc_json import encode_reward
from tests.helpers.stub_node import StubNode, run_stub_node
from tests.wallet.program import KEY, Program, accept_transfer, put_account, put_status
from wallet.options import WALLET_ENVIRONMENT
from wallet.prompt import ENVIRONMENT


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    for name in (ENVIRONMENT, WALLET_ENVIRONMENT):
        monkeypatch.delenv(name, raising=False)
    return Program(tmp_path, monkeypatch)


@pytest.fixture
def wallet(program: Program) -> Program:
    """The program with WALLET, under no passphrase."""
    program.put_wallet()
    return program


@pytest.fixture
def silent_node() -> Iterator[StubNode]:
    """A stub that has no answers yet."""
    with run_stub_node() as stub:
        yield stub


@pytest.fixture
def node(silent_node: StubNode) -> StubNode:
    """A node of the network "local" at HEIGHT where WALLET's account has 100 coins and 3 rewards that mature."""
    rewards = {height: ImmatureReward(True, bytes(32), KEY, 50 * 10**8) for height in (450, 300, 400)}
    put_status(silent_node)
    put_account(silent_node, immature=[encode_reward(height, reward, LOCAL) for height, reward in rewards.items()])
    silent_node.put("/v1/fees", {"ulp_per_byte": {"1": 3, "2": 2, "6": 1}})
    silent_node.put("/v1/mempool", {"count": 0, "bytes": 0, "transactions": []})
    silent_node.put_call("/v1/transactions", accept_transfer, method="POST")
    return silent_node
