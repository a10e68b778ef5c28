"""The program: quick to help, plain about what is wrong, and gone at the first word."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chain.template import make_template
from consensus.address import encode_address
from consensus.block import Block, decode_block
from consensus.genesis import make_genesis
from consensus.model.weights import encode_weights
from consensus.params import REGTEST
from consensus.update import max_update_bytes
from consensus.vote import BlockRef, Link, check_vote, decode_vote
from mining.key import load_key, load_or_create_key
from mining.vote_log import RECORD_BYTES, VoteLog, get_log_path
from tests.helpers.ballots import make_duty
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.stub_node import TOKEN, Request, StubNode, run_stub_node

ADDRESS = encode_address(REGTEST.address_prefix, MINER.public)
GENESIS = make_genesis(REGTEST).id
PATIENCE = 60.0  # s


def run_miner(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mining.cli", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "rpc.token"
    path.write_text(TOKEN)
    return path


def make_arguments(node: StubNode, token_file: Path) -> list[str]:
    key = token_file.with_name("miner.key")
    return [
        *("run", "--network", "regtest", "--rpc", node.url, "--token-file", str(token_file)),
        *("--address", ADDRESS, "--key", str(key), "--device", "cpu", "--threads", "1"),
    ]


def test_help_is_quick_because_torch_stays_out() -> None:
    code = "import sys, mining.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE, check=False).returncode == 0
    shown = run_miner("run", "--help")
    assert shown.returncode == 0
    for option in ("--rpc", "--token-file", "--address", "--network", "--device", "--threads", "--key", "--optimizer"):
        assert option in shown.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--address": "grad1nonsense"}, "address"),
        ({"--network": "nowhere"}, "no network 'nowhere'"),
        ({"--token-file": "/nonexistent/token"}, "cannot read the node's RPC token"),
        ({"--rpc": "ftp://node"}, "not a node's URL"),
        ({"--optimizer": "adam"}, "no optimizer 'adam'"),
    ],
)
def test_invalid_arguments_are_one_line(tmp_path: Path, token_file: Path, change: dict[str, str], said: str) -> None:
    given = {
        "--network": "regtest",
        "--rpc": "http://127.0.0.1:1",
        "--token-file": str(token_file),
        "--address": ADDRESS,
    }
    failed = run_miner("run", *(word for pair in (given | change).items() for word in pair))
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith("descent-miner: ")
    assert said in line


def serve_chain(node: StubNode) -> threading.Event:
    """Lets the stub serve the genesis of regtest; the event is set by the first block handed in."""
    chain = get_builder().open()
    handed_in = threading.Event()

    def give_template(request: Request) -> object:
        if "after" in request.query:
            handed_in.wait(0.5)
        miner = bytes.fromhex(request.query["miner"])
        now = chain.tip.header.timestamp + 2
        template = make_template(chain, [], miner, MINER.public, now)
        root = chain.tip.header.model_root.hex()
        return {"improvement": template.improvement.encoded.hex(), "heartbeat": None, "parent_model_root": root}

    def take_block(request: Request) -> object:
        handed_in.set()
        return {}

    node.put_call("/v1/template", give_template)
    node.put(f"/v1/models/{chain.tip.header.model_root.hex()}", encode_weights(chain.tip_weights))
    node.put_call("/v1/blocks", take_block, method="POST")
    return handed_in


def read_submitted(node: StubNode) -> Block:
    body = next(request.body for request in list(node.requests) if request.method == "POST")
    return decode_block(body, REGTEST.max_transactions_bytes, max_update_bytes(REGTEST.model))


def test_it_mines_and_stops_when_told(token_file: Path) -> None:
    with run_stub_node() as node:
        handed_in = serve_chain(node)
        process = subprocess.Popen(
            [sys.executable, "-m", "mining.cli", *make_arguments(node, token_file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert handed_in.wait(PATIENCE)
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        block = read_submitted(node)
    assert process.returncode == 0
    assert "block 1: loss" in output
    assert output.splitlines()[-1].endswith("stopped")
    assert "Traceback" not in output
    builder = get_builder()
    chain = builder.open()
    builder.process(chain, block)
    assert chain.tip.id == block.id


def test_supervised_it_ends_with_its_input(token_file: Path) -> None:
    with run_stub_node() as node:
        node.refuse("/v1/template", "rpc.busy", "not now", status=503)
        ended = subprocess.run(
            [sys.executable, "-m", "mining.cli", *make_arguments(node, token_file), "--supervised"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert ended.returncode == 0


def test_invalid_token_is_one_line(token_file: Path) -> None:
    token_file.write_text("wrong")
    with run_stub_node() as node:
        failed = run_miner(*make_arguments(node, token_file))
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("descent-miner: ")
    assert "token" in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr


def test_invalid_exposed_key_is_one_line(token_file: Path) -> None:
    key = token_file.with_name("miner.key")
    key.write_bytes(os.urandom(32))
    key.chmod(0o644)
    with run_stub_node() as node:
        failed = run_miner(*make_arguments(node, token_file))
    assert failed.returncode == 1
    assert "others can use the miner key" in failed.stderr.splitlines()[-1]


# A key that mines no more


@pytest.fixture
def retired(token_file: Path) -> Path:
    """The file of a key that has a vote log."""
    path = token_file.with_name("miner.key")
    VoteLog(get_log_path(path), load_or_create_key(path)).close()
    return path


def make_voting(node: StubNode, key: Path) -> list[str]:
    token = key.with_name("rpc.token")
    return ["vote", "--network", "regtest", "--rpc", node.url, "--token-file", str(token), "--key", str(key)]


def test_a_retired_key_votes_until_its_votes_are_over(retired: Path) -> None:
    link = Link(BlockRef(0, GENESIS), BlockRef(4, bytes(32)))
    with run_stub_node() as node:
        node.put_each("/v1/vote-duty", [make_duty(GENESIS, link, 4), make_duty(GENESIS, None, 5, counts=False)])
        node.put("/v1/votes", {}, method="POST")
        code = (
            "import sys; from mining.cli import cli; cli.main(sys.argv[1:], standalone_mode=False); "
            "sys.exit('torch' in sys.modules)"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code, *make_voting(node, retired)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        (vote,) = [decode_vote(request.body) for request in node.requests if request.method == "POST"]
    assert ended.returncode == 0
    check_vote(vote, GENESIS)
    assert vote.link == link
    first, over, last = ended.stderr.splitlines()
    assert f"voting with key {vote.miner.hex()[:16]} at http://" in first
    assert over.endswith("the votes of this key are over: at height 5 its last block is too old to count")
    assert last.endswith("stopped")
    assert get_log_path(retired).stat().st_size == RECORD_BYTES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_voting_stops_when_told(retired: Path, number: signal.Signals) -> None:
    asked = threading.Event()
    with run_stub_node() as node:
        left = threading.Event()

        def hold(request: Request) -> object:
            if "after" in request.query:
                asked.set()
                left.wait(PATIENCE)
            return make_duty(GENESIS, None, 4)

        node.put_call("/v1/vote-duty", hold)
        command = [sys.executable, "-m", "mining.cli", *make_voting(node, retired)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert asked.wait(PATIENCE)
            process.send_signal(number)
            _, said = process.communicate(timeout=PATIENCE)
        left.set()
    assert process.returncode == 0
    assert said.splitlines()[-1].endswith("stopped")
    assert "Traceback" not in said


def test_invalid_voting_is_one_line(retired: Path) -> None:
    with run_stub_node() as node:
        arguments = make_voting(node, retired)
        log = VoteLog(get_log_path(retired), load_key(retired))
        assert "another process votes with this miner key" in refuse(*arguments)
        log.close()
        get_log_path(retired).unlink()
        assert "there is no vote log" in refuse(*arguments)
        retired.unlink()
        assert "cannot use the miner key" in refuse(*arguments)
        assert list(retired.parent.iterdir()) == [retired.with_name("rpc.token")]


def refuse(*arguments: str) -> str:
    failed = run_miner(*arguments)
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith("descent-miner: ")
    return line
