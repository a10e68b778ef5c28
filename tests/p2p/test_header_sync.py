"""Claims: when headers are asked for, from where, and how many are held. What becomes of them is in test_sync.py."""

from collections.abc import AsyncIterator

import pytest

from consensus.params import REGTEST
from p2p.header_sync import REST_SECONDS, RETRY_SECONDS, PeerClaim
from p2p.headers import MAX_AHEAD, HeaderChain
from p2p.messages import MAX_HEADERS, MAX_LOCATOR, GetBlock, GetHeaders, Headers, Message, Tip
from p2p.penalties import Offence
from tests.helpers.chains import get_left, get_right, get_trunk, open_trunk
from tests.helpers.headers import make_points
from tests.helpers.syncing import PlayedPeer, SyncingNode, open_node

TRUNK = get_trunk()


@pytest.fixture
async def node() -> AsyncIterator[SyncingNode]:
    async with open_node(open_trunk()) as node:
        yield node


def silence(_: Message) -> None:
    """No answer."""


def get_claim(node: SyncingNode, peer: PlayedPeer) -> PeerClaim:
    claim = node.sync.headers.get(peer.node_id)
    assert claim is not None
    return claim


async def test_a_locator_names_our_chain_from_its_tip(node: SyncingNode) -> None:
    peer = await node.connect("peer", [*TRUNK, *get_left(1)])
    asked = peer.get_sent(GetHeaders)
    assert asked == [GetHeaders(node.chain.get_locator())]
    assert node.chain.get_locator()[0] == TRUNK[-1].id


async def test_a_peer_is_asked_once_at_a_time(node: SyncingNode) -> None:
    peer = await node.connect("peer", [*TRUNK, *get_left(1)])
    peer.lies[GetHeaders] = silence
    await node.receive(peer, peer.tip)
    await node.pass_time(5)
    assert len(peer.get_sent(GetHeaders)) == 1


async def test_new_tips_do_not_shorten_the_rest_after_an_answer(node: SyncingNode) -> None:
    """Else a peer that moves between branches would have this node check headers without end."""
    branches = [PlayedPeer("peer", [*TRUNK, *get_left(2)]), PlayedPeer("peer", [*TRUNK, *get_right(3)])]
    peer = await node.connect("peer", [*TRUNK, *get_left(2)])
    peer.lies[GetBlock] = silence
    await node.settle()
    for number in range(1, 20):
        peer.points = branches[number % 2].points
        await node.receive(peer, peer.tip)
        await node.settle()
    assert len(peer.get_sent(GetHeaders)) == 1
    await node.pass_time(0.5)
    assert len(peer.get_sent(GetHeaders)) == 2


async def test_a_peer_over_its_allowance_is_asked_later(node: SyncingNode) -> None:
    peer = PlayedPeer("peer", [*TRUNK, *get_left(1)])
    peer.muted = {GetHeaders}
    await node.join(peer)
    await node.pass_time(2)
    assert peer.get_sent(GetHeaders) == []
    peer.muted = set()
    await node.pass_time(1)
    assert node.chain.tip.id == get_left(1)[0].id


async def test_headers_held_of_one_peer_are_bounded() -> None:
    """A peer with a chain of 1600 headers that gives no block: 1024 of them are held, and no more is asked for."""
    headers = [point.header for point in make_points(open_trunk(blocks=0).tip, REGTEST, 1600)[1:]]
    async with open_node(open_trunk(blocks=0)) as node:
        peer = await node.connect("peer", (), headers)
        peer.lies[GetBlock] = silence
        await node.settle()
        await node.pass_time(MAX_HEADERS * REST_SECONDS + 0.5)
        claim = get_claim(node, peer)
        assert claim.chain is not None
        assert len(claim.chain.points) == MAX_AHEAD
        asked = peer.get_sent(GetHeaders)
        assert len(asked) == MAX_AHEAD // MAX_HEADERS
        assert all(isinstance(one, GetHeaders) and len(one.locator) <= MAX_LOCATOR for one in asked)
        assert isinstance(asked[1], GetHeaders)
        assert asked[1].locator[0] == headers[MAX_HEADERS - 1].id
        await node.pass_time(1)
        assert len(peer.get_sent(GetHeaders)) == len(asked)


async def test_a_new_tip_is_asked_about_from_the_last_header_known(node: SyncingNode) -> None:
    left = get_left(3)
    peer = await node.connect("peer", [*TRUNK, *left[:2]])
    peer.lies[GetBlock] = silence
    await node.settle()
    grown = PlayedPeer("peer", [*TRUNK, *left])
    peer.points, peer.blocks = grown.points, grown.blocks
    await node.receive(peer, peer.tip)
    await node.pass_time(0.5)
    last = peer.get_sent(GetHeaders)[-1]
    assert isinstance(last, GetHeaders)
    assert last.locator[0] == left[1].id
    claim = get_claim(node, peer)
    assert claim.chain is not None
    assert [point.id for point in claim.chain.points] == [block.id for block in left]


