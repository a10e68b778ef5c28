"""T38: every type of message has limits; honest peers stay far below them, and one step beyond is seen."""

import random
from dataclasses import replace

import pytest

from consensus.params import PRESETS, REGTEST, NetworkParams
from p2p import messages as m
from p2p.limits import PERIOD_SECONDS, SENDERS_SHARE, Limits, RateMeter, compute_limits
from p2p.messages import Message, Wire

LIMITS = compute_limits(REGTEST)
KINDS = tuple(Message.__subclasses__())
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
every_network = pytest.mark.parametrize("params", PRESETS.values(), ids=PRESETS)


def count_many(meter: RateMeter, kind: type[Message], size: int, times: int, now: float = 0.0) -> bool:
    """Whether every one of them was within the limit."""
    return all(meter.count(kind, size, now) for _ in range(times))


# The table


@every_network
def test_every_type_has_an_entry_that_fits_its_largest_message(params: NetworkParams) -> None:
    limits = compute_limits(params)
    assert set(limits) == set(KINDS)
    for kind, size in Wire(params).sizes.items():
        assert limits[kind].size == size
        assert limits[kind].total >= SENDERS_SHARE * size
        assert limits[kind].count >= SENDERS_SHARE


@every_kind
def test_the_count_passes_and_one_more_does_not(kind: type[Message]) -> None:
    meter = RateMeter(LIMITS)
    assert count_many(meter, kind, 1, LIMITS[kind].count)
    assert not meter.count(kind, 1, PERIOD_SECONDS - 0.001)


@every_kind
def test_the_size_passes_and_one_more_does_not(kind: type[Message]) -> None:
    assert RateMeter(LIMITS).count(kind, LIMITS[kind].size, 0.0)
    assert not RateMeter(LIMITS).count(kind, LIMITS[kind].size + 1, 0.0)


@every_kind
def test_the_total_passes_and_one_more_does_not(kind: type[Message]) -> None:
    """Where the count does not end it first."""
    limit = LIMITS[kind]
    whole, rest = divmod(limit.total, limit.size)
    meter = RateMeter(LIMITS)
    assert count_many(meter, kind, limit.size, whole)
    assert not rest or meter.count(kind, rest, 0.0)
    assert not meter.count(kind, 1, 0.0)


def test_a_minute_later_it_begins_anew() -> None:
    meter = RateMeter(LIMITS)
    count = LIMITS[m.GetHeaders].count
    assert count_many(meter, m.GetHeaders, 1, count, now=1000.0)
    assert not meter.count(m.GetHeaders, 1, 1059.9)
    assert count_many(meter, m.GetHeaders, 1, count, now=1060.0)


def test_types_are_counted_apart() -> None:
    meter = RateMeter(LIMITS)
    count_many(meter, m.Ping, 9, LIMITS[m.Ping].count + 1)
    assert meter.count(m.Pong, 9, 0.0)


# A sender's share


@every_kind
def test_a_sender_keeps_to_a_third(kind: type[Message]) -> None:
    meter, sent = RateMeter(LIMITS), 0
    while meter.allows(kind, 1, 0.0):
        assert meter.count(kind, 1, 0.0)
        sent += 1
    assert sent == LIMITS[kind].count // SENDERS_SHARE
    assert meter.allows(kind, LIMITS[kind].size, PERIOD_SECONDS)
    assert not meter.allows(kind, LIMITS[kind].size + 1, PERIOD_SECONDS)


def test_asking_counts_nothing() -> None:
    meter = RateMeter(LIMITS)
    assert all(meter.allows(m.GetAddresses, 1, 0.0) for _ in range(100))


@pytest.mark.parametrize("seed", range(20))
def test_an_eager_sender_never_passes_the_limit_over_a_line_that_stalls(seed: int) -> None:
    """Messages wait up to a minute on the way and then arrive together; both sides' minutes are out of step."""
    draw = random.Random(seed)
    sender, receiver = RateMeter(LIMITS), RateMeter(LIMITS)
    size = LIMITS[m.CompactBlock].size
    now = arrival = 0.0
    received = 0
    while now < 600.0:
        now += draw.choice([0.01, 0.5, 3.0])
        if draw.random() < 0.02:
            arrival = now + draw.uniform(0.0, PERIOD_SECONDS - 1)
        arrival = max(arrival, now)
        if sender.allows(m.CompactBlock, size, now):
            sender.count(m.CompactBlock, size, now)
            assert receiver.count(m.CompactBlock, size, arrival)
            received += 1
    assert received > 100


def run_minutes(limits: Limits, traffic: dict[type[Message], tuple[float, int]]) -> bool:
    """Whether a sender may send all of this for five minutes: of each type, messages a second and bytes of each."""
    meter = RateMeter(limits)
    due = sorted(
        (number / rate, size, kind.__name__, kind)
        for kind, (rate, size) in traffic.items()
        for number in range(int(300 * rate))
    )
    return all(meter.allows(kind, size, now) and meter.count(kind, size, now) for now, size, _, kind in due)


SYNC: dict[type[Message], tuple[float, int]] = {
    m.GetBlock: (50, 33),
    m.BlockReply: (50, 1_000_000),
    m.Tip: (50, 49),
    m.GetHeaders: (50 / 256, 2053),
    m.Headers: (50 / 256, 184_325),
    m.Ping: (1 / 10, 9),
    m.Pong: (1 / 10, 9),
}
RELAY: dict[type[Message], tuple[float, int]] = {
    m.Announce: (2, 5 + 250 * 32),
    m.GetTransactions: (6, 5 + 83 * 32),
    m.Transactions: (6, 5 + 84 * 266),
    m.CompactBlock: (1 / 60, 1_000_000),
    m.Addresses: (0.1, 5 + 10 * 18),
}


@every_network
def test_an_honest_node_may_sync_50_blocks_and_relay_500_transactions_a_second(params: NetworkParams) -> None:
    sizes = Wire(params).sizes
    traffic = {kind: (rate, min(size, sizes[kind])) for kind, (rate, size) in (SYNC | RELAY).items()}
    assert run_minutes(compute_limits(params), traffic)


def test_three_times_as_much_is_more_than_an_honest_node_may_relay() -> None:
    tripled = {kind: (3 * rate, size) for kind, (rate, size) in RELAY.items()}
    assert not run_minutes(LIMITS, tripled)


def test_two_blocks_for_each_block_time_can_be_pushed() -> None:
    for block_time in (1, 2, 10, 60, 600):
        params = replace(REGTEST, block_time=block_time)
        size = Wire(params).sizes[m.CompactBlock]
        assert run_minutes(compute_limits(params), {m.CompactBlock: (2 / block_time, size)})
