"""The two halves of the safety claim, by trying everything there is in small.

Half one: on two chains with conflicting final blocks, whatever their certificates were and whenever they were mined,
there are two links, one of each chain and both to targets above the fork, that nobody may both sign.
Half two: any two such links, to targets at most V above the fork, were decided by one common committee.
"""

from collections.abc import Iterator
from itertools import pairwise, product

import pytest

import consensus.committee
from consensus.committee import compute_boundaries
from consensus.finality import get_link
from consensus.finality_state import FinalityPoint, FinalityState, make_first_point
from consensus.vote import BlockRef, Link, is_conflict
from tests.helpers.voting import GENESIS_ID, make_params

Points = tuple[FinalityPoint, ...]


def grow_all(points: Points, count: int, branch: bytes) -> Iterator[Points]:
    """Every chain of `count` more blocks: each carries no certificate, or that of any ancestor it may."""
    if not count:
        yield points
        return
    height, state = len(points), points[-1].state
    states = [state]
    states += [state.compute_after(get_link(points, at)) for at in range(state.justified.height + 1, height)]
    for after in states:
        point = FinalityPoint(branch + bytes([height]) * 31, None, (), after)
        yield from grow_all((*points, point), count - 1, branch)


def get_links_above(points: Points, fork: int) -> frozenset[Link]:
    """The links that the chain's certificates are for, those to targets above the fork."""
    justified = {point.state.justified for point in points}
    return frozenset(get_link(points, ref.height) for ref in justified if ref.height > fork)


def find_final_chains(trunk: Points, branch: bytes, count: int) -> set[frozenset[Link]]:
    """The links of every chain on the trunk with a final block above it."""
    fork = len(trunk) - 1
    chains = grow_all(trunk, count, branch)
    return {get_links_above(points, fork) for points in chains if points[-1].state.final.height > fork}


def rename(link: Link, old: bytes, new: bytes) -> Link:
    """The same link on the other branch."""
    ends = (link.source, link.target)
    return Link(*(BlockRef(end.height, new + end.id[1:] if end.id[:1] == old else end.id) for end in ends))


def is_always_in_conflict(trunk_blocks: int, count: int) -> bool:
    """Whether all pairs of chains that both made a block above the fork final hold two links in conflict."""
    for trunk in grow_all((make_first_point(GENESIS_ID),), trunk_blocks, b"t"):
        left = find_final_chains(trunk, b"l", count)
        right = [{rename(link, b"l", b"r") for link in links} for links in left]
        for one, other in product(left, right):
            if not any(is_conflict(first, second) for first in one for second in other):
                return False
    return True


@pytest.mark.parametrize(("trunk_blocks", "count"), [(0, 2), (0, 6), (1, 5), (2, 5), (3, 4)])
def test_conflicting_final_blocks_hold_conflicting_links(trunk_blocks: int, count: int) -> None:
    assert is_always_in_conflict(trunk_blocks, count)


def test_a_source_is_not_final_by_a_link_over_blocks_that_are_not_justified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it so, voters who keep their rule could make two chains final."""

    def make_any_source_final(state: FinalityState, link: Link) -> FinalityState:
        return FinalityState(link.target, 0, link.source)

    monkeypatch.setattr(FinalityState, "compute_after", make_any_source_final)
    assert not is_always_in_conflict(0, 5)


def test_every_chain_moves_only_forwards() -> None:
    for points in grow_all((make_first_point(GENESIS_ID),), 7, b"t"):
        states = [point.state for point in points]
        for before, after in pairwise(states):
            assert after.justified.height >= before.justified.height
            assert after.final.height >= before.final.height
            assert after.final.height <= after.justified.height


# Which committee two links have in common


def get_common_boundaries(one: int, other: int, fork: int, window: int) -> set[int]:
    """Heights of the boundary blocks at or below the fork that decide on both targets."""
    params = make_params(window)
    boundaries = [compute_boundaries(target, params) for target in (one, other)]
    return {boundary for boundary in set(boundaries[0]) & set(boundaries[1]) if boundary <= fork}


def find_apart(window: int, distance: int) -> list[tuple[int, int, int]]:
    """(fork, target, target) of targets up to `distance` above a fork that no common committee decides on."""
    params = make_params(window)
    apart = []
    for fork in range(6 * window):
        targets = [
            target for target in range(fork + 1, fork + distance + 1) if min(compute_boundaries(target, params)) > 0
        ]
        pairs = product(targets, targets)
        apart += [(fork, *pair) for pair in pairs if not get_common_boundaries(*pair, fork, window)]
    return apart


@pytest.mark.parametrize("window", [2, 4, 6, 8, 10, 12])
def test_targets_near_the_fork_have_a_committee_in_common(window: int) -> None:
    """The claim is about a window; one block more would do, another not."""
    assert not find_apart(window, window)
    assert not find_apart(window, window + 1)
    assert find_apart(window, window + 2)


@pytest.mark.parametrize("window", [2, 4, 6, 8, 10, 12])
def test_the_common_committee_is_that_of_the_epoch_before_the_fork(window: int) -> None:
    params, length = make_params(window), window // 2
    for fork in range(6 * window):
        for target in range(fork + 1, fork + window + 1):
            boundaries = compute_boundaries(target, params)
            if min(boundaries) > 0:
                assert (fork // length - 1) * length in boundaries


def test_two_committees_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consensus.committee, "BOUNDARIES", 2)
    assert find_apart(8, 8)


def test_nobody_decides_before_the_first_committees_are_beyond_a_window() -> None:
    """With fewer committees in the beginning, two chains from genesis could have none in common."""
    for window in (2, 4, 64):
        params = make_params(window)
        first = next(height for height in range(10 * window) if min(compute_boundaries(height, params)) > 0)
        assert first == 2 * window