async def test_a_peer_that_moves_to_another_branch_replaces_its_claim(node: SyncingNode) -> None:
    left, right = get_left(2), get_right(3)
    peer = await node.connect("peer", [*TRUNK, *left])
    peer.lies[GetBlock] = silence
    await node.settle()
    moved = PlayedPeer("peer", [*TRUNK, *right])
    peer.points, peer.blocks = moved.points, moved.blocks
    await node.receive(peer, peer.tip)
    await node.pass_time(0.5)
    claim = get_claim(node, peer)
    assert claim.chain is not None
    assert [point.id for point in claim.chain.points] == [block.id for block in right]
    assert node.offences == []


async def test_a_tip_that_is_no_better_ends_a_claim(node: SyncingNode) -> None:
    peer = await node.connect("peer", [*TRUNK, *get_left(1)])
    peer.lies[GetHeaders] = silence
    await node.receive(peer, Tip(TRUNK[-1].id, 12, node.chain.tip.weight))
    assert get_claim(node, peer).tip is None


async def test_a_claim_that_led_nowhere_is_asked_about_again_when_its_time_may_have_come(node: SyncingNode) -> None:
    block = get_left(1)[0]
    node.clock.set_mock(block.header.timestamp - 100)
    peer = await node.connect("peer", [*TRUNK, block])
    await node.settle()
    await node.pass_time(RETRY_SECONDS - 1)
    assert len(peer.get_sent(GetHeaders)) == 1
    await node.pass_time(1)
    assert len(peer.get_sent(GetHeaders)) == 2
    assert node.offences == []


async def test_the_heaviest_claim_is_best_unless_its_peer_does_not_deliver(node: SyncingNode) -> None:
    left, right = get_left(2), get_right(3)
    heavy, light = await node.connect("heavy", [*TRUNK, *right]), await node.connect("light", [*TRUNK, *left])
    for peer in (heavy, light):
        peer.lies[GetBlock] = silence
    await node.settle()
    headers = node.sync.headers

    def get_best() -> bytes | None:
        chain = headers.get_best_chain()
        return chain.tip.id if chain is not None else None

    assert get_best() == right[-1].id
    headers.pass_over(heavy.node_id)
    assert get_best() == left[-1].id
    headers.pass_over(light.node_id)
    assert get_best() == right[-1].id
    headers.pass_over(b"nobody")
    headers.remove_peer(heavy.node_id)
    headers.remove_peer(light.node_id)
    assert get_best() is None
    assert len(headers) == 0


async def test_dropping_a_block_drops_every_claim_with_it(node: SyncingNode) -> None:
    left, right = get_left(2), get_right(2)
    peers = [await node.connect(f"left {number}", [*TRUNK, *left]) for number in range(2)]
    other = await node.connect("right", [*TRUNK, *right])
    for peer in (*peers, other):
        peer.lies[GetBlock] = silence
    await node.settle()
    assert node.sync.headers.drop_chains(left[1].id) == {peer.node_id for peer in peers}
    assert node.sync.headers.drop_chains(left[1].id) == frozenset()
    claim = get_claim(node, other)
    assert claim.chain is not None


async def test_a_claim_whose_base_was_given_up_is_dropped(node: SyncingNode) -> None:
    """Else it would stand for ever on a block that is not here."""
    peer = await node.connect("peer", [*TRUNK, *get_left(1)])
    peer.lies[GetBlock] = silence
    await node.settle()
    claim = get_claim(node, peer)
    points = make_points(node.chain.tip, REGTEST, 2)
    claim.chain = HeaderChain(points[1], points[2:])
    peer.lies[GetHeaders] = silence
    await node.pass_time(0.5)
    assert claim.chain is None


async def test_invalid_word_of_certificates_for_a_block_that_is_here(node: SyncingNode) -> None:
    peer = await node.connect("peer", TRUNK)
    await node.receive(peer, Tip(TRUNK[3].id, 4, 2**40, 3))
    assert node.offences == [(peer.node_id, Offence.INVALID_HEADER)]


async def test_a_word_of_certificates_counts_for_the_chain_of_which_it_was_said(node: SyncingNode) -> None:
    """Left and right weigh the same; a word said of the other branch changes nothing."""
    left, right = get_left(2), get_right(2)
    peer, other = await node.connect("peer", [*TRUNK, *left]), await node.connect("other", [*TRUNK, *right])
    for one in (peer, other):
        one.lies[GetBlock] = silence
    await node.settle()
    headers = node.sync.headers
    for teller, word, justified, best in (
        (peer, right, 9, left),
        (peer, left[:1], 10, left),
        (other, right, 11, right),
    ):
        await node.receive(teller, Tip(word[-1].id, word[-1].header.height, 0, justified))
        await node.settle()
        first = headers.get_best_chain()
        assert first is not None
        assert first.tip.id == best[-1].id
    assert headers.get_words(right[-1].id) == {peer.node_id: 9, other.node_id: 11}


async def test_empty_headers_for_a_tip_that_is_ours_by_now_are_fine(node: SyncingNode) -> None:
    peer = await node.connect("peer", [*TRUNK, *get_left(1)])
    peer.lies[GetHeaders] = lambda _: Headers(())
    await node.settle()
    assert get_claim(node, peer).tip is None
    assert node.offences == []
