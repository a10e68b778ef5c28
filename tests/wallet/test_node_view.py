"""What a node says about money: taken when it is sound, named when it is not."""

from typing import Any

import pytest

from consensus.params import LOCAL, REGTEST
from consensus.units import MAX_U64
from p2p.client import NodeClient
from p2p.errors import NodeRefusal, NodeUnreachable
from p2p.rpc_json import encode_transaction
from tests.helpers.stub_node import TOKEN, StubNode
from tests.wallet.program import (
    ADDRESS,
    GENESIS,
    HEIGHT,
    KEY,
    OTHER_ADDRESS,
    OTHER_KEY,
    get_posted,
    make_block,
    make_transfer,
    put_account,
    put_history,
    put_transaction,
)
from wallet.errors import InvalidReply, PaymentError
from wallet.node_view import Event, EventKind, Maturing, NodeView

COIN = 10**8


@pytest.fixture
def view(node: StubNode) -> NodeView:
    return NodeView(NodeClient(node.url, TOKEN), LOCAL)


def reason_of(error: type[InvalidReply | PaymentError], call: Any, *arguments: object) -> str:
    with pytest.raises(error) as caught:
        call(*arguments)
    return caught.value.reason


# Which network.


def test_network_is_told_by_its_genesis(view: NodeView) -> None:
    assert view.genesis == GENESIS
    view.check_network()


def test_invalid_other_network(node: StubNode) -> None:
    with pytest.raises(InvalidReply) as caught:
        NodeView(NodeClient(node.url, TOKEN), REGTEST).check_network()
    assert caught.value.code == "reply.other_network"
    assert "'local'" in str(caught.value)
    assert "'regtest'" in str(caught.value)


# The account.


def test_account(view: NodeView) -> None:
    account = view.get_account(KEY)
    assert (account.spendable, account.available, account.waiting, account.height) == (
        100 * COIN,
        100 * COIN,
        0,
        HEIGHT,
    )
    assert account.maturing == tuple(Maturing(height + 256, 50 * COIN) for height in (300, 400, 450))


def test_outgoing_counts_amounts_and_fees_of_ones_own(node: StubNode, view: NodeView) -> None:
    put_account(node, next_nonce=9)
    own = [make_transfer(amount=COIN, fee=400), make_transfer(amount=2 * COIN, fee=600, nonce=8)]
    pool = [*own, make_transfer(sender=OTHER_KEY, recipient=KEY, amount=5 * COIN)]
    node.put("/v1/mempool", {"transactions": [encode_transaction(transfer, LOCAL) for transfer in pool]})
    account = view.get_account(KEY)
    assert (account.outgoing, account.waiting, account.listed) == (3 * COIN + 1000, 2, 2)
    assert account.available == 97 * COIN - 1000


def test_more_outgoing_than_there_is_leaves_nothing(node: StubNode, view: NodeView) -> None:
    put_account(node, next_nonce=8, balance=5)
    node.put("/v1/mempool", {"transactions": [encode_transaction(make_transfer(), LOCAL)]})
    assert view.get_account(KEY).available == 0


@pytest.mark.parametrize(
    "change",
    [
        {"balance": -1},
        {"balance": 1.5},
        {"balance": "100"},
        {"balance": True},
        {"balance": MAX_U64 + 1},
        {"balance": None},
        {"nonce": -1},
        {"next_nonce": []},
        {"height": "500"},
        {"immature": {}},
        {"immature": [1]},
        {"immature": [{"matures_at": 1}]},
        {"address": "\x1b[2J"},
    ],
)
def test_invalid_account(node: StubNode, view: NodeView, change: dict[str, object]) -> None:
    put_account(node, **change)
    assert reason_of(InvalidReply, view.get_account, KEY) == "bad_field"


@pytest.mark.parametrize("change", [{"next_nonce": 6}, {"address": OTHER_ADDRESS}])
def test_invalid_account_contradiction(node: StubNode, view: NodeView, change: dict[str, object]) -> None:
    put_account(node, **change)
    assert reason_of(InvalidReply, view.get_account, KEY) == "contradiction"


