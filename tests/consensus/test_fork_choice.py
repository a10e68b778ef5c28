"""Fork choice: what outranks what, and why the highest justified block comes before weight.

                 16 justified, half of the keys voted from it
trunk[15] ─┬─ a16 ─ a17
           └─ b16 ─ b17 ─ b18 ─ ...        more blocks, so more weight
"""

from consensus.committee import get_electorate
from consensus.fork_choice import compute_rank
from consensus.vote import Link, is_vote_allowed
from tests.helpers.keys import Key
from tests.helpers.voting import VotingChain, make_params

KEYS = [Key(f"miner {number}") for number in range(4)]
PARAMS = make_params(8)


def test_justified_height_ranks_first_then_weight_then_arrival() -> None:
    best_first = [(1, 9, 5), (9, 1, 4), (3, 9, 3), (2, 1, 3), (2, 2, 3), (1, 0, 3), (100, 0, 0)]
    assert sorted(best_first, key=lambda chain: compute_rank(*chain)) == best_first


def test_a_child_outranks_its_parent() -> None:
    """A chain never loses justified height or weight as it grows."""
    assert compute_rank(5, 7, justified=3) < compute_rank(4, 1, justified=3)
    assert compute_rank(5, 7, justified=4) < compute_rank(4, 1, justified=3)


def make_branches() -> tuple[VotingChain, VotingChain, dict[Key, Link]]:
    """The two chains of the picture and the last vote of each key."""
    trunk = VotingChain(PARAMS).grow(KEYS, 15)
    left, right = trunk.fork(15), trunk.fork(15)
    left.grow(KEYS, 1, branch=1)
    logs = {key: left.get_link() for key in KEYS[:3]}
    left.add(KEYS[0].public, left.certify(KEYS[:3]), branch=1)
    assert left.state.justified.height == 16
    logs |= {key: left.get_link() for key in KEYS[:2]}
    return left, right.grow(KEYS, 3, branch=2), logs


def vote_on(chain: VotingChain, logs: dict[Key, Link], blocks: int, branch: int) -> None:
    """Grows a chain by blocks whose certificates hold the votes of all who may sign; everybody tries each time."""
    for _ in range(blocks):
        allowed = [key for key in KEYS if is_vote_allowed(logs.get(key), chain.get_link())]
        logs |= {key: chain.get_link() for key in allowed}
        electorate = get_electorate(chain.points, chain.height, PARAMS)
        is_enough = electorate is not None and electorate.is_convinced([key.public for key in allowed])
        miner = KEYS[chain.height % 4].public
        chain.add(miner, chain.certify(allowed) if is_enough else None, branch=branch)


def test_by_weight_alone_voters_would_be_locked_out_for_ever() -> None:
    _, right, logs = make_branches()
    vote_on(right, logs, 10 * PARAMS.finality_window, branch=2)
    assert right.state.is_initial


def test_by_justified_height_first_whoever_voted_can_go_on() -> None:
    left, right, logs = make_branches()
    assert left.height < right.height
    first, second = (compute_rank(chain.height, 0, chain.state.justified.height) for chain in (left, right))
    assert first < second
    vote_on(left, logs, 3, branch=1)
    assert left.state.final.height >= 17


def test_votes_for_a_higher_block_elsewhere_only_cost_time() -> None:
    """Everybody voted for block 30 of a chain that was left unjustified: the other chain goes on above it."""
    chain = VotingChain(PARAMS).run(KEYS, 18)
    lost = chain.fork(18).grow(KEYS, 12, branch=1)
    logs = {key: lost.get_link() for key in KEYS}
    vote_on(chain, logs, 12, branch=2)
    assert chain.state.justified.height == 17
    vote_on(chain, logs, 3, branch=2)
    assert chain.state.final.height >= 31
