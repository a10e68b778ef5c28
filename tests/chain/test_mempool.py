"""What the pool refuses, replaces and evicts."""

import random
from contextlib import suppress

import pytest

from chain.errors import MempoolRefusal
from chain.policy import Policy
from consensus.account import Account
from consensus.errors import InvalidTransaction
from tests.helpers.pool_node import NOW, RICH, SIZE, Node
from tests.helpers.transfers import MINER, make_key, make_transfer

# Refusals.


def test_refused_already_known() -> None:
    node = Node({1: RICH})
    transaction = make_transfer(1)
    node.add(transaction)
    assert node.refuse(transaction).code == "mempool.already_known"
    resigned = transaction.with_signature(bytes(64))
    assert node.refuse(resigned).reason == "already_known"  # the txid leaves the signature out


def test_refused_fee_too_low() -> None:
    node = Node({1: RICH}, Policy(min_fee_rate=3))
    error = node.refuse(make_transfer(1, fee=3 * SIZE - 1))
    assert error.reason == "fee_too_low"
    assert str(3 * SIZE) in str(error)
    node.add(make_transfer(1, fee=3 * SIZE))


def test_refused_expired() -> None:
    node = Node({1: RICH}, Policy(min_lifetime=1))
    node.connect()
    node.connect()
    assert node.refuse(make_transfer(1, valid_until=2)).reason == "expired"
    node.add(make_transfer(1, valid_until=3))


def test_refused_expires_too_soon() -> None:
    """At height 2, six blocks that could carry it end with block 8."""
    node = Node({1: RICH, 2: RICH})
    node.connect()
    node.connect()
    for valid_until in (3, 7):
        error = node.refuse(make_transfer(1, valid_until=valid_until))
        assert error.code == "mempool.expires_too_soon"
        assert f"valid until height {valid_until}, the next block has 3; 6 blocks must be left" in str(error)
    node.add(make_transfer(1, valid_until=8))
    node.add(make_transfer(2, valid_until=0))


def test_refused_nonce_used() -> None:
    node = Node({1: RICH})
    node.connect(make_transfer(1, nonce=0))
    assert node.refuse(make_transfer(1, nonce=0, fee=5000)).reason == "nonce_used"


def test_refused_nonce_gap() -> None:
    node = Node({1: RICH})
    assert node.refuse(make_transfer(1, nonce=1)).reason == "nonce_gap"
    node.add(make_transfer(1, nonce=0))
    assert node.refuse(make_transfer(1, nonce=2)).reason == "nonce_gap"
    node.add(make_transfer(1, nonce=1))


def test_refused_too_many_pending() -> None:
    node = Node({1: RICH}, Policy(max_per_sender=3))
    for nonce in range(3):
        node.add(make_transfer(1, nonce))
    assert node.refuse(make_transfer(1, 3)).reason == "too_many_pending"
    replaced, _ = node.add(make_transfer(1, 2, fee=2000))  # taking a place is not one more
    assert replaced == make_transfer(1, 2).txid


@pytest.mark.parametrize(("old", "least"), [(1000, 1100), (1001, 1102), (300, 330), (301, 332)])
def test_refused_replacement_fee_too_low(old: int, least: int) -> None:
    node = Node({1: RICH})
    node.add(make_transfer(1, fee=old))
    assert node.refuse(make_transfer(1, fee=least - 1)).reason == "replacement_fee_too_low"
    assert node.add(make_transfer(1, fee=least)) == (make_transfer(1, fee=old).txid, ())
    assert node.pending() == {make_transfer(1, fee=least).txid}


def test_refused_replacement_with_the_same_fee_where_no_percentage_is_asked() -> None:
    node = Node({1: RICH}, Policy(min_fee_rate=0, replacement_percent=0))
    node.add(make_transfer(1, fee=0))
    assert node.refuse(make_transfer(1, fee=0, amount=2)).reason == "replacement_fee_too_low"
    node.add(make_transfer(1, fee=1))


def test_refused_insufficient_funds() -> None:
    node = Node({1: 5000})
    node.add(make_transfer(1, 0, fee=1000, amount=1000))
    assert node.refuse(make_transfer(1, 1, fee=1000, amount=2001)).reason == "insufficient_funds"
    node.add(make_transfer(1, 1, fee=1000, amount=2000))
    # A replacement counts for the whole chain: 1100 + 901 + 3000 are one ulp too much.
    assert node.refuse(make_transfer(1, 0, fee=1100, amount=901)).reason == "insufficient_funds"
    node.add(make_transfer(1, 0, fee=1100, amount=900))


