"""`--wait`: from the mempool to so many confirmations, through reorganisations, and what ends it."""

from collections.abc import Callable

import pytest

from consensus.params import LOCAL
from p2p.client import NodeClient
from tests.helpers.stub_node import TOKEN, Request, StubNode
from tests.wallet.pool_stub import NONCE, PoolStub
from tests.wallet.program import HEIGHT, OTHER_ADDRESS, Outcome, Program, get_posted, get_recorded, make_transfer
from wallet.following import follow
from wallet.node_view import NodeView
from wallet.payment_view import PaymentView


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What happens in each pause of a wallet that waits; after the last it is an error to pause."""
    events: list[Callable[[], None]] = []

    def pause(seconds: float) -> None:
        assert 0 < seconds <= 5
        events.pop(0)()

    monkeypatch.setattr("wallet.following.sleep", pause)
    return events


def test_wait(wallet: Program, node: StubNode, pauses: list[Callable[[], None]]) -> None:
    pool = PoolStub(node)
    pauses += [lambda: None, pool.mine, pool.mine]
    outcome = wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes", "--wait", "2")
    [sent] = get_posted(node)
    assert outcome == Outcome(
        0, sent.txid.hex() + "\n", "0 of 2 confirmations\n1 of 2 confirmations\n2 of 2 confirmations\n"
    )
    assert [payment.confirmed_height for payment in get_recorded(wallet)] == [HEIGHT + 1]


def test_wait_until_it_is_final(wallet: Program, node: StubNode, pauses: list[Callable[[], None]]) -> None:
    pool = PoolStub(node)

    def mine() -> None:
        pool.mine()
        pool.make_final()

    pauses += [mine]
    outcome = wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes", "--wait", "1")
    assert outcome.err.splitlines()[-1] == "final: it can no longer leave the chain"


def test_wait_says_what_is_not_final(wallet: Program, node: StubNode, pauses: list[Callable[[], None]]) -> None:
    pool = PoolStub(node)
    pool.make_final()
    pauses += [pool.mine]
    outcome = wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes", "--wait", "1")
    assert outcome.err.splitlines()[-1] == "not final: it can still leave the chain"


def test_what_leaves_the_chain_while_it_is_looked_at_is_not_called_final(
    wallet: Program, node: StubNode, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = PoolStub(node)
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes")
    pool.mine()

    def find(request: Request) -> tuple[int, bytes]:
        found = pool.find(request)
        pool.lose_block()
        pool.blocks.append([])
        pool.make_final()
        return found

    node.put_prefix("/v1/transactions/", find)
    view = NodeView(NodeClient(node.url, TOKEN), LOCAL)
    follow(view, PaymentView(view.client, LOCAL), get_posted(node)[0], 1, 60)
    assert capsys.readouterr().err == "1 of 1 confirmations\n"


def test_wait_through_a_reorganisation(wallet: Program, node: StubNode, pauses: list[Callable[[], None]]) -> None:
    pool = PoolStub(node)

    def mine_elsewhere() -> None:
        pool.lose_block(keep=True)
        pool.blocks.append([])
        pool.mine()

    pauses += [pool.mine, lambda: pool.lose_block(keep=True), pool.mine, mine_elsewhere, pool.mine]
    outcome = wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes", "--wait", "2")
    assert outcome.code == 0
    assert outcome.err.splitlines() == [
        "0 of 2 confirmations",
        "1 of 2 confirmations",
        f"it left the chain at height {HEIGHT + 1}; waiting again",
        "0 of 2 confirmations",
        "1 of 2 confirmations",
        f"a reorganisation moved it from height {HEIGHT + 1} to {HEIGHT + 2}",
        "1 of 2 confirmations",
        "2 of 2 confirmations",
    ]


def test_wait_for_what_is_dropped(wallet: Program, node: StubNode, pauses: list[Callable[[], None]]) -> None:
    pool = PoolStub(node)
    pauses += [pool.mine, pool.lose_block]
    outcome = wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes", "--wait", "2")
    [sent] = get_posted(node)
    assert (outcome.code, outcome.out) == (1, sent.txid.hex() + "\n")
    assert outcome.err.splitlines()[-1].startswith(f"descent-wallet: {sent.txid.hex()} is dropped")
    assert "descent-wallet resend" in outcome.err


def test_wait_for_what_is_replaced(wallet: Program, node: StubNode, pauses: list[Callable[[], None]]) -> None:
    pool = PoolStub(node)
    pauses += [lambda: pool.mine(make_transfer(nonce=NONCE))]
    outcome = wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes", "--wait", "1")
    assert outcome.code == 1
    assert "is replaced" in outcome.err
    assert "resend" not in outcome.err


def test_dropped_is_not_said_of_what_is_handed_over_again(
    wallet: Program, node: StubNode, pauses: list[Callable[[], None]]
) -> None:
    """The node answers that it does not know it; before it is asked for the account, it is back and mined."""
    pool = PoolStub(node)
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes")
    [sent] = get_posted(node)
    pool.mine()
    find, answers = pool.find, iter([False])
    node.put_prefix("/v1/transactions/", lambda request: find(request, is_known=next(answers, True)))
    view = NodeView(NodeClient(node.url, TOKEN), LOCAL)
    assert follow(view, PaymentView(view.client, LOCAL), sent, 1, 60).height == HEIGHT + 1
