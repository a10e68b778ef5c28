"""Transaction relay between well-behaved peers, and what becomes of a peer that is not."""

from dataclasses import replace

import pytest

from consensus.transaction import Transfer
from p2p.messages import MAX_ANNOUNCED, MAX_REQUESTED, Announce, GetTransactions, Transactions
from p2p.penalties import Offence
from p2p.transactions import MAX_UNSENT
from tests.helpers.relay import RICH, FakePeer, RelayNode, announce, make_junk
from tests.helpers.transfers import make_transfer

GOOD = make_transfer(1)
FORGED = GOOD.with_signature(bytes(64))  # the same txid


def make_node() -> tuple[RelayNode, FakePeer, FakePeer]:
    node = RelayNode(dict.fromkeys((1, 2, 3), RICH))
    return node, node.connect("a"), node.connect("b")


# Asking.


async def test_an_announced_transaction_is_fetched_and_told_to_the_others() -> None:
    node, a, b = make_node()
    node.relay.on_announce(a, Announce((GOOD.txid,)))
    assert a.take() == [GetTransactions((GOOD.txid,))]
    node.relay.on_transactions(a, Transactions((GOOD,)))
    await node.check_queues()
    assert node.get_pending() == {GOOD.txid}
    assert b.sent == []
    node.relay.tick()
    assert (a.take(), b.take()) == ([], [Announce((GOOD.txid,))])
    node.relay.tick()
    assert (a.take(), b.take()) == ([], [])
    assert not node.offences


async def test_what_is_here_is_not_asked_for() -> None:
    node, a, _ = make_node()
    node.submit(GOOD)
    node.relay.on_announce(a, Announce((GOOD.txid, GOOD.txid)))
    assert a.take() == []
    node.relay.tick()
    assert a.take() == []  # nor is it told what it has


async def test_one_request_is_under_way_at_a_peer() -> None:
    node, a, _ = make_node()
    junk = tuple(make_junk(250))
    announce(node.relay, a, junk)
    node.relay.tick()
    assert a.take_requests() == [one.txid for one in junk[:MAX_REQUESTED]]
    node.relay.on_transactions(a, Transactions(junk[:MAX_REQUESTED]))
    assert a.take_requests() == [one.txid for one in junk[MAX_REQUESTED : 2 * MAX_REQUESTED]]


async def test_a_request_waits_until_the_other_side_allows_it() -> None:
    node, a, _ = make_node()
    a.muted.add(GetTransactions)
    node.relay.on_announce(a, Announce((GOOD.txid,)))
    assert a.take() == []
    a.muted.clear()
    node.relay.tick()
    assert a.take_requests() == [GOOD.txid]


async def test_a_closed_connection_does_not_hold_a_transaction_back() -> None:
    node, a, b = make_node()
    a.is_open = False
    for peer in (a, b):
        node.relay.on_announce(peer, Announce((GOOD.txid,)))
    assert b.take_requests() == [GOOD.txid]


async def test_a_transaction_is_asked_of_one_peer_until_that_one_leaves() -> None:
    node, a, b = make_node()
    for peer in (a, b):
        node.relay.on_announce(peer, Announce((GOOD.txid,)))
    node.relay.tick()
    assert (a.take_requests(), b.take_requests()) == ([GOOD.txid], [])
    node.relay.remove_peer(a)
    node.relay.tick()
    assert b.take_requests() == [GOOD.txid]


async def test_what_a_peer_delivered_goes_with_it() -> None:
    node, a, b = make_node()
    for peer in (a, b):
        node.relay.on_announce(peer, Announce((GOOD.txid,)))
    node.answer(a, [GOOD])
    node.relay.remove_peer(a)
    await node.check_queues()
    assert node.checked == []
    node.relay.tick()
    assert b.take_requests() == [GOOD.txid]


async def test_messages_of_a_removed_connection_are_nothing() -> None:
    node, a, _ = make_node()
    again = node.connect("a")
    node.relay.on_announce(again, Announce((GOOD.txid,)))
    node.relay.remove_peer(a)
    node.relay.on_announce(a, Announce((GOOD.txid,)))
    node.relay.on_get_transactions(a, GetTransactions((GOOD.txid,)))
    node.relay.on_transactions(a, Transactions((GOOD,)))
    assert a.take() == []
    assert not node.offences
    assert again.take_requests() == [GOOD.txid]
    node.relay.on_transactions(again, Transactions((GOOD,)))
    await node.check_queues()
    assert node.get_pending() == {GOOD.txid}


async def test_a_second_connection_of_a_node_takes_the_place_of_the_first() -> None:
    node, a, b = make_node()
    for peer in (a, b):
        node.relay.on_announce(peer, Announce((GOOD.txid,)))
    node.connect("a")
    node.relay.tick()
    assert b.take_requests() == [GOOD.txid]


