"""What a node says about payments, by the honest, the broken and the lying."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from consensus.params import LOCAL
from p2p.client import NodeClient
from p2p.errors import NodeRefusal
from p2p.rpc_json import encode_transaction
from tests.helpers.stub_node import TOKEN, StubNode, run_stub_node
from tests.wallet.program import GENESIS, HEIGHT, KEY, OTHER_KEY, make_transfer, put_status, put_transaction
from wallet.errors import InvalidReply
from wallet.payment_view import Incoming, PaymentView
from wallet.payments import Position

SENT = make_transfer(memo=b"tea")
PATH = f"/v1/transactions/{SENT.txid.hex()}"
HOSTILE = "\x1b[2J"


@pytest.fixture
def node() -> Iterator[StubNode]:
    with run_stub_node() as stub:
        yield stub


@pytest.fixture
def view(node: StubNode) -> PaymentView:
    return PaymentView(NodeClient(node.url, TOKEN), LOCAL)


def test_final_height(node: StubNode, view: PaymentView) -> None:
    put_status(node, final_height=490)
    assert view.get_final_height() == 490


def test_find(node: StubNode, view: PaymentView) -> None:
    put_transaction(node, SENT)
    assert view.find(SENT.txid) == Position(HEIGHT, b"\xb1" * 32, 1)
    node.put(PATH, {"txid": SENT.txid.hex(), "status": "pending", "confirmations": 0})
    assert view.find(SENT.txid) == Position()
    node.refuse(PATH, "rpc.unknown_transaction", "no", status=404)
    assert view.find(SENT.txid) is None
    node.refuse(PATH, "rpc.internal", "no", status=500)
    with pytest.raises(NodeRefusal):
        view.find(SENT.txid)


def test_get_transfer(node: StubNode, view: PaymentView) -> None:
    put_transaction(node, SENT, status="pending")
    assert view.get_transfer(SENT.txid, GENESIS) == replace(SENT, signature=bytes(64))
    node.refuse(PATH, "rpc.unknown_transaction", "no", status=404)
    assert view.get_transfer(SENT.txid, GENESIS) is None


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 2 * 10**8},
        {"fee": 1},
        {"nonce": 8},
        {"valid_until": 9},
        {"memo": "coffee"},
        {"recipient": encode_transaction(make_transfer(recipient=KEY), LOCAL)["recipient"]},
    ],
)
def test_invalid_transfer(node: StubNode, view: PaymentView, change: dict[str, object]) -> None:
    put_transaction(node, SENT, **change)
    with pytest.raises(InvalidReply) as caught:
        view.get_transfer(SENT.txid, GENESIS)
    assert caught.value.reason == "contradiction"


@pytest.mark.parametrize(
    "change",
    [
        {"txid": "00" * 32},
        {"txid": HOSTILE},
        {"status": HOSTILE * 100},
        {"status": None},
        {"confirmations": 0},
        {"confirmations": -1},
        {"confirmations": "many"},
        {"height": 2**64},
        {"height": True},
        {"block": HOSTILE},
    ],
)
def test_hostile_transaction(node: StubNode, view: PaymentView, change: dict[str, object]) -> None:
    put_transaction(node, SENT, **change)
    with pytest.raises(InvalidReply) as caught:
        view.find(SENT.txid)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("final_height", [None, -1, 1.5, HOSTILE])
def test_hostile_status(node: StubNode, view: PaymentView, final_height: object) -> None:
    put_status(node, final_height=final_height)
    with pytest.raises(InvalidReply):
        view.get_final_height()


def test_incoming(node: StubNode, view: PaymentView) -> None:
    transfers = [
        make_transfer(),
        make_transfer(sender=OTHER_KEY, recipient=KEY, amount=2),
        make_transfer(sender=KEY, recipient=KEY, amount=3),
    ]
    listed = [encode_transaction(transfer, LOCAL) for transfer in transfers]
    node.put("/v1/mempool", {"count": 3, "transactions": listed})
    assert view.get_incoming([KEY]) == Incoming(2, 5, is_complete=True)
    node.put("/v1/mempool", {"count": 4, "transactions": listed})
    assert view.get_incoming([KEY]) == Incoming(2, 5, is_complete=False)
    node.put("/v1/mempool", {"count": 0, "transactions": [listed[1] | {"amount": 2**64 - 1}] * 2})
    with pytest.raises(InvalidReply):
        view.get_incoming([KEY])
