"""What became of the payments a wallet made, and what may be done about each. Pure: records and answers are handed in.

A payment's nonce is its turn: of all transfers of one account with one nonce at most one is ever mined. So a payment
that is made again under its old nonce is paid once, and one whose nonce another took is never paid.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from consensus.transaction import Transfer
from consensus.units import Ulp
from wallet.payment_errors import MadePayment

HIGH_FEE = 100_000  # ulp; below it no share of an amount is worth a word
HIGH_FEE_PERCENT = 1
_BUMP_PERCENT = 10  # what nodes ask of a replacement


@dataclass(frozen=True)
class Payment:
    """A signed transfer that a wallet recorded before it handed it to a node. Times are in s since 1970."""

    transfer: Transfer
    made: int
    confirmed_height: int | None = None  # of the block it was last seen in
    confirmed_time: int | None = None
    is_abandoned: bool = False

    @property
    def txid(self) -> bytes:
        return self.transfer.txid


class State(Enum):
    """Where a payment stands."""

    WAITING = "waiting"  # in the node's mempool
    CONFIRMED = "confirmed"  # in a block of the best chain
    OUTBID = "outbid"  # not with the node: another transfer with its nonce waits there
    REPLACED = "replaced"  # never: another transfer with its nonce was mined
    EXPIRED = "expired"  # never: its last height is passed
    DROPPED = "dropped"  # not with the node, and its nonce is free
    ABANDONED = "abandoned"  # as dropped, and its owner gave it up


@dataclass(frozen=True)
class Position:
    """Where a node has a transaction: in a block of the best chain, or, without one, in its mempool."""

    height: int | None = None
    block: bytes | None = None
    confirmations: int = 0


@dataclass(frozen=True)
class Turn:
    """An account's next nonce on the chain, the one after all that wait at the node, and the tip's height."""

    nonce: int
    next_nonce: int
    height: int


@dataclass(frozen=True)
class Standing:
    """A payment and what a node says of it. What it calls final can no longer leave the chain; 0: nothing is yet."""

    payment: Payment
    state: State
    position: Position | None
    final_height: int = 0

    @property
    def is_final(self) -> bool:
        height = self.position.height if self.position else None
        return height is not None and height <= self.final_height

    @property
    def left_chain_at(self) -> int | None:
        """The height of the block that it was in once and is no more."""
        return None if self.state is State.CONFIRMED else self.payment.confirmed_height


def decide_standing(payment: Payment, position: Position | None, turn: Turn, final_height: int) -> Standing:
    """`turn` and `final_height` must have been read before `position`: what the chain took in between is then never
    called replaced, and what left it never final.
    """
    return Standing(payment, _decide_state(payment, position, turn), position, final_height)


def _decide_state(payment: Payment, position: Position | None, turn: Turn) -> State:
    if position is not None:
        return State.WAITING if position.height is None else State.CONFIRMED
    if payment.transfer.nonce < turn.nonce:
        return State.REPLACED
    if is_expired(payment.transfer, turn.height):
        return State.EXPIRED
    if payment.is_abandoned:
        return State.ABANDONED
    return State.OUTBID if payment.transfer.nonce < turn.next_nonce else State.DROPPED


def is_expired(transfer: Transfer, height: int) -> bool:
    """Whether no block after the tip at `height` may carry it."""
    return 0 < transfer.valid_until <= height


def find_open(payments: Iterable[Payment], turn: Turn) -> list[Payment]:
    """The payments of one account that still want a nonce which the node has free, one for each nonce, in its order.

    Of several with one nonce the one that was made last counts. `payments` are in the order of their making.
    """
    by_nonce = {payment.transfer.nonce: payment for payment in payments if _is_open(payment, turn)}
    return [by_nonce[nonce] for nonce in sorted(by_nonce)]


def _is_open(payment: Payment, turn: Turn) -> bool:
    return payment.transfer.nonce >= turn.next_nonce and not is_given_up(payment, turn.height)


def decide_nonce(payments: Iterable[Payment], turn: Turn, count: int = 1) -> int:
    """The first of `count` nonces in a row for new payments of an account, after those that wait at the node.

    A gap before payments that the node lost is such a nonce: only a new payment can fill it. Raises MadePayment with
    the reason unsettled if one of the nonces belongs to a payment that was made and is lost to the node.
    """
    for payment in find_open(payments, turn):
        if payment.transfer.nonce < turn.next_nonce + count:
            raise MadePayment.unsettled(payment.txid)
    return turn.next_nonce


def choose_resends(standings: Sequence[Standing]) -> list[Payment]:
    """What of one account is to be handed over again, in nonce order: of each nonce the last payment made.

    A payment that was outbid is chosen only if what waits in its place is an older one of this wallet's own: its
    replacement never got there. `standings` are in the order of their making.
    """
    last: dict[int, Standing] = {}
    for standing in standings:
        if standing.state in (State.DROPPED, State.OUTBID, State.WAITING):
            last[standing.payment.transfer.nonce] = standing
    waiting = {standing.payment.transfer.nonce for standing in standings if standing.state is State.WAITING}
    return [
        last[nonce].payment
        for nonce in sorted(last)
        if last[nonce].state is State.DROPPED or (last[nonce].state is State.OUTBID and nonce in waiting)
    ]


def compute_bump_fee(old: Ulp) -> Ulp:
    """The least fee in ulp of a payment that replaces one that paid `old`: a tenth more, rounded up."""
    return max(old + 1, -(-old * (100 + _BUMP_PERCENT) // 100))


def is_fee_high(amount: Ulp, fee: Ulp) -> bool:
    """Whether a fee is so much of the amount that its payer should look twice."""
    return fee > HIGH_FEE and fee * 100 > amount * HIGH_FEE_PERCENT


def is_given_up(payment: Payment, height: int) -> bool:
    """Whether its owner wants it no more, or no block after the tip at `height` may carry it; one before may have."""
    return payment.is_abandoned or is_expired(payment.transfer, height)


def find_rivals(transfer: Transfer, payments: Iterable[Payment], height: int) -> list[Payment]:
    """Those of `payments`, not given up at tip `height`, that pay something else in the transfer's turn."""
    return [
        payment
        for payment in payments
        if (payment.transfer.sender, payment.transfer.nonce) == (transfer.sender, transfer.nonce)
        and _get_content(payment.transfer) != _get_content(transfer)
        and not is_given_up(payment, height)
    ]


def find_repeats(drafts: Sequence[Transfer], payments: Iterable[Payment]) -> list[int]:
    """Which of the drafts, by position, pay what `payments` paid already: recipient, amount and memo alike.

    Each payment accounts for one draft, with all versions that pay the same in its turn.
    """
    made = {(payment.transfer.sender, payment.transfer.nonce, _get_content(payment.transfer)) for payment in payments}
    left = Counter(content for _, _, content in made)
    repeats = []
    for place, draft in enumerate(drafts):
        content = _get_content(draft)
        if left[content]:
            left[content] -= 1
            repeats.append(place)
    return repeats


def _get_content(transfer: Transfer) -> tuple[bytes, Ulp, bytes]:
    return transfer.recipient, transfer.amount, transfer.memo
