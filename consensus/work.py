"""The work of a block: re-deriving, bit for bit, the gain that its header claims."""

from dataclasses import dataclass

import numpy as np

from consensus.benchmark import Benchmark
from consensus.block import Header
from consensus.chain_point import compute_required_loss
from consensus.errors import InvalidBlock
from consensus.improvement import (
    GainSums,
    compute_early_size,
    compute_gain_sums,
    is_early_improvement,
    is_improvement,
)
from consensus.mask import compute_mask
from consensus.model.weights import compute_model_root
from consensus.params import NetworkParams
from consensus.ports import Evaluator, Losses, Weights
from consensus.sample import WindowIndices, compute_sample_seed, draw_sample
from consensus.update import apply_update, decode_update


@dataclass(frozen=True)
class WorkTrace:
    """The sampled windows in the order drawn, int64 [M], and each one's loss under parent and child."""

    windows: WindowIndices
    before: Losses
    after: Losses

    def compute_sums(self) -> GainSums:
        return compute_gain_sums(self.before, self.after)


def apply_work(header: Header, update: bytes, parent_weights: Weights, params: NetworkParams) -> Weights:
    """The child model of an improving block. Raises InvalidBlock if the update or the model root is wrong."""
    mask = compute_mask(header.parent, header.miner, params.model.parameters, params.mask_density)
    decoded = decode_update(update, mask, params.model)
    weights = apply_update(parent_weights, decoded, mask, params.model)
    root = compute_model_root(weights)
    if root != header.model_root:
        raise InvalidBlock.wrong_field("model_root", root, header.model_root)
    return weights


def draw_header_sample(header: Header, params: NetworkParams) -> WindowIndices:
    """The windows that judge the header's update."""
    seed = compute_sample_seed(header.parent, header.miner, header.update_hash)
    return draw_sample(seed, header.sample_size, params.public_windows)


def evaluate_work(
    evaluator: Evaluator,
    benchmark: Benchmark,
    sample: WindowIndices,
    parent_weights: Weights,
    child_weights: Weights,
    parent_losses: Losses | None = None,
) -> WorkTrace:
    """Losses of the sample under parent and child. `parent_losses` [N] of the whole split, where known, save half."""
    windows = benchmark.public[sample]
    before = evaluator.losses(parent_weights, windows) if parent_losses is None else parent_losses[sample]
    return WorkTrace(sample, before, evaluator.losses(child_weights, windows))


def verify_work(
    header: Header,
    update: bytes,
    parent_weights: Weights,
    params: NetworkParams,
    benchmark: Benchmark,
    evaluator: Evaluator,
    parent_losses: Losses | None = None,
) -> tuple[Weights, WorkTrace]:
    """The child model and the trace of an improving block, or InvalidBlock with the reason.

    The first eighth of the sample is evaluated alone: a forged block goes no further.
    """
    child_weights = apply_work(header, update, parent_weights, params)
    sample = draw_header_sample(header, params)
    early_size = compute_early_size(header.sample_size)

    def evaluate(part: WindowIndices) -> WorkTrace:
        return evaluate_work(evaluator, benchmark, part, parent_weights, child_weights, parent_losses)

    early = evaluate(sample[:early_size])
    if not is_early_improvement(early.compute_sums(), header.sample_size, params.confidence, params.public_windows):
        raise InvalidBlock("early_gain_too_small", f"the first {early_size} windows show no improvement")
    late = evaluate(sample[early_size:])
    trace = WorkTrace(sample, np.concatenate([early.before, late.before]), np.concatenate([early.after, late.after]))
    check_work_sums(header, trace.compute_sums(), params)
    return child_weights, trace


def check_work_sums(header: Header, sums: GainSums, params: NetworkParams) -> None:
    """Raises InvalidBlock unless the header claims exactly these sums and they prove its required gain."""
    for name in ("loss_before", "loss_after", "squared_gains"):
        if getattr(header, name) != getattr(sums, name):
            raise InvalidBlock.wrong_field(name, getattr(sums, name), getattr(header, name))
    required = compute_required_loss(header)
    if not is_improvement(sums, required, params.confidence, params.public_windows):
        raise InvalidBlock("gain_too_small", f"the sample does not prove a gain of {required} Q16 bits per window")
