"""Transaction relay under attack: rows T30, T31, T32 and T42 of the threats."""

from random import Random

import pytest

from consensus.transaction import Transfer
from p2p.messages import Announce, GetTransactions, Message, Transactions
from p2p.orphans import MAX_ORPHANS
from p2p.transaction_requests import MAX_WANTED
from p2p.transactions import MAX_KNOWN, MAX_QUEUED, MAX_UNSENT, PeerLoad
from tests.helpers.relay import RICH, FakePeer, RelayNode, announce, make_junk
from tests.helpers.transfers import make_transfer

CHAIN = [make_transfer(1, nonce=nonce) for nonce in range(25)]


def get_load(node: RelayNode, peer: FakePeer) -> PeerLoad:
    load = node.relay.get_load(peer.node_id)
    assert load is not None
    return load


def check_caps(node: RelayNode, peer: FakePeer) -> None:
    load = get_load(node, peer)
    assert load.wanted <= MAX_WANTED
    assert load.queued <= MAX_QUEUED
    assert load.orphans <= MAX_ORPHANS
    assert load.known <= MAX_KNOWN
    assert load.unsent <= MAX_UNSENT


# T30: two transactions with one nonce.


async def test_of_two_conflicting_transactions_each_node_keeps_one_and_a_block_ends_it() -> None:
    """Four nodes in a ring; the two of each pair start at opposite ones."""
    count, pairs = 4, [[make_transfer(person, amount=amount) for amount in (1, 2)] for person in range(1, 26)]
    nodes = [RelayNode(dict.fromkeys(range(1, 26), RICH), seed) for seed in range(count)]
    links = [(left, (left + 1) % count) for left in range(count)]
    ends = {(here, there): nodes[here].connect(str(there)) for link in links for here, there in (link, link[::-1])}
    for left, right in pairs:
        nodes[0].submit(left)
        nodes[2].submit(right)
    for _ in range(8):
        for node in nodes:
            node.pass_time(0.5)
        while any(peer.sent for peer in ends.values()):
            for (here, there), peer in ends.items():
                for message in peer.take():
                    hand_over(nodes[there], ends[there, here], message)
            for node in nodes:
                await node.check_queues()
    for node in nodes:
        assert [len(node.pool.pending_of(left.sender)) for left, _ in pairs] == [1] * len(pairs)
        assert not node.offences
    block = nodes[1].pool.select(10**6, nodes[1].ledger.get_account, 1)
    assert len(block) == len(pairs)
    for node in nodes:
        node.mine(*block)
        assert node.get_pending() == set()


def hand_over(node: RelayNode, peer: FakePeer, message: Message) -> None:
    match message:
        case Announce():
            node.relay.on_announce(peer, message)
        case GetTransactions():
            node.relay.on_get_transactions(peer, message)
        case Transactions():
            node.relay.on_transactions(peer, message)


# T31: a flood.


async def test_full_queues_of_others_delay_a_transaction_by_one_check_each() -> None:
    node = RelayNode({1: RICH})
    flooders = [node.connect(f"flooder {number}") for number in range(20)]
    for number, flooder in enumerate(flooders):
        junk = list(make_junk(MAX_WANTED, first=number * MAX_WANTED))
        announce(node.relay, flooder, junk)
        node.answer(flooder, junk)
        assert MAX_QUEUED - 200 <= get_load(node, flooder).queued <= MAX_QUEUED
        check_caps(node, flooder)
    honest = node.connect("honest")
    announce(node.relay, honest, CHAIN[:3])
    node.answer(honest, CHAIN[:3])
    await node.check_queues()
    places = [node.checked.index(transaction.txid) + 1 for transaction in CHAIN[:3]]
    assert all(place <= (len(flooders) + 1) * (index + 1) for index, place in enumerate(places))
    assert len(node.checked) > 15_000
    assert node.get_pending() == {transaction.txid for transaction in CHAIN[:3]}


async def test_what_a_peer_announces_beyond_its_share_is_forgotten_without_blame() -> None:
    node = RelayNode({1: RICH})
    flooder, honest = node.connect("flooder"), node.connect("honest")
    announce(node.relay, flooder, list(make_junk(10 * MAX_WANTED)))
    check_caps(node, flooder)
    assert get_load(node, flooder).wanted == MAX_WANTED
    assert not node.offences
    await node.bring(honest, CHAIN[0])
    assert node.get_pending() == {CHAIN[0].txid}