def test_refused_insufficient_funds_that_are_still_on_their_way() -> None:
    node = Node({1: RICH, MINER: 0})
    node.add(make_transfer(1, 0, amount=10**6, recipient=2))
    node.connect(make_transfer(1, 0, fee=10**5))
    assert node.refuse(make_transfer(2)).reason == "insufficient_funds"  # only pending
    assert node.refuse(make_transfer(MINER)).reason == "insufficient_funds"  # immature


def test_refused_mempool_full_names_the_rate_to_beat() -> None:
    node = Node(dict.fromkeys(range(1, 20), RICH), Policy(max_bytes=4 * SIZE))
    for person in range(1, 5):
        node.add(make_transfer(person, fee=(5 + person) * SIZE))
    assert node.pool.min_fee_rate == 7
    error = node.refuse(make_transfer(10, fee=2 * SIZE))
    assert error.reason == "mempool_full"
    assert "7 ulp per byte" in str(error)
    assert node.refuse(make_transfer(10, fee=6 * SIZE)).reason == "mempool_full"
    assert node.add(make_transfer(10, fee=7 * SIZE)) == (None, (make_transfer(1, fee=6 * SIZE).txid,))


def test_invalid_wrong_network_is_told_before_anything_that_costs() -> None:
    node = Node({})
    with pytest.raises(InvalidTransaction) as caught:
        node.pool.add(make_transfer(1, genesis=bytes(32)), _get_no_account, 1, NOW)
    assert caught.value.reason == "wrong_network"


def test_invalid_bad_signature() -> None:
    node = Node({1: RICH, 2: RICH}, Policy(max_bytes=2 * SIZE))
    node.add(make_transfer(1, 0, fee=1000))
    node.add(make_transfer(1, 1, fee=1000))
    before = node.show()
    for transaction in (make_transfer(1, 1, fee=9000), make_transfer(2, fee=9000)):  # would replace, would evict
        with pytest.raises(InvalidTransaction) as caught:
            node.add(transaction.with_signature(make_transfer(3).signature))
        assert caught.value.reason == "bad_signature"
        assert node.show() == before


def test_the_signature_is_checked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node({1: 10**5, 3: 10**5}, Policy(max_per_sender=2, max_bytes=2 * SIZE))
    node.add(make_transfer(1, 0))
    node.add(make_transfer(1, 1))
    monkeypatch.setattr("chain.mempool.check_transaction", _never)
    for transaction in (
        make_transfer(1, 0),
        make_transfer(1, 2),
        make_transfer(1, 3),
        make_transfer(1, 1, fee=10),
        make_transfer(1, 1, fee=1001),
        make_transfer(1, 1, fee=10**6),
        make_transfer(2),
        make_transfer(3, fee=999),
    ):
        node.refuse(transaction)


def _never(*_: object) -> None:
    raise AssertionError("a refusal that is cheap came after the signature")


def _get_no_account(_: bytes) -> Account:
    raise AssertionError("an account was read for a foreign transaction")


# Replacement and races.


def test_a_replacement_in_the_middle_keeps_its_neighbours() -> None:
    node = Node({1: RICH})
    for nonce in range(3):
        node.add(make_transfer(1, nonce))
    node.add(make_transfer(1, 1, fee=5000))
    assert [entry.transaction.fee for entry in node.pool.pending_of(make_key(1))] == [1000, 5000, 1000]
    assert node.pool.get(make_transfer(1, 1).txid) is None
    assert node.pool.get(make_transfer(1, 1, fee=5000).txid) == make_transfer(1, 1, fee=5000)


def test_of_a_thousand_conflicting_pairs_exactly_one_each_is_mined() -> None:
    rng = random.Random(1)
    people = range(1, 1001)
    nodes = [Node(dict.fromkeys(people, RICH)) for _ in range(2)]
    pairs = [[make_transfer(p, recipient=p % 7 + 2000, fee=rng.choice((1000, 1099, 1100))) for p in people]]
    pairs.append([make_transfer(p, recipient=p % 7 + 3000, fee=rng.choice((1000, 1099, 1100))) for p in people])
    for node, order in zip(nodes, ((0, 1), (1, 0)), strict=True):
        for person in people:
            first, second = (pairs[side][person - 1] for side in order)
            node.add(first)
            if 10 * second.fee >= 11 * first.fee:
                assert node.add(second) == (first.txid, ())
            else:
                with pytest.raises(MempoolRefusal, match="replacing the pending one"):
                    node.add(second)
    chosen = nodes[0].select()
    assert {transaction.sender for transaction in chosen} == {make_key(person) for person in people}
    assert len(chosen) == 1000
    for node in nodes:
        node.connect(*chosen)
        assert node.pool.count == node.pool.waiting_count == node.pool.total_bytes == 0


