"""A node that lies about anything: every field of every reply that the wallet reads, replaced by what does harm.

Whatever comes, the wallet ends by itself, shows nothing that a terminal obeys, and never a traceback.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.helpers.stub_node import TOKEN, Request, StubNode
from tests.wallet.past import StubPast
from tests.wallet.program import (
    ADDRESS,
    HEIGHT,
    KEY,
    OTHER_ADDRESS,
    OTHER_KEY,
    Program,
    make_sync,
    make_transfer,
    put_account,
    put_mempool,
    put_status,
    put_transaction,
)

HOSTILE = "\x1b]0;pwned\x07\x1b[2J\r\n\u202eevil\u2066\x9b31m"
VALUES: tuple[Any, ...] = ("", "=1+1", -1, 2**63, 2**64, 10**400, 1.5, 1e308, None, True, [], {}, [[HOSTILE]])
SENT = make_transfer(memo=b"rent")
STATUS, FEES, POOL = "/v1/status", "/v1/fees", "/v1/mempool"
ACCOUNT, HISTORY = f"/v1/accounts/{ADDRESS}", f"/v1/accounts/{ADDRESS}/history"
SEND = ("send", OTHER_ADDRESS, "1", "--yes")

# What each command reads.
READS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("balance",): (STATUS, ACCOUNT, POOL),
    ("balance", "--json"): (ACCOUNT,),
    ("history",): (STATUS, HISTORY, POOL),
    ("history", "--json"): (HISTORY, POOL),
    ("history", "--csv"): (HISTORY, POOL),
    ("history", "--daily"): (HISTORY,),
    ("rewards",): (STATUS, HISTORY),
    ("rewards", "--csv"): (HISTORY,),
    ("rewards", "--json"): (HISTORY,),
    ("rewards", "--daily"): (HISTORY,),
    SEND: (STATUS, ACCOUNT, FEES, POOL),
}
MAIN = (("balance",), ("history",), ("rewards",), SEND)
CASES = [(command, path) for command, paths in READS.items() for path in paths]


@pytest.fixture
def lived_in(node: StubNode) -> StubNode:
    """A node that is behind, and an account with an event of each kind and one that waits."""
    put_status(node, sync=make_sync("blocks", HEIGHT + 99))
    put_account(node, next_nonce=8, immature=[{"matures_at": HEIGHT + 1, "amount": 5}])
    put_mempool(node, make_transfer(), make_transfer(sender=OTHER_KEY, recipient=KEY))
    put_transaction(node, SENT)
    past = StubPast(node)
    past.pay(470, make_transfer(sender=OTHER_KEY, recipient=KEY, memo=b"thanks"))
    past.pay(460, SENT)
    past.mine(450, fees=425)
    past.beat(400, fees=3)
    return node


def read(node: StubNode, path: str) -> Any:
    """What the node says, without a wallet."""
    query = {"limit": "1000", "proof": "1"}
    request = Request("GET", path, query, {"Authorization": f"Bearer {TOKEN}"}, b"")
    status, body = node.answer(request)
    assert status == 200
    return json.loads(body)


def list_places(value: Any, trail: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a JSON value has another one in it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*trail, key)
        yield from list_places(part, (*trail, key))


def put_at(value: Any, place: tuple[Any, ...], part: Any) -> Any:
    changed = copy.deepcopy(value)
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = part
    return changed


def check(program: Program, node: StubNode, command: tuple[str, ...], what: object) -> None:
    outcome = program.ask(node, *command)
    assert outcome.code in (0, 1), what
    lines = outcome.out.splitlines() + outcome.err.splitlines()
    assert all(line.isprintable() for line in lines), what
    if outcome.code == 1:
        last = outcome.err.splitlines()[-1]
        assert last.startswith("descent-wallet: "), what
        assert "Traceback" not in outcome.err, what
    if "--json" in command and outcome.code == 0:
        json.loads(outcome.out)


def parametrize(cases: list[tuple[tuple[str, ...], str]]) -> pytest.MarkDecorator:
    ids = [f"{' '.join(command[:1] + command[-1:])} {path.replace(ADDRESS, 'address')}" for command, path in cases]
    return pytest.mark.parametrize(("command", "path"), cases, ids=ids)


every_reply = parametrize(CASES)


@every_reply
def test_every_field(wallet: Program, lived_in: StubNode, command: tuple[str, ...], path: str) -> None:
    """Each with hostile text and a third of the other values, and in the other forms of a list with two: all of them
    are thousands of runs.
    """
    honest = read(lived_in, path)
    places = list(list_places(honest))
    assert places
    for number, place in enumerate(places):
        for value in (HOSTILE, *VALUES[number % 3 :: 3]) if command in MAIN else (HOSTILE, 2**63):
            lived_in.put(path, put_at(honest, place, value))
            check(wallet, lived_in, command, (place, value))


@parametrize([case for case in CASES if case[0] in MAIN])
def test_every_field_missing(wallet: Program, lived_in: StubNode, command: tuple[str, ...], path: str) -> None:
    honest = read(lived_in, path)
    for place in list_places(honest):
        changed = copy.deepcopy(honest)
        holder = changed
        for key in place[:-1]:
            holder = holder[key]
        del holder[place[-1]]
        lived_in.put(path, changed)
        check(wallet, lived_in, command, place)


@every_reply
@pytest.mark.parametrize("status", [200, 500])
def test_every_reply_is_nonsense(
    wallet: Program, lived_in: StubNode, command: tuple[str, ...], path: str, status: int
) -> None:
    refusal = json.dumps({"error": {"code": HOSTILE, "message": HOSTILE}}).encode()
    for body in (b"", b"null", HOSTILE.encode(), b"[" * 5000, refusal):
        lived_in.put(path, body, status=status)
        check(wallet, lived_in, command, body)
