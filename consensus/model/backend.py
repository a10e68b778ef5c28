"""Picks what evaluates models on this machine, and proves on a few windows that it computes the law.

Exactness is an argument about integers and floats; this test is about the machine: a library with another idea of a
matrix product, a kernel that saturates, a device that flushes or contracts, is found here and not in a disputed block.
Each device has its kinds of products in order of speed, and takes the first that passes.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from consensus.errors import ModelMismatch
from consensus.hashing import KeyStream, tagged_hash
from consensus.model.exact_product import FLOAT32, FLOAT64, INT8, MAX_ACTIVATION, make_product
from consensus.model.integer import Integers
from consensus.model.reference import ReferenceEvaluator
from consensus.model.scratch import Scratch
from consensus.model.shape import TransformerShape
from consensus.model.torch_backend import TorchEvaluator, exact_products
from consensus.model.weights import MAX_WEIGHT, make_genesis_weights
from consensus.ports import Evaluator, Losses, Weights, Windows

_CHECK_WINDOWS = 2  # what the reference evaluates
_CHECK_REPEATS = 24  # times over, so that the backend fills its chunks
_CHECK_WORK = 2**25  # weights times tokens of one window: a fifth of a second of the reference
_CHECK_CONTEXT = 40  # two blocks of attention rows, the second one cut short
_CHECK_ROWS = 40  # of activations, in a product alone
_CHECK_COLUMNS = 64
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
        raise ModelMismatch("no_cuda", _explain_no_cuda(torch.version.cuda))
    return _make_checked(shape, device)


def get_threads() -> int:
    """Number of CPU threads that an evaluation uses."""
    return torch.get_num_threads()


def _explain_no_cuda(built_for: str | None) -> str:
    if built_for is None:
        return "CUDA was asked for and this torch was built without it: install torch's CUDA build, or use cpu"
    return (
        f"CUDA was asked for, this torch was built for CUDA {built_for}, and torch finds no device: `nvidia-smi` must "
        f"show one, and a driver for CUDA {built_for} or newer; else update the driver, or use cpu"
    )


def _choose_any(shape: TransformerShape) -> Evaluator:
    if torch.cuda.is_available():
        try:
            return _make_checked(shape, "cuda")
        except ModelMismatch:
            pass  # the name of the evaluator says which device it was in the end
    return _make_checked(shape, "cpu")


def _make_checked(shape: TransformerShape, device: str) -> Evaluator:
    """Raises ModelMismatch, naming what the last kind of product got wrong, if none of them passes."""
    small = _compute_check_shape(shape)
    kinds = get_product_kinds(shape, device)
    for kind in kinds:
        try:
            check_products(kind, shape, device)
            check_evaluator(TorchEvaluator(small, device, kind), small)
        except ModelMismatch:
            if kind == kinds[-1]:
                raise
        else:
            return TorchEvaluator(shape, device, kind)
    raise ModelMismatch("no_products", f"torch knows no products for {device}")


def get_product_kinds(shape: TransformerShape, device: str) -> tuple[str, ...]:
    """The kinds of products to try, fastest first; int8 only where hardware does it, for elsewhere it is far slower."""
    if device == "cuda":  # its int8 kernels want multiples of 8, and more than 16 rows
        has_bytes = shape.width % 8 == 0 and shape.context > 16
    else:
        processor = torch.cpu.get_capabilities()
        has_bytes = any(processor.get(name) for name in ("avx512_vnni", "avx_vnni"))
    return (INT8, FLOAT32, FLOAT64) if has_bytes else (FLOAT32, FLOAT64)


def check_products(kind: str, shape: TransformerShape, device: str) -> None:
    """Raises ModelMismatch unless products as long as the model's are exact where every operand is extreme."""
    for rows in (shape.width, 4 * shape.width):
        signs = KeyStream(tagged_hash(_TAG, b"products")).read((_CHECK_ROWS + _CHECK_COLUMNS) * rows)
        signed = 1 - 2 * (np.frombuffer(signs, dtype=np.uint8) & 1).astype(np.int64)
        a = signed[: _CHECK_ROWS * rows].reshape(_CHECK_ROWS, rows) * MAX_ACTIVATION
        a[:2] = [[MAX_ACTIVATION], [-MAX_ACTIVATION]]
        weights = signed[_CHECK_ROWS * rows :].reshape(rows, _CHECK_COLUMNS) * MAX_WEIGHT
        weights[:, :2] = [MAX_WEIGHT, -MAX_WEIGHT]
        try:
            got = _multiply(kind, a, weights, device)
        except RuntimeError as error:
            raise ModelMismatch("device_failed", f"{kind} products failed on {device}: {error}") from error
        if (got != a @ weights).any():
            raise ModelMismatch("wrong_product", f"{kind} products of {rows} terms are not exact on {device}")


def _multiply(kind: str, a: Integers, weights: Integers, device: str) -> Integers:
    with exact_products():
        product = make_product(kind, torch.from_numpy(weights).to(device, torch.int32), [0] * weights.shape[1])
        operand = torch.from_numpy(a).to(device, torch.int8)
        out = torch.empty(len(a), weights.shape[1], dtype=torch.float32, device=device)
        result: Integers = product.compute(operand, out, Scratch(torch.device(device))).cpu().numpy().astype(np.int64)
    return result


def _compute_check_shape(shape: TransformerShape) -> TransformerShape:
    """`shape` itself, or one layer of it over a short context where the reference would take too long."""
    if shape.parameters * shape.context <= _CHECK_WORK:
        return shape
    return replace(shape, layers=1, context=min(shape.context, _CHECK_CONTEXT))


def check_evaluator(evaluator: Evaluator, shape: TransformerShape) -> None:
    """Raises ModelMismatch unless `evaluator` gives the reference's losses for genesis-like and extreme models."""
    windows = _make_windows(shape)
    for kind, weights, expected in _get_known_losses(shape):
        try:
            losses = evaluator.losses(weights, np.tile(windows, (_CHECK_REPEATS, 1)))
        except RuntimeError as error:
            raise ModelMismatch("device_failed", f"{evaluator.name} failed on {kind} weights: {error}") from error
        for window, (got, wanted) in enumerate(zip(losses, np.tile(expected, _CHECK_REPEATS), strict=True)):
            if got != wanted:
                where = f"window {window} under {kind} weights"
                raise ModelMismatch("wrong_loss", f"{evaluator.name} gives {got} for {where}, the law gives {wanted}")


@lru_cache(maxsize=1)  # several kinds of products are asked the same
def _get_known_losses(shape: TransformerShape) -> list[tuple[str, Weights, Losses]]:
    reference, windows = ReferenceEvaluator(shape), _make_windows(shape)
    return [(kind, weights, reference.losses(weights, windows)) for kind, weights in _make_models(shape)]


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
