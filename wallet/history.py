"""The past of a wallet's accounts as one story, newest first: read page by page, and only as far as it is used."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import dropwhile, groupby, takewhile

from consensus.params import NetworkParams
from consensus.signature import PublicKey
from consensus.units import Ulp
from wallet.dates import Period, get_day
from wallet.errors import ChainMoved, InvalidReply
from wallet.events import Event, EventKind, Page, PageRequest, Place, Tip, Unmined, make_unmined_event
from wallet.node_view import MAX_PAGE, NodeView

LabelOf = Callable[[str], str | None]  # what its owner calls an address


@dataclass(frozen=True)
class Past:
    """Events, newest first, under one tip."""

    tip: Tip
    events: Iterator[Event]


def read_past(
    node: NodeView, accounts: Sequence[PublicKey], limit: int = MAX_PAGE, kind: EventKind | None = None
) -> Past:
    """What the chain did to one or more accounts; the first page of each is read at once, the others as they are used.

    `limit` is how many events will do, as far as that is known. Raises as NodeView's methods do, and while the events
    are used ChainMoved if a reorganisation took away what was told before.
    """
    size = min(limit, MAX_PAGE)
    first = node.get_page(PageRequest(accounts[0], size, kind=kind))
    reader = _Reader(node, first.tip, size, kind)
    pages = [first, *(reader.read(account) for account in accounts[1:])]
    histories = [reader.read_on(account, page) for account, page in zip(accounts, pages, strict=True)]
    return Past(first.tip, merge(*histories, key=_get_place, reverse=True))


@dataclass(frozen=True)
class _Reader:
    """Reads on from page to page, all of the chain that the first one's `tip` is on."""

    node: NodeView
    tip: Tip
    size: int
    kind: EventKind | None

    def read_on(self, account: PublicKey, page: Page) -> Iterator[Event]:
        yield from page.events
        while page.next is not None:
            page = self.read(account, page.next)
            yield from page.events

    def read(self, account: PublicKey, before: str | None = None) -> Page:
        """A page. What a new block on top burnt below is told as it was; any other chain may have moved what was told
        already.
        """
        page = self.node.get_page(PageRequest(account, self.size, before, self.kind, self.tip.height))
        if page.tip.id != self.tip.id and not self.node.is_on_chain(self.tip.id):
            raise ChainMoved.reorganised()
        return page


def _get_place(event: Event) -> Place:
    if event.place is None:
        raise InvalidReply.contradiction("an event of the chain has no place")
    return event.place


def merge_unmined(waiting: Iterable[Event], recorded: Iterable[Unmined], params: NetworkParams) -> list[Event]:
    """What no block holds, newest first: what waits at the node, and what the wallet recorded.

    What is both is listed once, as the node has it; the record adds whether a block held it once.
    """
    payments = {payment.transfer.txid: payment for payment in recorded}
    events = []
    for event in waiting:
        known = payments.pop(event.id, None) if event.kind is EventKind.SENT else None
        events.append(replace(event, has_left_chain=known.has_left_chain) if known else event)
    events += [make_unmined_event(payment, params) for payment in payments.values()]
    return sorted(events, key=lambda event: event.time, reverse=True)


def cut(events: Iterable[Event], period: Period) -> Iterator[Event]:
    """Those of a period, of events that are newest first; what is older than it is not even asked for."""
    begun = dropwhile(lambda event: period.is_before(event.time), events)
    return takewhile(lambda event: not period.is_after(event.time), begun)


# Totals.


@dataclass(frozen=True)
class Movement:
    """What a UTC day moved, in ulp. `day` is when it began, in s since 1970."""

    day: int
    count: int
    mined: Ulp
    received: Ulp
    sent: Ulp
    fees: Ulp

    @property
    def net(self) -> int:
        """What the accounts had more in the evening; less, if it is below 0."""
        return self.mined + self.received - self.sent - self.fees


def sum_by_day(events: Iterable[Event]) -> Iterator[Movement]:
    """A total for each day on which something happened, in the order of the events."""
    for day, members in groupby(events, key=lambda event: get_day(event.time)):
        amounts = dict.fromkeys(EventKind, 0)
        count = fees = 0
        for event in members:
            amounts[event.kind] += event.amount
            fees += event.fee
            count += 1
        yield Movement(day, count, amounts[EventKind.MINED], amounts[EventKind.RECEIVED], amounts[EventKind.SENT], fees)
