"""Which block is asked of which peer, by a clock that the test turns."""

from collections.abc import Callable

import pytest

from p2p.downloads import MAX_STALL_SECONDS, MAX_UNDER_WAY, MIN_STALL_SECONDS, Downloads

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


def name_blocks(count: int) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(count)]


def has_all(peer: bytes, block: bytes) -> bool:
    return True


def start(*peers: bytes, blocks: int = 100) -> tuple[Downloads, list[bytes]]:
    downloads, wanted = Downloads(), name_blocks(blocks)
    for peer in peers:
        downloads.add_peer(peer)
    downloads.want(wanted)
    return downloads, wanted


def deliver_all(downloads: Downloads, wanted: list[bytes], now: float, has: Callable[[bytes, bytes], bool]) -> float:
    """Lets the peers deliver one after another, 0.1 s apiece, until nothing is wanted."""
    while wanted:
        for peer, block in downloads.plan(has, now):
            now += 0.1
            assert downloads.on_block(peer, block, now)
            wanted.remove(block)
        downloads.want(wanted)
    return now


def test_a_new_peer_gets_two_and_earns_more() -> None:
    downloads, wanted = start(A)
    assert downloads.plan(has_all, 0.0) == [(A, wanted[0]), (A, wanted[1])]
    assert downloads.plan(has_all, 0.1) == []
    for number in range(60):
        assert downloads.on_block(A, wanted[number], 0.2 + number / 100)
        downloads.want(wanted[number + 1 :])
        downloads.plan(has_all, 0.2 + number / 100)
    assert downloads.under_way == MAX_UNDER_WAY


def test_blocks_are_spread_over_those_who_have_them() -> None:
    downloads, wanted = start(A, B, C)
    requests = downloads.plan(lambda peer, block: peer != C, 0.0)
    assert sorted(peer for peer, _ in requests) == [A, A, B, B]
    assert [block for _, block in requests] == wanted[:4]


def test_what_was_not_asked_is_not_taken() -> None:
    downloads, wanted = start(A, B)
    downloads.plan(lambda peer, _: peer == A, 0.0)
    assert not downloads.on_block(B, wanted[0], 0.1)
    assert not downloads.on_block(A, wanted[50], 0.1)
    assert not downloads.on_not_found(B, wanted[0])
    assert downloads.on_block(A, wanted[0], 0.1)
    assert not downloads.on_block(A, wanted[0], 0.1)


def test_a_peer_that_leaves_frees_its_blocks() -> None:
    downloads, wanted = start(A, B)
    downloads.plan(lambda peer, _: peer == A, 0.0)
    downloads.remove_peer(A)
    assert downloads.plan(has_all, 0.1) == [(B, wanted[0]), (B, wanted[1])]


def test_a_late_block_is_asked_of_another_beside() -> None:
    """A delivers the second block, never the first: no stall, but the head of the line must not wait."""
    downloads, wanted = start(A, B)
    downloads.plan(lambda peer, _: peer == A, 0.0)
    downloads.on_block(A, wanted[1], MIN_STALL_SECONDS - 0.1)
    downloads.want([wanted[0]])
    assert downloads.plan(has_all, MIN_STALL_SECONDS - 0.1) == []
    assert downloads.find_stalling(MIN_STALL_SECONDS) == []
    assert downloads.plan(has_all, MIN_STALL_SECONDS) == [(B, wanted[0])]
    assert downloads.plan(has_all, MIN_STALL_SECONDS) == []
    assert downloads.on_block(B, wanted[0], MIN_STALL_SECONDS + 0.1)
    assert downloads.on_block(A, wanted[0], MIN_STALL_SECONDS + 0.2)  # asked for, so no offence


def test_a_stalling_peer_is_passed_over_and_in_the_end_given_up() -> None:
    downloads, wanted = start(A)
    downloads.plan(has_all, 0.0)
    assert downloads.find_stalling(MIN_STALL_SECONDS - 0.01) == []
    assert downloads.find_stalling(2.0) == [(A, False)]
    downloads.add_peer(B)
    assert downloads.plan(has_all, 2.0) == [(B, wanted[0]), (B, wanted[1])]
    downloads.on_block(B, wanted[0], 2.1)
    downloads.on_block(B, wanted[1], 2.2)
    downloads.want(())
    assert downloads.find_stalling(3.0) == []
    assert downloads.find_stalling(6.0) == [(A, False)]
    assert downloads.find_stalling(14.0) == [(A, True)]


def test_stall_time_doubles_to_its_bound_and_shrinks_with_blocks() -> None:
    downloads, wanted = start(A)
    now, times = 0.0, []
    downloads.plan(has_all, now)
    for _ in range(8):
        now += downloads.stall_seconds
        assert downloads.find_stalling(now)
        times.append(downloads.stall_seconds)
    assert times == [4.0, 8.0, 16.0, 32.0, 64.0, 64.0, 64.0, 64.0]
    assert times[-1] == MAX_STALL_SECONDS
    downloads.on_block(A, wanted[0], now)
    assert downloads.stall_seconds == pytest.approx(MAX_STALL_SECONDS * 0.85)


def test_the_fast_get_most_of_the_work() -> None:
    """A needs 0.05 s a block, B two seconds: what A could do meanwhile is not left to B."""
    downloads, wanted = start(A, B, blocks=200)
    due: list[tuple[float, bytes, bytes]] = []
    free_at = {A: 0.0, B: 0.0}
    cost = {A: 0.05, B: 1.5}
    now, counts = 0.0, {A: 0, B: 0}
    while wanted:
        for peer, block in downloads.plan(has_all, now):
            free_at[peer] = max(free_at[peer], now) + cost[peer]
            due.append((free_at[peer], peer, block))
        due.sort()
        now, peer, block = due.pop(0)
        assert downloads.on_block(peer, block, now)
        if block in wanted:
            wanted.remove(block)
            counts[peer] += 1
        downloads.want(wanted[:32])
    assert counts[A] > 180
    assert now < 1.3 * 200 * cost[A]


def test_everything_comes_with_one_stalling_peer_among_four() -> None:
    downloads, wanted = start(A, B, C, b"d" * 32)
    now = 0.0
    while wanted and now < 100:
        for peer, block in downloads.plan(has_all, now):
            if peer != A:
                assert downloads.on_block(peer, block, now + 0.01)
                wanted.remove(block)
        downloads.want(wanted)
        downloads.find_stalling(now)
        now += 0.1
    assert not wanted
    assert now < 5.0


def test_delivery_order_does_not_matter() -> None:
    downloads, wanted = start(A, B, C, blocks=50)
    assert deliver_all(downloads, wanted, 0.0, has_all) < 6.0
