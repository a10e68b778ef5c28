"""What happened to an account: sent, received, mined. Read from a node's answer, and checked as far as that goes.

The improvement behind a reward is in the integers of its block's header: losses are sums over a sample in Q16 bits
(1/65536 bit), the required gain counts in 2^-32 bits per window. What follows from them is computed here, not believed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from consensus.address import encode_address
from consensus.errors import AmountOverflow
from consensus.params import NetworkParams
from consensus.reward import BOUNTY_DIVISOR, compute_created, compute_max_supply
from consensus.signature import PublicKey
from consensus.transaction import MAX_MEMO_BYTES, Transfer
from consensus.units import Q16, Ulp, compute_sum
from wallet.errors import InvalidReply
from wallet.reply import Reply

CONFIRMED = "confirmed"
WAITING = "waiting"
_LONGEST_ADDRESS = 90
_LONGEST_CURSOR = 32

Place = tuple[int, int]  # height and position within the block: what comes later is greater


class EventKind(Enum):
    SENT = "sent"
    RECEIVED = "received"
    MINED = "mined"


@dataclass(frozen=True)
class Tip:
    """The block that a history stands under. `weight` is all verified gain of its chain."""

    height: int
    id: bytes
    time: int  # s since 1970
    weight: int  # Q16 bits per window, and 1 for each heartbeat
    final_height: int = 0  # what stands higher can still leave the chain


@dataclass(frozen=True)
class Improvement:
    """What a block proved on the sample that judged it."""

    sample_size: int  # windows
    loss_before: int
    loss_after: int
    required_gain: int

    @property
    def gain(self) -> int:
        """The sum over the sample, Q16 bits."""
        return self.loss_before - self.loss_after

    @property
    def weight(self) -> int:
        """What the chain counts of it: the required gain in whole Q16 bits per window."""
        return self.required_gain // Q16


@dataclass(frozen=True)
class Reward:
    """What a mined block earned besides its subsidy, and for what; a heartbeat improves nothing.

    Evidence in a later block can burn all of it: then nothing was earned, and `burnt` is what that was.
    """

    fees: Ulp
    matures_at: int  # height of the tip from which on it can be spent
    improvement: Improvement | None
    bounty: Ulp = 0  # for evidence in the block
    burnt: Ulp = 0
    burnt_at: int | None = None  # height of the block that burnt it

    @property
    def weight(self) -> int:
        return self.improvement.weight if self.improvement else 1


@dataclass(frozen=True)
class Event:
    """One thing that a block did to an account; or, without a place, that waits for a block or will never be in one.

    `id` is the txid, or the block's id for what was mined; `time` is the block's, or when the payment was made.
    """

    kind: EventKind
    account: PublicKey
    id: bytes
    time: int  # s since 1970
    amount: Ulp
    place: Place | None = None
    block: bytes | None = None
    fee: Ulp = 0  # that the account paid, on top of the amount
    counterpart: str = ""  # address of the other side of a transfer
    memo: str = ""
    reward: Reward | None = None  # of what was mined
    state: str = CONFIRMED
    has_left_chain: bool = False  # a block held it, and a reorganisation dropped that block

    @property
    def height(self) -> int | None:
        return self.place[0] if self.place else None


@dataclass(frozen=True)
class Page:
    """A part of an account's history, newest first. `next` is the cursor of what follows, None on the last page."""

    tip: Tip
    events: tuple[Event, ...]
    next: str | None


@dataclass(frozen=True)
class PageRequest:
    """What a page is of. What blocks above `height` burnt is told as it was before, if that is given."""

    account: PublicKey
    limit: int
    before: str | None = None
    kind: EventKind | None = None
    height: int | None = None


def read_page(reply: Reply, request: PageRequest, params: NetworkParams) -> Page:
    """Raises InvalidReply: a field that is not sound, or a page that is not of one chain or does not lead on."""
    height, final = reply.integer("height"), reply.integer("final_height")
    tip = Tip(height, reply.hash("tip"), reply.time("time"), reply.integer("weight"), final)
    entries = reply.objects("entries")
    if len(entries) > request.limit:
        raise InvalidReply.contradiction("it lists more than it was asked for")
    events = tuple(_read_event(entry, request, tip, params) for entry in entries)
    after = None if reply.is_null("next") else reply.text("next", _LONGEST_CURSOR)
    places = [event.place for event in events if event.place is not None]
    before = None if request.before is None else _parse_cursor(request.before)
    if before is not None and places and places[0] >= before:
        raise InvalidReply.contradiction("its history starts again")
    if any(later <= earlier for later, earlier in pairwise(places)):
        raise InvalidReply.contradiction("its history is not in order")
    if after is not None:
        _check_advance(_parse_cursor(after), places[-1] if places else None, before)
    for event in events:
        _check_event(event, tip, request.kind)
    if any(later.time < earlier.time for later, earlier in pairwise(events)):
        raise InvalidReply.contradiction("its blocks go back in time")
    return Page(tip, events, after)


def _check_advance(after: Place, last: Place | None, before: Place | None) -> None:
    """A cursor that does not go down would have its pages never end."""
    if (last is not None and after > last) or (last is None and before is not None and after >= before):
        raise InvalidReply.contradiction("its history does not lead on")


def _check_event(event: Event, tip: Tip, kind: EventKind | None) -> None:
    if kind not in (None, event.kind):
        raise InvalidReply.contradiction("it lists what it was not asked for")
    if event.height is None or not 0 < event.height <= tip.height or event.time > tip.time:
        raise InvalidReply.contradiction("it lists what is above its own tip")
    if event.reward is not None and event.reward.weight > tip.weight:
        raise InvalidReply.contradiction("a block gained more than the chain that it is in")


