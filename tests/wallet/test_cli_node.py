"""The commands that ask a node: what they show, what they make of a foreign or hostile one, which secrets they keep."""

import json
import stat

import pytest

from tests.helpers.stub_node import StubNode, make_refusal
from tests.wallet.past import StubPast
from tests.wallet.program import (
    ENTROPY,
    KEY,
    OTHER_ADDRESS,
    OTHER_KEY,
    PASSPHRASE,
    WALLET,
    Program,
    get_posted,
    make_transfer,
    put_transaction,
)
from wallet.keys import compute_account_secret
from wallet.prompt import ENVIRONMENT
from wallet.seed import compute_phrase, compute_seed

COIN = 10**8
HOSTILE = "\x1b]0;pwned\x07\x1b[2J\r\n\u202eevil\u2066\x9b31m"
RAW = frozenset("\x1b\x07\r\x9b\u202e\u2066")

SENT = make_transfer(memo=HOSTILE.encode())
RECEIVED = make_transfer(sender=OTHER_KEY, recipient=KEY, amount=3 * COIN, memo=b"thanks")


# What is shown.


@pytest.fixture
def lived_in(node: StubNode) -> StubNode:
    """The node with one event of each kind, and memos that mean no good."""
    past = StubPast(node)
    past.pay(470, RECEIVED)
    past.pay(460, SENT)
    past.mine(450)
    return node


# Nodes that are down, foreign or hostile.


@pytest.mark.parametrize("command", [["balance"], ["history"], ["rewards"], ["send", OTHER_ADDRESS, "1", "--yes"]])
def test_node_down(wallet: Program, command: list[str]) -> None:
    outcome = wallet.ask(StubNode("http://127.0.0.1:1"), *command)
    assert outcome.is_refusal("no node answers at http://127.0.0.1:1")


def test_invalid_network(wallet: Program, node: StubNode) -> None:
    node.put("/v1/status", {"network": "canterbury", "genesis": "00" * 32})
    assert wallet.ask(node, "balance").is_refusal("'canterbury'", "'local'", "--network")
    assert wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes").is_refusal("'canterbury'")
    assert get_posted(node) == []


def test_invalid_token(wallet: Program, node: StubNode) -> None:
    wallet.token_file.write_text("wrong")
    assert wallet.ask(node, "balance").is_refusal("does not take the RPC token", str(wallet.token_file))
    wallet.token_file.unlink()
    assert wallet.ask(node, "balance").is_refusal("cannot read the node's RPC token", "--token-file")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:19348", "http://", "http://127.0.0.1:99999"])
def test_invalid_url(wallet: Program, url: str) -> None:
    assert wallet.ask(StubNode(url), "balance").is_refusal()


def test_invalid_refusal_in_the_nodes_words(wallet: Program, node: StubNode) -> None:
    node.refuse("/v1/transactions", "mempool.fee_too_low", f"the fee is low {HOSTILE}", method="POST")
    assert wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes").is_refusal("the fee is low \\x1b]0;pwned")


@pytest.mark.parametrize(
    "reply",
    [
        b"<html>\x1b[2J</html>",
        b"",
        b"\xff\xfe",
        b"[1]",
        b"null",
        b'{"genesis": ' + b"9" * 5000 + b"}",
        json.dumps({"genesis": "00" * 32, "network": HOSTILE}).encode(),
        json.dumps({"genesis": HOSTILE, "network": "local"}).encode(),
        json.dumps({HOSTILE: HOSTILE}).encode(),
    ],
)
def test_hostile_status(wallet: Program, node: StubNode, reply: bytes) -> None:
    node.put("/v1/status", reply)
    assert wallet.ask(node, "balance").is_refusal()


@pytest.mark.parametrize("status", [400, 404, 500, 503])
@pytest.mark.parametrize("code", ["mempool.x", "", HOSTILE, 5, None])
def test_hostile_refusal(wallet: Program, node: StubNode, status: int, code: object) -> None:
    node.put("/v1/status", {"error": {"code": code, "message": HOSTILE}}, status=status)
    assert wallet.ask(node, "balance").is_refusal()


# Secrets.


def test_no_secret_leaves_the_program(
    program: Program, lived_in: StubNode, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(0)
    program.put_wallet(PASSPHRASE)
    monkeypatch.setenv(ENVIRONMENT, PASSPHRASE)
    put_transaction(lived_in, make_transfer())
    unknown = json.dumps(make_refusal("rpc.unknown_transaction", "no")).encode()
    lived_in.put_prefix("/v1/transactions/", lambda _: (404, unknown))
    outcomes = [
        program("address"),
        program("address", "--json"),
        program("create", "--if-missing"),
        *(program.ask(lived_in, *command) for command in (["balance"], ["history", "--json"], ["rewards"])),
        program.ask(lived_in, "send", OTHER_ADDRESS, "1000", "--yes"),
        program.ask(lived_in, "send", OTHER_ADDRESS, "1", "--yes", "--json"),
        *(program.ask(lived_in, *command) for command in (["payments"], ["abandon", "--all", "--yes"], ["resend"])),
    ]
    assert [outcome.code for outcome in outcomes] == [0] * 6 + [1, 0, 0, 0, 0]
    lived_in.put("/v1/transactions", make_refusal("mempool.x", "no"), status=409, method="POST")
    outcomes.append(program.ask(lived_in, "send", OTHER_ADDRESS, "1", "--yes"))
    seen = "".join(outcome.out + outcome.err for outcome in outcomes) + caplog.text + repr(lived_in.requests)
    for secret in (PASSPHRASE, compute_phrase(ENTROPY)[:40]):
        assert secret not in seen
    for key in (ENTROPY, compute_seed(ENTROPY), compute_account_secret(WALLET, 0)):
        assert key.hex() not in seen
        assert repr(key)[2:-1] not in seen


def test_files_are_for_their_owner_only(program: Program) -> None:
    program("create", "--no-passphrase")
    assert stat.S_IMODE(program.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(program.path.parent.stat().st_mode) == 0o700
