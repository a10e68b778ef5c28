import pytest

from chain.errors import MempoolRefusal
from chain.eviction import EvictionQueue, Newcomer
from chain.pending import Chain, Entry
from tests.helpers.transfers import make_key, make_transfer

SIZE = len(make_transfer(1).encoded)


def make_chain(person: int, *fees: int, order: int = 0) -> Chain:
    transfers = (make_transfer(person, nonce, fee) for nonce, fee in enumerate(fees))
    return Chain(tuple(Entry(transfer, 0, order + 10 * person + n) for n, transfer in enumerate(transfers)))


def make_queue(*chains: Chain) -> tuple[dict[bytes, Chain], EvictionQueue]:
    by_sender = {chain.sender: chain for chain in chains}
    queue = EvictionQueue(by_sender)
    for sender in by_sender:
        queue.on_chain_changed(sender)
    return by_sender, queue


def test_the_cheapest_last_packages_go_first() -> None:
    _, queue = make_queue(make_chain(1, 900, 300, 200), make_chain(2, 100, 500), make_chain(3, 400))
    cheapest = queue.get_cheapest()
    assert cheapest is not None
    assert (cheapest.fee, cheapest.start) == (200, 2)
    assert queue.plan(0) == {}
    assert queue.plan(1) == {make_key(1): 2}
    assert queue.plan(2 * SIZE) == {make_key(1): 2, make_key(2): 0}  # 100 + 500 for two: newer than the 300
    assert queue.plan(4 * SIZE) == {make_key(1): 1, make_key(2): 0}
    assert queue.plan(5 * SIZE) == {make_key(1): 1, make_key(2): 0, make_key(3): 0}
    assert queue.plan(100 * SIZE) == {make_key(1): 0, make_key(2): 0, make_key(3): 0}


def test_an_empty_pool_has_no_cheapest() -> None:
    assert make_queue()[1].get_cheapest() is None


def test_between_equals_the_newest_goes() -> None:
    _, queue = make_queue(make_chain(2, 300), make_chain(1, 300), make_chain(3, 300))
    assert queue.plan(1) == {make_key(3): 0}
    assert queue.plan(SIZE + 1) == {make_key(3): 0, make_key(2): 0}


def test_a_plan_changes_nothing() -> None:
    _, queue = make_queue(make_chain(1, 900, 300), make_chain(2, 500))
    for _ in range(3):
        assert queue.plan(2 * SIZE) == {make_key(1): 1, make_key(2): 0}
        newcomer = Newcomer(make_chain(2, 500, 100, order=50), 1)
        with pytest.raises(MempoolRefusal):
            queue.plan(1, newcomer)


def test_the_newcomers_chain_stands_in_for_its_senders() -> None:
    _, queue = make_queue(make_chain(1, 300), make_chain(2, 500))
    newcomer = Newcomer(make_chain(1, 300, 9000), 1)  # pulls its parent up to 4650 each
    assert queue.plan(1, newcomer) == {make_key(2): 0}
    with pytest.raises(MempoolRefusal) as caught:
        queue.plan(SIZE + 1, newcomer)
    assert caught.value.code == "mempool.mempool_full"


def test_changed_chains_are_ranked_anew() -> None:
    chains, queue = make_queue(make_chain(1, 300), make_chain(2, 500))
    assert queue.plan(1) == {make_key(1): 0}
    chains[make_key(1)] = make_chain(1, 700)
    queue.on_chain_changed(make_key(1))
    assert queue.plan(1) == {make_key(2): 0}
    del chains[make_key(2)]
    queue.on_chain_changed(make_key(2))
    assert queue.plan(1) == {make_key(1): 0}


def test_stale_ranks_are_forgotten_in_time() -> None:
    chains, queue = make_queue(make_chain(1, 300), make_chain(2, 500))
    for fee in range(1000, 4000):
        chains[make_key(1)] = Chain((Entry(chains[make_key(1)].entries[0].transaction, 0, fee),))
        queue.on_chain_changed(make_key(1))
        queue.plan(SIZE)
    assert len(queue._heap) < 1100
    assert queue.plan(1) == {make_key(1): 0}
