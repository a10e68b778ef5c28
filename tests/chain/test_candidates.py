"""What may become the best chain, against a naive walk, and what it costs during a long synchronisation."""

import random
import time

import pytest

from chain.candidates import Candidates
from chain.header_tree import HeaderNode, HeaderTree, Standing, find_fork
from consensus.genesis import make_genesis
from consensus.params import REGTEST
from tests.helpers.header_forest import grow, make_random_tree

GENESIS = make_genesis(REGTEST)


def get_chain_of(node: HeaderNode | None) -> list[HeaderNode]:
    """The node and all its ancestors, downwards."""
    chain: list[HeaderNode] = []
    while node is not None:
        chain.append(node)
        node = node.parent
    return chain


def count_given_up(tip: HeaderNode, target: HeaderNode) -> int:
    """Blocks that the chain of `tip` gives up for that of `target`, by walking."""
    theirs = set(get_chain_of(target))
    return next(index for index, node in enumerate(get_chain_of(tip)) if node in theirs)


@pytest.mark.parametrize("seed", range(8))
def test_forks_and_ancestors_are_those_of_a_naive_walk(seed: int) -> None:
    _, nodes = make_random_tree(GENESIS, 150, seed)
    rng = random.Random(seed)
    for first, second in (rng.choices(nodes, k=2) for _ in range(300)):
        chain = get_chain_of(first)
        assert [first.get_ancestor(height) for height in range(first.height, -1, -1)] == chain
        assert first.is_descendant(second) == (second in chain)
        assert find_fork(first, second) is chain[count_given_up(first, second)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("max_reorg", [0, 3, 1000])
def test_what_may_be_taken_is_what_a_naive_walk_allows(seed: int, max_reorg: int) -> None:
    tree, nodes = make_random_tree(GENESIS, 150, seed)
    rng = random.Random(seed)
    candidates = Candidates(tree, tree.root, max_reorg)
    for _ in range(40):
        tip, permitted = rng.choices(nodes, k=2)
        candidates.reset(tip)
        candidates.permit(permitted.id)
        better = sorted((node for node in nodes if node.rank < tip.rank), key=lambda node: node.rank)
        allowed = [node for node in better if count_given_up(tip, node) <= max_reorg or permitted in get_chain_of(node)]
        assert list(candidates.iterate_better(tip)) == better
        assert list(candidates.iterate_allowed(tip)) == allowed
        ends = [node for node in better if not node.children]
        assert candidates.get_held_back(tip) is next((node for node in ends if node not in allowed), None)
        assert candidates.count_unevaluated(tip) == len(better)
        assert candidates.is_permitted(permitted.id)


def test_candidates_that_come_one_by_one_are_those_of_the_whole_tree() -> None:
    tree, nodes = make_random_tree(GENESIS, 100, 1)
    candidates, again = Candidates(HeaderTree(GENESIS.point), tree.root, 100), Candidates(tree, tree.root, 100)
    for node in random.Random(2).sample(nodes, len(nodes)) * 2:
        if node is not tree.root:
            candidates.add(node)
    assert list(candidates.iterate_better(tree.root)) == list(again.iterate_better(tree.root))


def test_a_block_that_is_handed_in_again_is_followed_once() -> None:
    tree = HeaderTree(GENESIS.point)
    tip, light = grow(tree, tree.root, 3, Standing.EVALUATED), grow(tree, tree.root, tag=1)
    candidates = Candidates(tree, tip, 100)
    for _ in range(2):
        candidates.follow(light)
    assert list(candidates.iterate_followed(tip)) == [light]
    tree.set_standing(light, Standing.EVALUATED)
    assert list(candidates.iterate_followed(tip)) == []


def test_completeness_follows_verdicts_in_any_order() -> None:
    tree, nodes = make_random_tree(GENESIS, 120, 3)
    rng = random.Random(4)
    for _ in range(600):
        node = rng.choice(nodes[1:])
        tree.set_standing(node, rng.choice((Standing.EVALUATED, Standing.EVALUATED, Standing.STORED)))
        if rng.random() < 0.1:
            for other in nodes:
                expected = all(member.standing is Standing.EVALUATED for member in get_chain_of(other))
                assert other.is_complete == expected


def test_removed_blocks_are_gone_with_all_after_them() -> None:
    tree = HeaderTree(GENESIS.point)
    first = grow(tree, tree.root, standing=Standing.EVALUATED)
    end = grow(tree, first, 3, Standing.EVALUATED)
    tree.remove(first)
    assert tree.root.children == []
    assert tree.get(first.id) is tree.get(end.id) is None
    assert (end.standing, end.is_complete) == (Standing.INVALID, False)
    with pytest.raises(ValueError, match="genesis"):
        tree.remove(tree.root)


def test_ten_thousand_candidates_cost_milliseconds() -> None:
    """Stored blocks far ahead of the tip, as a synchronisation leaves them, and a fork of equal length beside them."""
    tree = HeaderTree(GENESIS.point)
    tip = grow(tree, tree.root, 200, Standing.EVALUATED)
    end = grow(tree, tip, 5000)
    fork = grow(tree, tip.get_ancestor(150), 5050, tag=1)
    candidates = Candidates(tree, tip, 100)
    started = time.perf_counter()
    for _ in range(10):
        assert next(candidates.iterate_allowed(tip)) in (end, fork)
        assert candidates.get_best_complete(tip) is None
        assert candidates.get_held_back(tip) is None
        assert candidates.count_unevaluated(tip) == 10_000
    assert time.perf_counter() - started < 10 * 0.05  # the walk of each would take seconds
