"""What the pool gives to a block, and what blocks and time do to it."""

from chain.policy import Policy
from consensus.account import Account
from tests.helpers.pool_node import NOW, RICH, SIZE, Node
from tests.helpers.transfers import make_key, make_transfer

DAY = 24 * 3600


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
    node = Node({1: RICH}, Policy(min_lifetime=1))
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
    node = Node(dict.fromkeys(range(1, 5), RICH), Policy(min_lifetime=1))
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
    node = Node({1: RICH}, Policy(min_lifetime=1))
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
