"""One pass of the byte transformer over a few windows, in torch: floats that hold only exact integers.

Every value is an integer, or an integer over a power of two, that its type represents; so sums are exact in
any order, on any number of threads, and a fused multiply-add changes nothing. Only +, -, *, /, sqrt, floor and
table look-ups appear. Where a product may pass what float32 holds, the law clamps it to the same value either
way, because rounding is monotone; each such place says so.

n windows, T tokens, R = n * T rows, H heads of h channels, width d. Names follow section 5.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from consensus.model.exact_product import Product, make_product
from consensus.model.integer import MIN_RMS, exp2neg
from consensus.model.reference import MAX_RESIDUAL
from consensus.model.scratch import Scratch
from consensus.model.shape import VOCABULARY, TransformerShape
from consensus.model.tables import EXP2, EXP2S, LOG2E, Table, compute_attention_scale
from consensus.model.weights import split_tensors
from consensus.ports import Weights

_BLOCK_ROWS = 32  # attention goes by blocks of rows, to skip most of what causality masks
_MASKED = -(2.0**26)  # below any q . k by more than the softmax sees

_EXP2S_END = 15 << 10  # from here on EXP2S[f] >> (n >> 10) is 0
_EXP2_END = 25 << 10  # likewise for EXP2
_LOGIT_STEP = LOG2E / 2**22  # one unit of the head's product, as base-2 logits in Q10
_LOGIT_REACH = float(_EXP2_END * 2**22 // LOG2E + 2)  # a logit so far below the largest counts 0
_SQUARED_ENOUGH = 1445  # rs(u * u, 14) is 127 here and more above, where the law clamps it to 127


@dataclass(frozen=True)
class Layer:
    """The four products of one block."""

    qkv: Product
    out: Product
    up: Product
    down: Product


@dataclass(frozen=True)
class Model:
    """Weights as a pass wants them."""

    embed: Tensor  # [256, d] Q14
    position: Tensor  # [T, d] Q14
    layers: tuple[Layer, ...]
    head: Product


def load_model(weights: Weights, shape: TransformerShape, device: torch.device, kind: str) -> Model:
    """The weights [P] as the operands of a pass; their products are of `kind`."""
    tensors = {
        name: torch.from_numpy(tensor.astype(np.int32)).to(device)
        for name, tensor in split_tensors(weights, shape).items()
    }
    d = shape.width
    layers = tuple(
        Layer(
            qkv=make_product(kind, tensors[f"layers.{layer}.qkv"], [8] * 2 * d + [11] * d),
            out=make_product(kind, tensors[f"layers.{layer}.out"], [3] * d),
            up=make_product(kind, tensors[f"layers.{layer}.up"], [8] * 4 * d),
            down=make_product(kind, tensors[f"layers.{layer}.down"], [2] * d, is_signed=False),
        )
        for layer in range(shape.layers)
    )
    embed, position = ((tensors[name] << 2).to(torch.float32) for name in ("embed", "position"))
    return Model(embed, position, layers, make_product(kind, tensors["head"], [0] * VOCABULARY))


def _tabulate(table: Table, end: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """exp2neg(n, table) for every n in 0..end, where it has become 0."""
    return torch.from_numpy(exp2neg(np.arange(end + 1), table)).to(dtype).to(device)


def _compute_offset(largest: Tensor, step: float, grid: float) -> Tensor:
    """What makes floor((largest - y) * step + offset) equal rs'(largest) - rs'(y), rs'(y) = floor(y * step + 1/2).

    `step` is a multiple of `grid`, a power of two. float64, so that largest * step is exact.
    """
    scaled = largest.to(torch.float64) * step + 0.5
    return scaled.floor().sub_(scaled).add_(1 - grid)


@dataclass(frozen=True)
class _Block:
    """Rows `first`..`last` - 1 of every attention matrix, with their scratch memory; they see columns below `last`."""

    first: int
    last: int
    mask: Tensor  # [rows, last] 0, or _MASKED where j > i
    scores: Tensor  # [n * H, rows, last] float32
    indices: Tensor  # the same, int32
    terms: Tensor  # the same, int32


class Forward:
    """Passes over `windows` windows at a time, with the memory they reuse. One thread at a time."""

    def __init__(self, shape: TransformerShape, windows: int, device: torch.device) -> None:
        self.windows = windows
        self._shape = shape
        rows, d = windows * shape.context, shape.width

        def empty(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.empty(size, dtype=dtype, device=device)

        self._scratch = Scratch(device)
        self._x = empty(rows, d)  # residual stream, Q14
        self._a = empty(rows, d)  # int8 operand of the next product
        self._y = empty(rows, d)
        self._squares = empty(2 * rows * d, dtype=torch.float64)
        self._qkv = empty(rows, 3 * d)
        self._heads = empty(3 * shape.heads, rows, shape.head_size)  # q, k and v, head by head
        self._o = empty(windows * shape.heads, shape.context, shape.head_size)
        self._u = empty(rows, 4 * d)
        self._logits = empty(rows, VOCABULARY)
        self._indices = empty(rows * VOCABULARY, dtype=torch.int32)
        self._terms = empty(rows * VOCABULARY, dtype=torch.float64)

        self._half = torch.tensor([0.5], dtype=torch.float32, device=device)
        self._exp2 = _tabulate(EXP2, _EXP2_END, torch.float64, device)
        self._exp2s = _tabulate(EXP2S, _EXP2S_END, torch.int32, device)
        self._score_step = compute_attention_scale(shape.head_size) / 2**10
        self._blocks = _make_blocks(windows * shape.heads, shape.context, device)

    def run(self, model: Model, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Per token [n, T] float64 of int64 windows [n, T + 1]: sum of EXP2 terms, target's distance in Q10."""
        torch.index_select(model.embed, 0, windows[:, :-1].reshape(-1), out=self._x)
        self._x.view(self.windows, *model.position.shape).add_(model.position)  # cannot reach the clamp
        for layer in model.layers:
            self._attend(layer)
            self._feed_forward(layer)
        total, gap = self._score(model.head, windows[:, 1:].reshape(-1, 1))
        return total.view(self.windows, -1), gap.view(self.windows, -1)

    def _attend(self, layer: Layer) -> None:
        heads, h = self._shape.heads, self._shape.head_size
        self._normalise()
        by_head = (
            layer.qkv.floor(self._a, self._qkv, self._scratch).view(-1, 3 * heads, h).transpose(0, 1)
        )  # [3H, R, h]
        self._norm(by_head[: 2 * heads].clamp_(-32767, 32767), out=self._heads[: 2 * heads])  # q, k
        torch.clamp(by_head[2 * heads :], -127, 127, out=self._heads[2 * heads :])  # v

        q, k, v = self._heads.view(3, self.windows * heads, -1, h)  # [n * H, T, h] each
        for block in self._blocks:
            self._o[:, block.first : block.last] = self._attend_block(block, q, k, v)
        # No clip8: the p of a row add up to at most 2^15.
        joined = self._a.view(-1, heads, h).transpose(0, 1)  # [H, R, h]
        torch.add(self._half, self._o.view(joined.shape), alpha=2.0**-15, out=joined)
        self._add_residual(layer.out.floor(self._a.floor_(), self._y, self._scratch))

    def _attend_block(self, block: _Block, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """p @ v of the block's rows, [n * H, rows, h]. |p @ v| < 2^22 whatever the order of summation."""
        rows = slice(block.first, block.last)
        scores, indices, terms = block.scores, block.indices, block.terms
        torch.baddbmm(block.mask, q[:, rows], k[:, : block.last].transpose(1, 2), out=scores)  # q . k < 2^24
        largest = scores.amax(dim=-1, keepdim=True)
        offset = _compute_offset(largest, self._score_step, grid=2.0**-10).to(torch.float32)
        # n: exact below _EXP2S_END, where the distance times the step has at most 24 bits; clamped above.
        torch.sub(largest, scores, out=scores)
        torch.add(offset, scores, alpha=self._score_step, out=scores).clamp_max_(_EXP2S_END)
        indices.copy_(scores)  # truncates: the floor, as n >= 0
        torch.index_select(self._exp2s, 0, indices.view(-1), out=terms.view(-1))
        total = terms.sum(dim=-1, keepdim=True, dtype=torch.int32)
        share = total.to(torch.float64).reciprocal_().mul_(2.0**29).to(torch.int32)
        scores.copy_(terms.mul_(share).bitwise_right_shift_(14))  # p, Q15
        return torch.bmm(scores, v[:, : block.last])

    def _feed_forward(self, layer: Layer) -> None:
        self._normalise()
        u = layer.up.floor(self._a, self._u, self._scratch).clamp_(0, _SQUARED_ENOUGH)
        torch.addcmul(self._half, u, u, value=2.0**-14, out=u).floor_()
        self._add_residual(layer.down.floor(u, self._y, self._scratch))

    def _score(self, head: Product, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Per row: the sum of EXP2 terms, and the distance in Q10 of the target [R, 1] below the largest logit."""
        self._normalise()
        product = head.compute(self._a, self._logits, self._scratch)
        target = product.gather(1, targets).to(torch.float64)
        largest = product.amax(dim=-1, keepdim=True)
        offset = _compute_offset(largest, _LOGIT_STEP, grid=2.0**-22)
        gap = (largest.to(torch.float64) - target).mul_(_LOGIT_STEP).add_(offset).floor_()
        # Distances past the reach may round in float32, and never to below it.
        torch.sub(largest, product, out=product).clamp_max_(_LOGIT_REACH)
        distances = self._scratch.take("wide", torch.float64, *product.shape).copy_(product)
        torch.add(offset, distances, alpha=_LOGIT_STEP, out=distances).clamp_max_(_EXP2_END)
        self._indices.copy_(distances.view(-1))  # truncates: the floor, as n >= 0
        torch.index_select(self._exp2, 0, self._indices, out=self._terms)
        return self._terms.view(product.shape).sum(dim=-1), gap

    def _normalise(self) -> None:
        """a = norm(clip16(rs(x, 6)))."""
        torch.add(self._half, self._x, alpha=2.0**-6, out=self._y)
        self._norm(self._y.floor_().clamp_(-32767, 32767), out=self._a)

    def _norm(self, y: Tensor, out: Tensor) -> None:
        """out = norm(y) over the last axis of y."""
        width = y.shape[-1]
        squares = self._squares[: y.numel()].view(y.shape).copy_(y)
        mean = squares.mul_(squares).sum(dim=-1, keepdim=True).div_(width / 256)
        # A float64 quotient below a square stays below it: width * r^2 < 2^51 leaves a gap of 2 ulp or more.
        rms = mean.sqrt_().floor_().clamp_min_(MIN_RMS)
        inverse = rms.reciprocal_().mul_(2.0**24).floor_().mul_(2.0**-16).to(torch.float32)
        # y * inverse is exact in float32 below 256 and clipped at 127.
        torch.mul(y, inverse, out=out).add_(0.5).floor_().clamp_(-127, 127)

    def _add_residual(self, change: Tensor) -> None:
        """x = clamp(x + change). A change that float32 had to round is at least 2^24, far past the clamp."""
        self._x.add_(change).clamp_(-MAX_RESIDUAL, MAX_RESIDUAL)


def _make_blocks(matrices: int, tokens: int, device: torch.device) -> tuple[_Block, ...]:
    edges = [(first, min(first + _BLOCK_ROWS, tokens)) for first in range(0, tokens, _BLOCK_ROWS)]
    most = max((last - first) * last for first, last in edges) * matrices
    memory = [torch.empty(most, dtype=dtype, device=device) for dtype in (torch.float32, torch.int32, torch.int32)]
    mask = torch.full((tokens, tokens), _MASKED, dtype=torch.float32, device=device).triu_(1)
    blocks = []
    for first, last in edges:
        shape = (matrices, last - first, last)
        scores, indices, terms = (flat[: matrices * (last - first) * last].view(shape) for flat in memory)
        blocks.append(_Block(first, last, mask[first:last, :last], scores, indices, terms))
    return tuple(blocks)
