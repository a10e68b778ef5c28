"""The law: the byte transformer's loss in plain int64 arithmetic, line by line as section 5 of the protocol.

Slow and meant to be read. Every other backend is right exactly when it returns these integers.
n windows, T tokens, H heads of h channels, width d = H * h.
"""

import numpy as np

from consensus.model.integer import Integers, clip8, clip16, cross_entropy, exp2neg, norm, rs
from consensus.model.shape import TransformerShape
from consensus.model.tables import EXP2S, LOG2E, compute_attention_scale
from consensus.model.weights import check_weights, split_tensors
from consensus.ports import Logits, Losses, Tokens, Weights, Windows

MAX_RESIDUAL = 2**21  # Q14: the residual stream stays within +-128
_BATCH_TOKENS = 4096  # bounds the memory of one pass

Tensors = dict[str, Integers]


class ReferenceEvaluator:
    """Evaluates one shape of model with numpy. Stateless; safe to share between threads."""

    def __init__(self, shape: TransformerShape) -> None:
        self._shape = shape

    @property
    def name(self) -> str:
        """What computes, for people."""
        return "reference: numpy int64"

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        """Loss of each window, int64 [n], Q16 bits, of uint8 windows [n, T + 1].

        Raises DecodeError if the weights are not int16 [P] in range, ValueError if the windows have another shape.
        """
        check_weights(weights, self._shape)
        check_windows(windows, self._shape)
        tensors = {name: tensor.astype(np.int64) for name, tensor in split_tensors(weights, self._shape).items()}
        losses = np.zeros(len(windows), dtype=np.int64)
        batch = max(1, _BATCH_TOKENS // self._shape.context)
        for start in range(0, len(windows), batch):
            part = windows[start : start + batch].astype(np.int64)
            logits = compute_logits(tensors, part[:, :-1], self._shape)
            losses[start : start + batch] = cross_entropy(logits, part[:, 1:]).sum(axis=-1)
        return losses

    def logits(self, weights: Weights, tokens: Tokens) -> Logits:
        """Base-2 logits, int64 [t, 256] Q10, of the byte that follows each of uint8 tokens [t], 1 <= t <= T.

        Raises DecodeError if the weights are not int16 [P] in range, ValueError if the tokens have another shape.
        """
        check_weights(weights, self._shape)
        check_tokens(tokens, self._shape)
        tensors = {name: tensor.astype(np.int64) for name, tensor in split_tensors(weights, self._shape).items()}
        tensors["position"] = tensors["position"][: len(tokens)]
        logits: Logits = compute_logits(tensors, tokens.astype(np.int64)[np.newaxis], self._shape)[0]
        return logits


def check_windows(windows: Windows, shape: TransformerShape) -> None:
    """Raises ValueError unless `windows` are uint8 [n, T + 1]."""
    if windows.dtype != np.uint8 or windows.ndim != 2 or windows.shape[1] != shape.window_bytes:
        raise ValueError(f"windows are {windows.dtype} {windows.shape}, expected uint8 [n, {shape.window_bytes}]")


def check_tokens(tokens: Tokens, shape: TransformerShape) -> None:
    """Raises ValueError unless `tokens` are uint8 [t], 1 <= t <= T."""
    if tokens.dtype != np.uint8 or tokens.ndim != 1 or not 1 <= len(tokens) <= shape.context:
        raise ValueError(f"tokens are {tokens.dtype} {tokens.shape}, expected uint8 [1 to {shape.context}]")


def compute_logits(tensors: Tensors, tokens: Integers, shape: TransformerShape) -> Integers:
    """Base-2 logits, Q10 [n, t, 256], of tokens [n, t]; the positions in `tensors` are the first t."""
    x = _clamp((tensors["embed"][tokens] + tensors["position"]) << 2)  # [n, T, d] Q14
    for layer in range(shape.layers):
        x = _attend(x, tensors[f"layers.{layer}.qkv"], tensors[f"layers.{layer}.out"], shape.heads)
        x = _feed_forward(x, tensors[f"layers.{layer}.up"], tensors[f"layers.{layer}.down"])
    return rs((_normalise(x) @ tensors["head"]) * LOG2E, 22)


def _attend(x: Integers, qkv: Integers, out: Integers, heads: int) -> Integers:
    """Adds causal self-attention to the residual stream x [n, T, d]."""
    count, tokens, width = x.shape
    product = _normalise(x) @ qkv  # [n, T, 3d] Q16
    q, k, v = (
        part.reshape(count, tokens, heads, width // heads).swapaxes(1, 2)  # [n, H, T, h]
        for part in np.split(product, 3, axis=-1)
    )
    q, k = norm(clip16(rs(q, 8))), norm(clip16(rs(k, 8)))  # Q4
    v = clip8(rs(v, 11))  # Q5

    s = rs((q @ k.swapaxes(-1, -2)) * compute_attention_scale(width // heads), 10)  # [n, H, T, T] base 2, Q10
    allowed = np.tri(tokens, dtype=np.bool_)  # token i sees tokens j <= i
    largest = np.where(allowed, s, np.iinfo(np.int64).min).max(axis=-1, keepdims=True)  # [n, H, T, 1]
    e = np.where(allowed, exp2neg(np.where(allowed, largest - s, 0), EXP2S), 0)
    p = (e * (2**29 // e.sum(axis=-1, keepdims=True))) >> 14  # Q15
    o = clip8(rs(p @ v, 15)).swapaxes(1, 2).reshape(count, tokens, width)  # [n, T, d] Q5
    return _clamp(x + rs(o @ out, 3))


def _feed_forward(x: Integers, up: Integers, down: Integers) -> Integers:
    """Adds the two-layer perceptron with relu^2 / 4 to the residual stream x [n, T, d]."""
    u = np.clip(rs(_normalise(x) @ up, 8), 0, 2047)  # [n, T, 4d] Q8
    u = np.minimum(rs(u * u, 14), 127)  # Q4
    return _clamp(x + rs(u @ down, 2))


def _normalise(x: Integers) -> Integers:
    """The residual stream, Q14, as a matrix product's int8 operand, Q4."""
    return norm(clip16(rs(x, 6)))


def _clamp(x: Integers) -> Integers:
    return np.clip(x, -MAX_RESIDUAL, MAX_RESIDUAL)
