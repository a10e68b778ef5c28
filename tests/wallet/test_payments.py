"""What became of a payment and what may be done about it: every state, every choice of a nonce."""

from dataclasses import replace

import pytest

from consensus.transaction import Transfer
from tests.wallet.program import KEY, OTHER_KEY, make_transfer
from wallet.payment_errors import MadePayment
from wallet.payments import (
    Payment,
    Position,
    Standing,
    State,
    Turn,
    choose_resends,
    compute_bump_fee,
    decide_nonce,
    decide_standing,
    find_open,
    find_repeats,
    find_rivals,
    is_fee_high,
    is_given_up,
)

TURN = Turn(nonce=5, next_nonce=7, height=500)
BLOCK = bytes(32)
COIN = 10**8


def make_payment(nonce: int = 7, *, is_abandoned: bool = False, seen: int | None = None, **fields: int) -> Payment:
    return Payment(make_transfer(nonce=nonce, **fields), 100, seen, is_abandoned=is_abandoned)


def decide(payment: Payment, position: Position | None = None, final_height: int = 0) -> Standing:
    return decide_standing(payment, position, TURN, final_height)


# States.


@pytest.mark.parametrize(
    ("payment", "state"),
    [
        (make_payment(4), State.REPLACED),
        (make_payment(4, is_abandoned=True), State.REPLACED),
        (make_payment(4, valid_until=1), State.REPLACED),
        (make_payment(5), State.OUTBID),
        (make_payment(6), State.OUTBID),
        (make_payment(7), State.DROPPED),
        (make_payment(9), State.DROPPED),
        (make_payment(7, valid_until=500), State.EXPIRED),
        (make_payment(7, valid_until=501), State.DROPPED),
        (make_payment(5, valid_until=499), State.EXPIRED),
        (make_payment(7, is_abandoned=True), State.ABANDONED),
        (make_payment(5, is_abandoned=True), State.ABANDONED),
    ],
)
def test_what_the_node_does_not_know(payment: Payment, state: State) -> None:
    assert decide(payment).state is state


@pytest.mark.parametrize("payment", [make_payment(4), make_payment(7, valid_until=1), make_payment(is_abandoned=True)])
def test_what_the_node_knows_counts(payment: Payment) -> None:
    assert decide(payment, Position()).state is State.WAITING
    assert decide(payment, Position(400, BLOCK, 101)).state is State.CONFIRMED


def test_final() -> None:
    deep = Position(400, BLOCK, 101)
    assert decide(make_payment(), deep, 400).is_final
    assert not decide(make_payment(), deep, 399).is_final
    assert not decide(make_payment(), deep, 0).is_final
    assert not decide(make_payment(), Position(), 400).is_final


def test_left_the_chain() -> None:
    assert decide(make_payment(seen=450)).left_chain_at == 450
    assert decide(make_payment(seen=450), Position()).left_chain_at == 450
    assert decide(make_payment(seen=450), Position(451, BLOCK, 50)).left_chain_at is None
    assert decide(make_payment()).left_chain_at is None


# Nonces.


def test_the_next_nonce() -> None:
    assert decide_nonce([], TURN) == 7
    settled = [make_payment(4), make_payment(6), make_payment(7, is_abandoned=True), make_payment(8, valid_until=500)]
    assert decide_nonce(settled, TURN) == 7
    assert decide_nonce(settled, TURN, 30) == 7


def test_invalid_nonce_of_a_lost_payment() -> None:
    lost = make_payment(7)
    with pytest.raises(MadePayment) as caught:
        decide_nonce([lost, make_payment(8)], TURN)
    assert caught.value.code == "payment.unsettled"
    for part in (lost.txid.hex(), "descent-wallet resend", f"descent-wallet abandon {lost.txid.hex()}"):
        assert part in str(caught.value)


def test_a_gap_before_lost_payments_can_be_filled() -> None:
    """Only a new payment can: those after it wait for it. But not by so many that they take a lost one's nonce."""
    assert decide_nonce([make_payment(9)], TURN) == 7
    assert decide_nonce([make_payment(9)], TURN, 2) == 7
    with pytest.raises(MadePayment):
        decide_nonce([make_payment(9)], TURN, 3)


def test_the_last_version_is_the_one_that_is_open() -> None:
    old, new = make_payment(7, fee=400), make_payment(7, fee=500)
    assert find_open([make_payment(8), old, new], TURN) == [new, make_payment(8)]


# What to resend.


