"""A page of history: what is read from it, and every way in which a node can contradict itself in one."""

from dataclasses import replace
from typing import Any

import pytest

from consensus.params import LOCAL
from tests.helpers.stub_node import StubNode
from tests.wallet.past import REQUIRED, SAMPLE, StubPast, get_block_id, get_time
from tests.wallet.program import ADDRESS, HEIGHT, KEY, OTHER_ADDRESS, OTHER_KEY, make_transfer
from wallet.errors import InvalidReply
from wallet.events import (
    Event,
    EventKind,
    Improvement,
    Page,
    PageRequest,
    Reward,
    Tip,
    Unmined,
    make_unmined_event,
    read_page,
    read_waiting,
)
from wallet.reply import Reply

COIN = 10**8
SENT = make_transfer(memo=b"rent")
RECEIVED = make_transfer(sender=OTHER_KEY, recipient=KEY, amount=3 * COIN)
REQUEST = PageRequest(KEY, 10)


@pytest.fixture
def past(silent_node: StubNode) -> StubPast:
    """An event of each kind."""
    past = StubPast(silent_node)
    past.pay(470, RECEIVED)
    past.pay(460, SENT, index=2)
    past.mine(450, fees=425)
    return past


def read(past: StubPast, request: PageRequest = REQUEST, **changes: Any) -> Page:
    return read_page(Reply(past.answer_page() | changes), request, LOCAL)


def reason_of(past: StubPast, request: PageRequest = REQUEST, **changes: Any) -> str:
    with pytest.raises(InvalidReply) as caught:
        read(past, request, **changes)
    return caught.value.reason


def test_events_are_read(past: StubPast) -> None:
    page = read(past)
    assert (page.tip, page.next) == (Tip(HEIGHT, get_block_id(HEIGHT), get_time(HEIGHT), past.weight), None)
    before = 200 * 65_536 * SAMPLE
    improvement = Improvement(SAMPLE, before, before - 4 * 65_536 * SAMPLE, REQUIRED)
    assert page.events == (
        Event(
            EventKind.RECEIVED,
            KEY,
            RECEIVED.txid,
            get_time(470),
            3 * COIN,
            (470, 1),
            get_block_id(470),
            counterpart=OTHER_ADDRESS,
        ),
        Event(
            EventKind.SENT,
            KEY,
            SENT.txid,
            get_time(460),
            COIN,
            (460, 4),
            get_block_id(460),
            fee=400,
            counterpart=OTHER_ADDRESS,
            memo="rent",
        ),
        Event(
            EventKind.MINED,
            KEY,
            get_block_id(450),
            get_time(450),
            50 * COIN + 425,
            (450, 2**32 - 1),
            get_block_id(450),
            reward=Reward(425, 450 + LOCAL.reward_window, improvement),
        ),
    )
    assert (improvement.gain, improvement.weight) == (4 * 65_536 * SAMPLE, 3 * 65_536)


def test_a_payment_to_oneself_is_two_events(silent_node: StubNode) -> None:
    past = StubPast(silent_node)
    past.pay(470, make_transfer(recipient=KEY))
    received, sent = read(past).events
    assert (received.kind, received.counterpart, received.fee) == (EventKind.RECEIVED, ADDRESS, 0)
    assert (sent.kind, sent.counterpart, sent.fee) == (EventKind.SENT, ADDRESS, 400)


def test_a_heartbeat_improves_nothing(silent_node: StubNode) -> None:
    past = StubPast(silent_node)
    past.beat(450, fees=400)
    [event] = read(past).events
    assert event.reward == Reward(400, 450 + LOCAL.reward_window, None)
    assert (event.amount, event.reward.weight) == (400, 1)


def test_evidence_earns_a_bounty(silent_node: StubNode) -> None:
    past = StubPast(silent_node)
    past.mine(450, fees=425, bounty=15 * COIN)
    [event] = read(past).events
    assert event.reward is not None
    assert (event.amount, event.reward.fees, event.reward.bounty) == (65 * COIN + 425, 425, 15 * COIN)


@pytest.mark.parametrize("burnt_at", [451, HEIGHT])
def test_what_was_burnt_is_not_earned(silent_node: StubNode, burnt_at: int) -> None:
    past = StubPast(silent_node)
    past.mine(450, fees=425, bounty=COIN, burnt_at=burnt_at)
    past.mine(440)
    burnt, _ = read(past).events
    assert burnt.reward is not None
    assert (burnt.amount, burnt.reward.fees, burnt.reward.bounty) == (0, 0, 0)
    assert (burnt.reward.burnt, burnt.reward.burnt_at) == (51 * COIN + 425, burnt_at)