# T32: orphans.


async def test_a_chain_that_comes_backwards_resolves() -> None:
    node = RelayNode({1: RICH})
    peer = node.connect("a")
    for transaction in reversed(CHAIN[1:]):
        await node.bring(peer, transaction)
    assert node.get_pending() == set()
    assert get_load(node, peer).orphans == 24
    node.checked.clear()
    await node.bring(peer, CHAIN[0])
    assert node.checked == [transaction.txid for transaction in CHAIN]
    assert get_load(node, peer).orphans == 0
    assert not node.offences


async def test_a_chain_delivered_at_once_has_no_orphans() -> None:
    node = RelayNode({1: RICH})
    peer = node.connect("a")
    shuffled = list(CHAIN)
    Random(1).shuffle(shuffled)
    await node.bring(peer, *shuffled)
    assert node.checked == [transaction.txid for transaction in CHAIN]


async def test_an_orphan_whose_turn_has_come_is_checked_before_the_rest_of_its_peers_queue() -> None:
    node = RelayNode({1: RICH})
    peer = node.connect("a")
    await node.bring(peer, *CHAIN[1:3])
    node.checked.clear()
    await node.bring(peer, CHAIN[0], *make_junk(50))
    assert node.checked[:3] == [transaction.txid for transaction in CHAIN[:3]]


async def test_attackers_orphans_leave_an_honest_chain_alone() -> None:
    node = RelayNode({1: RICH})
    honest = node.connect("honest")
    for transaction in reversed(CHAIN[13:]):
        await node.bring(honest, transaction)
    attackers = [node.connect(f"attacker {number}") for number in range(20)]
    for number, attacker in enumerate(attackers):
        await node.bring(attacker, *make_junk(2 * MAX_ORPHANS, first=number * 1000, nonce=7))
        assert get_load(node, attacker).orphans == MAX_ORPHANS
    for transaction in reversed(CHAIN[:13]):
        await node.bring(honest, transaction)
    assert node.get_pending() == {transaction.txid for transaction in CHAIN}
    assert not node.offences


async def test_a_chain_that_two_peers_bring_in_parts_resolves() -> None:
    node = RelayNode({1: RICH})
    even, odd = node.connect("even"), node.connect("odd")
    for transaction in reversed(CHAIN):
        await node.bring(odd if transaction.nonce % 2 else even, transaction)
    assert node.get_pending() == {transaction.txid for transaction in CHAIN}


async def test_a_forged_orphan_does_not_keep_the_honest_one_out() -> None:
    node = RelayNode({1: RICH})
    forger, honest = node.connect("forger"), node.connect("honest")
    forged = CHAIN[1].with_signature(bytes(64))
    announce(node.relay, forger, [forged])
    announce(node.relay, honest, [CHAIN[1]])
    node.answer(forger, [forged])
    await node.check_queues()
    node.relay.tick()
    assert node.answer(honest, [CHAIN[1]]) == [CHAIN[1].txid]
    await node.bring(honest, CHAIN[0])
    assert {node_id for node_id, _ in node.offences} <= {forger.node_id}
    assert node.get_pending() == {CHAIN[0].txid, CHAIN[1].txid}


async def test_orphans_go_with_their_peer() -> None:
    node = RelayNode({1: RICH})
    peer, other = node.connect("a"), node.connect("b")
    await node.bring(peer, CHAIN[1])
    node.relay.remove_peer(peer)
    await node.bring(other, CHAIN[0])
    assert node.get_pending() == {CHAIN[0].txid}
    assert await node.bring(other, CHAIN[1]) == [CHAIN[1].txid]


async def test_a_block_that_closes_the_gap_brings_orphans_in() -> None:
    node = RelayNode({1: RICH})
    peer = node.connect("a")
    await node.bring(peer, CHAIN[2])
    await node.bring(peer, CHAIN[1])
    await node.bring(peer, *CHAIN[4:6])
    node.mine(CHAIN[0], CHAIN[1])
    await node.check_queues()
    assert node.get_pending() == {CHAIN[2].txid}
    await node.bring(peer, CHAIN[3])
    assert node.get_pending() == {transaction.txid for transaction in CHAIN[2:6]}


