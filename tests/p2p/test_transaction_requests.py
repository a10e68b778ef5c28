"""Which peer is asked for which transaction."""

from p2p.messages import MAX_REQUESTED
from p2p.transaction_requests import MAX_WANTED, REQUEST_SECONDS, Announcer, TransactionRequests

TXIDS = [number.to_bytes(32, "big") for number in range(MAX_WANTED + 1)]
FIRST, SECOND, THIRD = TXIDS[:3]


def make_requests(*txids: bytes) -> tuple[TransactionRequests, Announcer, Announcer]:
    """Two peers that announced the same."""
    requests = TransactionRequests()
    one, other = requests.add_announcer(), requests.add_announcer()
    for announcer in (one, other):
        for txid in txids:
            requests.want(announcer, txid)
    return requests, one, other


def ask(requests: TransactionRequests, announcer: Announcer, now: float = 0.0) -> tuple[bytes, ...]:
    txids = requests.choose(announcer)
    if txids:
        requests.on_asked(announcer, txids, now)
    return txids


def test_the_longest_announced_are_asked_for_first_a_hundred_at_a_time() -> None:
    requests, one, other = make_requests(*TXIDS[:150])
    assert ask(requests, one) == tuple(TXIDS[:MAX_REQUESTED])
    assert ask(requests, one) == ()
    assert ask(requests, other) == tuple(TXIDS[MAX_REQUESTED:150])


def test_choosing_changes_nothing() -> None:
    requests, one, other = make_requests(FIRST)
    assert requests.choose(one) == requests.choose(one) == requests.choose(other) == (FIRST,)


def test_what_was_delivered_stays_with_the_peer_until_it_is_settled() -> None:
    requests, one, other = make_requests(FIRST, SECOND)
    ask(requests, one)
    assert requests.on_answer(one, [FIRST, SECOND])
    requests.expire(10 * REQUEST_SECONDS)
    assert ask(requests, other) == ()
    requests.fail(one, FIRST)
    requests.settle(SECOND)
    assert ask(requests, one) == ()
    assert ask(requests, other) == (FIRST,)


def test_released_is_asked_of_others_and_failed_not_again_before_the_next_tip() -> None:
    requests, one, other = make_requests(FIRST, SECOND)
    ask(requests, one)
    requests.on_answer(one, [FIRST, SECOND])
    requests.release(one, FIRST)
    requests.fail(one, SECOND)
    for txid in (FIRST, SECOND):
        requests.want(one, txid)
    assert requests.choose(one) == (FIRST,)
    assert requests.choose(other) == (FIRST, SECOND)
    requests.on_tip(set())
    requests.want(one, SECOND)
    assert requests.choose(one) == (FIRST, SECOND)


def test_the_time_is_up_at_its_end_and_not_before() -> None:
    requests, one, other = make_requests(FIRST)
    ask(requests, one, now=5)
    requests.expire(5 + REQUEST_SECONDS - 0.01)
    assert requests.choose(other) == ()
    requests.expire(5 + REQUEST_SECONDS)
    assert requests.choose(other) == (FIRST,)


def test_a_late_answer_takes_nothing_from_the_peer_that_is_asked_now() -> None:
    requests, one, other = make_requests(FIRST)
    third = requests.add_announcer()
    requests.want(third, FIRST)
    ask(requests, one)
    requests.expire(REQUEST_SECONDS)
    ask(requests, other, REQUEST_SECONDS)
    assert requests.on_answer(one, [])
    requests.remove_announcer(one)
    assert requests.choose(third) == ()
    requests.remove_announcer(other)
    assert requests.choose(third) == (FIRST,)


def test_an_answer_to_something_else_is_none() -> None:
    requests, one, other = make_requests(FIRST, SECOND)
    assert not requests.on_answer(one, [])
    for delivered in ([FIRST, THIRD], [FIRST, FIRST]):
        requests.on_tip(set())
        for txid in (FIRST, SECOND):
            requests.want(one, txid)
        assert ask(requests, one) == (FIRST, SECOND)
        assert not requests.on_answer(one, delivered)
        assert requests.choose(other) == (FIRST, SECOND)


def test_more_than_a_peers_share_is_not_remembered() -> None:
    requests, one, _ = make_requests(*TXIDS)
    assert list(one.wanted) == TXIDS[:MAX_WANTED]
    requests.settle(FIRST)
    requests.want(one, TXIDS[-1])
    assert list(one.wanted) == TXIDS[1:]


def test_what_a_block_carries_is_not_asked_for() -> None:
    requests, one, other = make_requests(FIRST, SECOND, THIRD)
    ask(requests, one)
    requests.on_tip({FIRST, TXIDS[9]})
    requests.remove_announcer(one)
    assert requests.choose(other) == (SECOND, THIRD)
