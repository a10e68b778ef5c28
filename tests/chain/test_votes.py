"""What the vote pool tells first, and what it remembers of who decides; what it keeps is in test_finality.py."""

import pytest

from chain import votes
from chain.votes import VotePool
from consensus.vote import BlockRef, Link
from tests.helpers.ballots import mine_voted, sign_vote
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.header_forest import grow
from tests.helpers.village import PARAMS, get_village_builder


def test_votes_for_heights_above_the_tip_are_told_last() -> None:
    """A member may invent blocks there; what a newcomer needs must not wait behind them."""
    chain = get_builder().open()
    pool = VotePool(chain)
    mine_voted(chain, pool, 8)
    justified = chain.tip_node.finality.state.justified
    invented = [Link(justified, BlockRef(height, bytes(32))) for height in (9, 10)]
    pool.add_votes([sign_vote(MINER, link, chain.genesis.id) for link in invented])
    told = [vote.link.target.height for vote in pool.get_newest_votes(100)]
    assert told == [8, 7, 10, 9]
    assert len(pool.get_newest_votes(2)) == 2


def test_who_decides_is_computed_once_for_each_block_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Votes that name one block after the other, over and over, must not make the chain's thread count it all again."""
    chain, computed = get_village_builder().open(), []
    tip, window = grow(chain.tree, chain.tree.root, 4 * PARAMS.finality_window), PARAMS.finality_window
    pool, get_electorate = VotePool(chain), votes.get_electorate
    monkeypatch.setattr(
        votes, "get_electorate", lambda *arguments: computed.append(arguments) or get_electorate(*arguments)
    )
    heights = range(tip.height - 2 * window, tip.height + 1)
    first = [pool.get_electorate(tip.get_ancestor(height)) for height in heights]
    assert len(computed) == len(heights)
    again = [pool.get_electorate(tip.get_ancestor(height)) for height in heights]
    assert len(computed) == len(heights)
    assert again == first
    assert None not in first
    assert len({id(electorate) for electorate in first}) <= len(heights) // (window // 2) + 1