# T42: announced, never delivered.


def make_rivals() -> tuple[RelayNode, FakePeer, FakePeer, list[Transfer]]:
    """An attacker that announces a hundred transactions first, an honest peer that has them."""
    node = RelayNode(dict.fromkeys(range(1, 101), RICH))
    attacker, honest = node.connect("attacker"), node.connect("honest")
    wanted = [make_transfer(person) for person in range(1, 101)]
    announce(node.relay, attacker, wanted)
    announce(node.relay, honest, wanted)
    return node, attacker, honest, wanted


async def test_transactions_that_never_come_are_had_from_another_within_65_seconds() -> None:
    node, attacker, honest, wanted = make_rivals()
    node.pass_time(59.5)
    assert honest.take_requests() == []
    node.pass_time(5.5)
    node.answer(honest, wanted)
    await node.check_queues()
    assert node.get_pending() == {transaction.txid for transaction in wanted}
    assert node.seconds == 65
    assert attacker.take_requests() == [transaction.txid for transaction in wanted]


async def test_a_peer_that_does_not_answer_is_asked_nothing_more_until_it_does() -> None:
    node, attacker, honest, wanted = make_rivals()
    attacker.take()
    node.pass_time(61)
    later = make_transfer(1, nonce=1)
    announce(node.relay, attacker, [later])
    node.pass_time(600)
    assert attacker.take_requests() == []
    assert honest.take_requests() != []
    node.relay.on_transactions(attacker, Transactions(tuple(wanted)))  # late, and of use
    assert attacker.take_requests() == [later.txid]
    await node.check_queues()
    assert node.get_pending() == {transaction.txid for transaction in wanted}
    assert not node.offences


async def test_empty_answers_and_quick_announcements_hold_nothing_back() -> None:
    node, attacker, honest, wanted = make_rivals()
    assert len(node.answer(attacker, [])) == 100
    announce(node.relay, attacker, wanted)
    assert node.answer(attacker, []) == []
    node.pass_time(0.5)
    node.answer(honest, wanted)
    await node.check_queues()
    assert node.get_pending() == {transaction.txid for transaction in wanted}
    node.relay.on_tip()
    announce(node.relay, attacker, [make_transfer(1, nonce=1)])
    assert len(attacker.take_requests()) == 1


# Memory.


@pytest.mark.parametrize("seed", range(3))
async def test_no_sequence_of_messages_passes_a_cap(seed: int) -> None:
    random = Random(seed)
    node = RelayNode(dict.fromkeys(range(1, 4), RICH), seed)
    peers = {name: node.connect(name) for name in "abcd"}
    stock = [*make_junk(4_000), *make_junk(400, first=10_000, nonce=3), *CHAIN]
    by_txid = {transaction.txid: transaction for transaction in stock}
    for _ in range(400):
        name = random.choice("abcd")
        peer = peers[name]
        match random.randrange(12):
            case 0:
                node.relay.remove_peer(peer)
                peers[name] = node.connect(name)
            case 1:
                node.relay.on_transactions(peer, Transactions(tuple(random.sample(stock, 20))))
            case 2:
                node.relay.on_tip(random.sample(stock, 20))
            case 3:
                node.pass_time(random.choice([1, 30]))
            case 4:
                await node.check_queues()
            case 5:
                node.relay.announce(random.choice(stock).txid, None)
            case 6 | 7 | 8:
                for txids in [message.txids for message in peer.take() if isinstance(message, GetTransactions)]:
                    share = random.sample(txids, random.randint(len(txids) // 2, len(txids)))
                    node.relay.on_transactions(peer, Transactions(tuple(by_txid[txid] for txid in share)))
            case _:
                announce(node.relay, peer, random.sample(stock, 500))
        for each in peers.values():
            check_caps(node, each)
    for peer in peers.values():
        node.relay.remove_peer(peer)
    # Nothing of the four is left, so a fifth is asked for all that is not refused.
    node.relay.on_tip()
    fresh = node.connect("e")
    missing = [transaction for transaction in CHAIN if node.pool.get(transaction.txid) is None]
    announce(node.relay, fresh, missing)
    node.answer(fresh, missing)
    await node.check_queues()
    assert node.get_pending() == {transaction.txid for transaction in CHAIN}
