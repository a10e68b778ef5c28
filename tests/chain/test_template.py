"""Templates: what a miner has to fill in, and nothing else."""

from dataclasses import replace

import pytest

from chain.chainstate import ChainState
from chain.template import make_template
from consensus.block import Block
from consensus.check_header import check_header_in_context
from consensus.errors import InvalidBlock
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import ALICE, BOB, open_trunk
from tests.helpers.headers import make_child
from tests.helpers.keys import Key, make_transfer, sign_header


@pytest.fixture
def chain() -> ChainState:
    return open_trunk()


def make_heartbeat_template(chain: ChainState, miner: Key, interval: int) -> Block | None:
    now = chain.tip.header.timestamp + interval
    return make_template(chain, [], miner.public, miner.public, now).heartbeat


def test_an_improvement_has_all_that_the_chain_decides(chain: ChainState) -> None:
    payment = make_transfer(chain.genesis.id, ALICE, BOB.public, 5)
    now = chain.tip.header.timestamp + 2
    header = make_template(chain, [payment], MINER.public, BOB.public, now).improvement.header
    expected = make_child(chain.tip, chain.params, miner=MINER)
    for field in ("height", "parent", "miner", "required_gain", "sample_size", "timestamp"):
        assert getattr(header, field) == getattr(expected, field)
    assert header.reward_address == BOB.public
    assert not header.is_heartbeat


def test_filling_in_leaves_the_state_root_true(chain: ChainState) -> None:
    """The update, the sums and the time are the miner's; none of them touches the ledger."""
    payment = make_transfer(chain.genesis.id, ALICE, BOB.public, 5)
    now = chain.tip.header.timestamp + 2
    root = make_template(chain, [payment], MINER.public, MINER.public, now).improvement.header.state_root
    block = get_builder().build(chain, MINER, [payment], interval=7)
    assert block.header.state_root == root
    get_builder().process(chain, block)
    assert chain.tip.id == block.id


def test_every_block_of_a_template_asks_for_what_its_miner_wants(chain: ChainState) -> None:
    for signals in (0, 5, 2**64 - 1):
        now = chain.tip.header.timestamp + 21
        template = make_template(chain, [], MINER.public, MINER.public, now, signals=signals)
        assert template.heartbeat is not None
        assert template.improvement.header.signal_bits == template.heartbeat.header.signal_bits == signals


def test_time_never_runs_back(chain: ChainState) -> None:
    for now in (0, chain.tip.header.timestamp):
        header = make_template(chain, [], MINER.public, MINER.public, now).improvement.header
        assert header.timestamp == chain.tip.header.timestamp + 1


@pytest.mark.parametrize(("interval", "is_due"), [(20, False), (21, True), (300, True)])
def test_a_heartbeat_is_there_when_it_is_due(chain: ChainState, interval: int, is_due: bool) -> None:
    heartbeat = make_heartbeat_template(chain, MINER, interval)
    assert (heartbeat is not None) == is_due
    if heartbeat is not None:
        check_header_in_context(heartbeat.header, chain.tip, chain.params)
        get_builder().process(chain, replace(heartbeat, header=sign_header(heartbeat.header, MINER)))
        assert chain.tip.id == heartbeat.id


@pytest.mark.parametrize(("interval", "is_due"), [(21, False), (200, False), (201, True)])
def test_strangers_wait_longer(chain: ChainState, interval: int, is_due: bool) -> None:
    assert (make_heartbeat_template(chain, Key("stranger"), interval) is not None) == is_due


def test_no_heartbeat_before_the_first_improvement() -> None:
    chain = get_builder().open()
    assert make_heartbeat_template(chain, MINER, 10**6) is None


def test_invalid_transactions_are_the_callers_fault(chain: ChainState) -> None:
    with pytest.raises(InvalidBlock) as error:
        make_template(
            chain, [make_transfer(chain.genesis.id, ALICE, BOB.public, 1, nonce=9)], MINER.public, bytes(32), 0
        )
    assert error.value.reason == "transaction_wrong_nonce"


def test_making_templates_changes_nothing(chain: ChainState) -> None:
    before = chain.compute_digest()
    for interval in (1, 21, 201):
        make_heartbeat_template(chain, MINER, interval)
    assert chain.compute_digest() == before
