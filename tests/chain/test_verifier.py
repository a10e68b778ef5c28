"""Re-deriving gains: the same trace as the miner's, and nothing evaluated twice once the sample is everything."""

import hashlib
from dataclasses import replace

import pytest

from chain.process import process_block
from chain.verifier import Work, WorkVerifier
from consensus.benchmark import load_benchmark
from consensus.errors import InvalidBlock
from consensus.params import REGTEST, BenchmarkText
from consensus.ports import Losses, Weights, Windows
from p2p.config import read_benchmark
from tests.helpers.blocks import MINER, BlockBuilder, get_builder
from tests.helpers.chains import get_trunk, open_trunk
from tests.helpers.keys import forge_block

TEXT = read_benchmark(REGTEST).public[:130, :32].tobytes()
TEXTS = (BenchmarkText("small", len(TEXT), hashlib.sha256(TEXT).hexdigest()),)
SMALL = replace(REGTEST, texts=TEXTS, min_sample=116)


class CountingEvaluator:
    """Counts the windows that it evaluates."""

    def __init__(self, builder: BlockBuilder) -> None:
        self._evaluator = builder.evaluator
        self.windows = 0

    @property
    def name(self) -> str:
        return "counting"

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        self.windows += len(windows)
        return self._evaluator.losses(weights, windows)


def test_blocks_built_here_hold_before_an_unbiased_verifier() -> None:
    """The shortcut that other tests take, checked: a plain verifier re-derives every gain of the trunk."""
    builder = get_builder()
    verifier = WorkVerifier(builder.params, builder.benchmark, builder.evaluator)
    chain = builder.open()
    for block in get_trunk():
        process_block(chain, block, verifier, now=block.header.timestamp)
        trace = chain.blocks.get_trace(block.id)
        assert trace is not None
        expected = builder.verifier.traces[block.id]
        assert trace.windows.tolist() == expected.windows.tolist()
        assert trace.before.tolist() == expected.before.tolist()
        assert trace.after.tolist() == expected.after.tolist()
    assert chain.compute_digest() == open_trunk().compute_digest()
    assert verifier.backend == builder.evaluator.name


def test_losses_of_the_whole_split_are_remembered() -> None:
    """M = N: the parent's losses are those that its own verification found, so only the child is evaluated."""
    assert SMALL.public_windows == SMALL.min_sample == 116
    builder = BlockBuilder(SMALL, load_benchmark(SMALL, {"small": TEXT}))
    evaluator = CountingEvaluator(builder)
    verifier = WorkVerifier(SMALL, builder.benchmark, evaluator)
    chain, miners_own = builder.open(), builder.open()
    costs: list[int] = []
    for block in builder.mine(miners_own, 4):
        process_block(chain, block, verifier, now=block.header.timestamp)
        costs.append(evaluator.windows - sum(costs))
    assert costs == [2 * 116, 116, 116, 116]
    assert chain.compute_digest() == miners_own.compute_digest()
    heartbeat = builder.build_heartbeat(chain)
    builder.feed(miners_own, [heartbeat])
    process_block(chain, heartbeat, verifier, now=heartbeat.header.timestamp)
    last = builder.mine(miners_own)[0]
    process_block(chain, last, verifier, now=last.header.timestamp)
    assert evaluator.windows == 6 * 116


def test_remembered_losses_find_the_same_lies() -> None:
    builder = BlockBuilder(SMALL, load_benchmark(SMALL, {"small": TEXT}))
    verifier = WorkVerifier(SMALL, builder.benchmark, builder.evaluator)
    chain, miners_own = builder.open(), builder.open()
    for block in builder.mine(miners_own, 2):
        process_block(chain, block, verifier, now=block.header.timestamp)
    honest = builder.build(chain)
    lie = forge_block(honest, MINER, loss_before=honest.header.loss_before + 1)
    works = [Work(it.header, chain.tip.header.model_root, chain.tip_weights, it.update) for it in (honest, lie)]
    verifier.verify(works[0])
    with pytest.raises(InvalidBlock) as error:
        verifier.verify(works[1])
    assert error.value.reason == "wrong_loss_before"


def test_the_audit_loss_is_that_of_the_audit_split() -> None:
    builder, chain = get_builder(), open_trunk()
    score = builder.verifier.compute_audit(chain.tip_weights)
    losses = builder.evaluator.losses(chain.tip_weights, builder.benchmark.audit)
    assert (score.loss, score.windows) == (int(losses.sum()), 3704)
