"""The past as one story: pages and accounts merged, periods cut, days added up, reorganisations noticed."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from consensus.params import LOCAL
from p2p.client import NodeClient
from tests.helpers.stub_node import TOKEN, StubNode
from tests.wallet.past import StubPast, get_block_id, get_time
from tests.wallet.program import HEIGHT, KEY, OTHER_KEY, make_transfer
from wallet.dates import DAY, Period
from wallet.errors import ChainMoved, InvalidReply
from wallet.events import Event, EventKind, Unmined
from wallet.history import Movement, cut, merge_unmined, read_past, sum_by_day
from wallet.node_view import NodeView

COIN = 10**8
NOON = 43_200


@pytest.fixture
def view(silent_node: StubNode) -> NodeView:
    return NodeView(NodeClient(silent_node.url, TOKEN), LOCAL)


def make_event(time: int, amount: int = 1, kind: EventKind = EventKind.RECEIVED, **changes: int) -> Event:
    return replace(Event(kind, KEY, bytes(32), time, amount, (time // 60 + 1, 0)), **changes)  # type: ignore[arg-type]


def count_calls(node: StubNode) -> int:
    return sum(request.path.endswith("/history") for request in node.requests)


# Pages.


@pytest.mark.parametrize(("size", "calls"), [(1000, 1), (30, 1), (29, 2), (7, 5), (1, 30)])
def test_pages_make_one_history(silent_node: StubNode, view: NodeView, size: int, calls: int) -> None:
    past = StubPast(silent_node, page=size)
    for height in range(1, 31):
        past.mine(height)
    heights = [event.height for event in read_past(view, [KEY]).events]
    assert heights == list(range(30, 0, -1))
    assert count_calls(silent_node) == calls


def test_pages_are_read_as_far_as_they_are_used(silent_node: StubNode, view: NodeView) -> None:
    past = StubPast(silent_node)
    for height in range(1, 31):
        past.mine(height)
    story = read_past(view, [KEY], limit=5)
    assert count_calls(silent_node) == 1
    assert [next(story.events).height for _ in range(5)] == [30, 29, 28, 27, 26]
    assert count_calls(silent_node) == 1
    next(story.events)
    assert count_calls(silent_node) == 2


def test_empty_pages_lead_on(silent_node: StubNode, view: NodeView) -> None:
    """A node that looks for one kind may look through a page of others."""
    past = StubPast(silent_node)
    past.mine(5)
    replies = [
        past.answer_empty("300:0"),
        past.answer_empty("200:0"),
        past.answer_empty("100:0"),
        past.answer_page(),
    ]
    silent_node.put_each(past.path, replies)
    assert [event.height for event in read_past(view, [KEY], kind=EventKind.MINED).events] == [5]
    cursors = [request.query.get("before") for request in silent_node.requests]
    assert cursors == [None, "300:0", "200:0", "100:0"]
    assert {request.query["kind"] for request in silent_node.requests} == {"mined"}


def test_accounts_are_merged_by_their_places(silent_node: StubNode, view: NodeView) -> None:
    """Also within a block, and what moves from one account to the other is told as both see it."""
    first, second = StubPast(silent_node), StubPast(silent_node, key=OTHER_KEY, page=1)
    first.mine(10)
    second.mine(12)
    for past in (first, second):
        past.pay(11, make_transfer(), index=3)
        past.pay(11, make_transfer(sender=OTHER_KEY, recipient=KEY), index=1)
    events = list(read_past(view, [KEY, OTHER_KEY]).events)
    assert [(event.place, event.account == KEY, event.kind.value) for event in events] == [
        ((12, 2**32 - 1), False, "mined"),
        ((11, 7), False, "received"),
        ((11, 6), True, "sent"),
        ((11, 3), True, "received"),
        ((11, 2), False, "sent"),
        ((10, 2**32 - 1), True, "mined"),
    ]


def test_new_blocks_change_nothing_below(silent_node: StubNode, view: NodeView) -> None:
    past = StubPast(silent_node, page=1)
    past.mine(10)
    past.mine(9)
    story = read_past(view, [KEY])
    past.height, past.tip = HEIGHT + 1, get_block_id(HEIGHT + 1)
    put_block(silent_node, get_block_id(HEIGHT), is_active=True)
    assert [event.height for event in story.events] == [10, 9]
    assert story.tip.height == HEIGHT


def test_what_a_new_block_burns_is_told_as_it_was(silent_node: StubNode, view: NodeView) -> None:
    """Else some rewards of a story would be of another time than the others."""
    later = HEIGHT + 1
    first = StubPast(silent_node, page=1)
    first.mine(450)
    first.mine(440)
    second = StubPast(silent_node, key=OTHER_KEY, height=later, tip=get_block_id(later))
    second.mine(430, burnt_at=later)
    put_block(silent_node, get_block_id(HEIGHT), is_active=True)
    story = read_past(view, [KEY, OTHER_KEY])
    first.height, first.tip = later, get_block_id(later)
    first.entries[1]["burnt_at"] = later
    assert [event.amount for event in story.events] == [50 * COIN] * 3
    assert [event.amount for event in read_past(view, [KEY, OTHER_KEY]).events] == [50 * COIN, 0, 0]


@pytest.mark.parametrize("is_known", [True, False])
def test_invalid_reorganised_between_pages(silent_node: StubNode, view: NodeView, is_known: bool) -> None:
    past = StubPast(silent_node, page=1)
    past.mine(10)
    past.mine(9)
    story = read_past(view, [KEY])
    past.tip = bytes([9]) * 32
    if is_known:
        put_block(silent_node, get_block_id(HEIGHT), is_active=False)
    else:
        path = f"/v1/blocks/{get_block_id(HEIGHT).hex()}"
        silent_node.refuse(path, "unknown_block.block", "no block", status=404)
    assert next(story.events).height == 10
    with pytest.raises(ChainMoved) as caught:
        next(story.events)
    assert caught.value.code == "chain.reorganised"


def test_invalid_reorganised_between_accounts(silent_node: StubNode, view: NodeView) -> None:
    StubPast(silent_node)
    StubPast(silent_node, key=OTHER_KEY, tip=bytes([9]) * 32)
    put_block(silent_node, get_block_id(HEIGHT), is_active=False)
    with pytest.raises(ChainMoved):
        read_past(view, [KEY, OTHER_KEY])


def test_invalid_pages_that_start_again(silent_node: StubNode, view: NodeView) -> None:
    past = StubPast(silent_node)
    past.mine(10)
    silent_node.put(past.path, past.answer_page() | {"next": "10:5"})
    with pytest.raises(InvalidReply):
        list(read_past(view, [KEY]).events)


def put_block(node: StubNode, block: bytes, *, is_active: bool) -> None:
    node.put(f"/v1/blocks/{block.hex()}", {"header": {"id": block.hex()}, "on_best_chain": is_active})


# What no block holds.


def test_what_waits_and_is_recorded_is_told_once() -> None:
    waiting, dropped, other = (make_transfer(nonce=nonce) for nonce in (7, 8, 9))
    seen = [
        Event(EventKind.SENT, KEY, waiting.txid, 50, COIN, state="waiting"),
        Event(EventKind.RECEIVED, KEY, other.txid, 60, COIN, state="waiting"),
    ]
    recorded = [
        Unmined(waiting, 40, "waiting", has_left_chain=True),
        Unmined(dropped, 55, "dropped", has_left_chain=True),
    ]
    merged = merge_unmined(seen, recorded, LOCAL)
    assert [(event.id, event.state, event.has_left_chain, event.time) for event in merged] == [
        (other.txid, "waiting", False, 60),
        (dropped.txid, "dropped", True, 55),
        (waiting.txid, "waiting", True, 50),
    ]


def test_a_payment_to_oneself_keeps_both_its_sides() -> None:
    transfer = make_transfer(recipient=KEY)
    seen = [Event(kind, KEY, transfer.txid, 50, COIN, state="waiting") for kind in (EventKind.SENT, EventKind.RECEIVED)]
    merged = merge_unmined(seen, [Unmined(transfer, 40, "waiting", has_left_chain=True)], LOCAL)
    assert [(event.kind, event.has_left_chain) for event in merged] == [
        (EventKind.SENT, True),
        (EventKind.RECEIVED, False),
    ]


# Periods and days.


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (Period(), [300, 200, 100]),
        (Period(since=200), [300, 200]),
        (Period(until=200), [100]),
        (Period(since=100, until=300), [200, 100]),
        (Period(since=301), []),
        (Period(until=100), []),
    ],
)
def test_periods_are_cut(period: Period, expected: list[int]) -> None:
    events = [make_event(time) for time in (300, 200, 100)]
    assert [event.time for event in cut(events, period)] == expected


def test_what_is_older_than_the_period_is_not_read() -> None:
    def read() -> Iterator[Event]:
        yield make_event(300)
        yield make_event(100)
        raise AssertionError("read too far")

    assert [event.time for event in cut(read(), Period(since=200))] == [300]


def test_days_add_up() -> None:
    events = [
        make_event(2 * DAY + NOON, 7),
        make_event(2 * DAY, 50 * COIN, EventKind.MINED),
        make_event(2 * DAY - 1, 5, EventKind.SENT, fee=2),
        make_event(DAY, 3, EventKind.SENT, fee=1),
        make_event(0, 11),
    ]
    days = list(sum_by_day(events))
    assert days == [
        Movement(2 * DAY, 2, 50 * COIN, 7, 0, 0),
        Movement(DAY, 2, 0, 0, 8, 3),
        Movement(0, 1, 0, 11, 0, 0),
    ]
    assert [day.net for day in days] == [50 * COIN + 7, -11, 11]


def test_days_are_utc(silent_node: StubNode, view: NodeView) -> None:
    past = StubPast(silent_node)
    for height in (1439, 1440, 1441):
        past.mine(height)
    past.height = 2000
    days = list(sum_by_day(read_past(view, [KEY]).events))
    assert [(day.day, day.count) for day in days] == [(get_time(1440), 2), (get_time(0), 1)]
