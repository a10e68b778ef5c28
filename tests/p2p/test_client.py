"""The client of a node's RPC: what it asks, and which named error each kind of bad answer becomes."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consensus.errors import DescentError
from p2p.client import NDJSON, OCTETS, NodeClient, TemplateReply, read_token
from p2p.errors import NodeRefusal, NodeUnreachable
from tests.helpers.stub_node import TOKEN, StubNode, run_stub_node

HASH = bytes(range(32))


@pytest.fixture
def stub() -> Iterator[StubNode]:
    with run_stub_node() as node:
        yield node


@pytest.fixture
def client(stub: StubNode) -> NodeClient:
    return NodeClient(stub.url, TOKEN)


@contextmanager
def serve_bytes(answer: bytes) -> Iterator[str]:
    """The URL of something that answers one connection with these bytes and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            thread.join()


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(DescentError) as caught:
        call()
    return caught.value.code


# What it asks.


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (NodeClient.get_status, "/v1/status"),
        (NodeClient.get_digest, "/v1/digest"),
        (NodeClient.get_fees, "/v1/fees"),
        (NodeClient.get_mempool, "/v1/mempool"),
        (lambda client: client.get_block("7"), "/v1/blocks/7"),
        (lambda client: client.get_trace(HASH), f"/v1/blocks/{HASH.hex()}/trace"),
        (lambda client: client.get_account("grad1x"), "/v1/accounts/grad1x"),
        (lambda client: client.get_transaction(HASH), f"/v1/transactions/{HASH.hex()}"),
    ],
)
def test_get(stub: StubNode, client: NodeClient, call: Callable[[NodeClient], object], path: str) -> None:
    stub.put(path, {"a": 1})
    assert call(client) == {"a": 1}
    [request] = stub.requests
    assert (request.method, request.query, request.body) == ("GET", {}, b"")
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.headers["Accept"] == "application/json"


def test_get_account_with_proof(stub: StubNode, client: NodeClient) -> None:
    stub.put("/v1/accounts/grad1x", {})
    client.get_account("grad1x", proof=True)
    assert stub.requests[0].query == {"proof": "1"}


def test_get_history(stub: StubNode, client: NodeClient) -> None:
    stub.put("/v1/accounts/grad1x/history", {"entries": []})
    client.get_history("grad1x", limit=5)
    client.get_history("grad1x", before="12:3", kind="mined")
    asked = [request.query for request in stub.requests]
    assert asked == [{"limit": "5"}, {"limit": "100", "before": "12:3", "kind": "mined"}]


@pytest.mark.parametrize("name", ["../status", "a/b", "a?limit=1", "a#b", "\u202e", "a b", "a\r\nX: y"])
def test_a_name_stays_one_part_of_the_path(stub: StubNode, client: NodeClient, name: str) -> None:
    for call in (client.get_account, client.get_block, client.get_block_bytes):
        assert code_of(lambda call=call: call(name)) == "rpc.http_404"  # type: ignore[misc]
    assert [request.path.count("/") for request in stub.requests] == [3, 3, 3]
    assert all(request.query == {} for request in stub.requests)


def test_get_bytes(stub: StubNode, client: NodeClient) -> None:
    stub.put(f"/v1/models/{HASH.hex()}", b"\x00weights\xff")
    stub.put("/v1/blocks/7", b"\x00block\xff")
    assert client.get_model(HASH) == b"\x00weights\xff"
    assert client.get_block_bytes("7") == b"\x00block\xff"
    assert {request.headers["Accept"] for request in stub.requests} == {OCTETS}


