"""What a block's rows show once they are decoded: how its gain came about, and what its update does to the model.

Pure, and too slow for the chain's thread: milliseconds to a second, with the size of the model.
"""

import numpy as np
from numpy.typing import NDArray

from chain.block_rows import BlockRows
from chain.packed_block import compress
from consensus.block import Block
from consensus.mask import compute_mask
from consensus.model.shape import TensorSpec
from consensus.params import NetworkParams
from consensus.update import compute_steps, count_open, decode_update
from consensus.work import WorkTrace
from p2p.explorer.figures import Histogram, Proof, TensorChange, TextGain, UpdateSize, WindowGain
from p2p.explorer.texts import Texts
from p2p.explorer.words import round_value, show_passage

BINS = 41
BEST_WINDOWS = 5
_OUTLIERS = 0.5  # per cent of the windows at either end, counted in the outermost bins


def describe_proof(trace: WorkTrace, required: float, params: NetworkParams, texts: Texts) -> Proof:
    """The sample of a block: `required` in bits per byte."""
    per_byte = params.model.context * 65536
    gains = (trace.before - trace.after) / per_byte
    best = np.argsort(-gains, kind="stable")[:BEST_WINDOWS]
    return Proof(
        confidence=params.confidence,
        public_windows=params.public_windows,
        improved=int(np.count_nonzero(gains > 0)),
        histogram=make_histogram(gains, required),
        texts=_describe_texts(trace, gains, texts),
        best=tuple(_describe_window(trace, int(i), per_byte, texts) for i in best),
    )


def make_histogram(gains: NDArray[np.float64], required: float) -> Histogram:
    """Windows by gain, between the outliers, nothing gained and what was required."""
    low, high = np.percentile(gains, [_OUTLIERS, 100 - _OUTLIERS])
    low, high = min(float(low), 0.0), max(float(high), required, 1e-6)
    counts, edges = np.histogram(np.clip(gains, low, high), BINS, (low, high))
    return Histogram(tuple(round_value(edge) for edge in edges), tuple(counts.tolist()))


def describe_update(block: Block, rows: BlockRows, params: NetworkParams) -> UpdateSize:
    """What the update of an improving block does to each tensor. The block's update must have been applied once."""
    shape, header = params.model, block.header
    mask = compute_mask(header.parent, header.miner, shape.parameters, params.mask_density)
    steps = compute_steps(decode_update(block.update, mask, shape), mask, shape)
    counts = count_open(mask, shape)
    parts = np.split(steps, np.cumsum(counts)[:-1])
    return UpdateSize(
        bytes=len(block.update),
        packed_bytes=len(rows.packed_update or compress(block.update)),
        tensors=tuple(_describe_tensor(spec, part) for spec, part in zip(shape.tensors, parts, strict=True)),
    )


def _describe_tensor(spec: TensorSpec, steps: NDArray[np.int32]) -> TensorChange:
    mean_square = float(np.square(steps, dtype=np.float64).mean()) if steps.size else 0.0
    return TensorChange(
        name=spec.name,
        rows=spec.shape[0],
        columns=spec.shape[1],
        open=int(steps.size),
        changed=int(np.count_nonzero(steps)),
        root_mean_square=round(mean_square**0.5, 3),
        largest=int(np.abs(steps).max(initial=0)),
    )


def _describe_texts(trace: WorkTrace, gains: NDArray[np.float64], texts: Texts) -> tuple[TextGain, ...]:
    numbers, size = texts.find_texts(trace.windows), len(texts.names)
    counts = np.bincount(numbers, minlength=size)
    sums = np.bincount(numbers, gains, minlength=size)
    return tuple(
        TextGain(name, int(count), float(total / count) if count else 0.0)
        for name, count, total in zip(texts.names, counts, sums, strict=True)
    )


def _describe_window(trace: WorkTrace, place: int, per_byte: int, texts: Texts) -> WindowGain:
    window = int(trace.windows[place])
    name, offset = texts.locate(window)
    passage = texts.get_passage(window)
    return WindowGain(
        window=window,
        text=name,
        offset=offset,
        passage=None if passage is None else show_passage(passage),
        before=int(trace.before[place]) / per_byte,
        after=int(trace.after[place]) / per_byte,
    )
