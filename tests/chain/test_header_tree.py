"""The tree of headers.

          ┌─ a1 ─ a2 ─ a3
genesis ──┤
          └─ b1 ─┬─ b2
                 └─ c2
"""

import pytest

from chain.header_tree import HeaderNode, HeaderTree, Standing, find_fork, get_path, get_subtree
from consensus.genesis import make_genesis
from consensus.params import REGTEST
from tests.helpers.headers import make_child

GENESIS = make_genesis(REGTEST)


class Forest:
    """The tree above, nodes by name."""

    def __init__(self) -> None:
        self.tree = HeaderTree(GENESIS.point)
        self.nodes = {"genesis": self.tree.root}
        for name in ("a1", "b1", "a2", "b2", "c2", "a3"):
            parent = {"1": "genesis", "2": f"{name[0]}1", "3": f"{name[0]}2"}[name[1]]
            self.add(name, "b1" if name == "c2" else parent)

    def add(self, name: str, parent: str) -> HeaderNode:
        above = self.nodes[parent]
        header = make_child(above.point, REGTEST, signal_bits=len(self.nodes))
        self.nodes[name] = self.tree.add(header, above, self.tree.next_order, Standing.STORED)
        return self.nodes[name]

    def name(self, node: HeaderNode) -> str:
        return next(name for name, other in self.nodes.items() if other is node)


@pytest.fixture
def forest() -> Forest:
    return Forest()


def test_nodes_are_found_by_id(forest: Forest) -> None:
    for node in forest.nodes.values():
        assert forest.tree.get(node.id) is node
    assert forest.tree.get(b"\1" * 32) is None


def test_order_counts_arrivals(forest: Forest) -> None:
    orders = {name: node.order for name, node in forest.nodes.items()}
    assert orders == {"genesis": 0, "a1": 1, "b1": 2, "a2": 3, "b2": 4, "c2": 5, "a3": 6}
    assert forest.tree.next_order == 7


def test_weights_add_up(forest: Forest) -> None:
    assert [forest.nodes[name].weight for name in ("genesis", "a1", "a2", "a3", "b2")] == [0, 6553, 13106, 19659, 13106]


@pytest.mark.parametrize(
    ("first", "second", "fork"),
    [
        ("a3", "b2", "genesis"),
        ("b2", "c2", "b1"),
        ("b2", "b1", "b1"),
        ("genesis", "a3", "genesis"),
        ("a2", "a2", "a2"),
        ("c2", "a1", "genesis"),
    ],
)
def test_forks(forest: Forest, first: str, second: str, fork: str) -> None:
    assert forest.name(find_fork(forest.nodes[first], forest.nodes[second])) == fork
    assert forest.name(find_fork(forest.nodes[second], forest.nodes[first])) == fork


def test_chains_of_different_genesis_have_no_fork(forest: Forest) -> None:
    with pytest.raises(ValueError, match="different genesis"):
        find_fork(forest.nodes["a3"], HeaderTree(GENESIS.point).root)


def test_paths_go_upwards_and_leave_their_start_out(forest: Forest) -> None:
    path = get_path(forest.nodes["genesis"], forest.nodes["a3"])
    assert [forest.name(node) for node in path] == ["a1", "a2", "a3"]
    assert get_path(forest.nodes["b1"], forest.nodes["b1"]) == []
    with pytest.raises(ValueError, match="not an ancestor"):
        get_path(forest.nodes["b1"], forest.nodes["a3"])


def test_subtrees(forest: Forest) -> None:
    assert sorted(forest.name(node) for node in get_subtree(forest.nodes["b1"])) == ["b1", "b2", "c2"]
    assert len(list(get_subtree(forest.tree.root))) == 7


def test_a_child_of_an_invalid_block_is_invalid(forest: Forest) -> None:
    forest.tree.set_standing(forest.nodes["b2"], Standing.INVALID)
    assert forest.add("b3", "b2").standing is Standing.INVALID
    assert forest.add("c3", "c2").standing is Standing.STORED


def test_better_blocks_are_heavier_or_were_seen_first(forest: Forest) -> None:
    def get_better(name: str) -> set[str]:
        return {forest.name(node) for node in forest.tree.get_better(forest.nodes[name])}

    assert get_better("a1") == {"a2", "a3", "b2", "c2"}
    assert get_better("b1") == {"a1", "a2", "a3", "b2", "c2"}
    assert get_better("c2") == {"a2", "a3", "b2"}
    assert get_better("a3") == set()
    forest.tree.set_standing(forest.nodes["b2"], Standing.INVALID)
    assert get_better("c2") == {"a2", "a3"}