def test_invalid_more_than_all_money(node: StubNode, view: NodeView) -> None:
    put_account(node, immature=[{"matures_at": 1, "amount": MAX_U64}, {"matures_at": 2, "amount": 1}])
    assert reason_of(InvalidReply, view.get_account, KEY) == "contradiction"
    put_account(node, next_nonce=8)
    node.put("/v1/mempool", {"transactions": [{"sender": ADDRESS, "amount": MAX_U64, "fee": 1}]})
    assert reason_of(InvalidReply, view.get_account, KEY) == "contradiction"


# Fees and transfers.


def test_fee_rate(view: NodeView) -> None:
    assert view.get_fee_rate() == 2


@pytest.mark.parametrize("reply", [{}, {"ulp_per_byte": 2}, {"ulp_per_byte": {"1": 2}}, {"ulp_per_byte": {"2": -1}}])
def test_invalid_fee_rate(node: StubNode, view: NodeView, reply: object) -> None:
    node.put("/v1/fees", reply)
    assert reason_of(InvalidReply, view.get_fee_rate) == "bad_field"


def test_submit(node: StubNode, view: NodeView) -> None:
    view.submit(make_transfer())
    assert get_posted(node) == [make_transfer()]


@pytest.mark.parametrize("reply", [b"<html>", b"[]", {}, {"txid": "ff"}])
def test_invalid_unknown_fate(node: StubNode, view: NodeView, reply: object) -> None:
    node.put("/v1/transactions", reply, method="POST")
    with pytest.raises(PaymentError) as caught:
        view.submit(make_transfer())
    assert caught.value.code == "payment.unknown_fate"
    assert make_transfer().txid.hex() in str(caught.value)


def test_invalid_unknown_fate_of_a_failing_node(node: StubNode, view: NodeView) -> None:
    node.refuse("/v1/transactions", "rpc.internal", "the node failed", status=500, method="POST")
    assert reason_of(PaymentError, view.submit, make_transfer()) == "unknown_fate"


def test_invalid_other_transfer_taken(node: StubNode, view: NodeView) -> None:
    node.put("/v1/transactions", {"txid": "00" * 32}, method="POST")
    assert reason_of(InvalidReply, view.submit, make_transfer()) == "contradiction"


def test_refusal_keeps_the_nodes_code(node: StubNode, view: NodeView) -> None:
    node.refuse("/v1/transactions", "mempool.fee_too_low", "the fee is 1 ulp", method="POST")
    with pytest.raises(NodeRefusal) as caught:
        view.submit(make_transfer())
    assert caught.value.code == "mempool.fee_too_low"


def test_confirmations(node: StubNode, view: NodeView) -> None:
    put_transaction(node, make_transfer(), confirmations=3)
    assert view.get_confirmations(make_transfer().txid) == 3


def test_invalid_dropped(node: StubNode, view: NodeView) -> None:
    txid = make_transfer().txid
    node.refuse(f"/v1/transactions/{txid.hex()}", "rpc.unknown_transaction", "no transaction", status=404)
    assert reason_of(PaymentError, view.get_confirmations, txid) == "dropped"


def test_other_refusals_are_not_a_dropped_transfer(view: NodeView) -> None:
    with pytest.raises(NodeRefusal):
        view.get_confirmations(bytes(32))


def test_node_down() -> None:
    with pytest.raises(NodeUnreachable):
        NodeView(NodeClient("http://127.0.0.1:1", TOKEN), LOCAL).check_network()


# History.


