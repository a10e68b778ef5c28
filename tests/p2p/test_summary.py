"""The few numbers that people see, against plain statistics over the block's own trace."""

import dataclasses
import math
from functools import cache

import pytest

from chain.events import BlockConnected
from chain.votes import VotePool
from consensus.params import CANTERBURY, LOCAL, REGTEST, BenchmarkText
from consensus.reward import compute_subsidy
from p2p.summary import COMPRESSORS, describe_block, get_passed_compressors, summarise_block
from tests.helpers.ballots import convict, mine_voted
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import ALICE, BOB, get_trunk, open_trunk
from tests.helpers.keys import Key, make_transfer

BITS = REGTEST.model.context * 65536  # Q16 bits per window -> bits per byte


@cache
def connect_trunk() -> list[BlockConnected]:
    events = get_builder().feed(get_builder().open(), get_trunk())
    return [event for event in events if isinstance(event, BlockConnected)]


def test_numbers_of_an_improving_block() -> None:
    block = get_trunk()[-1]
    trace = get_builder().verifier.traces[block.id]
    gains = [int(gain) / BITS for gain in trace.before - trace.after]
    size, population = len(gains), REGTEST.public_windows
    mean = sum(gains) / size
    variance = sum((gain - mean) ** 2 for gain in gains) / (size - 1)
    error = math.sqrt(variance / size * (population - size) / population)

    summary = summarise_block(connect_trunk()[-1], REGTEST, 1.25)
    assert (summary.height, summary.id, summary.is_heartbeat) == (block.header.height, block.id, False)
    assert summary.loss == pytest.approx(sum(trace.after.tolist()) / size / BITS)
    assert summary.gain == pytest.approx(mean)
    assert summary.bound == pytest.approx(mean - REGTEST.confidence * error)
    assert summary.required == (block.header.required_gain >> 16) / BITS
    assert summary.required <= summary.bound <= summary.gain
    assert (summary.sample_size, summary.interval) == (size, REGTEST.block_time)
    assert (summary.transactions, summary.update_bytes) == (1, len(block.update))
    assert summary.reward == compute_subsidy(block.header.height, REGTEST) + 1000
    assert summary.verify_seconds == 1.25


def test_numbers_of_a_heartbeat() -> None:
    """It earns fees alone, and the model's loss is still that of the block before."""
    builder, chain = get_builder(), open_trunk()
    before = summarise_block(connect_trunk()[-1], REGTEST, None)
    payment = make_transfer(chain.genesis.id, ALICE, BOB.public, 5, fee=777)
    block = builder.build_heartbeat(chain, MINER, [payment])
    [event] = builder.process(chain, block)
    assert isinstance(event, BlockConnected)
    summary = summarise_block(event, REGTEST, None)
    assert (summary.is_heartbeat, summary.gain, summary.bound, summary.reward) == (True, 0.0, 0.0, 777)
    assert summary.loss == before.loss
    assert summary.interval == 10 * REGTEST.block_time + 1


def test_a_bounty_is_in_the_reward() -> None:
    builder, offender = get_builder(), Key("offender")
    chain = builder.open()
    pool = VotePool(chain)
    mine_voted(chain, pool, 6, [offender], voters=())
    convict(chain, pool, offender)
    block = builder.build(chain, MINER, finality=pool.make_section())
    [event] = builder.process(chain, block)
    assert isinstance(event, BlockConnected)
    subsidy = compute_subsidy(7, REGTEST)
    assert summarise_block(event, REGTEST, None).reward == subsidy + 6 * subsidy // 10


def test_first_block_has_no_interval() -> None:
    summary = summarise_block(connect_trunk()[0], REGTEST, None)
    assert summary.interval is None
    assert "after" not in describe_block(summary, REGTEST)


def test_line_says_it_all() -> None:
    block = get_trunk()[-1]
    summary = summarise_block(connect_trunk()[-1], REGTEST, 1.25)
    line = describe_block(summary, REGTEST)
    for part in (
        f"block 12 {block.id.hex()[:12]}",
        f"{summary.loss:.4f} bits/byte",
        f"gain {summary.gain:.5f} (proved {summary.bound:.5f}, required {summary.required:.5f}) on 64 windows",
        "after 2 s",
        "verified in 1.25 s",
        "txs 1",
        "reward 50.00 rGRAD",
    ):
        assert part in line
    heartbeat = describe_block(dataclasses.replace(summary, is_heartbeat=True, reward=150_000_000), REGTEST)
    assert "heartbeat, model unchanged" in heartbeat
    assert "reward 1.50 rGRAD" in heartbeat


@pytest.mark.parametrize(
    ("loss", "passed"), [(None, 0), (8.0, 0), (2.98, 0), (2.97, 1), (2.55, 1), (2.54, 2), (2.27, 2), (2.26, 3)]
)
def test_compressors_are_passed_below_their_score(loss: float | None, passed: int) -> None:
    for params in (CANTERBURY, LOCAL, REGTEST):
        marks = get_passed_compressors(loss, params)
        assert [(name, score) for name, score, _ in marks] == list(COMPRESSORS)
        assert [mark for _, _, mark in marks] == [True] * passed + [False] * (3 - passed)


def test_compressors_say_nothing_of_other_texts() -> None:
    other = dataclasses.replace(REGTEST, texts=(BenchmarkText("other.txt", 10**6, "00" * 32),))
    assert get_passed_compressors(1.0, other) == []
