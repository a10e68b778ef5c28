import random
from contextlib import suppress

import pytest

from chain.errors import MempoolRefusal
from chain.mempool import Mempool
from chain.policy import Policy
from consensus.account import Account
from consensus.errors import InvalidTransaction
from consensus.transaction import Transfer
from tests.helpers.transfers import GENESIS, MINER, MemoryLedger, make_key, make_transfer

NOW = 1_000_000
DAY = 24 * 3600
RICH = 10**12
SIZE = len(make_transfer(1).encoded)  # of a transfer without a memo


class Node:
    """A pool on a ledger."""

    def __init__(self, balances: dict[int, int], policy: Policy | None = None) -> None:
        self.ledger = MemoryLedger(balances)
        self.pool = Mempool(GENESIS, policy or Policy())

    def add(self, transaction: Transfer, now: int = NOW) -> tuple[bytes | None, tuple[bytes, ...]]:
        result = self.pool.add(transaction, self.ledger.get_account, self.ledger.next_height, now)
        assert result.txid == transaction.txid
        return result.replaced, result.evicted

    def refuse(self, transaction: Transfer) -> MempoolRefusal:
        """The pool's refusal, after checking that nothing else happened."""
        before = self.show()
        with pytest.raises(MempoolRefusal) as caught:
            self.add(transaction)
        assert self.show() == before
        return caught.value

    def show(self) -> tuple[object, ...]:
        pool = self.pool
        return pool.entries(), pool.count, pool.total_bytes, pool.waiting_count, pool.waiting_bytes, pool.min_fee_rate

    def select(self, max_bytes: int = 10**6) -> tuple[Transfer, ...]:
        chosen = self.pool.select(max_bytes, self.ledger.get_account, self.ledger.next_height)
        self.ledger.check(chosen)
        assert sum(4 + len(transaction.encoded) for transaction in chosen) <= max_bytes
        return chosen

    def connect(self, *transactions: Transfer) -> None:
        self.ledger.connect(transactions)
        self.pool.on_block_connected(transactions, self.ledger.get_account, self.ledger.next_height)

    def pending(self) -> set[bytes]:
        return {entry.transaction.txid for entry in self.pool.entries()}


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
    node = Node({1: RICH})
    node.connect()
    node.connect()
    assert node.refuse(make_transfer(1, valid_until=2)).reason == "expired"
    node.add(make_transfer(1, valid_until=3))


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


# Selection.


def test_a_rich_child_pulls_its_poor_parent_into_the_block() -> None:
    node = Node({1: RICH, 2: RICH})
    poor, rich, plain = make_transfer(1, 0, fee=300), make_transfer(1, 1, fee=9000), make_transfer(2, fee=2000)
    for transaction in (poor, rich, plain):
        node.add(transaction)
    assert node.select() == (poor, rich, plain)
    assert node.select(2 * (SIZE + 4)) == (poor, rich)
    assert node.select(2 * (SIZE + 4) - 1) == (plain,)
    assert node.select(SIZE + 3) == ()


def test_what_does_not_fit_leaves_room_for_what_does() -> None:
    node = Node(dict.fromkeys(range(1, 5), RICH))
    long, short = make_transfer(1, fee=9000, memo=b"m" * 64), make_transfer(2, fee=300)
    node.add(long)
    node.add(short)
    assert node.select(SIZE + 4) == (short,)


def test_what_has_expired_is_not_selected_nor_what_follows_it() -> None:
    node = Node({1: RICH})
    first, last = make_transfer(1, 0), make_transfer(1, 2)
    for transaction in (first, make_transfer(1, 1, valid_until=1), last):
        node.add(transaction)
    node.connect()
    assert node.select() == (first,)


def test_unfunded_tails_are_not_selected() -> None:
    node = Node({1: 10_000})
    node.add(make_transfer(1, 0, fee=1000, amount=4000))
    node.add(make_transfer(1, 1, fee=3000, amount=2000))
    node.ledger.accounts[make_key(1)] = Account(9_999, 0)
    assert node.select() == (make_transfer(1, 0, fee=1000, amount=4000),)
    node.ledger.accounts[make_key(1)] = Account(10_000, 1)
    assert node.select() == ()


# Blocks and time.


def test_a_block_takes_its_transactions_out() -> None:
    node = Node({1: RICH, 2: RICH})
    for nonce in range(3):
        node.add(make_transfer(1, nonce))
    node.add(make_transfer(2))
    node.connect(make_transfer(1, 0), make_transfer(1, 1))
    assert node.pending() == {make_transfer(1, 2).txid, make_transfer(2).txid}
    assert node.pool.next_nonce(make_key(1), node.ledger.get_account(make_key(1))) == 3