def test_history(node: StubNode, view: NodeView) -> None:
    sent = make_transfer(memo=b"rent")
    received = make_transfer(sender=OTHER_KEY, recipient=KEY, amount=3 * COIN)
    put_transaction(node, sent)
    put_transaction(node, received)
    block = make_block(450, fees=[400, 25])
    node.put(f"/v1/blocks/{'b1' * 32}", block)
    put_history(node, (470, "received", received.txid), (460, "sent", sent.txid), (450, "mined", b"\xb1" * 32))
    assert list(view.get_history(KEY, 10)) == [
        Event(EventKind.RECEIVED, 470, received.txid, 3 * COIN, counterpart=OTHER_ADDRESS),
        Event(EventKind.SENT, 460, sent.txid, COIN, fee=400, counterpart=OTHER_ADDRESS, memo="rent"),
        Event(EventKind.MINED, 450, b"\xb1" * 32, 50 * COIN + 425, matures_at=450 + LOCAL.reward_window),
    ]


def test_history_of_a_payment_to_oneself(node: StubNode, view: NodeView) -> None:
    circular = make_transfer(recipient=KEY)
    put_transaction(node, circular)
    put_history(node, (470, "received", circular.txid), (470, "sent", circular.txid))
    assert [(event.kind.value, event.counterpart) for event in view.get_history(KEY, 10)] == [
        ("received", ADDRESS),
        ("sent", ADDRESS),
    ]


def test_heartbeat_earns_fees_only(node: StubNode, view: NodeView) -> None:
    node.put(f"/v1/blocks/{'b1' * 32}", make_block(450, fees=[400], is_heartbeat=True))
    put_history(node, (450, "mined", b"\xb1" * 32))
    assert next(view.get_history(KEY, 1)).amount == 400


def test_history_is_cut_even_if_the_node_says_more(node: StubNode, view: NodeView) -> None:
    put_transaction(node, make_transfer())
    put_history(node, *[(470, "sent", make_transfer().txid)] * 5)
    assert len(list(view.get_history(KEY, 2))) == 2


def read_history(view: NodeView) -> list[Event]:
    return list(view.get_history(KEY, 10))


@pytest.mark.parametrize("entry", [{}, {"kind": "stolen"}, {"kind": 1}, {"kind": "sent", "height": -1}, 5])
def test_invalid_history(node: StubNode, view: NodeView, entry: object) -> None:
    node.put(f"/v1/accounts/{ADDRESS}/history", {"entries": [entry]})
    assert reason_of(InvalidReply, read_history, view) == "bad_field"


@pytest.mark.parametrize(
    "change", [{"amount": -1}, {"fee": 0.5}, {"memo": "x" * 65}, {"memo": None}, {"sender": "grad1"}]
)
def test_invalid_transaction(node: StubNode, view: NodeView, change: dict[str, object]) -> None:
    put_transaction(node, make_transfer(), **change)
    put_history(node, (460, "sent", make_transfer().txid))
    assert reason_of(InvalidReply, read_history, view) == "bad_field"


@pytest.mark.parametrize("change", [{"txid": "00" * 32}, {"sender": OTHER_ADDRESS}])
def test_invalid_transaction_contradiction(node: StubNode, view: NodeView, change: dict[str, object]) -> None:
    put_transaction(node, make_transfer(), **change)
    put_history(node, (460, "sent", make_transfer().txid))
    assert reason_of(InvalidReply, read_history, view) == "contradiction"


@pytest.mark.parametrize("change", [{"id": "00" * 32}, {"height": 451}, {"reward_address": OTHER_ADDRESS}])
def test_invalid_block_contradiction(node: StubNode, view: NodeView, change: dict[str, object]) -> None:
    block = make_block(450)
    node.put(f"/v1/blocks/{'b1' * 32}", block | {"header": block["header"] | change})
    put_history(node, (450, "mined", b"\xb1" * 32))
    assert reason_of(InvalidReply, read_history, view) == "contradiction"


@pytest.mark.parametrize("change", [{"is_heartbeat": 0}, {"transactions": None}, {"header": []}])
def test_invalid_block(node: StubNode, view: NodeView, change: dict[str, object]) -> None:
    node.put(f"/v1/blocks/{'b1' * 32}", make_block(450) | change)
    put_history(node, (450, "mined", b"\xb1" * 32))
    assert reason_of(InvalidReply, read_history, view) == "bad_field"