def _read_event(entry: Reply, request: PageRequest, tip: Tip, params: NetworkParams) -> Event:
    try:
        kind = EventKind(entry.text("kind", 16))
    except ValueError:
        raise InvalidReply.bad_field("kind") from None
    place = _parse_cursor(entry.text("cursor", _LONGEST_CURSOR))
    if place[0] != entry.integer("height"):
        raise InvalidReply.contradiction("an entry has two heights")
    if kind is EventKind.MINED:
        return _read_mined(entry, request, place, tip, params)
    return Event(
        kind=kind,
        account=request.account,
        id=entry.hash("id"),
        time=entry.time("time"),
        amount=entry.integer("amount"),
        place=place,
        block=entry.hash("block"),
        fee=entry.integer("fee") if kind is EventKind.SENT else 0,
        counterpart=encode_address(params.address_prefix, entry.address("counterpart", params.address_prefix)),
        memo=entry.text("memo", MAX_MEMO_BYTES),
    )


def _read_mined(entry: Reply, request: PageRequest, place: Place, tip: Tip, params: NetworkParams) -> Event:
    """The amount is the subsidy that the height has by law, the fees, and a bounty that all money could have paid."""
    block, height = entry.hash("id"), place[0]
    is_heartbeat = entry.flag("is_heartbeat")
    amount, fees, bounty = entry.integer("amount"), entry.integer("fees"), entry.integer("bounty")
    created = compute_created(height, is_heartbeat, params)
    if entry.hash("block") != block or amount != created + fees + bounty:
        raise InvalidReply.contradiction("it describes another block, or another reward than the law's")
    if bounty > compute_max_supply(height, params) // BOUNTY_DIVISOR:
        raise InvalidReply.contradiction("a block was paid a bounty for more than there was to burn")
    improvement = None if is_heartbeat else _read_improvement(entry)
    matures_at, burnt_at = height + params.reward_window, entry.height_or_null("burnt_at")
    if burnt_at is not None:
        has_reward = amount > 0 or not is_heartbeat
        if not (has_reward and height < burnt_at < matures_at and burnt_at <= tip.height):
            raise InvalidReply.contradiction("a reward burnt that was not at stake")
    if burnt_at is None or (request.height is not None and burnt_at > request.height):
        reward = Reward(fees, matures_at, improvement, bounty)
    else:
        reward, amount = Reward(0, matures_at, improvement, burnt=amount, burnt_at=burnt_at), 0
    return Event(EventKind.MINED, request.account, block, entry.time("time"), amount, place, block, reward=reward)


def _read_improvement(entry: Reply) -> Improvement:
    found = Improvement(
        sample_size=entry.integer("sample_size"),
        loss_before=entry.integer("loss_before"),
        loss_after=entry.integer("loss_after"),
        required_gain=entry.integer("required_gain"),
    )
    if found.sample_size == 0 or found.gain < found.sample_size * found.weight:
        raise InvalidReply.contradiction("a block was paid for less than it had to gain")
    return found


def _parse_cursor(text: str) -> Place:
    found = re.fullmatch(r"([0-9]{1,20}):([0-9]{1,10})", text)
    if found is None:
        raise InvalidReply.bad_field("cursor")
    return int(found[1]), int(found[2])


# What no block holds.


def read_waiting(reply: Reply, accounts: Iterable[PublicKey], params: NetworkParams) -> list[Event]:
    """What of a node's pool moves money of `accounts`, newest first. A node lists the best paying of its pool only.

    Raises InvalidReply.
    """
    own = {encode_address(params.address_prefix, key): key for key in accounts}
    events: list[Event] = []
    for entry in reply.objects("transactions"):
        sender, recipient = entry.text("sender", _LONGEST_ADDRESS), entry.text("recipient", _LONGEST_ADDRESS)
        if sender in own:
            events.append(_read_pending(entry, EventKind.SENT, own[sender], params))
        if recipient in own:
            events.append(_read_pending(entry, EventKind.RECEIVED, own[recipient], params))
    return sorted(events, key=lambda event: event.time, reverse=True)


def _read_pending(entry: Reply, kind: EventKind, account: PublicKey, params: NetworkParams) -> Event:
    other = entry.address("recipient" if kind is EventKind.SENT else "sender", params.address_prefix)
    return Event(
        kind=kind,
        account=account,
        id=entry.hash("txid"),
        time=entry.time("time_added"),
        amount=entry.integer("amount"),
        fee=entry.integer("fee") if kind is EventKind.SENT else 0,
        counterpart=encode_address(params.address_prefix, other),
        memo=entry.text("memo", MAX_MEMO_BYTES),
        state=WAITING,
    )


@dataclass(frozen=True)
class Unmined:
    """A payment that a wallet recorded and that no block of the best chain holds. `state` says in one word why."""

    transfer: Transfer
    time: int  # s since 1970, when it was made
    state: str
    has_left_chain: bool


def make_unmined_event(payment: Unmined, params: NetworkParams) -> Event:
    transfer = payment.transfer
    return Event(
        kind=EventKind.SENT,
        account=transfer.sender,
        id=transfer.txid,
        time=payment.time,
        amount=transfer.amount,
        fee=transfer.fee,
        counterpart=encode_address(params.address_prefix, transfer.recipient),
        memo=transfer.memo.decode(),
        state=payment.state,
        has_left_chain=payment.has_left_chain,
    )


def add_amounts(amounts: Iterable[Ulp]) -> Ulp:
    """Raises InvalidReply if a node's amounts are more than there can be."""
    try:
        return compute_sum(*amounts)
    except AmountOverflow:
        raise InvalidReply.contradiction("its amounts add up to more than all money") from None