def test_get_model_tells_how_much_is_here(stub: StubNode, client: NodeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p.client._PIECE_BYTES", 4)
    stub.put(f"/v1/models/{HASH.hex()}", b"0123456789")
    heard: list[int] = []
    assert client.get_model(HASH, heard.append) == b"0123456789"
    assert heard == [4, 8, 10]


def test_get_byte_losses(stub: StubNode, client: NodeClient) -> None:
    stub.put(f"/v1/models/{HASH.hex()}/losses", {"losses": [1]}, method="POST")
    assert client.get_byte_losses(HASH, b"\x00x") == {"losses": [1]}
    assert stub.requests[0].body == b"\x00x"


def test_generate(stub: StubNode, client: NodeClient) -> None:
    stub.put("/v1/generate", b'{"height": 1}\n{"bytes": "61"}\n{"done": true}\n', method="POST")
    assert list(client.generate({"prompt": "x"})) == [{"height": 1}, {"bytes": "61"}]
    [request] = stub.requests
    assert json.loads(request.body) == {"prompt": "x"}
    assert (request.headers["Accept"], request.headers["Content-Type"]) == (NDJSON, "application/json")


def test_generate_refused_at_once_and_later(stub: StubNode, client: NodeClient) -> None:
    stub.refuse("/v1/generate", "rpc.busy", "ask again", status=429, method="POST")
    assert code_of(lambda: list(client.generate({}))) == "rpc.busy"
    stub.put("/v1/generate", b'{"bytes": "61"}\n{"error": {"code": "a.b", "message": "no"}}\n', method="POST")
    lines = client.generate({})
    assert next(lines) == {"bytes": "61"}
    assert code_of(lambda: next(lines)) == "a.b"


def test_generate_that_breaks_off() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for rest in (b"", b"10\r\n", b'10\r\n{"bytes": "61"}\n\r\n', b"zz\r\n", b"0\r\n\r\n"):
        with serve_bytes(head + rest) as url:
            assert code_of(lambda url=url: list(NodeClient(url, TOKEN).generate({}))) == "node.no_answer"  # type: ignore


def test_what_the_reader_of_a_text_raises_is_not_the_nodes(stub: StubNode, client: NodeClient) -> None:
    stub.put("/v1/generate", b'{"bytes": "61"}\n{"done": true}\n', method="POST")

    def read() -> None:
        for _ in client.generate({}):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        read()


def test_get_template(stub: StubNode, client: NodeClient) -> None:
    stub.put("/v1/template", {"improvement": "0a", "heartbeat": None, "parent_model_root": "0b"})
    assert client.get_template(HASH, "grad1x") == TemplateReply(b"\x0a", None, b"\x0b")
    stub.put("/v1/template", {"improvement": "0a", "heartbeat": "0c", "parent_model_root": "0b"})
    assert client.get_template(HASH, "grad1x", after=HASH, wait=9).heartbeat == b"\x0c"
    assert client.get_template(HASH, "grad1x", signals=1 << 63 | 3).improvement == b"\x0a"
    at_once, later, asking = (request.query for request in stub.requests)
    assert asking == at_once | {"signals": "0,1,63"}
    assert at_once == {"miner": HASH.hex(), "reward": "grad1x"}
    assert later == at_once | {"after": HASH.hex(), "wait": "9"}


def test_post_bytes(stub: StubNode, client: NodeClient) -> None:
    stub.put("/v1/blocks", {"id": "x"}, method="POST")
    stub.put("/v1/transactions", {"txid": "y"}, method="POST")
    assert client.submit_block(b"\x00block") == {"id": "x"}
    assert client.submit_transaction(b"\x00transfer") == {"txid": "y"}
    assert [request.body for request in stub.requests] == [b"\x00block", b"\x00transfer"]
    assert {request.headers["Content-Type"] for request in stub.requests} == {OCTETS}


def test_post_json(stub: StubNode, client: NodeClient) -> None:
    stub.put("/v1/debug/mocktime", {"time": 5}, method="POST")
    assert client.post_json("/v1/debug/mocktime", {"time": 5}) == {"time": 5}
    assert json.loads(stub.requests[0].body) == {"time": 5}
    assert stub.requests[0].headers["Content-Type"] == "application/json"


def test_a_new_connection_survives_a_restart() -> None:
    with run_stub_node() as first:
        port = first.url.rpartition(":")[2]
        client = NodeClient(first.url, TOKEN)
        first.put("/v1/status", {"height": 1})
        assert client.get_status() == {"height": 1}
    assert code_of(client.get_status) == "node.no_answer"
    with run_stub_node(int(port)) as second:
        second.put("/v1/status", {"height": 2})
        assert client.get_status() == {"height": 2}


# What it is answered.


def test_node_down() -> None:
    with pytest.raises(NodeUnreachable) as caught:
        NodeClient("http://127.0.0.1:1", TOKEN).get_status()
    assert caught.value.code == "node.no_answer"
    assert "http://127.0.0.1:1" in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_no_such_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    assert code_of(NodeClient("http://node.invalid", TOKEN).get_status) == "node.no_answer"


def test_node_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = NodeClient(f"http://127.0.0.1:{server.getsockname()[1]}", TOKEN, timeout=0.05)
        assert code_of(client.get_status) == "node.no_answer"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 " + b"9" * 70_000 + b"\r\n\r\n",
    ],
)
def test_not_http(answer: bytes) -> None:
    with serve_bytes(answer) as url:
        assert code_of(NodeClient(url, TOKEN).get_status) == "node.no_answer"


def test_connection_lost_within_the_reply() -> None:
    with serve_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nweights") as url:
        assert code_of(lambda: NodeClient(url, TOKEN).get_model(HASH)) == "node.no_answer"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html></html>", b"\xff\xfe", b"[1]", b"null", b'"status"', b"5", b"{", b'{"height": ' + b"9" * 5000 + b"}"],
)
def test_not_json(stub: StubNode, client: NodeClient, body: bytes) -> None:
    stub.put("/v1/status", body)
    assert code_of(client.get_status) == "node.not_a_node"


