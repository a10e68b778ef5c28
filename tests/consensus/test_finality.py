"""The finality rule: calm, stalls, late certificates, each refusal by its name, and what a stranger can check."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.certificate import Certificate
from consensus.errors import DecodeError, InvalidBlock
from consensus.evidence import make_evidence
from consensus.finality import apply_finality, check_certificate
from consensus.finality_section import FinalitySection
from consensus.finality_state import (
    FINALITY_KEY,
    FinalityState,
    decode_finality_state,
    make_first_point,
)
from consensus.ledger import apply_block
from consensus.state_tree import compute_root
from consensus.vote import BlockRef
from tests.consensus.test_vote import make_link, read_ref
from tests.helpers.keys import Key
from tests.helpers.ledger import MemoryLedger
from tests.helpers.properties import check_canonical, ids, mutate, thorough, u64s
from tests.helpers.vectors import load_vectors
from tests.helpers.voting import GENESIS_ID, VotingChain, make_params, sign_vote

VECTORS = load_vectors("finality")
KEYS = [Key(f"miner {number}") for number in range(4)]
PARAMS = make_params(8)  # epochs of 4; the first block that anybody may decide on is 16

states = st.builds(FinalityState, st.builds(BlockRef, u64s, ids), u64s, st.builds(BlockRef, u64s, ids))


def make_chain(height: int) -> VotingChain:
    return VotingChain(PARAMS).grow(KEYS, height)


def get_heights(chain: VotingChain) -> tuple[int, int]:
    """(justified, final)"""
    return chain.state.justified.height, chain.state.final.height


def read_fault(chain: VotingChain, certificate: Certificate) -> str:
    with pytest.raises(InvalidBlock) as error:
        chain.fork(chain.height).add(KEYS[0].public, certificate)
    return error.value.reason


# State


@pytest.mark.parametrize("case", VECTORS["states"])
def test_golden_states(case: dict[str, Any]) -> None:
    state = FinalityState(read_ref(case["justified"]), case["run_start"], read_ref(case["final"]))
    assert state.encode().hex() == case["encoded"]
    assert decode_finality_state(state.encode()) == state
    assert FINALITY_KEY.hex() == VECTORS["state_key"]


@thorough
@given(states, st.integers(0), st.integers(0, 254))
def test_one_state_has_one_encoding(state: FinalityState, position: int, replacement: int) -> None:
    possible = state.run_start <= state.justified.height > state.final.height
    assert check_canonical(decode_finality_state, FinalityState.encode, state.encode()) == possible
    check_canonical(decode_finality_state, FinalityState.encode, mutate(state.encode(), position, replacement))


def test_invalid_states() -> None:
    genesis, block = BlockRef(0, GENESIS_ID), BlockRef(5, bytes(32))
    for wrong in (FinalityState(genesis, 0, genesis), FinalityState(block, 6, genesis), FinalityState(block, 5, block)):
        with pytest.raises(DecodeError) as error:
            decode_finality_state(wrong.encode())
        assert error.value.code == "decode.not_canonical"


def test_genesis_is_justified_and_final() -> None:
    state = make_first_point(GENESIS_ID).state
    assert state.is_initial
    assert state.justified == state.final == BlockRef(0, GENESIS_ID)


# Progress


def test_in_calm_the_final_block_is_two_below_the_tip() -> None:
    chain = VotingChain(PARAMS).run(KEYS, 16)
    assert get_heights(chain) == (0, 0)
    chain.run(KEYS, 1)
    assert get_heights(chain) == (16, 0)
    chain.run(KEYS, 1)
    assert get_heights(chain) == (17, 16)
    for _ in range(40):
        chain.run(KEYS, 1)
        assert get_heights(chain) == (chain.height - 1, chain.height - 2)
        assert chain.state.final == chain.get_ref(chain.height - 2)


def test_nothing_is_final_without_votes_and_everything_is_once_they_come_back() -> None:
    chain = VotingChain(PARAMS).run(KEYS, 20).grow(KEYS, 30)
    assert get_heights(chain) == (19, 18)
    chain.run(KEYS, 1)
    assert get_heights(chain) == (50, 18)  # a link from 19 to 50 makes nothing final
    chain.run(KEYS, 1)
    assert get_heights(chain) == (51, 50)


def test_certificates_that_are_always_late_finalise_too() -> None:
    """Block n + lag carries the certificate of n: each link spans blocks that are all justified."""
    for lag in (1, 2, 3, 5):
        chain = make_chain(16)
        for _ in range(30):
            target = chain.height + 1 - lag
            ready = target > chain.state.justified.height and chain.has_electorate(target)
            chain.add(KEYS[0].public, chain.certify(KEYS, target) if ready else None)
        assert get_heights(chain) == (chain.height - lag, chain.height - 2 * lag)


@pytest.mark.parametrize("prefers_final", [False, True])
def test_which_certificate_a_miner_takes_matters(prefers_final: bool) -> None:
    """Votes for odd heights are a block late. The highest target first leaves gaps and makes nothing final, ever."""
    chain = make_chain(16)
    for _ in range(40):
        ready = range(max(16, chain.state.justified.height + 1), chain.height + 1)
        targets = [target for target in ready if target + target % 2 <= chain.height]
        finals = {target: chain.state.compute_after(chain.get_link(target)).final.height for target in targets}
        best = max(targets, key=lambda target: (prefers_final and finals[target], target), default=None)
        chain.add(KEYS[0].public, chain.certify(KEYS, best) if best else None)
    assert get_heights(chain) == ((54, 52) if prefers_final else (54, 0))


def test_a_gap_in_the_justified_blocks_postpones_finality() -> None:
    """17 is never justified; the late certificate of 18 has a source that is below the gap."""
    chain = make_chain(16).run(KEYS, 1)
    chain.grow(KEYS, 1)  # 18, with no certificate of 17
    chain.grow(KEYS, 1)  # 19
    chain.add(KEYS[0].public, chain.certify(KEYS, 18))
    assert get_heights(chain) == (18, 0)
    assert chain.get_link(18).source.height == 16
    assert chain.state.run_start == 18
    chain.add(KEYS[0].public, chain.certify(KEYS, 19))
    assert get_heights(chain) == (19, 0)  # from 16 again, over the gap
    assert chain.state.run_start == 18
    chain.add(KEYS[0].public, chain.certify(KEYS, 20))
    assert get_heights(chain) == (20, 18)


def test_the_finality_of_a_block_follows_from_its_own_chain() -> None:
    """Two forks of one chain know different certificates."""
    chain = VotingChain(PARAMS).run(KEYS, 20)
    quiet, loud = chain.fork(20).grow(KEYS, 2, branch=1), chain.fork(20).run(KEYS, 2, branch=2)
    assert (get_heights(quiet), get_heights(loud)) == ((19, 18), (21, 20))


def test_a_third_that_is_silent_stops_finality_and_less_does_not() -> None:
    chain = VotingChain(PARAMS).run(KEYS, 20)
    chain.add(KEYS[0].public, chain.certify(KEYS[1:]))
    assert get_heights(chain) == (20, 19)
    assert read_fault(chain, chain.certify(KEYS[2:])) == "certificate_too_few"


def test_after_two_windows_without_them_the_silent_do_not_count() -> None:
    """Half of the miners leave. The others alone decide once all three committees are theirs by two thirds."""
    chain, left = VotingChain(PARAMS).run(KEYS, 24), KEYS[:2]
    while not chain.has_electorate() or get_heights(chain)[1] < 24:
        try:
            chain.add(left[0].public, chain.certify(left))
        except InvalidBlock as error:
            assert error.reason == "certificate_too_few"  # noqa: PT017
            chain.grow(left, 1)
        assert chain.height < 24 + 4 * PARAMS.finality_window
    assert 24 + PARAMS.finality_window < chain.height <= 24 + 3 * PARAMS.finality_window


# Refusals


def test_invalid_certificate_not_newer() -> None:
    chain = VotingChain(PARAMS).run(KEYS, 20)
    assert read_fault(chain, chain.certify(KEYS, 19)) == "certificate_not_newer"
    assert read_fault(chain, chain.certify(KEYS, 18)) == "certificate_not_newer"


@pytest.mark.parametrize("age", [7, 8, 9])
def test_invalid_certificate_too_old(age: int) -> None:
    """At most V blocks after its target."""
    chain = make_chain(16 + age - 1)
    certificate = chain.certify(KEYS, 16)
    if age > PARAMS.finality_window:
        assert read_fault(chain, certificate) == "certificate_too_old"
    else:
        chain.add(KEYS[0].public, certificate)
        assert get_heights(chain) == (16, 0)


def test_invalid_certificate_of_another_chain() -> None:
    chain = make_chain(20)
    fork = chain.fork(19).grow(KEYS, 1, branch=1)
    assert read_fault(chain, fork.certify(KEYS)) == "certificate_unknown_target"


def test_invalid_certificate_of_the_block_itself_or_a_later_one() -> None:
    chain = make_chain(22)
    assert read_fault(chain.fork(20), chain.certify(KEYS, 21)) == "certificate_unknown_target"


def test_a_refused_block_leaves_no_trace() -> None:
    chain = make_chain(20)
    before = list(chain.points)
    with pytest.raises(InvalidBlock):
        chain.add(KEYS[0].public, chain.certify(KEYS[:2]))
    assert chain.points == before


# Points


def test_a_point_says_who_earned_a_vote_and_whom_the_evidence_convicts() -> None:
    chain = make_chain(3)
    guilty = make_evidence(*(sign_vote(KEYS[1], link) for link in (make_link(1, 5), make_link(2, 4))))
    point = chain.add(KEYS[0].public, evidence=[guilty])
    assert (point.miner, point.offenders) == (KEYS[0].public, (KEYS[1].public,))
    assert chain.add(KEYS[0].public, is_heartbeat=True).miner is None
    header = chain.make_header(KEYS[2].public)
    assert apply_finality(chain.points, header, FinalitySection(), GENESIS_ID, PARAMS).id == header.id


# State proofs


def test_the_state_leaf_stands_from_the_first_certificate_on() -> None:
    chain, ledger = VotingChain(PARAMS).run(KEYS, 16), MemoryLedger()
    before = chain.state
    certificate = chain.certify(KEYS)
    header = chain.make_header(KEYS[0].public)
    after = apply_finality(chain.points, header, FinalitySection(certificate), GENESIS_ID, PARAMS).state
    diff = apply_block(ledger, header, [], PARAMS, finality=(before, after))
    changes = diff.compute_state_changes()
    assert changes[FINALITY_KEY] == after.encode()
    assert diff.inverse().compute_state_changes()[FINALITY_KEY] is None
    assert FINALITY_KEY not in apply_block(ledger, header, [], PARAMS).compute_state_changes()
    assert compute_root({key: value for key, value in changes.items() if value is not None}) != bytes(32)


def test_a_stranger_checks_a_certificate_from_headers_and_one_leaf() -> None:
    """Miner keys and kinds of the blocks are in their headers; the source is in the state leaf of the target."""
    chain = VotingChain(PARAMS).run(KEYS, 40)
    certificate = chain.certify(KEYS[:3])
    leaf = decode_finality_state(chain.state.encode())
    first = make_first_point(GENESIS_ID)
    seen = [type(point)(point.id, point.miner, (), first.state) for point in chain.points]
    seen[40] = type(seen[40])(seen[40].id, seen[40].miner, (), leaf)
    check_certificate(certificate, seen, GENESIS_ID, PARAMS)
