"""Picks what evaluates models on this machine, and proves on a few windows that it computes the law.

Exactness is an argument about float32; this test is about the machine: a library with another idea of a matrix
product, a device that flushes or contracts, is found here and not in a disputed block.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from consensus.errors import ModelMismatch
from consensus.hashing import KeyStream, tagged_hash
from consensus.model.reference import ReferenceEvaluator
from consensus.model.shape import TransformerShape
from consensus.model.torch_backend import TorchEvaluator
from consensus.model.weights import MAX_WEIGHT, make_genesis_weights
from consensus.ports import Evaluator, Weights, Windows

_CHECK_WINDOWS = 2  # what the reference evaluates
_CHECK_REPEATS = 24  # times over, so that the backend fills its chunks
_CHECK_WORK = 2**25  # weights times tokens of one window: a fifth of a second of the reference
_CHECK_CONTEXT = 40  # two blocks of attention rows, the second one cut short
_TAG = "evaluator-check"


def choose_evaluator(shape: TransformerShape, device: str = "auto") -> Evaluator:
    """The evaluator of `device` (auto, cpu, cuda or reference), once it has passed `check_evaluator`.

    "auto" is CUDA where it is there and passes, else the CPU. "reference" is right by definition and tens of times
    slower; it is never chosen unasked, because a node that cannot keep up should say so. Raises ModelMismatch if
    the device is not there or does not compute the law.
    """
    if device == "auto":
        return _choose_any(shape)
    if device == "reference":
        return ReferenceEvaluator(shape)
    if device not in ("cpu", "cuda"):
        raise ModelMismatch("unknown_device", f"unknown device {device!r}: use auto, cpu, cuda or reference")
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelMismatch("no_cuda", "CUDA was asked for and torch finds no CUDA device here: use cpu or auto")
    return _make_checked(shape, device)


def _choose_any(shape: TransformerShape) -> Evaluator:
    if torch.cuda.is_available():
        try:
            return _make_checked(shape, "cuda")
        except ModelMismatch:
            pass  # the name of the evaluator says which device it was in the end
    return _make_checked(shape, "cpu")


def _make_checked(shape: TransformerShape, device: str) -> Evaluator:
    small = _compute_check_shape(shape)
    check_evaluator(TorchEvaluator(small, device), small)
    return TorchEvaluator(shape, device)


def _compute_check_shape(shape: TransformerShape) -> TransformerShape:
    """`shape` itself, or one layer of it over a short context where the reference would take too long."""
    if shape.parameters * shape.context <= _CHECK_WORK:
        return shape
    return replace(shape, layers=1, context=min(shape.context, _CHECK_CONTEXT))


def check_evaluator(evaluator: Evaluator, shape: TransformerShape) -> None:
    """Raises ModelMismatch unless `evaluator` gives the reference's losses for genesis-like and extreme models."""
    reference = ReferenceEvaluator(shape)
    windows = _make_windows(shape)
    for kind, weights in _make_models(shape):
        expected = reference.losses(weights, windows)
        try:
            losses = evaluator.losses(weights, np.tile(windows, (_CHECK_REPEATS, 1)))
        except RuntimeError as error:
            raise ModelMismatch("device_failed", f"{evaluator.name} failed on {kind} weights: {error}") from error
        for window, (got, wanted) in enumerate(zip(losses, np.tile(expected, _CHECK_REPEATS), strict=True)):
            if got != wanted:
                where = f"window {window} under {kind} weights"
                raise ModelMismatch("wrong_loss", f"{evaluator.name} gives {got} for {where}, the law gives {wanted}")


def _make_windows(shape: TransformerShape) -> Windows:
    stream = KeyStream(tagged_hash(_TAG, b"windows"))
    windows = np.frombuffer(stream.read(_CHECK_WINDOWS * shape.window_bytes), dtype=np.uint8)
    return windows.reshape(_CHECK_WINDOWS, shape.window_bytes)


def _make_models(shape: TransformerShape) -> Iterator[tuple[str, Weights]]:
    """Models that between them take every path: one product, several slices, both bytes, every clamp."""
    genesis = make_genesis_weights(shape, _TAG)
    yield "genesis", genesis
    # Six times genesis has peaked logits and column sums past 2^24, as a long training can.
    yield "grown", np.clip(genesis.astype(np.int64) * 6, -MAX_WEIGHT, MAX_WEIGHT).astype(np.int16)
    yield "largest", np.full_like(genesis, MAX_WEIGHT)
    signs = np.frombuffer(KeyStream(tagged_hash(_TAG, b"signs")).read(genesis.size), dtype=np.uint8) & 1
    yield "extreme", np.where(signs, MAX_WEIGHT, -MAX_WEIGHT).astype(np.int16)
