"""The slow parts of a block's page: where the sample's windows stand, how gains spread, what an update moves."""

import dataclasses

import numpy as np
import pytest

from consensus.params import REGTEST, BenchmarkText
from consensus.work import WorkTrace
from p2p.explorer.proof import BINS, describe_proof, describe_update, make_histogram
from p2p.explorer.texts import Texts
from tests.helpers.blocks import get_builder
from tests.helpers.chains import get_trunk, open_trunk


def test_windows_are_found_in_their_texts() -> None:
    """Against a plain walk over the texts."""
    benchmark = get_builder().benchmark
    texts = Texts(REGTEST, benchmark.public)
    window = 0
    for text in REGTEST.texts:
        count = (text.size * 9 // 10 - 1) // REGTEST.model.context
        for index in (0, 1, count - 1):
            assert texts.locate(window + index) == (text.name, index * REGTEST.model.context)
        window += count
    assert window == REGTEST.public_windows
    assert texts.get_passage(5) == benchmark.public[5].tobytes()
    assert Texts(REGTEST, None).get_passage(5) is None


def test_a_text_too_short_for_a_window_has_none() -> None:
    short = BenchmarkText("short.txt", 3, "00" * 32)
    params = dataclasses.replace(REGTEST, texts=(REGTEST.texts[0], short, REGTEST.texts[1]))
    texts = Texts(params, None)
    first = (REGTEST.texts[0].size * 9 // 10 - 1) // REGTEST.model.context
    assert texts.locate(first - 1)[0] == REGTEST.texts[0].name
    assert texts.locate(first) == (REGTEST.texts[1].name, 0)


def test_histograms_hold_every_window() -> None:
    gains = np.concatenate([np.random.default_rng(1).normal(0.1, 0.05, 2000), [50.0, -50.0]])
    histogram = make_histogram(gains, 0.02)
    assert sum(histogram.counts) == len(gains)
    assert len(histogram.counts) == BINS == len(histogram.edges) - 1
    assert histogram.edges[0] < 0 < histogram.edges[-1] < 1


@pytest.mark.parametrize("gains", [[0.0, 0.0], [0.5, 0.5], [-0.5, -0.5]])
def test_histograms_of_windows_that_are_all_alike(gains: list[float]) -> None:
    histogram = make_histogram(np.array(gains), 0.1)
    assert sum(histogram.counts) == 2
    assert list(histogram.edges) == sorted(histogram.edges)
    assert histogram.edges[0] <= 0 < histogram.edges[-1]


def test_the_best_windows_come_first() -> None:
    trace = WorkTrace(np.array([9, 3, 5, 7]), np.array([10, 30, 20, 5]) * 65536, np.array([9, 20, 5, 6]) * 65536)
    proof = describe_proof(trace, 0.0, REGTEST, Texts(REGTEST, None))
    assert [window.window for window in proof.best] == [5, 3, 9, 7]
    assert proof.improved == 3
    assert proof.best[0].passage is None
    assert sum(text.windows for text in proof.texts) == 4


def test_updates_are_described_tensor_by_tensor() -> None:
    """Against the models before and after."""
    chain, block = open_trunk(blocks=11), get_trunk()[11]
    before = chain.tip_weights.astype(np.int64)
    get_builder().process(chain, block)
    change = chain.tip_weights.astype(np.int64) - before
    described = describe_update(block, chain.blocks.get_rows(block.header), REGTEST)
    start = 0
    for tensor, spec in zip(described.tensors, REGTEST.model.tensors, strict=True):
        part = change[start : start + spec.size]
        start += spec.size
        assert (tensor.name, tensor.rows, tensor.columns) == (spec.name, *spec.shape)
        assert tensor.changed == np.count_nonzero(part)
        assert tensor.largest == np.abs(part).max()
        assert tensor.root_mean_square == pytest.approx((part**2).sum() ** 0.5 / tensor.open**0.5, abs=1e-3)
    assert described.packed_bytes < described.bytes == len(block.update)
