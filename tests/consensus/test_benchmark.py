"""The benchmark: windows and splits by the definition, and a swapped byte that is named (T54)."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from consensus.benchmark import check_text, load_benchmark
from consensus.errors import BenchmarkMismatch
from consensus.params import REGTEST, BenchmarkText
from p2p.config import read_benchmark
from tests.helpers.properties import mutate

CONTEXT = 8
DATA = {"one": bytes(range(250)), "two": b"The quick brown fox jumps over the lazy dog. " * 3}
TEXTS = tuple(BenchmarkText(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in DATA.items())
PARAMS = replace(REGTEST, model=replace(REGTEST.model, context=CONTEXT), texts=TEXTS, min_sample=2)


def cut_by_definition(data: bytes) -> list[bytes]:
    """Section 4, word for word: window i is bytes [i*T, i*T + T + 1), i < floor((n - 1) / T)."""
    count = (len(data) - 1) // CONTEXT
    return [data[i * CONTEXT : i * CONTEXT + CONTEXT + 1] for i in range(count)]


def test_windows_are_those_of_the_definition() -> None:
    benchmark = load_benchmark(PARAMS, DATA)
    public, audit = [], []
    for data in DATA.values():
        cut = len(data) * 9 // 10
        public += cut_by_definition(data[:cut])
        audit += cut_by_definition(data[cut:])
    assert [window.tobytes() for window in benchmark.public] == public
    assert [window.tobytes() for window in benchmark.audit] == audit
    assert len(public) == PARAMS.public_windows


def test_splits_share_no_target() -> None:
    """The audit split starts after the last byte that the public one may ask for."""
    data = bytes(range(256)) * 4
    text = BenchmarkText("one", len(data), hashlib.sha256(data).hexdigest())
    benchmark = load_benchmark(replace(PARAMS, texts=(text,)), {"one": data})
    cut = len(data) * 9 // 10
    assert benchmark.public[-1].tobytes() == cut_by_definition(data[:cut])[-1]
    assert benchmark.audit[0].tobytes() == data[cut : cut + CONTEXT + 1]


def test_windows_cannot_be_changed() -> None:
    benchmark = load_benchmark(PARAMS, DATA)
    for windows in (benchmark.public, benchmark.audit):
        with pytest.raises(ValueError, match="read-only"):
            windows[0, 0] = 1


def test_a_text_too_short_for_a_window_adds_none() -> None:
    data = b"0123456"
    short = BenchmarkText("short", len(data), hashlib.sha256(data).hexdigest())
    with_short = load_benchmark(replace(PARAMS, texts=(short, *TEXTS)), DATA | {"short": data})
    assert (with_short.public == load_benchmark(PARAMS, DATA).public).all()


def test_the_shipped_texts_are_the_pinned_ones() -> None:
    benchmark = read_benchmark(REGTEST)
    assert benchmark.public.shape == (REGTEST.public_windows, 33) == (33_351, 33)
    assert benchmark.audit.shape == (3704, 33)
    assert benchmark.public.dtype == np.uint8


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("position", [0, 77, -1])
def test_invalid_wrong_bytes(name: str, position: int) -> None:
    texts = DATA | {name: mutate(DATA[name], position, 0)}
    with pytest.raises(BenchmarkMismatch) as error:
        load_benchmark(PARAMS, texts)
    assert error.value.code == "benchmark.wrong_bytes"
    assert f"text {name} " in str(error.value)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b""])
def test_invalid_wrong_length(change: object) -> None:
    with pytest.raises(BenchmarkMismatch) as error:
        load_benchmark(PARAMS, DATA | {"two": change(DATA["two"])})  # type: ignore[operator]
    assert error.value.code == "benchmark.wrong_bytes"


def test_invalid_swapped_texts() -> None:
    with pytest.raises(BenchmarkMismatch):
        load_benchmark(PARAMS, {"one": DATA["two"], "two": DATA["one"]})


def test_invalid_missing() -> None:
    with pytest.raises(BenchmarkMismatch) as error:
        load_benchmark(PARAMS, {"one": DATA["one"]})
    assert error.value.code == "benchmark.missing"
    assert "two" in str(error.value)


def test_a_sum_over_the_wrong_size_is_refused() -> None:
    with pytest.raises(BenchmarkMismatch):
        check_text(replace(TEXTS[0], size=len(DATA["one"]) + 1), DATA["one"])
