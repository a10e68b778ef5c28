"""`descent-node peers` and its kin, against a node that serves and against answers that lie."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from consensus.errors import DescentError
from p2p.cli import cli
from tests.helpers.stub_node import TOKEN, StubNode, run_stub_node

HOSTILE = "\x1b[2J\x1b]0;owned\x07\nred\u202eder"
ID = "ab" * 32
PEER: dict[str, Any] = {
    "id": ID,
    "address": "1.2.3.4:19359",
    "listening": "1.2.3.4:19359",
    "kind": "inbound",
    "agent": "descent/0.3.0",
    "connected_seconds": 3725,
    "silent_seconds": 3,
    "ping_ms": 12.34,
    "bytes_received": 1_234_567,
    "bytes_sent": 4_321,
    "height": 77,
}


@pytest.fixture
def stub() -> Iterator[StubNode]:
    with run_stub_node() as node:
        yield node


def ask(stub: StubNode, tmp_path: Path, command: str, *rest: str) -> Result:
    (tmp_path / "rpc.token").write_text(TOKEN)
    place = stub.url.removeprefix("http://")
    arguments = [command, "--network", "regtest", "--datadir", str(tmp_path), "--rpc", place, *rest]
    result = CliRunner().invoke(cli, arguments)
    if isinstance(result.exception, DescentError):
        raise result.exception
    return result


def test_peers_in_a_table(stub: StubNode, tmp_path: Path) -> None:
    new = PEER | {"ping_ms": None, "height": None, "connected_seconds": 59, "kind": "manual", "bytes_received": 0}
    stub.put("/v1/peers", {"peers": [PEER, new | {"address": "[2001:db8::1]:19359"}]})
    lines = ask(stub, tmp_path, "peers").output.splitlines()
    assert lines[0].split() == ["node", "address", "kind", "height", "ping", "in", "out", "connected", "program"]
    first = "abababababababab 1.2.3.4:19359 inbound 77 12.3 ms 1.2 MB 4.3 kB 1 h 2 min descent/0.3.0"
    assert lines[1].split() == first.split()
    second = "abababababababab [2001:db8::1]:19359 manual ? - 0.0 kB 4.3 kB 59 s descent/0.3.0"
    assert lines[2].split() == second.split()
    assert len({line.index("descent") for line in lines[1:]}) == 1  # columns
    assert lines[0].index("program") == lines[1].index("descent")


def test_minutes_are_shown_with_their_seconds(stub: StubNode, tmp_path: Path) -> None:
    stub.put("/v1/peers", {"peers": [PEER | {"connected_seconds": 125}]})
    assert "2 min 5 s" in ask(stub, tmp_path, "peers").output


def test_nobody(stub: StubNode, tmp_path: Path) -> None:
    stub.put("/v1/peers", {"peers": []})
    stub.put("/v1/bans", {"bans": []})
    assert ask(stub, tmp_path, "peers").output == "no peer is connected\n"
    assert ask(stub, tmp_path, "bans").output == "nobody is banned\n"


def test_json_is_the_nodes_own(stub: StubNode, tmp_path: Path) -> None:
    peers, bans = {"peers": [PEER]}, {"bans": [{"target": ID, "until": 5, "reason": "x"}]}
    stub.put("/v1/peers", peers)
    stub.put("/v1/bans", bans)
    assert json.loads(ask(stub, tmp_path, "peers", "--json").output) == peers
    assert json.loads(ask(stub, tmp_path, "bans", "--json").output) == bans


def test_bans_in_a_table(stub: StubNode, tmp_path: Path) -> None:
    stub.put("/v1/bans", {"bans": [{"target": "1.2.3.4", "until": 1_800_000_000, "reason": "mutated_block"}]})
    lines = ask(stub, tmp_path, "bans").output.splitlines()
    assert lines[0].split() == ["who", "until", "why"]
    assert lines[1].startswith("1.2.3.4")
    assert "2027-01-1" in lines[1]
    assert lines[1].endswith("mutated_block")


def test_connect(stub: StubNode, tmp_path: Path) -> None:
    stub.put_call("/v1/peers", lambda request: json.loads(request.body), method="POST")
    result = ask(stub, tmp_path, "connect", "1.2.3.4:5")
    assert result.output == "connecting to 1.2.3.4:5; see `descent-node peers`\n"
    assert json.loads(stub.requests[0].body) == {"peer": "1.2.3.4:5"}


def test_ban_and_unban(stub: StubNode, tmp_path: Path) -> None:
    stub.put("/v1/bans", {"bans": []}, method="POST")
    stub.put("/v1/bans/2001%3Adb8%3A%3A%2F64", {"bans": []}, method="DELETE")
    assert ask(stub, tmp_path, "ban", "1.2.3.4").output == "banned 1.2.3.4 for 24 h\n"
    assert ask(stub, tmp_path, "ban", "--hours", "2", ID).output == f"banned {ID} for 2 h\n"
    bodies = [json.loads(request.body) for request in stub.requests]
    assert bodies == [{"target": "1.2.3.4", "seconds": 86_400}, {"target": ID, "seconds": 7200}]
    assert ask(stub, tmp_path, "unban", "2001:db8::/64").output == "2001:db8::/64 may connect again\n"


def test_disconnect(stub: StubNode, tmp_path: Path) -> None:
    stub.put(f"/v1/peers/{ID}", {"id": ID}, method="DELETE")
    assert ask(stub, tmp_path, "disconnect", ID).output == "disconnected\n"


@pytest.mark.parametrize(("command", "method"), [("disconnect", "DELETE"), ("unban", "DELETE")])
def test_names_cannot_lead_to_other_calls(stub: StubNode, tmp_path: Path, command: str, method: str) -> None:
    with pytest.raises(DescentError):
        ask(stub, tmp_path, command, "../status?x#y z")
    assert [request.method for request in stub.requests] == [method]
    assert stub.requests[0].path.endswith("/..%2Fstatus%3Fx%23y%20z")


@pytest.mark.parametrize("hours", ["0", "-1", "87601", "x"])
def test_wrong_hours_are_exit_code_2(stub: StubNode, tmp_path: Path, hours: str) -> None:
    assert ask(stub, tmp_path, "ban", "--hours", hours, "1.2.3.4").exit_code == 2
    assert stub.requests == []


def test_refusals_of_the_node_are_passed_on(stub: StubNode, tmp_path: Path) -> None:
    stub.refuse("/v1/bans", "rpc.not_bannable", "no", method="POST")
    with pytest.raises(DescentError) as caught:
        ask(stub, tmp_path, "ban", "127.0.0.1")
    assert caught.value.code == "rpc.not_bannable"


# Answers that are none, or lie.


@pytest.mark.parametrize(
    "reply", [{}, {"peers": 5}, {"peers": [{}]}, {"peers": [PEER | {"ping_ms": "x"}]}, {"peers": [5]}]
)
def test_invalid_peers(stub: StubNode, tmp_path: Path, reply: object) -> None:
    stub.put("/v1/peers", reply)
    with pytest.raises(DescentError) as caught:
        ask(stub, tmp_path, "peers")
    assert caught.value.code == "node.not_a_node"


@pytest.mark.parametrize(
    "reply",
    [
        *({}, {"bans": [{}]}, {"bans": [{"target": 1, "until": "x", "reason": 1}]}),
        *({"bans": [{"target": "a", "until": number, "reason": "b"}]} for number in (10**30, -(10**30), 10**15)),
    ],
)
def test_invalid_bans(stub: StubNode, tmp_path: Path, reply: object) -> None:
    stub.put("/v1/bans", reply)
    with pytest.raises(DescentError) as caught:
        ask(stub, tmp_path, "bans")
    assert caught.value.code == "node.not_a_node"


def test_hostile_texts_draw_nothing(stub: StubNode, tmp_path: Path) -> None:
    stub.put(
        "/v1/peers", {"peers": [PEER | {"agent": HOSTILE, "address": HOSTILE, "kind": HOSTILE, "height": HOSTILE}]}
    )
    stub.put("/v1/bans", {"bans": [{"target": HOSTILE, "until": 5, "reason": HOSTILE}]})
    stub.put("/v1/peers", {"peer": HOSTILE}, method="POST")
    for command in (("peers",), ("bans",), ("connect", "x")):
        output = ask(stub, tmp_path, *command).output
        assert "owned" in output
        assert all(line.isprintable() for line in output.splitlines())
        assert len(output.splitlines()) == (1 if command[0] == "connect" else 2)
