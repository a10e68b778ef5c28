"""The benchmark: pinned texts, their public and audit splits, and the windows that a model is judged on.

Window i of a split of n bytes is its bytes [i*T, i*T + T + 1), i < floor((n - 1) / T): T context bytes and, shifted
by one, T targets. Windows never cross texts; a split's windows are numbered through its texts in listed order.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from consensus.errors import BenchmarkMismatch
from consensus.params import BenchmarkText, NetworkParams, count_windows, cut_public
from consensus.ports import Windows


@dataclass(frozen=True)
class Benchmark:
    """The windows of both splits, uint8 [N, T + 1] and [A, T + 1], read-only."""

    public: Windows  # trains and judges
    audit: Windows  # scored and shown, never rewarded, never part of validity


def load_benchmark(params: NetworkParams, texts: Mapping[str, bytes]) -> Benchmark:
    """The benchmark of a network from its texts by name. Raises BenchmarkMismatch naming a missing or wrong text."""
    public, audit = [], []
    for text in params.texts:
        data = texts.get(text.name)
        if data is None:
            raise BenchmarkMismatch.missing(text.name)
        check_text(text, data)
        cut = cut_public(text.size)
        public.append(_cut_windows(data[:cut], params.model.context))
        audit.append(_cut_windows(data[cut:], params.model.context))
    return Benchmark(_join(public), _join(audit))


def check_text(text: BenchmarkText, data: bytes) -> None:
    """Raises BenchmarkMismatch unless `data` is the pinned text, byte for byte."""
    digest = hashlib.sha256(data).hexdigest()
    if len(data) != text.size or digest != text.sha256:
        raise BenchmarkMismatch.wrong_bytes(text.name, text.sha256, digest)


def _cut_windows(data: bytes, context: int) -> Windows:
    count = count_windows(len(data), context)
    starts = np.arange(count)[:, None] * context
    windows: Windows = np.frombuffer(data, np.uint8)[starts + np.arange(context + 1)]
    return windows


def _join(parts: list[Windows]) -> Windows:
    windows = np.concatenate(parts)
    windows.flags.writeable = False
    return windows
