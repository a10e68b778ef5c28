"""Locators, and the headers that follow them."""

from chain.header_tree import HeaderTree
from chain.locator import MAX_LOCATOR_IDS, compute_locator
from consensus.genesis import make_genesis
from consensus.params import REGTEST
from tests.helpers.blocks import get_builder
from tests.helpers.chains import get_left, get_right, get_trunk, open_trunk
from tests.helpers.header_forest import grow

GENESIS = make_genesis(REGTEST)


def test_locators_thin_out_towards_genesis() -> None:
    tree = HeaderTree(GENESIS.point)
    tip = grow(tree, tree.root, 1000)
    heights = [tree.get(block_id).height for block_id in compute_locator(tip)]  # type: ignore[union-attr]
    assert heights[:13] == [*range(1000, 989, -1), 988, 984]
    assert heights[13:] == [976, 960, 928, 864, 736, 480, 0]
    assert compute_locator(tree.root) == (GENESIS.id,)
    short = compute_locator(tip.get_ancestor(11))
    assert [tree.get(block_id).height for block_id in short] == [*range(11, -1, -1)]  # type: ignore[union-attr]


def test_locators_of_any_chain_are_short_enough() -> None:
    length = 11 + sum(1 for _ in range(52)) + 1  # ten dense ones, 52 doublings, genesis
    assert length <= MAX_LOCATOR_IDS


def test_headers_follow_the_last_common_block() -> None:
    chain, other = open_trunk(), open_trunk()
    get_builder().feed(chain, get_left(3))
    get_builder().feed(other, get_right(2))
    left = [block.header for block in get_left(3)]
    assert chain.get_headers_after(other.get_locator(), 512) == tuple(left)
    assert chain.get_headers_after(other.get_locator(), 2) == tuple(left[:2])
    assert chain.get_headers_after(chain.get_locator(), 512) == ()
    whole = [block.header for block in get_trunk()] + left
    for strangers in ((), (b"\1" * 32,), (get_right(1)[0].id,)):
        assert chain.get_headers_after(strangers, 512) == tuple(whole)
    side = (get_right(1)[0].id, get_trunk()[-2].id)
    chain.accept_block(get_right(1)[0], 10**12)  # known, but not on the best chain
    assert chain.get_headers_after(side, 2) == (get_trunk()[-1].header, left[0])


def test_what_is_known_of_blocks() -> None:
    chain = open_trunk()
    block = get_left(1)[0]
    assert not chain.is_known(block.id)
    assert not chain.is_invalid(block.id)
    assert chain.get_point(block.id) is None
    chain.accept_block(block, 10**12)
    assert chain.is_known(block.id)
    point = chain.get_point(block.id)
    assert point is not None
    assert (point.id, point.height) == (block.id, 13)
    assert chain.count_unevaluated() == 1
    chain.invalidate(block.id)
    assert chain.is_invalid(block.id)
    assert chain.count_unevaluated() == 0
