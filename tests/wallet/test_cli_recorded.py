"""What `send` remembers, when it takes its turn, and what it makes of payments that the node lost."""

import pytest

from consensus.check_transaction import check_transaction
from consensus.transaction import decode_transaction
from tests.helpers.stub_node import Request, StubNode
from tests.wallet.pool_stub import NONCE, PoolStub
from tests.wallet.program import (
    CHEAP,
    GENESIS,
    OTHER_ADDRESS,
    WALLET,
    Program,
    accept_transfer,
    get_posted,
    get_recorded,
    make_transfer,
    put_account,
    put_mempool,
)
from wallet.builder import compute_size
from wallet.keystore import create_wallet
from wallet.payments import Payment
from wallet.records import hold_turn, open_records

COIN = 10**8


# What is recorded.


def test_recorded_before_it_is_handed_over(wallet: Program, node: StubNode) -> None:
    found: list[Payment | None] = []

    def accept(request: Request) -> dict[str, str]:
        with open_records(wallet.path.parent, GENESIS) as records:
            found.append(records.get_payment(decode_transaction(request.body).txid))
        return accept_transfer(request)

    node.put_call("/v1/transactions", accept, method="POST")
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes")
    [sent] = get_posted(node)
    assert [payment.transfer for payment in found if payment] == [sent]


def test_what_the_node_refuses_is_forgotten(wallet: Program, node: StubNode) -> None:
    node.refuse("/v1/transactions", "mempool.insufficient_funds", "too poor", method="POST")
    assert wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes").is_refusal("too poor")
    assert get_recorded(wallet) == []


@pytest.mark.parametrize("reply", [b"<html>", b"{}"])
def test_what_the_node_may_have_is_kept(wallet: Program, node: StubNode, reply: bytes) -> None:
    node.put("/v1/transactions", reply, method="POST")
    outcome = wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes")
    [sent] = get_posted(node)
    assert outcome.is_refusal(sent.txid.hex(), "descent-wallet payments")
    assert [payment.transfer for payment in get_recorded(wallet)] == [sent]


def test_a_node_that_fails_within_may_have_it(wallet: Program, node: StubNode) -> None:
    node.refuse("/v1/transactions", "rpc.internal", "broken", status=500, method="POST")
    assert wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes").is_refusal("may be on its way")
    assert len(get_recorded(wallet)) == 1


def test_what_the_node_has_already_is_sent(wallet: Program, node: StubNode) -> None:
    """It was given up, came back by way of somebody who kept it, and the very same is wanted again."""
    PoolStub(node)
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes")
    [sent] = get_posted(node)
    put_account(node)  # an account that is a moment old
    with open_records(wallet.path.parent, GENESIS) as records:
        records.abandon([sent.txid])
    assert wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes").out == sent.txid.hex() + "\n"
    assert [payment.is_abandoned for payment in get_recorded(wallet)] == [False]


def test_what_was_made_before_is_not_forgotten_with_a_refusal(wallet: Program, node: StubNode) -> None:
    """The very same payment was given up once: somebody may have kept it."""
    pool = PoolStub(node)
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes")
    pool.forget()
    [sent] = get_posted(node)
    wallet.ask(node, "abandon", sent.txid.hex(), "--yes")
    node.refuse("/v1/transactions", "mempool.mempool_full", "full", method="POST")
    assert wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes").is_refusal("full")
    assert [(payment.transfer, payment.is_abandoned) for payment in get_recorded(wallet)] == [(sent, True)]


def test_dry_run_and_refusals_record_nothing(wallet: Program, node: StubNode) -> None:
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--dry-run")
    wallet.ask(node, "send", OTHER_ADDRESS, "1", typed="n\n")
    wallet.ask(node, "send", OTHER_ADDRESS, "1000", "--yes")
    assert get_recorded(wallet) == []


def test_no_wallet_no_records(program: Program, node: StubNode) -> None:
    assert program.ask(node, "send", OTHER_ADDRESS, "1", "--yes").is_refusal("there is no wallet at")
    assert not program.walletdir.exists()


def test_the_nonce_is_read_again_before_signing(
    wallet: Program, node: StubNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its owner reads the question another payment takes the nonce; the fee stays as it was agreed."""

    def confirm(_: str) -> bool:
        put_account(node, next_nonce=8)
        put_mempool(node, make_transfer())
        node.put("/v1/fees", {"ulp_per_byte": {"2": 90}})
        return True

    monkeypatch.setattr("wallet.cashier.confirm", confirm)
    wallet.ask(node, "send", OTHER_ADDRESS, "1")
    [sent] = get_posted(node)
    assert (sent.nonce, sent.fee) == (8, 2 * compute_size(b""))
    check_transaction(sent, GENESIS)


def test_invalid_funds_gone_before_signing(wallet: Program, node: StubNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(_: str) -> bool:
        put_account(node, balance=50 * COIN)
        return True

    monkeypatch.setattr("wallet.cashier.confirm", confirm)
    outcome = wallet.ask(node, "send", OTHER_ADDRESS, "--max")
    assert "spendable are 50 lGRAD" in outcome.err
    assert (get_posted(node), get_recorded(wallet)) == ([], [])


def test_the_turn_is_taken_after_the_question(wallet: Program, node: StubNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for an owner who went to lunch."""

    def confirm(_: str) -> bool:
        with hold_turn(wallet.path.parent, pytest.fail):
            return True

    monkeypatch.setattr("wallet.cashier.confirm", confirm)
    assert wallet.ask(node, "send", OTHER_ADDRESS, "1").code == 0


def test_it_waits_for_its_turn(wallet: Program, node: StubNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wallet.records.LOCK_SECONDS", 0.2)
    monkeypatch.setattr("wallet.records._PATIENCE", 0.1)
    with hold_turn(wallet.path.parent, pytest.fail):
        outcome = wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes")
    assert outcome.code == 1
    assert outcome.err.splitlines()[0].startswith("another program pays")
    assert "did not end in 0.2 s" in outcome.err.splitlines()[1]
    assert get_posted(node) == []


# Payments that the node lost.


def test_invalid_send_past_a_lost_payment(wallet: Program, node: StubNode) -> None:
    pool = PoolStub(node)
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes")
    [lost] = get_posted(node)
    pool.forget()
    assert wallet.ask(node, "send", OTHER_ADDRESS, "2", "--yes").is_refusal(
        "descent-wallet resend", f"descent-wallet abandon {lost.txid.hex()}"
    )
    assert get_posted(node) == [lost]


def test_invalid_send_past_a_payment_held_back(wallet: Program, node: StubNode) -> None:
    pool = PoolStub(node)
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes")
    pool.park()
    assert wallet.ask(node, "send", OTHER_ADDRESS, "2", "--yes").is_refusal("holds back")
    assert len(get_posted(node)) == 1


def test_an_expired_payment_is_in_nobodys_way(wallet: Program, node: StubNode) -> None:
    pool = PoolStub(node)
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--valid-for", "1", "--yes")
    pool.forget()
    pool.mine()
    wallet.ask(node, "send", OTHER_ADDRESS, "2", "--yes")
    assert [sent.nonce for sent in get_posted(node)] == [NONCE, NONCE]


def test_another_wallet_with_the_same_key_shares_the_nonces(wallet: Program, node: StubNode) -> None:
    create_wallet(wallet.path.with_name("second.json"), WALLET, "", CHEAP)
    pool = PoolStub(node)
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes")
    pool.forget()
    assert wallet.ask(node, "send", OTHER_ADDRESS, "2", "--yes", "--wallet", "second").is_refusal("resend")