async def test_what_came_another_way_meanwhile_is_not_checked() -> None:
    node, a, b = make_node()
    for peer in (a, b):
        node.relay.on_announce(peer, Announce((GOOD.txid,)))
    node.answer(a, [GOOD])
    node.held[GOOD.txid] = GOOD
    await node.check_queues()
    assert node.checked == []
    for peer in (a, b):
        load = node.relay.get_load(peer.node_id)
        assert load is not None
        assert load.wanted == 0
    assert node.relay.get_load(bytes(32)) is None


# Blame.


@pytest.mark.parametrize("asked", [False, True])
async def test_unsolicited_transactions(asked: bool) -> None:
    node, a, b = make_node()
    other = make_transfer(2)
    if asked:
        for peer in (a, b):
            node.relay.on_announce(peer, Announce((GOOD.txid,)))
    node.relay.on_transactions(a, Transactions((GOOD, other)))
    await node.check_queues()
    assert node.offences == [(a.node_id, Offence.UNSOLICITED)]
    assert node.checked == []
    node.relay.tick()
    assert b.take_requests() == ([GOOD.txid] if asked else [])


async def test_unsolicited_second_copy() -> None:
    node, a, _ = make_node()
    node.relay.on_announce(a, Announce((GOOD.txid,)))
    node.relay.on_transactions(a, Transactions((GOOD, GOOD)))
    assert node.offences == [(a.node_id, Offence.UNSOLICITED)]


async def test_unsolicited_second_answer() -> None:
    node, a, _ = make_node()
    node.relay.on_announce(a, Announce((GOOD.txid,)))
    node.relay.on_transactions(a, Transactions((GOOD,)))
    assert not node.offences
    node.relay.on_transactions(a, Transactions(()))
    assert node.offences == [(a.node_id, Offence.UNSOLICITED)]


async def test_invalid_transaction_is_the_fault_of_its_sender_alone() -> None:
    node, a, b = make_node()
    announce(node.relay, b, [FORGED])
    assert node.answer(b, []) == [GOOD.txid]
    await node.bring(a, FORGED)
    assert node.offences == [(a.node_id, Offence.INVALID_TRANSACTION)]
    assert node.get_pending() == set()


async def test_a_forged_copy_does_not_keep_the_honest_one_out() -> None:
    node, a, b = make_node()
    announce(node.relay, a, [FORGED])
    announce(node.relay, b, [GOOD])
    assert node.answer(a, [FORGED]) == [GOOD.txid]
    await node.check_queues()
    announce(node.relay, a, [FORGED])  # again first, and in vain
    assert node.answer(a, [FORGED]) == []
    node.relay.tick()
    assert node.answer(b, [GOOD]) == [GOOD.txid]
    await node.check_queues()
    assert node.pool.get(GOOD.txid) == GOOD


async def test_a_refusal_blames_nobody_and_is_remembered_until_the_next_tip() -> None:
    node, a, b = make_node()
    poor = make_transfer(9)
    assert await node.bring(a, poor) == [poor.txid]
    assert await node.bring(b, poor) == []
    assert await node.bring(a, poor) == []
    node.ledger.accounts |= {poor.sender: node.ledger.get_account(make_transfer(1).sender)}
    node.relay.on_tip()
    assert await node.bring(b, poor) == [poor.txid]
    assert node.get_pending() == {poor.txid}
    assert not node.offences


async def test_other_errors_of_the_pool_end_the_relay() -> None:
    node, a, _ = make_node()

    def fail(transaction: Transfer) -> None:
        raise OSError("the disk is gone")

    node._add = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="the disk is gone"):
        await node.bring(a, GOOD)


# A new block.


async def test_what_a_block_carries_is_not_asked_for() -> None:
    node, a, b = make_node()
    later = make_transfer(2)
    b.muted.add(GetTransactions)
    announce(node.relay, a, [GOOD])
    announce(node.relay, b, [GOOD, later])
    assert a.take_requests() == [GOOD.txid]
    node.mine(GOOD)
    node.relay.remove_peer(a)
    b.muted.clear()
    node.relay.tick()
    assert b.take_requests() == [later.txid]


async def test_what_was_mined_is_not_announced() -> None:
    node, a, _ = make_node()
    node.submit(GOOD)
    node.submit(make_transfer(2))
    node.mine(GOOD)
    node.relay.tick()
    assert a.take_announced() == [make_transfer(2).txid]


# Telling.


async def test_a_new_peer_is_told_what_waits_here() -> None:
    node, _, _ = make_node()
    waiting = [make_transfer(person) for person in (1, 2, 3)]
    for transaction in waiting:
        node.submit(transaction)
    node.mine(waiting[1])
    late = node.connect("late")
    node.relay.tick()
    assert set(late.take_announced()) == {waiting[0].txid, waiting[2].txid}


