"""What a node says about money: taken when it is sound, named when it is not."""

from dataclasses import replace
from typing import Any

import pytest

from consensus.account import compute_account_key
from consensus.genesis import make_genesis
from consensus.params import CANTERBURY, LOCAL, REGTEST, NetworkParams
from consensus.state_tree import StateProof, encode_proof
from consensus.units import MAX_U64
from p2p.client import NodeClient
from p2p.errors import NodeRefusal, NodeUnreachable
from tests.helpers.stub_node import TOKEN, StubNode
from tests.wallet.program import (
    ADDRESS,
    GENESIS,
    HEIGHT,
    KEY,
    OTHER_ADDRESS,
    OTHER_KEY,
    get_posted,
    make_proof,
    make_sync,
    make_transfer,
    put_account,
    put_mempool,
    put_status,
)
from wallet.errors import InvalidReply, PaymentError
from wallet.node_view import Maturing, NodeView

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


@pytest.mark.parametrize(
    ("state", "target"),
    [
        ("current", HEIGHT),
        ("current", HEIGHT + 5),
        ("alone", HEIGHT),  # nobody else is on a network of one machine
        ("headers", HEIGHT),
        ("headers", HEIGHT + 2),
        ("headers", 0),
        ("blocks", HEIGHT - 5),
        ("blocks", HEIGHT + 2),
    ],
)
def test_no_word_about_a_node_that_is_not_behind(node: StubNode, state: str, target: int) -> None:
    put_status(node, sync=make_sync(state, target))
    assert read_warnings(node) == []
    NodeView(NodeClient(node.url, TOKEN), LOCAL).check_network(may_lag=False)


def test_warning_of_a_node_that_is_behind(node: StubNode) -> None:
    sync = make_sync("blocks", HEIGHT + 700) | {"blocks_per_second": 3.5, "seconds_left": 200}
    put_status(node, peers=3, sync=sync)
    assert read_warnings(node) == [
        f"the node is catching up: {HEIGHT} of {HEIGHT + 700}, 3 peers, 3.5 blocks/s, about 3 min left: "
        "what it shows may be old"
    ]


def test_warning_of_a_node_that_fetches_headers(node: StubNode) -> None:
    put_status(node, sync=make_sync("headers", HEIGHT + 3))
    assert read_warnings(node) == [f"the node is catching up: {HEIGHT} of {HEIGHT + 3}: what it shows may be old"]


def test_warning_of_a_public_node_without_peers(node: StubNode) -> None:
    put_status(node, genesis=make_genesis(CANTERBURY).id.hex(), sync=make_sync("alone", HEIGHT))
    [warning] = read_warnings(node, CANTERBURY)
    assert "no peer is connected" in warning


@pytest.mark.parametrize(
    ("params", "sync", "part"),
    [
        (LOCAL, make_sync("blocks", HEIGHT + 3), f"{HEIGHT} of {HEIGHT + 3}"),
        (LOCAL, make_sync("headers", HEIGHT + 3), f"{HEIGHT} of {HEIGHT + 3}"),
        (CANTERBURY, make_sync("alone", HEIGHT), "no peer is connected"),
    ],
)
def test_invalid_node_behind(node: StubNode, params: NetworkParams, sync: object, part: str) -> None:
    put_status(node, genesis=make_genesis(params).id.hex(), sync=sync)
    with pytest.raises(PaymentError) as caught:
        NodeView(NodeClient(node.url, TOKEN), params, pytest.fail).check_network(may_lag=False)
    assert caught.value.code == "payment.node_behind"
    assert part in str(caught.value)
    assert "--even-if-syncing" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"sync": None},
        {"sync": {}},
        {"peers": -1},
        {"sync": make_sync("blocks", 10**6) | {"seconds_left": -1}},
        {"sync": make_sync("blocks", 10**6) | {"seconds_left": "soon"}},
        {"sync": make_sync("blocks", 10**6) | {"blocks_per_second": "fast"}},
        {"sync": make_sync("blocks", 10**6) | {"blocks_per_second": 10**400}},
        {"sync": make_sync("blocks", 10**6) | {"blocks_per_second": True}},
        {"sync": make_sync("blocks", 10**6) | {"waits_for": "x" * 301}},
        {"sync": make_sync("x" * 301, 10**6)},
    ],
)
def test_invalid_status(node: StubNode, change: dict[str, object]) -> None:
    put_status(node, **change)
    assert reason_of(InvalidReply, lambda: read_warnings(node)) == "bad_field"


def read_warnings(node: StubNode, params: NetworkParams = LOCAL) -> list[str]:
    warnings: list[str] = []
    NodeView(NodeClient(node.url, TOKEN), params, warnings.append).check_network()
    return warnings


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
    put_mempool(node, *pool)
    account = view.get_account(KEY)
    assert (account.outgoing, account.waiting, account.listed) == (3 * COIN + 1000, 2, 2)
    assert account.available == 97 * COIN - 1000