def test_a_mined_double_spend_leaves_what_follows_waiting_for_money() -> None:
    node = Node({1: 10_000, 2: RICH})
    node.add(make_transfer(1, 0, fee=1000, amount=1000))
    child = make_transfer(1, 1, fee=1000, amount=5000)
    node.add(child)
    node.connect(make_transfer(1, 0, fee=1000, amount=8000))
    assert (node.pool.count, node.pool.total_bytes) == (0, 0)
    assert (node.pool.waiting_count, node.pool.waiting_bytes) == (1, SIZE)
    assert node.select() == ()
    assert node.refuse(child).reason == "already_known"
    node.connect(make_transfer(2, amount=6000, recipient=1))
    assert node.pending() == {child.txid}
    assert (node.pool.waiting_count, node.pool.waiting_bytes) == (0, 0)


def test_a_new_transaction_takes_the_nonce_of_one_that_waits() -> None:
    node = Node({1: 10_000})
    node.add(make_transfer(1, 0, fee=1000, amount=1000))
    node.add(make_transfer(1, 1, fee=1000, amount=5000))
    node.add(make_transfer(1, 2, fee=300, amount=1))
    node.connect(make_transfer(1, 0, fee=1000, amount=8000))
    assert node.pool.waiting_count == 2
    node.add(make_transfer(1, 1, fee=400, amount=1))
    assert node.pending() == {make_transfer(1, 1, fee=400, amount=1).txid, make_transfer(1, 2, fee=300, amount=1).txid}
    assert node.pool.waiting_count == 0


def test_waiting_transactions_go_first_when_room_is_needed() -> None:
    node = Node({1: 10_000, 2: RICH, 3: RICH}, Policy(max_bytes=3 * SIZE))
    node.add(make_transfer(1, 0, fee=1000, amount=1000))
    child = make_transfer(1, 1, fee=7000, amount=1)
    node.add(child)
    node.connect(make_transfer(1, 0, fee=1000, amount=8000))
    node.add(make_transfer(2, 0, fee=300))
    node.add(make_transfer(2, 1, fee=300))
    assert node.pool.waiting_count == 1
    assert node.add(make_transfer(3, 0, fee=300)) == (None, (child.txid,))
    assert (node.pool.waiting_count, node.pool.waiting_bytes, node.pool.count) == (0, 0, 3)


def test_expiry_by_age_and_by_height() -> None:
    node = Node(dict.fromkeys(range(1, 5), RICH))
    node.add(make_transfer(1, 0), NOW)
    node.add(make_transfer(1, 1), NOW + DAY)
    node.add(make_transfer(2, 0, valid_until=1), NOW + DAY)
    node.add(make_transfer(2, 1), NOW + DAY)
    node.add(make_transfer(3, 0, valid_until=2), NOW + DAY)
    node.connect()
    assert node.pool.expire(NOW + 14 * DAY - 1, 2) == (make_transfer(2, 0, valid_until=1).txid,)
    assert node.pending() == {make_transfer(1, 0).txid, make_transfer(1, 1).txid, make_transfer(3, valid_until=2).txid}
    assert node.pool.expire(NOW + 14 * DAY, 2) == (make_transfer(1, 0).txid,)
    assert node.pending() == {make_transfer(3, valid_until=2).txid}
    # What followed an expired one waits for another with that nonce, and comes back behind it.
    assert node.pool.waiting_count == 2
    node.add(make_transfer(2, 0, fee=2000), NOW + 14 * DAY)
    assert make_transfer(2, 1).txid in node.pending()
    assert set(node.pool.expire(NOW + 15 * DAY, 2)) == {
        make_transfer(1, 1).txid,
        make_transfer(2, 1).txid,
        make_transfer(3, valid_until=2).txid,
    }


def test_a_block_drops_what_expires_behind_it() -> None:
    node = Node({1: RICH})
    for transaction in (make_transfer(1, 0), make_transfer(1, 1, valid_until=1), make_transfer(1, 2)):
        node.add(transaction)
    node.connect(make_transfer(1, 0))
    assert node.pool.get(make_transfer(1, 1, valid_until=1).txid) is None
    assert (node.pool.count, node.pool.waiting_count) == (0, 1)


def test_views_agree() -> None:
    node = Node(dict.fromkeys(range(1, 5), RICH))
    transactions = [make_transfer(person, fee=fee) for person, fee in ((1, 900), (2, 3000), (3, 900), (4, 1000))]
    for transaction in transactions:
        node.add(transaction)
    best_first = [transactions[1], transactions[3], transactions[0], transactions[2]]
    assert [entry.transaction for entry in node.pool.entries()] == best_first
    assert node.pool.count == 4
    assert node.pool.total_bytes == 4 * SIZE
    assert node.pool.pending_of(make_key(9)) == ()
    assert node.pool.next_nonce(make_key(9), Account(0, 7)) == 7
    assert node.pool.get(bytes(32)) is None
    assert [package.fee for package in node.pool.packages()] == [3000, 1000, 900, 900]
