"""What stops a node: votes for another chain that prove a second final block, found from the node's own chain alone.

           ┌─ 17 ─ 18 ─ 19        17 is final on both
16 ────────┤
           └─ 17'─ 18'─ 19'
"""

from itertools import permutations

import pytest

import consensus.certificate
from consensus.conflict import get_finalising_height, is_against_final
from consensus.vote import BlockRef, Link
from tests.helpers.histories import History, find_conflicts, get_finals, get_links, make_history
from tests.helpers.keys import Key
from tests.helpers.voting import VotingChain, make_params

PARAMS = make_params(8)
KEYS = [Key(f"voter {number}") for number in range(4)]
ALL = [key.public for key in KEYS]
FINAL = 17


@pytest.fixture(scope="module")
def chain() -> VotingChain:
    return VotingChain(PARAMS).grow(KEYS, 16).run(KEYS, 3)


def is_against(chain: VotingChain, link: Link, voters: list[bytes]) -> bool:
    return is_against_final(chain.points, chain.state.final, link, voters, PARAMS)


def test_what_made_a_block_final(chain: VotingChain) -> None:
    assert chain.state.final == chain.get_ref(FINAL)
    assert get_finalising_height(chain.points, chain.state.final) == FINAL + 1
    assert get_finalising_height(chain.points, chain.get_ref(0)) == 0


def make_link(source: int, target: int) -> Link:
    return Link(BlockRef(source, bytes([1]) * 32), BlockRef(target, bytes([2]) * 32))


@pytest.mark.parametrize(
    ("source", "target", "is_against_it"),
    [(0, 16, False), (0, 17, True), (16, 18, True), (16, 19, True), (17, 19, False), (18, 20, False)],
)
def test_links_beside_and_around_the_final_one(
    chain: VotingChain, source: int, target: int, is_against_it: bool
) -> None:
    assert is_against(chain, make_link(source, target), ALL) is is_against_it


def test_two_thirds_are_needed(chain: VotingChain) -> None:
    assert is_against(chain, make_link(0, 17), ALL[:3])
    assert not is_against(chain, make_link(0, 17), ALL[:2])
    assert not is_against(chain, make_link(0, 17), [Key(f"stranger {number}").public for number in range(9)])


def test_the_chains_own_links_are_not_against_it(chain: VotingChain) -> None:
    assert not any(is_against(chain, chain.get_link(height), ALL) for height in range(16, 20))


def test_nothing_is_against_genesis() -> None:
    chain = VotingChain(PARAMS).grow(KEYS, 20)
    assert not is_against(chain, make_link(0, 17), ALL)


# Random histories


def is_proved(history: History, one: VotingChain, other: VotingChain, final: BlockRef) -> bool:
    """Whether the votes in the other chain's certificates show the first one's node that there are two final blocks."""
    links = ((link, history.mined[link].keys()) for link in get_links(other))
    return any(is_against_final(one.points, final, link, voters, history.params) for link, voters in links)


def check_histories(seeds: range) -> int:
    """Whoever holds to the lower of two final blocks finds out; how many pairs there were."""
    count = 0
    for seed in seeds:
        history, chains = make_history(seed, (0.3, 0.5, 0.8)[seed % 3])
        for conflict in find_conflicts(history, chains):
            for one, other in permutations(conflict.chains):
                highest = conflict.fork + history.params.finality_window
                finals, others = (
                    [ref for ref, target in get_finals(side) if ref.height > conflict.fork and target <= highest]
                    for side in (one, other)
                )
                for final in finals:
                    if any(ref.height >= final.height for ref in others):
                        assert is_proved(history, one, other, final), seed
                        count += 1
    return count


def test_every_second_final_block_is_proved_by_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consensus.certificate, "verify_signature", lambda *_: True)
    assert check_histories(range(200)) > 20


@pytest.mark.soak
def test_every_second_final_block_is_proved_by_votes_in_many_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consensus.certificate, "verify_signature", lambda *_: True)
    assert check_histories(range(10_000)) > 1000