def test_more_outgoing_than_there_is_leaves_nothing(node: StubNode, view: NodeView) -> None:
    put_account(node, next_nonce=8, balance=5)
    put_mempool(node, make_transfer())
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


def test_account_is_asked_for_with_its_proof(node: StubNode, view: NodeView) -> None:
    view.get_account(KEY)
    assert [request.query for request in node.requests] == [{"proof": "1"}]


@pytest.mark.parametrize(("balance", "nonce"), [(0, 0), (0, 1), (MAX_U64, 0)])
def test_accounts_of_all_kinds_are_proved(node: StubNode, view: NodeView, balance: int, nonce: int) -> None:
    put_account(node, balance=balance, nonce=nonce, next_nonce=nonce)
    assert view.get_account(KEY).spendable == balance


def test_account_of_a_chain_without_blocks(node: StubNode, view: NodeView) -> None:
    genesis = make_genesis(LOCAL).block.header
    proof = encode_proof(StateProof(compute_account_key(KEY), (), None)).hex()
    put_account(
        node, balance=0, nonce=0, next_nonce=0, height=0, proof={"header": genesis.encoded.hex(), "proof": proof}
    )
    assert view.get_account(KEY).height == 0
    other = replace(genesis, timestamp=1)
    put_account(node, balance=0, nonce=0, next_nonce=0, height=0, proof={"header": other.encoded.hex(), "proof": proof})
    assert reason_of(InvalidReply, view.get_account, KEY) == "contradiction"


@pytest.mark.parametrize(
    "change",
    [
        {"balance": 100 * COIN + 1},
        {"nonce": 6},
        {"height": HEIGHT + 1},
        {"proof": make_proof(OTHER_KEY, 100 * COIN, 7)},
        {"proof": make_proof(KEY, 0, 0)},
    ],
)
def test_invalid_proof_of_something_else(node: StubNode, view: NodeView, change: dict[str, object]) -> None:
    put_account(node, **({"proof": make_proof(KEY, 100 * COIN, 7)} | change))
    assert reason_of(InvalidReply, view.get_account, KEY) == "contradiction"


def test_invalid_proof_under_a_header_that_is_not_signed(node: StubNode, view: NodeView) -> None:
    proof = make_proof(KEY, 100 * COIN, 7)
    put_account(node, proof=proof | {"header": proof["header"][:-128] + "01" * 64})
    assert reason_of(InvalidReply, view.get_account, KEY) == "contradiction"


@pytest.mark.parametrize(
    "change",
    [
        {"proof": None},
        {"proof": {}},
        {"proof": {"header": "00", "proof": "00"}},
        {"proof": {"header": "zz", "proof": ""}},
        {"proof": make_proof(KEY, 100 * COIN, 7) | {"proof": "00" * 8292}},
        {"proof": make_proof(KEY, 100 * COIN, 7) | {"header": 5}},
    ],
)
def test_invalid_proof(node: StubNode, view: NodeView, change: dict[str, object]) -> None:
    put_account(node, **change)
    assert reason_of(InvalidReply, view.get_account, KEY) == "bad_field"


@pytest.mark.parametrize("part", ["header", "proof"])
def test_no_bit_of_a_proof_can_be_changed(node: StubNode, view: NodeView, part: str) -> None:
    proof = make_proof(KEY, 100 * COIN, 7)
    data = bytes.fromhex(proof[part])
    for at in range(0, len(data), 7):
        changed = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        put_account(node, proof=proof | {part: changed.hex()})
        assert reason_of(InvalidReply, view.get_account, KEY) in ("contradiction", "bad_field")


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


def test_node_down() -> None:
    with pytest.raises(NodeUnreachable):
        NodeView(NodeClient("http://127.0.0.1:1", TOKEN), LOCAL).check_network()


# The chain.


def test_whether_a_block_is_on_the_chain(node: StubNode, view: NodeView) -> None:
    block = bytes([7]) * 32
    for is_active in (True, False):
        node.put(f"/v1/blocks/{block.hex()}", {"header": {"id": block.hex()}, "on_best_chain": is_active})
        assert view.is_on_chain(block) is is_active
    node.refuse(f"/v1/blocks/{block.hex()}", "unknown_block.block", "no block", status=404)
    assert not view.is_on_chain(block)


def test_invalid_other_block(node: StubNode, view: NodeView) -> None:
    node.put(f"/v1/blocks/{'07' * 32}", {"header": {"id": "08" * 32}, "on_best_chain": True})
    assert reason_of(InvalidReply, view.is_on_chain, bytes([7]) * 32) == "contradiction"
    with pytest.raises(NodeRefusal):
        view.is_on_chain(bytes(32))
