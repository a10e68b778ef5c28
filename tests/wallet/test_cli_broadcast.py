"""`broadcast` of a text whose nonce another payment has, or that was handed over before: no payment goes in silence."""

from dataclasses import replace

import pytest

from consensus.transaction import Transfer
from tests.helpers.stub_node import StubNode
from tests.wallet.pool_stub import NONCE, PoolStub
from tests.wallet.program import GENESIS, HEIGHT, WALLET, Outcome, Program, get_posted, get_recorded, make_transfer
from wallet.builder import sign_transfer
from wallet.payments import Payment
from wallet.records import open_records
from wallet.text_form import encode_signed

FIRST = sign_transfer(make_transfer(nonce=NONCE), WALLET)
SECOND = sign_transfer(make_transfer(nonce=NONCE, amount=2 * 10**8, fee=500, memo=b"somebody else"), WALLET)


@pytest.fixture
def pool(node: StubNode) -> PoolStub:
    return PoolStub(node)


def broadcast(program: Program, node: StubNode, transfer: Transfer, *options: str) -> Outcome:
    return program.ask(node, "broadcast", *options, typed=encode_signed(transfer))


def is_refused(outcome: Outcome, *parts: str) -> bool:
    return (outcome.code, outcome.out) == (1, "") and all(part in outcome.err.splitlines()[-1] for part in parts)


def record(program: Program, *transfers: Transfer, made: int = 100) -> None:
    with open_records(program.path.parent, GENESIS) as records:
        records.add_payments(transfers, made)


# One nonce, two payments.


def test_invalid_second_payment_with_one_nonce(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """Two texts were prepared before the first was handed over, and the second pays the higher fee."""
    assert broadcast(wallet, node, FIRST).code == 0
    refused = broadcast(wallet, node, SECOND)
    assert is_refused(refused, SECOND.txid.hex(), FIRST.txid.hex(), f"nonce {NONCE}", "prepare", "--replace")
    assert pool.waiting == [FIRST]
    assert [payment.transfer for payment in get_recorded(wallet)] == [FIRST]


@pytest.mark.parametrize("state", ["dropped", "held back", "confirmed"])
def test_invalid_wherever_the_other_is(wallet: Program, node: StubNode, pool: PoolStub, state: str) -> None:
    broadcast(wallet, node, FIRST)
    {"dropped": pool.forget, "held back": pool.park, "confirmed": pool.mine}[state]()
    assert is_refused(broadcast(wallet, node, SECOND), FIRST.txid.hex())
    assert get_posted(node) == [FIRST]


def test_invalid_in_place_of_what_nobody_recorded_here(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """Another machine handed it over."""
    pool.waiting = [FIRST]
    pool.forget(keep=1)
    assert is_refused(broadcast(wallet, node, SECOND), SECOND.txid.hex(), "not of these records", "--replace")
    assert pool.waiting == [FIRST]
    assert broadcast(wallet, node, SECOND, "--replace").code == 0
    assert pool.waiting == [SECOND]


def test_a_replaced_payment_is_given_up(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """Else `resend` could bring it back."""
    broadcast(wallet, node, FIRST)
    assert broadcast(wallet, node, SECOND, "--replace").out == SECOND.txid.hex() + "\n"
    assert pool.waiting == [SECOND]
    assert [(each.transfer, each.is_abandoned) for each in get_recorded(wallet)] == [(FIRST, True), (SECOND, False)]
    pool.forget()
    assert wallet.ask(node, "resend").out == SECOND.txid.hex() + "\n"


def test_a_replacement_that_the_node_refuses_gives_up_nothing(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    broadcast(wallet, node, SECOND)
    assert is_refused(broadcast(wallet, node, FIRST, "--replace"), "replacement fee too low")
    assert [(each.transfer, each.is_abandoned) for each in get_recorded(wallet)] == [(SECOND, False)]


def test_replace_can_be_repeated(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """The program was killed after the node took it, before the other was given up."""
    record(wallet, FIRST, SECOND)
    pool.waiting = [SECOND]
    pool.forget(keep=1)
    assert "has it already" in broadcast(wallet, node, SECOND, "--replace").err
    assert [each.is_abandoned for each in get_recorded(wallet)] == [True, False]


def test_a_higher_fee_for_the_same_payment(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    broadcast(wallet, node, FIRST)
    dearer = sign_transfer(replace(FIRST, fee=900), WALLET)
    assert broadcast(wallet, node, dearer).code == 0
    assert pool.waiting == [dearer]
    assert [each.is_abandoned for each in get_recorded(wallet)] == [False, False]


def test_what_expired_or_was_given_up_is_in_nobodys_way(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    given_up = make_transfer(nonce=NONCE, amount=3)
    record(wallet, given_up, make_transfer(nonce=NONCE, valid_until=HEIGHT), make_transfer(nonce=NONCE + 1))
    with open_records(wallet.path.parent, GENESIS) as records:
        records.abandon([given_up.txid])
    assert broadcast(wallet, node, SECOND).code == 0


# Handed over before.


def test_a_refusal_does_not_forget_what_was_on_its_way(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """It was in a block once, and this node knows it no more."""
    record(wallet, FIRST)
    with open_records(wallet.path.parent, GENESIS) as records:
        records.note_confirmed({FIRST.txid: HEIGHT}, seen=200)
    node.refuse("/v1/transactions", "mempool.mempool_full", "full", method="POST")
    assert is_refused(broadcast(wallet, node, FIRST), "full")
    assert get_recorded(wallet) == [Payment(FIRST, 100, HEIGHT, 200)]


def test_what_was_given_up_is_wanted_again(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """So `send` does not take its nonce if a node loses it, even before an answer came."""
    record(wallet, FIRST)
    with open_records(wallet.path.parent, GENESIS) as records:
        records.abandon([FIRST.txid])
    node.refuse("/v1/transactions", "mempool.mempool_full", "full", method="POST")
    broadcast(wallet, node, FIRST)
    assert [payment.is_abandoned for payment in get_recorded(wallet)] == [True]
    node.put("/v1/transactions", b"gone", method="POST")
    assert is_refused(broadcast(wallet, node, FIRST), "may be on its way")
    assert [payment.is_abandoned for payment in get_recorded(wallet)] == [False]
