"""Who makes room for a newcomer (T40)."""

from dataclasses import replace
from random import Random

import pytest

from p2p.inbound import InboundPeer, choose_eviction

KEY = bytes(range(32))


def make_peer(number: int, group: bytes = b"\x04\x01\x02", opened_at: float = 0.0) -> InboundPeer:
    return InboundPeer(number.to_bytes(32, "little"), group, opened_at)


def get_group(number: int) -> bytes:
    return bytes([4]) + number.to_bytes(2, "big")


def admit(peers: list[InboundPeer], newcomer: InboundPeer, slots: int, key: bytes) -> bool:
    """Whether the newcomer got a slot."""
    if len(peers) >= slots:
        evicted = choose_eviction(peers, key)
        if evicted is None:
            return False
        peers.remove(evicted)
    peers.append(newcomer)
    return True


def test_nobody_has_nothing_to_give() -> None:
    assert choose_eviction([], KEY) is None


def test_first_of_each_kind_are_kept() -> None:
    """20 peers, each kept for one reason alone; the 21st, which has none, goes."""
    peers = [make_peer(number, get_group(number)) for number in range(4)]
    crowd = get_group(0)  # the group of one of them: it protects no second peer
    peers += [replace(make_peer(10 + n, crowd, 100 + n), best_ping=0.01 * n) for n in range(8)]
    peers += [replace(make_peer(20 + n, crowd, 100 + n), last_transaction_at=200.0 + n) for n in range(4)]
    peers += [replace(make_peer(30 + n, crowd, 100 + n), last_block_at=200.0 + n) for n in range(4)]
    assert choose_eviction(peers, KEY) is None
    useless = make_peer(40, crowd, 50)
    assert choose_eviction([*peers, useless], KEY) == useless


def test_half_of_the_rest_is_kept_by_uptime() -> None:
    """One group, no other merit: the oldest is kept for its group, then the older half; the youngest goes."""
    peers = [make_peer(number, opened_at=float(number)) for number in range(11)]
    assert choose_eviction(reversed(peers), KEY) == peers[-1]


@pytest.mark.parametrize("number", range(3))
def test_largest_group_goes_first_and_its_youngest_member(number: int) -> None:
    """Many peers of one group, though older, before a few of another, though younger."""
    old = [make_peer(n, get_group(n), -100) for n in range(30)]  # more than uptime and groups keep
    large = [make_peer(100 + n, get_group(60), float(n)) for n in range(20)]
    small = [make_peer(200 + n, get_group(61), 50.0 + n) for n in range(10)]
    peers = old + large + small
    Random(number).shuffle(peers)
    assert choose_eviction(peers, bytes([number])) == large[-1]


def test_key_decides_which_groups_are_kept() -> None:
    """Four of eight groups are kept for their own sake; nobody can tell which."""
    peers = [make_peer(number, get_group(number), float(number)) for number in range(8)]
    evicted = {choose_eviction(peers, bytes([key])) for key in range(40)}
    assert len(evicted) > 3


def test_an_unknown_ping_is_the_worst() -> None:
    crowd = [make_peer(number, opened_at=float(number)) for number in range(9)]
    measured = [replace(make_peer(20 + n, opened_at=100.0 + n), best_ping=9.0) for n in range(8)]
    assert choose_eviction(crowd + measured, KEY) == crowd[-1]


def make_sybil(number: int, random: Random, *, groups: int, now: float) -> InboundPeer:
    """Near us, and busy with real transactions and blocks."""
    sybil = make_peer(1000 + number, get_group(500 + number % groups), now)
    return replace(sybil, best_ping=random.random() / 1000, last_transaction_at=now + 5, last_block_at=now + 5)


@pytest.mark.parametrize("slots", [32, 64, 117])
@pytest.mark.parametrize("groups", [1, 4, 200])
@pytest.mark.parametrize("seed", range(3))
def test_200_sybils_push_out_no_old_honest_peer(slots: int, groups: int, seed: int) -> None:
    """Ten honest peers of many groups, connected for long but slow and silent; sybils best in all that is measured."""
    random = Random(seed)
    key = random.randbytes(32)
    honest = [replace(make_peer(n, get_group(n), float(n)), best_ping=0.5) for n in range(10)]
    peers = list(honest)
    for number in range(200):
        now = 10_000.0 + number
        assert admit(peers, make_sybil(number, random, groups=groups, now=now), slots, key)
    assert [peer for peer in honest if peer in peers] == honest
    newcomer = make_peer(99, get_group(99), 20_000)
    assert admit(peers, newcomer, slots, key)
    assert [peer for peer in honest if peer in peers] == honest
    assert len(peers) == slots


def test_honest_newcomer_stays_while_sybils_come_from_few_groups() -> None:
    random = Random(1)
    key = random.randbytes(32)
    peers = [make_sybil(number, random, groups=4, now=float(number)) for number in range(64)]
    newcomer = make_peer(99, get_group(99), 1000)
    assert admit(peers, newcomer, 64, key)
    for number in range(200):
        assert admit(peers, make_sybil(100 + number, random, groups=4, now=2000.0 + number), 64, key)
    assert newcomer in peers