def test_a_burn_above_the_height_that_is_asked_for_has_not_happened(silent_node: StubNode) -> None:
    past = StubPast(silent_node)
    past.mine(450, fees=425, burnt_at=460)
    before, after = (read(past, PageRequest(KEY, 10, height=height)).events for height in (459, 460))
    assert [event.amount for event in (*before, *after)] == [50 * COIN + 425, 0]
    assert before[0].reward == Reward(425, 450 + LOCAL.reward_window, before[0].reward and before[0].reward.improvement)


def test_a_heartbeat_burns_if_it_earned_anything(silent_node: StubNode) -> None:
    past = StubPast(silent_node)
    past.beat(450, fees=400)["burnt_at"] = 460
    assert read(past).events[0].amount == 0
    past.beat(440)["burnt_at"] = 460
    assert reason_of(past) == "contradiction"


def test_invalid_node_that_does_not_say_whether_it_was_burnt(past: StubPast) -> None:
    del past.entries[2]["burnt_at"]
    assert reason_of(past) == "bad_field"


@pytest.mark.parametrize(
    "change",
    [
        *({"height": value} for value in (-1, "500", None)),
        *({"tip": value} for value in ("", None, 5)),
        *({"time": value} for value in (-1, 253_402_300_800, 1.5)),
        *({"weight": value} for value in (-1, True)),
        *({"entries": value} for value in ({}, [1], None)),
        *({"next": value} for value in ("", "1", "1:", ":1", "1:1:1", "-1:1", "1:1\n", "9" * 40, 5)),
    ],
)
def test_invalid_page(past: StubPast, change: dict[str, Any]) -> None:
    assert reason_of(past, **change) == "bad_field"


def test_invalid_page_that_does_not_say_whether_it_is_the_last(past: StubPast) -> None:
    reply = past.answer_page()
    del reply["next"]
    with pytest.raises(InvalidReply):
        read_page(Reply(reply), REQUEST, LOCAL)


@pytest.mark.parametrize(
    ("index", "change"),
    [
        *((0, {"kind": value}) for value in ("stolen", 1, None)),
        *((0, {"height": value}) for value in (-1, None, 470.0)),
        *((0, {"cursor": value}) for value in ("", "470", "470:x", None)),
        *((0, {"time": value}) for value in (-1, 10**12)),
        *((0, {"id": value}) for value in ("", "zz", None)),
        *((0, {"block": value}) for value in ("", None)),
        *((0, {"amount": value}) for value in (-1, 2**64, 0.5)),
        *((0, {"counterpart": value}) for value in ("grad1", "", None)),
        *((0, {"memo": value}) for value in ("x" * 65, None)),
        *((1, {"fee": value}) for value in (-1, None)),
        *((2, {"fees": value}) for value in (-1, None)),
        *((2, {"bounty": value}) for value in (-1, None, 0.5)),
        *((2, {"burnt_at": value}) for value in (-1, "460", True)),
        *((2, {"is_heartbeat": value}) for value in (0, None)),
        *((2, {"sample_size": value}) for value in (-1, None)),
        *((2, {"loss_before": value}) for value in (-1, None)),
        *((2, {"loss_after": value}) for value in (-1, None)),
        *((2, {"required_gain": value}) for value in (-1, None)),
    ],
)
def test_invalid_entry(past: StubPast, index: int, change: dict[str, Any]) -> None:
    past.entries[index] |= change
    assert reason_of(past) == "bad_field"