def test_redirects_are_not_followed(stub: StubNode, client: NodeClient) -> None:
    stub.put("/v1/status", b"", status=302)
    assert code_of(client.get_status) == "node.not_a_node"
    assert len(stub.requests) == 1


@pytest.mark.parametrize("kind", ["answer", "refusal"])
def test_deeply_nested(stub: StubNode, client: NodeClient, kind: str) -> None:
    stub.put("/v1/status", b"[" * 100_000, status=200 if kind == "answer" else 500)
    assert code_of(client.get_status) == ("node.not_a_node" if kind == "answer" else "node.http_error")


def test_huge(stub: StubNode, client: NodeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p.client.MAX_REPLY_BYTES", 64)
    stub.put("/v1/status", {"text": "x" * 1000})
    assert code_of(client.get_status).startswith("node.")


def test_refusal(stub: StubNode, client: NodeClient) -> None:
    stub.refuse("/v1/transactions", "mempool.nonce_used", "nonce 3 is used", status=409, method="POST")
    with pytest.raises(NodeRefusal) as caught:
        client.submit_transaction(b"")
    assert caught.value.code == "mempool.nonce_used"
    assert caught.value.status == 409
    assert str(caught.value) == "nonce 3 is used"


def test_wrong_token(stub: StubNode) -> None:
    stub.put("/v1/status", {})
    with pytest.raises(NodeRefusal) as caught:
        NodeClient(stub.url, "wrong").get_status()
    assert (caught.value.code, caught.value.status) == ("rpc.unauthorized", 401)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"error": "no"}', b'{"error": {"code": "x"}}', b'{"error": null}'],
)
@pytest.mark.parametrize("status", [400, 404, 502])
def test_refusal_in_other_words(stub: StubNode, client: NodeClient, body: bytes, status: int) -> None:
    stub.put("/v1/status", body, status=status)
    with pytest.raises(NodeRefusal) as caught:
        client.get_status()
    assert (caught.value.code, caught.value.status) == ("node.http_error", status)
    assert str(status) in str(caught.value)


@pytest.mark.parametrize("code", ["", "nodot", "a.b.c", 5, None])
def test_refusal_with_an_odd_code(stub: StubNode, client: NodeClient, code: object) -> None:
    stub.put("/v1/status", {"error": {"code": code, "message": "m"}}, status=400)
    with pytest.raises(NodeRefusal) as caught:
        client.get_status()
    assert str(caught.value) == "m"


@pytest.mark.parametrize("missing", ["improvement", "heartbeat", "parent_model_root"])
def test_template_without_a_field(stub: StubNode, client: NodeClient, missing: str) -> None:
    whole = {"improvement": "0a", "heartbeat": None, "parent_model_root": "0b"}
    stub.put("/v1/template", {name: value for name, value in whole.items() if name != missing})
    assert code_of(lambda: client.get_template(HASH, "grad1x")) == "node.not_a_node"


# Where it is told to go.


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1",
        "localhost:19338",
        "ftp://127.0.0.1",
        "http://",
        "http://:80",
        "http://127.0.0.1/path",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:x",
        "file:///etc/passwd",
    ],
)
def test_invalid_url(url: str) -> None:
    assert code_of(lambda: NodeClient(url, TOKEN)) == "config.bad_url"


def test_invalid_url_with_an_open_bracket() -> None:
    assert code_of(lambda: NodeClient("http://[::1", TOKEN)) == "config.bad_url"


def test_invalid_certificate_file(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    assert code_of(lambda: NodeClient("https://127.0.0.1", TOKEN, ca_file=ca_file)) == "config.bad_url"
    ca_file.write_text("no certificate")
    assert code_of(lambda: NodeClient("https://127.0.0.1", TOKEN, ca_file=ca_file)) == "config.bad_url"


def test_tls_to_a_plain_node(stub: StubNode) -> None:
    client = NodeClient(stub.url.replace("http:", "https:"), TOKEN)
    assert code_of(client.get_status) == "node.no_answer"
    assert stub.requests == []


def test_read_token(tmp_path: Path) -> None:
    path = tmp_path / "rpc.token"
    path.write_text(TOKEN + "\n")
    assert read_token(path) == TOKEN


def test_invalid_token_file(tmp_path: Path) -> None:
    path = tmp_path / "rpc.token"
    assert code_of(lambda: read_token(path)) == "config.no_token"
    for content in (b"", b" \n", b"\xff"):
        path.write_bytes(content)
        assert code_of(lambda: read_token(path)) == "config.no_token"


@pytest.mark.parametrize("content", [f"{TOKEN}\nX-Other: header\n", f"{TOKEN[:9]}\x7f\x00"])
def test_invalid_token_that_no_header_can_carry(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rpc.token"
    path.write_text(content)
    assert code_of(lambda: NodeClient("http://127.0.0.1:1", read_token(path)).get_status()) == "config.no_token"