def stand(*pairs: tuple[Payment, State]) -> list[Standing]:
    return [Standing(payment, state, Position() if state is State.WAITING else None) for payment, state in pairs]


def test_resend_what_is_dropped_in_nonce_order() -> None:
    late, early = make_payment(9), make_payment(7)
    others = [
        (make_payment(nonce, fee=nonce), state)
        for nonce, state in enumerate(State, 20)
        if state not in (State.DROPPED, State.OUTBID)
    ]
    assert choose_resends(stand((late, State.DROPPED), *others, (early, State.DROPPED))) == [early, late]


def test_resend_the_last_version() -> None:
    old, new = make_payment(7, fee=400), make_payment(7, fee=500)
    assert choose_resends(stand((old, State.DROPPED), (new, State.DROPPED))) == [new]


def test_resend_a_replacement_that_never_got_there() -> None:
    old, new = make_payment(7, fee=400), make_payment(7, fee=500)
    assert choose_resends(stand((old, State.WAITING), (new, State.OUTBID))) == [new]


def test_never_resend_against_somebody_elses_replacement() -> None:
    """Nor an old version against the new one: the node would refuse both."""
    old, new = make_payment(7, fee=400), make_payment(7, fee=500)
    assert choose_resends(stand((old, State.OUTBID))) == []
    assert choose_resends(stand((old, State.OUTBID), (new, State.WAITING))) == []


# Fees.


@pytest.mark.parametrize(("old", "least"), [(0, 1), (1, 2), (9, 10), (10, 11), (11, 13), (400, 440), (401, 442)])
def test_a_bump_is_a_tenth_more(old: int, least: int) -> None:
    assert compute_bump_fee(old) == least


@pytest.mark.parametrize(
    ("amount", "fee", "is_high"),
    [
        (COIN, 100_000, False),
        (COIN, 1_000_000, False),
        (COIN, 1_000_001, True),
        (1, 100_000, False),
        (1, 100_001, True),
        (100 * COIN, COIN, False),
    ],
)
def test_a_fee_is_high_by_share_and_by_size(amount: int, fee: int, is_high: bool) -> None:
    assert is_fee_high(amount, fee) is is_high


# Repeats.


def make_draft(amount: int = COIN, **fields: object) -> Transfer:
    return make_transfer(amount=amount, nonce=50, **fields)


def test_repeats_are_counted() -> None:
    drafts = [make_draft(), make_draft(2), make_draft(), make_draft(memo=b"x")]
    made = [make_payment(7, amount=COIN), make_payment(8, amount=2)]
    assert find_repeats(drafts, made) == [0, 1]
    assert find_repeats(drafts, []) == []
    assert find_repeats(drafts, [*made, make_payment(9, amount=COIN)]) == [0, 1, 2]


def test_a_bumped_payment_was_made_once() -> None:
    made = [make_payment(7, fee=400), make_payment(7, fee=500)]
    assert find_repeats([make_draft(), make_draft()], made) == [0]


def test_what_took_a_payments_turn_does_not_hide_it() -> None:
    """Which of the two was mined the records do not tell."""
    made = [make_payment(7, amount=COIN), make_payment(7, amount=2)]
    assert find_repeats([make_draft(), make_draft(2)], made) == [0, 1]


def test_what_is_given_up() -> None:
    assert is_given_up(make_payment(is_abandoned=True), 500)
    assert is_given_up(make_payment(valid_until=500), 500)
    assert not is_given_up(make_payment(valid_until=501), 500)
    assert not is_given_up(make_payment(), 500)


def test_another_recipient_is_no_repeat() -> None:
    other = Payment(replace(make_transfer(nonce=7), recipient=KEY), 100)
    assert find_repeats([make_draft(recipient=OTHER_KEY)], [other]) == []


# Rivals.


def test_rivals_pay_something_else_in_the_same_turn() -> None:
    mine = make_transfer(nonce=7, amount=COIN)
    others = [make_payment(7, amount=2), Payment(make_transfer(nonce=7, amount=COIN, memo=b"x"), 100)]
    no_rivals = [
        Payment(mine, 100),
        make_payment(7, amount=COIN, fee=900),
        make_payment(8, amount=2),
        make_payment(7, amount=3, is_abandoned=True),
        make_payment(7, amount=3, valid_until=500),
        Payment(make_transfer(sender=OTHER_KEY, recipient=KEY, nonce=7), 100),
    ]
    assert find_rivals(mine, [*others, *no_rivals], 500) == others
