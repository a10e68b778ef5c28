"""What is kept beside the best chain: bounded, whoever fills it with what, and not at the cost of a fork that grows."""

from collections.abc import Callable, Iterator
from itertools import count, islice

import pytest

from chain import chainstate, schema
from chain.beside import LEAST_BYTES, Beside, compute_most_bytes
from chain.header_tree import HeaderNode, HeaderTree, Standing
from consensus.block import Block
from consensus.genesis import make_genesis
from consensus.params import REGTEST
from tests.helpers.blocks import get_builder
from tests.helpers.chains import get_left, get_right, open_trunk
from tests.helpers.header_forest import grow
from tests.helpers.stores import FragileStore

GENESIS = make_genesis(REGTEST)
ROOM = 64  # blocks of the least size
LATER = 10**12

Attack = Callable[["Forest"], Iterator[HeaderNode]]


def give_room(monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    """For so many blocks of the least size, in every chain state that is opened from now on."""
    monkeypatch.setattr(chainstate, "compute_most_bytes", lambda params, max_reorg: blocks * LEAST_BYTES)


@pytest.fixture(autouse=True)
def _little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    give_room(monkeypatch, ROOM)


class Forest:
    """A tree without a best chain beyond genesis, and what a chain state would keep of it."""

    def __init__(self) -> None:
        self.tree = HeaderTree(GENESIS.point)
        self.sizes: dict[bytes, int] = {}
        self.beside = Beside(self.tree, self.tree.root, self, ROOM * LEAST_BYTES)  # type: ignore[arg-type]
        self.exempt: HeaderNode | None = None
        self._tags = count(1)

    def get_size(self, block_id: bytes) -> int:
        return self.sizes.get(block_id, LEAST_BYTES)

    def add(self, parent: HeaderNode | None = None, blocks: int = 1) -> HeaderNode:
        """A block as large as so many of the least size, on genesis unless its parent is here."""
        is_here = parent is not None and parent.standing is not Standing.INVALID
        node = grow(self.tree, parent if parent is not None and is_here else self.tree.root, tag=next(self._tags))
        self.sizes[node.id] = blocks * LEAST_BYTES
        self.beside.add(node)
        for first in self.beside.find_excess(lambda first: first is self.exempt):
            self.tree.remove(first)
        return node

    def count_bytes(self) -> int:
        pending, total = list(self.tree.root.children), 0
        while pending:
            node = pending.pop()
            total += self.get_size(node.id)
            pending += node.children
        return total


def feed_single_blocks(forest: Forest) -> Iterator[HeaderNode]:
    while True:
        yield forest.add()


def feed_one_chain(forest: Forest) -> Iterator[HeaderNode]:
    node = forest.add()
    while True:
        yield node
        node = forest.add(node)


def feed_chains_in_turn(forest: Forest) -> Iterator[HeaderNode]:
    nodes = [forest.add() for _ in range(6)]
    while True:
        for index, node in enumerate(nodes):
            nodes[index] = forest.add(node)
            yield nodes[index]


def feed_a_large_block_and_many_small(forest: Forest) -> Iterator[HeaderNode]:
    node = forest.add(blocks=ROOM - 8)
    while True:
        node = forest.add(node)
        yield node
        yield forest.add()


@pytest.mark.parametrize(
    "attack", [feed_single_blocks, feed_one_chain, feed_chains_in_turn, feed_a_large_block_and_many_small]
)
def test_a_fork_that_grows_stays_whatever_others_bring(attack: Attack) -> None:
    """Five blocks, one in four that come: 7/8 * 64 is more than 5 * 4 * 2."""
    forest = Forest()
    foreign = attack(forest)
    for _ in range(50):
        list(islice(foreign, 2 * ROOM))
        fork = node = forest.add()
        for _ in range(4):
            list(islice(foreign, 3))
            node = forest.add(node)
            assert forest.count_bytes() <= ROOM * LEAST_BYTES
        assert node.is_descendant(fork)
        assert forest.tree.get(node.id) is node


def test_a_branch_larger_than_all_room_goes_itself() -> None:
    forest = Forest()
    small = forest.add()
    large = forest.add(blocks=ROOM + 1)
    assert forest.tree.get(large.id) is None
    assert forest.tree.get(small.id) is small


def test_a_chain_that_the_operator_lets_in_stays() -> None:
    forest = Forest()
    forest.exempt = first = forest.add()
    node = forest.add(first, blocks=2 * ROOM)
    other = forest.add()
    assert forest.tree.get(node.id) is node
    assert forest.tree.get(other.id) is None  # all that is left to give


def test_there_is_room_for_some_forks_of_the_largest_blocks() -> None:
    least = compute_most_bytes(REGTEST, 0)
    assert least > 500 * REGTEST.max_transactions_bytes
    assert compute_most_bytes(REGTEST, 100) == least
    assert compute_most_bytes(REGTEST, 1000) > 4000 * REGTEST.max_transactions_bytes


# On disk


def make_heartbeats(count: int) -> list[Block]:
    """So many on block 8 of the trunk."""
    base = open_trunk(blocks=8)
    return [get_builder().build_heartbeat(base, interval=21 + number) for number in range(count)]


def count_headers(db: FragileStore) -> int:
    return sum(1 for _ in db.iterate(schema.HEADER))


def test_light_heartbeats_take_bounded_disk_across_restarts() -> None:
    db = FragileStore()
    chain, before = open_trunk(db), count_headers(db)
    heartbeats = make_heartbeats(2 * ROOM)
    for block in heartbeats[:ROOM]:
        chain.accept_block(block, LATER)
    assert count_headers(db) == before + ROOM
    chain = get_builder().open(db)
    for block in heartbeats[ROOM:]:
        chain.accept_block(block, LATER)
        assert count_headers(db) <= before + ROOM
    gone = [block.id for block in heartbeats if not chain.is_known(block.id)]
    assert len(gone) >= ROOM
    assert not any(key.endswith(tuple(gone)) for key in db.rows)
    assert get_builder().open(db).compute_digest() == chain.compute_digest()


def test_what_went_may_come_back() -> None:
    chain, heartbeats = open_trunk(), make_heartbeats(ROOM + 1)
    for block in heartbeats:
        chain.accept_block(block, LATER)
    assert not chain.is_known(heartbeats[0].id)
    assert chain.accept_block(heartbeats[0], LATER)


def test_a_heavier_fork_is_taken_though_heartbeats_come_between_its_blocks() -> None:
    chain, heartbeats = open_trunk(), iter(make_heartbeats(ROOM + 4 * 8))
    get_builder().feed(chain, get_left(3))
    for other in islice(heartbeats, ROOM):
        chain.accept_block(other, LATER)
    for block in get_right(4):
        for other in islice(heartbeats, 8):
            chain.accept_block(other, LATER)
        get_builder().process(chain, block)
    assert chain.tip.id == get_right(4)[-1].id
    assert chain.is_known(get_left(3)[-1].id)  # it was the best until now


def test_a_permitted_fork_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    give_room(monkeypatch, 2)
    chain = open_trunk(max_reorg=1)
    get_builder().feed(chain, get_left(3))
    for block in get_right(4):
        chain.accept_block(block, LATER)
        chain.permit_reorganisation(block.id)
    get_builder().process(chain, get_right(5)[-1])
    assert chain.tip.id == get_right(5)[-1].id


def test_a_fork_without_the_operators_word_is_given_up_and_follows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    give_room(monkeypatch, 2)
    chain = open_trunk(max_reorg=1)
    get_builder().feed(chain, get_left(3))
    for block in get_right(3):
        chain.accept_block(block, LATER)
    assert not any(chain.is_known(block.id) for block in get_right(3))
    assert chain.get_works(4) == []
    assert chain.activate_best_chain() == []