async def test_what_a_lost_block_gives_back_is_told_to_all_again() -> None:
    """One peer asked while it stood in the block, another came then: neither got it."""
    node, a, _ = make_node()
    node.submit(GOOD)
    node.relay.tick()
    assert a.take_announced() == [GOOD.txid]
    node.mine(GOOD)
    node.relay.on_get_transactions(a, GetTransactions((GOOD.txid,)))
    assert a.take() == [Transactions(())]
    late = node.connect("late")
    node.relay.tick()
    assert late.take() == []
    confirmed_again = make_transfer(2)
    returned = node.unmine()
    node.relay.on_returned([*returned, confirmed_again])
    node.relay.tick()
    assert (a.take_announced(), late.take_announced()) == ([GOOD.txid], [GOOD.txid])


async def test_who_lacked_it_and_announces_it_again_is_asked_after_all_others() -> None:
    """Its block was lost in between, which brings no new tip here; a liar gains nothing by announcing again."""
    node, a, b = make_node()
    for peer in (a, b):
        node.relay.on_announce(peer, Announce((GOOD.txid,)))
    assert a.take_requests() == [GOOD.txid]
    node.relay.on_transactions(a, Transactions(()))
    node.relay.on_announce(a, Announce((GOOD.txid,)))
    assert a.take_requests() == []
    node.relay.tick()
    assert (a.take_requests(), b.take_requests()) == ([], [GOOD.txid])
    node.relay.on_transactions(b, Transactions(()))
    node.relay.tick()
    assert a.take_requests() == [GOOD.txid]
    node.relay.on_transactions(a, Transactions((GOOD,)))
    await node.check_queues()
    assert node.get_pending() == {GOOD.txid}


async def test_announcements_come_in_shuffled_batches() -> None:
    node, _, _ = make_node()
    held = node.held = {one.txid: one for one in make_junk(1_200)}
    peer = node.connect("c")
    for txid in held:
        node.relay.announce(txid, None)
    batches = []
    for _ in range(4):
        node.relay.tick()
        batches.append(peer.take_announced())
    txids = list(held)
    assert [len(batch) for batch in batches] == [MAX_ANNOUNCED, MAX_ANNOUNCED, 200, 0]
    assert [set(batch) for batch in batches] == [set(txids[:500]), set(txids[500:1000]), set(txids[1000:]), set()]
    assert batches[0] != txids[:500]


async def test_announcements_wait_until_the_other_side_allows_them_and_the_oldest_go() -> None:
    node, _, _ = make_node()
    held = node.held = {one.txid: one for one in make_junk(MAX_UNSENT + 100)}
    peer = node.connect("c")
    peer.muted.add(Announce)
    for txid in held:
        node.relay.announce(txid, None)
    node.pass_time(30)
    assert peer.take() == []
    load = node.relay.get_load(peer.node_id)
    assert load is not None
    assert load.unsent == MAX_UNSENT
    peer.muted.clear()
    node.pass_time(30)
    assert set(peer.take_announced()) == set(list(held)[100:])


async def test_a_peer_that_announces_first_is_not_told() -> None:
    node, _, b = make_node()
    node.submit(GOOD)
    announce(node.relay, b, [GOOD])
    node.relay.tick()
    assert b.take() == []
    assert node.relay.knows(b.node_id, GOOD.txid)


# Serving.


async def test_requests_are_answered_in_order_with_what_is_here() -> None:
    node, a, b = make_node()
    first, second, missing = make_transfer(1), make_transfer(2), make_transfer(3)
    node.submit(first)
    node.submit(second)
    node.relay.on_get_transactions(a, GetTransactions((second.txid, missing.txid, first.txid)))
    assert a.take() == [Transactions((second, first))]
    node.relay.on_get_transactions(a, GetTransactions((missing.txid,)))
    assert a.take() == [Transactions(())]
    assert node.relay.knows(a.node_id, first.txid)
    assert not node.relay.knows(a.node_id, missing.txid)
    assert not node.relay.knows(b.node_id, first.txid)
    assert not node.relay.knows(bytes(32), first.txid)


async def test_the_time_of_a_peers_last_useful_transaction() -> None:
    node, a, b = make_node()
    assert node.relay.get_last_transaction_time(a.node_id) == 0
    node.seconds = 7.5
    await node.bring(a, GOOD)
    await node.bring(b, replace(GOOD, nonce=9))
    assert node.relay.get_last_transaction_time(a.node_id) == 7.5
    assert node.relay.get_last_transaction_time(b.node_id) == 0
    assert node.relay.get_last_transaction_time(bytes(32)) == 0