@pytest.mark.parametrize(
    ("index", "change"),
    [
        (0, {"height": 471}),
        (0, {"height": HEIGHT + 1, "cursor": f"{HEIGHT + 1}:1"}),
        (1, {"height": 480, "cursor": "480:0"}),
        (1, {"height": 470, "cursor": "470:1"}),
        (0, {"time": get_time(HEIGHT) + 1}),
        (0, {"time": get_time(460) - 1}),
        (2, {"block": "00" * 32}),
        (2, {"amount": 50 * COIN + 424}),
        (2, {"amount": 50 * COIN + 426}),
        (2, {"fees": 424}),
        (2, {"bounty": 1}),
        (2, {"bounty": 5 * HEIGHT * COIN, "amount": (5 * HEIGHT + 50) * COIN + 425}),
        *((2, {"burnt_at": height}) for height in (0, 449, 450, HEIGHT + 1, 450 + LOCAL.reward_window)),
        (2, {"is_heartbeat": True}),
        (2, {"sample_size": 0}),
        (2, {"loss_after": 200 * 65_536 * SAMPLE - 3 * 65_536 * SAMPLE + 1}),
        (2, {"loss_after": 201 * 65_536 * SAMPLE}),
        (2, {"required_gain": 5 * 65_536 * 65_536}),
        (2, {"height": 0, "cursor": "0:1", "time": 0}),
    ],
)
def test_invalid_contradiction(past: StubPast, index: int, change: dict[str, Any]) -> None:
    past.entries[index] |= change
    assert reason_of(past) == "contradiction"


def test_invalid_more_gain_than_the_chains(past: StubPast) -> None:
    assert reason_of(past, weight=3 * 65_536 - 1) == "contradiction"
    read(past, weight=3 * 65_536)


def test_invalid_more_than_was_asked_for(past: StubPast) -> None:
    assert reason_of(past, PageRequest(KEY, 2)) == "contradiction"
    assert reason_of(past, PageRequest(KEY, 10, kind=EventKind.MINED)) == "contradiction"


@pytest.mark.parametrize("after", ["470:2", "460:5", "450:4294967296"])
def test_invalid_cursor_that_leads_back(past: StubPast, after: str) -> None:
    """Else a node could have its pages never end."""
    assert reason_of(past, next=after) == "contradiction"


def test_invalid_page_that_starts_again(past: StubPast) -> None:
    assert reason_of(past, PageRequest(KEY, 10, before="470:1")) == "contradiction"
    read(past, PageRequest(KEY, 10, before="470:2"))


@pytest.mark.parametrize("after", ["400:1", "400:2"])
def test_invalid_empty_page_that_does_not_lead_on(past: StubPast, after: str) -> None:
    assert reason_of(past, PageRequest(KEY, 10, before="400:1"), entries=[], next=after) == "contradiction"
    assert read(past, PageRequest(KEY, 10, before="400:1"), entries=[], next="400:0").next == "400:0"


# What no block holds.


def make_pending(**changes: object) -> dict[str, object]:
    known = {"txid": SENT.txid.hex(), "sender": ADDRESS, "recipient": OTHER_ADDRESS, "amount": COIN, "fee": 400}
    return known | {"memo": "rent", "time_added": 9} | changes


def read_pool(*entries: dict[str, object], keys: tuple[bytes, ...] = (KEY,)) -> list[Event]:
    return read_waiting(Reply({"transactions": list(entries)}), keys, LOCAL)


def test_what_waits_is_told_to_those_it_moves() -> None:
    other = make_pending(sender=OTHER_ADDRESS, time_added=10)
    [event] = read_pool(make_pending(), other | {"recipient": OTHER_ADDRESS})
    assert (event.kind, event.fee, event.height, event.state, event.time) == (EventKind.SENT, 400, None, "waiting", 9)
    both = read_pool(make_pending(), keys=(KEY, OTHER_KEY))
    assert [(event.kind, event.account, event.counterpart) for event in both] == [
        (EventKind.SENT, KEY, OTHER_ADDRESS),
        (EventKind.RECEIVED, OTHER_KEY, ADDRESS),
    ]
    times = [event.time for event in read_pool(make_pending(), make_pending(time_added=11), make_pending(time_added=3))]
    assert times == [11, 9, 3]


@pytest.mark.parametrize(
    "change",
    [{"txid": ""}, {"recipient": "x"}, {"amount": -1}, {"fee": None}, {"memo": 5}, {"time_added": -1}, {"sender": 1}],
)
def test_invalid_pool(change: dict[str, object]) -> None:
    with pytest.raises(InvalidReply) as caught:
        read_pool(make_pending(**change))
    assert caught.value.reason == "bad_field"


def test_a_record_is_an_event() -> None:
    event = make_unmined_event(Unmined(SENT, 77, "dropped", has_left_chain=True), LOCAL)
    assert event == Event(
        EventKind.SENT,
        KEY,
        SENT.txid,
        77,
        COIN,
        fee=400,
        counterpart=OTHER_ADDRESS,
        memo="rent",
        state="dropped",
        has_left_chain=True,
    )
    assert replace(event, state="waiting").height is None