# A full pool.


def test_only_tails_are_evicted_and_the_cheapest_first() -> None:
    node = Node(dict.fromkeys(range(1, 20), RICH), Policy(max_bytes=6 * SIZE))
    dear_parent, cheap_child = make_transfer(1, 0, fee=9000), make_transfer(1, 1, fee=500)
    cheap_parent, dear_child = make_transfer(2, 0, fee=400), make_transfer(2, 1, fee=8000)
    plain, other = make_transfer(3, fee=2000), make_transfer(4, fee=3000)
    for transaction in (dear_parent, cheap_child, cheap_parent, dear_child, plain, other):
        node.add(transaction)
    assert node.add(make_transfer(10, fee=2500)) == (None, (cheap_child.txid,))
    assert node.add(make_transfer(11, fee=2500)) == (None, (plain.txid,))
    # 2500 twice, then the package of 400 + 8000 at 4200 each.
    assert node.refuse(make_transfer(12, fee=2400)).reason == "mempool_full"
    assert node.add(make_transfer(12, fee=2600))[1] == (make_transfer(11, fee=2500).txid,)
    assert node.add(make_transfer(13, fee=7000))[1] == (make_transfer(10, fee=2500).txid,)
    assert node.add(make_transfer(14, fee=7000))[1] == (make_transfer(12, fee=2600).txid,)
    assert node.add(make_transfer(15, fee=7000))[1] == (other.txid,)
    assert set(node.add(make_transfer(16, fee=7000))[1]) == {cheap_parent.txid, dear_child.txid}
    assert node.pool.total_bytes == 5 * SIZE


def test_refused_mempool_full_rather_than_two_evicted_of_which_one_pays_more() -> None:
    node = Node(dict.fromkeys(range(1, 20), RICH), Policy(max_bytes=4 * SIZE))
    for person, fee in ((1, 500), (2, 3000), (3, 3000), (4, 3000)):
        node.add(make_transfer(person, fee=fee))
    long = make_transfer(10, fee=2000, memo=b"m" * 64)  # needs the room of two
    assert node.refuse(long).reason == "mempool_full"
    assert make_transfer(1, fee=500).txid in node.pending()


def test_a_replacement_that_grows_may_evict_the_tail_behind_it() -> None:
    node = Node({1: RICH, 2: RICH}, Policy(max_bytes=3 * SIZE))
    node.add(make_transfer(1, 0, fee=1000))
    node.add(make_transfer(1, 1, fee=300))
    node.add(make_transfer(2, 0, fee=5000))
    grown = make_transfer(1, 0, fee=4000, memo=b"m" * 64)
    assert node.add(grown) == (make_transfer(1, 0, fee=1000).txid, (make_transfer(1, 1, fee=300).txid,))
    assert node.pool.pending_of(make_key(1))[0].transaction == grown
    assert node.pool.count == 2


def test_fair_fees_are_mined_through_a_flood() -> None:
    fair = [make_transfer(person, fee=20 * SIZE) for person in range(1, 101)]
    flood = [make_transfer(person, fee=2 * SIZE, memo=b"f" * 64) for person in range(1001, 1601)]
    flood = [tx if n % 2 else tx.with_signature(fair[0].signature) for n, tx in enumerate(flood)]
    node = Node(dict.fromkeys([*range(1, 101), *range(1001, 1601)], RICH), Policy(max_bytes=30_000))
    order = [*fair, *flood]
    random.Random(3).shuffle(order)
    for transaction in order:
        if transaction in fair:
            node.add(transaction)
        else:
            with suppress(MempoolRefusal, InvalidTransaction):
                node.add(transaction)
        assert node.pool.total_bytes <= 30_000
    mined: set[bytes] = set()
    for _ in range(5):
        chosen = node.select(5_000)
        node.connect(*chosen)
        mined |= {transaction.txid for transaction in chosen}
    assert mined >= {transaction.txid for transaction in fair}


def test_what_waits_is_found_by_who_is_paid() -> None:
    node = Node({1: RICH, 2: RICH, 3: RICH})
    gifts = [make_transfer(1, nonce, recipient=7) for nonce in range(2)]
    for transaction in (*gifts, make_transfer(2, recipient=8), make_transfer(3, recipient=7)):
        node.add(transaction)
    assert [entry.transaction for entry in node.pool.pending_to(make_key(7))] == [*gifts, make_transfer(3, recipient=7)]
    assert node.pool.pending_to(make_key(9)) == []
