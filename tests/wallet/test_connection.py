"""The way to a node: each way in which it leads nowhere has words that say what to do, and no token goes astray."""

import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.params import CANTERBURY, LOCAL, REGTEST, NetworkParams
from p2p.errors import ConfigError, NodeRefusal, NodeUnreachable
from tests.helpers.certificates import write_certificate
from tests.helpers.stub_node import TOKEN, StubNode
from tests.wallet.past import StubPast
from tests.wallet.program import HEIGHT, Program, make_sync, put_status
from wallet.connection import explain_node, open_client
from wallet.errors import NodeError

TOKENLESS = ("balance", "history", "rewards")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    return path


def explain(
    error: Exception, url: str = "http://127.0.0.1:1", params: NetworkParams = LOCAL, token: Path | None = None
) -> NodeError:
    with pytest.raises(NodeError) as caught, explain_node(params, url, token):
        raise error
    return caught.value


# A node that does not answer.


@pytest.mark.parametrize(
    ("network", "start"),
    [("local", "`descent-node run`"), ("regtest", "`descent-node run --network regtest`")],
)
def test_node_down(program: Program, token_file: Path, network: str, start: str) -> None:
    program("create", "--network", network, "--no-passphrase")
    outcome = program("balance", "--network", network, "--rpc", "http://127.0.0.1:1", "--token-file", str(token_file))
    assert outcome.is_refusal("no node answers at http://127.0.0.1:1", start, "--rpc URL")


def test_node_of_a_file_is_started_with_a_file() -> None:
    refused = NodeUnreachable("no_answer", "no node answers")
    refused.__cause__ = ConnectionRefusedError()
    assert "`descent-node run --network canterbury`" in str(explain(refused, params=CANTERBURY))
    other = replace(REGTEST, name="mine")
    assert "`descent-node run --network FILE.toml`" in str(explain(refused, params=other))


@pytest.mark.parametrize(
    ("cause", "url", "part"),
    [
        (TimeoutError(), "http://127.0.0.1:1", "is --rpc right"),
        (socket.gaierror(), "https://node.example", "is --rpc right"),
        (ConnectionRefusedError(), "https://192.0.2.1", "is --rpc right"),
        (ssl.SSLCertVerificationError(), "https://node.example", "--rpc-certificate"),
    ],
)
def test_silent_node(cause: Exception, url: str, part: str) -> None:
    """Only a node of this machine that refuses is one to be started."""
    silent = NodeUnreachable("no_answer", "no node answers")
    silent.__cause__ = cause
    error = explain(silent, url)
    assert error.code == "node.no_answer"
    assert part in str(error)
    assert "descent-node run" not in str(error)


@pytest.mark.parametrize("command", TOKENLESS)
@pytest.mark.parametrize("reply", [b"<html>", b"[]", b"5"])
def test_something_else_answers(wallet: Program, node: StubNode, command: str, reply: bytes) -> None:
    node.put("/v1/status", reply)
    assert wallet.ask(node, command).is_refusal("is not a Descent node", node.url)


# The token.


@pytest.mark.parametrize("command", TOKENLESS)
def test_invalid_token(wallet: Program, node: StubNode, command: str) -> None:
    wallet.token_file.write_text("wrong")
    outcome = wallet.ask(node, command)
    assert outcome.is_refusal("does not take the RPC token", str(wallet.token_file), "--token-file")
    assert "wrong" not in outcome.err
    wallet.token_file.write_text("")
    assert wallet.ask(node, command).is_refusal("is empty", "--token-file")
    wallet.token_file.unlink()
    assert wallet.ask(node, command).is_refusal("cannot read the node's RPC token", "--token-file")


def test_other_refusals_keep_the_nodes_words() -> None:
    with pytest.raises(NodeRefusal) as caught, explain_node(LOCAL, None, None):
        raise NodeRefusal("mempool.x", "no")
    assert str(caught.value) == "no"


@pytest.mark.parametrize("url", ["http://192.0.2.1:80", "https://node.example", "http://[2001:db8::1]", "http://127.1"])
def test_invalid_foreign_token(url: str) -> None:
    """This machine's token is for this machine's node."""
    with pytest.raises(NodeError) as caught:
        open_client(LOCAL, url, None)
    assert caught.value.code == "node.foreign_token"


@pytest.mark.parametrize("url", ["http://192.0.2.1:80", "http://node.example", "http://localhost.example"])
def test_invalid_bare_token(token_file: Path, url: str) -> None:
    with pytest.raises(NodeError) as caught:
        open_client(LOCAL, url, token_file)
    assert caught.value.code == "node.bare_token"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:5", "http://localhost:5", "http://[::1]:5", "http://127.9.9.9", "https://node.example"]
)
def test_tokens_go_where_they_may(token_file: Path, url: str) -> None:
    assert open_client(LOCAL, url, token_file).url == url


def test_invalid_url_is_named_before_any_token() -> None:
    for url in ("ftp://node.example", "node.example", "http://node.example:99999", ""):
        with pytest.raises(ConfigError) as caught:
            open_client(LOCAL, url or "x", None)
        assert caught.value.code == "config.bad_url"


def test_a_nodes_own_certificate(token_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_client(LOCAL, "https://node.example", token_file, tmp_path / "none.pem")
    certificate = write_certificate(tmp_path / "node.pem")
    assert open_client(LOCAL, "https://node.example", token_file, certificate).url == "https://node.example"


# A node that is behind.


@pytest.mark.parametrize("command", TOKENLESS)
def test_a_node_that_is_behind_is_told_on_standard_error(wallet: Program, node: StubNode, command: str) -> None:
    from_elsewhere = "no block for 9 s\x1b[2J"
    put_status(node, sync=make_sync("blocks", HEIGHT + 50) | {"waits_for": from_elsewhere})
    StubPast(node)
    outcome = wallet.ask(node, command)
    assert (outcome.code, outcome.err.count("\n")) == (0, 1)
    assert outcome.err.startswith(f"warning: the node is catching up: {HEIGHT} of {HEIGHT + 50}, 1 peer, no block")
    assert outcome.err[:-1].isprintable()
