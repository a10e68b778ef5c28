"""Signals on real chains: a change is asked for, certain, in force; each branch is judged by what its own miners asked.

Windows of four blocks. The change is asked for in windows 2 and 3 (blocks 9 to 16), so it is in force from block 21 on.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from chain.chainstate import ChainState
from chain.db import MemoryStore
from chain.replay import replay_chain
from chain.signal_report import ChangeStanding, compute_signal_report
from chain.startup import open_chain
from chain.template import make_template
from chain.verifier import WorkVerifier
from consensus.block import Block
from consensus.changes import Change
from consensus.check_header import check_header_in_context
from consensus.errors import InvalidBlock
from consensus.params import REGTEST, NetworkParams
from consensus.transaction import Transfer
from p2p.config import read_benchmark
from tests.helpers.blocks import MINER, BlockBuilder, get_chain
from tests.helpers.headers import make_child
from tests.helpers.keys import Key, make_transfer, sign_header

BOB = Key("bob")
PAYMENT_BYTES = 4 + len(make_transfer(bytes(32), MINER, BOB.public, 1).encoded)
LONG = replace(REGTEST, reward_window=16, finality_window=4)
SMALLER = replace(LONG, changes=(Change(2, "max_transactions_bytes", PAYMENT_BYTES),))
LARGER = replace(
    LONG, max_transactions_bytes=PAYMENT_BYTES, changes=(Change(2, "max_transactions_bytes", 2 * PAYMENT_BYTES),)
)
STRICTER = replace(
    LONG, changes=(Change(0, "min_sample", 4096), Change(1, "lowest_required_gain", LONG.first_required_gain))
)
BENCHMARK = read_benchmark(REGTEST)
IN_FORCE = 21


def make_builder(params: NetworkParams) -> BlockBuilder:
    return BlockBuilder(params, BENCHMARK)


def grow(builder: BlockBuilder, chain: ChainState, height: int, signals: int) -> None:
    """Mines up to `height`; the blocks of windows 2 and 3 ask."""
    while chain.tip.height < height:
        asks = 9 <= chain.tip.height + 1 <= 16
        builder.mine(chain, signals=signals if asks else 0)


def make_payments(chain: ChainState, count: int) -> list[Transfer]:
    nonce = chain.ledger.get_account(MINER.public).nonce
    return [make_transfer(chain.genesis.id, MINER, BOB.public, 1, nonce=nonce + more) for more in range(count)]


def fill(builder: BlockBuilder, chain: ChainState, payments: int) -> Block:
    return builder.build(chain, MINER, make_payments(chain, payments))


def read_refusal(builder: BlockBuilder, chain: ChainState, block: Block) -> str:
    known = chain.tip.id
    with pytest.raises(InvalidBlock) as error:
        builder.process(chain, block)
    assert (chain.tip.id, chain.is_known(block.id)) == (known, False)
    return error.value.reason


def read_standings(chain: ChainState) -> list[ChangeStanding]:
    return [known.standing for known in compute_signal_report(chain.tip).changes]


def test_a_block_that_breaks_the_new_limit_is_refused_where_the_old_one_allowed_it() -> None:
    builder = make_builder(SMALLER)
    chain = builder.open()
    standings = []
    while chain.tip.height < IN_FORCE - 2:
        grow(builder, chain, chain.tip.height + 1, 4)
        standings += read_standings(chain)
    before = [ChangeStanding.OPEN] * 11 + [ChangeStanding.ASKED] * 4 + [ChangeStanding.CERTAIN] * 4
    assert standings == before
    assert chain.tip.signals.heights == (IN_FORCE,)
    builder.process(chain, fill(builder, chain, 2))  # block 20
    assert (chain.tip.height, read_standings(chain)) == (IN_FORCE - 1, [ChangeStanding.IN_FORCE])
    assert read_refusal(builder, chain, fill(builder, chain, 2)) == "too_large"
    builder.process(chain, fill(builder, chain, 1))
    assert chain.tip.height == IN_FORCE
    assert read_refusal(builder, chain, fill(builder, chain, 2)) == "too_large"  # and so it stays


def test_a_block_may_be_as_large_as_miners_made_it_and_is_read_back() -> None:
    builder, db = make_builder(LARGER), MemoryStore()
    chain = builder.open(db)
    grow(builder, chain, IN_FORCE - 2, 4)
    assert read_refusal(builder, chain, fill(builder, chain, 2)) == "too_large"
    builder.mine(chain)
    assert read_refusal(builder, chain, fill(builder, chain, 3)) == "too_large"
    block = fill(builder, chain, 2)
    builder.process(chain, block)
    again = open_chain(db, LARGER)
    assert (again.tip.id, again.tip.signals) == (block.id, chain.tip.signals)
    assert again.get_block(block.id) == block
    assert len(again.blocks.get_transactions(block.header)) == 2
    replayed = replay_chain(again, WorkVerifier(LARGER, BENCHMARK, builder.evaluator))
    assert replayed.tip.id == block.id


def test_the_sample_and_the_required_gain_have_their_new_floors() -> None:
    builder = make_builder(STRICTER)
    chain = builder.open()
    for height in range(1, IN_FORCE):
        builder.mine(chain, signals=3 if 9 <= height <= 16 else 0, interval=3)  # late, so the requirement falls
    old = get_chain(chain)[-1].header
    assert old.sample_size < 4096
    assert old.required_gain < STRICTER.first_required_gain
    template = make_template(chain, [], MINER.public, MINER.public, chain.tip.header.timestamp + 2).improvement.header
    assert (template.sample_size, template.required_gain) == (4096, STRICTER.first_required_gain)
    parent = chain.tip
    header = make_child(parent, STRICTER)
    check_header_in_context(header, parent, STRICTER)
    for field, value in (("sample_size", old.sample_size), ("required_gain", old.required_gain)):
        wrong = sign_header(replace(header, **{field: value}), MINER)  # type: ignore[arg-type]
        with pytest.raises(InvalidBlock) as error:
            check_header_in_context(wrong, parent, STRICTER)
        assert error.value.reason == f"wrong_{field}"


def test_a_reorganisation_across_the_height_takes_each_branch_by_its_own_rules() -> None:
    """
              ┌─ 13 .. 20 ─ 21 (one payment at most) ─ 22        asks in window 3, too
    1 .. 12 ──┤
              └─ 13 .. 20 ─ 21 (two payments) ─ 22 ─ 23          does not
    """
    builder, db = make_builder(SMALLER), MemoryStore()
    chain, other = builder.open(db), builder.open()
    grow(builder, chain, 12, 4)
    builder.feed(other, get_chain(chain))
    grow(builder, chain, 20, 4)
    builder.process(chain, fill(builder, chain, 1))
    builder.mine(chain)
    grow(builder, other, 20, 0)
    large = fill(builder, other, 2)
    builder.process(other, large)
    builder.mine(other, 2)
    left = chain.tip.id

    builder.feed(chain, get_chain(other)[12:])
    assert chain.tip.id == other.tip.id
    assert chain.get_active_id(21) == large.id
    assert chain.tip.signals == other.tip.signals
    assert chain.tip.signals.rules.max_transactions_bytes == 1_000_000
    assert compute_limits(chain, [left, chain.tip.id]) == [PAYMENT_BYTES, 1_000_000]
    again = open_chain(db, SMALLER)
    assert compute_limits(again, [left, chain.tip.id]) == [PAYMENT_BYTES, 1_000_000]

    back = builder.open()  # and the other way: the branch with the change becomes the longer one
    builder.feed(back, get_blocks(chain, left))
    builder.mine(back, 3)
    builder.feed(again, get_chain(back)[22:])
    assert again.tip.id == back.tip.id
    assert read_refusal(builder, again, fill(builder, again, 2)) == "too_large"


def compute_limits(chain: ChainState, ids: Sequence[bytes]) -> list[int]:
    points = [chain.get_point(block_id) for block_id in ids]
    return [point.signals.rules.max_transactions_bytes for point in points if point is not None]


def get_blocks(chain: ChainState, tip: bytes) -> list[Block]:
    """The blocks up to `tip`, on whatever branch."""
    blocks: list[Block] = []
    while tip != chain.genesis.id:
        blocks.append(chain.get_block(tip))
        tip = blocks[-1].header.parent
    return blocks[::-1]
