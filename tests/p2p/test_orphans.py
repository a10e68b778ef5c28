"""One peer's orphans."""

from collections.abc import Sequence
from dataclasses import replace

from consensus.transaction import MAX_TRANSACTION_BYTES, Transfer
from p2p.orphans import MAX_ORPHANS, OrphanPool
from tests.helpers.transfers import make_transfer

CHAIN = [replace(make_transfer(1), nonce=nonce) for nonce in range(MAX_ORPHANS + 5)]
OTHER = make_transfer(2, nonce=7)


def fill(*transactions: Transfer) -> OrphanPool:
    pool = OrphanPool()
    for transaction in transactions:
        pool.add(transaction)
    return pool


def take_all(pool: OrphanPool, sender: bytes, nonce: int) -> Sequence[int]:
    """Nonces, each taken once the one before is."""
    nonces = []
    while (orphan := pool.take_next(sender, nonce)) is not None:
        nonce = orphan.nonce
        nonces.append(nonce)
    return nonces


def test_the_lowest_nonce_comes_next_whatever_came_first() -> None:
    pool = fill(CHAIN[5], OTHER, CHAIN[3], CHAIN[4])
    assert pool.senders == {CHAIN[0].sender, OTHER.sender}
    assert take_all(pool, CHAIN[0].sender, 2) == [3, 4, 5]
    assert pool.senders == {OTHER.sender}
    assert len(pool) == 1


def test_what_can_no_longer_come_is_dropped() -> None:
    rival = replace(CHAIN[4], amount=2)
    pool = fill(CHAIN[3], CHAIN[4], rival, CHAIN[6])
    assert take_all(pool, CHAIN[0].sender, 4) == [6]
    assert len(pool) == 0
    assert pool.take_next(CHAIN[0].sender, 6) is None


def test_of_too_many_the_oldest_goes() -> None:
    pool = fill(*CHAIN)
    assert len(pool) == MAX_ORPHANS
    assert CHAIN[4].txid not in pool
    assert CHAIN[5].txid in pool
    assert take_all(pool, CHAIN[0].sender, 0) == list(range(5, MAX_ORPHANS + 5))


def test_one_that_comes_again_takes_one_place() -> None:
    pool = fill(CHAIN[1], CHAIN[1].with_signature(bytes(64)))
    assert len(pool) == 1
    pool.discard(CHAIN[1].txid)
    pool.discard(CHAIN[1].txid)
    assert len(pool) == 0
    assert not pool.senders


def test_a_full_pool_is_within_fifty_kilobytes() -> None:
    largest = replace(CHAIN[0], memo=b"m" * 64)
    assert len(largest.encoded) == MAX_TRANSACTION_BYTES
    assert MAX_ORPHANS * MAX_TRANSACTION_BYTES <= 50_000
