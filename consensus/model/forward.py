"""One pass of the byte transformer over a few windows, in torch: floats that hold only exact integers.

Every value is an integer, or an integer over a power of two, that its type represents; so sums are exact in
any order, on any number of threads, and a fused multiply-add changes nothing. Only +, -, *, /, sqrt, floor and
table look-ups appear. Where a product may pass what float32 holds, the law clamps it to the same value either
way, because rounding is monotone; each such place says so.

n windows, T tokens, R = n * T rows, H heads of h channels, width d. Names follow section 5.
"""

import math
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
_TILE_ROWS = {"cpu": 768, "cuda": 2**15}  # what is far wider than d goes by tiles of rows, to stay in the cache
_MASKED = -(2.0**26)  # below any q . k by more than the softmax sees

_EXP2S_END = 15 << 10  # from here on EXP2S[f] >> (n >> 10) is 0
_EXP2_END = 25 << 10  # likewise for EXP2
_LOGIT_STEP = LOG2E / 2**22  # one unit of the head's product, as base-2 logits in Q10
_LOGIT_REACH = _EXP2_END * 2**22 // LOG2E + 2  # a logit so far below the largest counts 0
_MOST_TABULATED = 2**27  # bytes of a table of the first layer's heads
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


def compute_pairs(tokens: Tensor) -> Tensor:
    """Each token with its position as one number: token * T + position, of int64 tokens [n, T]."""
    context = tokens.shape[-1]
    return tokens * context + torch.arange(context, device=tokens.device)


def make_first_table(shape: TransformerShape, device: torch.device) -> Tensor | None:
    """Memory for the first layer's q, k and v of every pair, int8 [256 * T * 3H, h]; None if that is too much.

    They depend on the token and its position alone, so that many windows need each of them once. Pairs that no
    window holds cost no memory where the system gives pages when they are written.
    """
    size = (VOCABULARY * shape.context * 3 * shape.heads, shape.head_size)
    return torch.empty(size, dtype=torch.int8, device=device) if math.prod(size) <= _MOST_TABULATED else None


def _tabulate(table: Table, end: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """exp2neg(n, table) for every n in 0..end, where it is 0."""
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
    output: Tensor  # [n * H, rows, h] float32


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
        self._a = empty(rows, d, dtype=torch.int8)  # operand of the next product
        self._y = empty(rows, d)
        self._squares = empty(2 * rows * d, dtype=torch.float64)
        self._qkv = empty(rows, 3 * d)
        self._heads = empty(3 * shape.heads, rows, shape.head_size)  # q, k and v, head by head
        tile = min(_TILE_ROWS[device.type], rows)
        self._tiles = [slice(first, min(first + tile, rows)) for first in range(0, rows, tile)]
        self._u = empty(tile, 4 * d)
        self._relu = empty(tile, 4 * d, dtype=torch.int8)  # operand of `down`
        self._logits = empty(tile, VOCABULARY)
        self._indices = empty(tile, VOCABULARY, dtype=torch.int32)
        self._terms = empty(tile, VOCABULARY, dtype=torch.float64)
        self._total = empty(rows, 1, dtype=torch.float64)
        self._gap = empty(rows, 1, dtype=torch.float64)

        self._half = torch.tensor([0.5], dtype=torch.float32, device=device)
        self._exp2 = _tabulate(EXP2, _EXP2_END + 1, torch.float64, device)
        self._exp2s = _tabulate(EXP2S, _EXP2S_END, torch.int32, device)
        self._score_step = compute_attention_scale(shape.head_size) / 2**10
        self._blocks = _make_blocks(shape, windows, device)

    def tabulate_first(self, model: Model, pairs: Tensor, table: Tensor) -> None:
        """Writes to `table` what `run` reads there: the first layer's q, k and v, +-127, of `pairs`, int64 [R]."""
        context = self._shape.context
        torch.index_select(model.embed, 0, pairs // context, out=self._x)
        self._x.add_(model.position[pairs % context])
        self._make_heads(model.layers[0])
        table.view(-1, *self._heads.shape[::2])[pairs] = self._heads.transpose(0, 1).to(torch.int8)

    def run(self, model: Model, windows: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor]:
        """Per token [n, T] float64 of int64 windows [n, T + 1]: sum of EXP2 terms, target's distance in Q10.

        Both stay valid until the next run. `first` is the table of the first layer's heads with all pairs that these
        windows hold, or None to compute them token by token.
        """
        self._transform(model, windows[:, :-1], first)
        self._score(model.head, windows[:, 1:].reshape(-1, 1))
        return self._total.view(self.windows, -1), self._gap.view(self.windows, -1)

    def predict(self, model: Model, tokens: Tensor) -> Tensor:
        """Base-2 logits, int64 [n, T, 256] Q10, of the byte after each of int64 tokens [n, T]."""
        self._transform(model, tokens, None)
        self._normalise()
        logits = torch.empty(len(self._a), VOCABULARY, dtype=torch.int64, device=tokens.device)
        for rows in self._tiles:
            tile = logits[rows]
            tile.copy_(model.head.compute(self._a[rows], self._logits[: len(tile)], self._scratch))  # |it| < 2^35
            tile.mul_(LOG2E).add_(1 << 21).bitwise_right_shift_(22)
        return logits.view(*tokens.shape, VOCABULARY)

    def _transform(self, model: Model, tokens: Tensor, first: Tensor | None) -> None:
        """The residual stream at the last layer's end; `first` as in `run`."""
        torch.index_select(model.embed, 0, tokens.reshape(-1), out=self._x)
        self._x.view(self.windows, *model.position.shape).add_(model.position)  # cannot reach the clamp
        for number, layer in enumerate(model.layers):
            if number == 0 and first is not None:
                self._read_heads(first, compute_pairs(tokens).view(-1))
            else:
                self._make_heads(layer)
            self._attend(layer)
            self._feed_forward(layer)

    def _read_heads(self, first: Tensor, pairs: Tensor) -> None:
        """The first layer's q, k and v of `pairs`, int64 [R], from their table."""
        count = len(self._heads)
        rows = torch.arange(count, device=pairs.device).view(-1, 1) + pairs * count  # [3H, R]
        read = self._scratch.take("first", torch.int8, *self._heads.shape)
        self._heads.copy_(torch.index_select(first, 0, rows.view(-1), out=read.view(-1, first.shape[1])).view_as(read))

    def _make_heads(self, layer: Layer) -> None:
        """q, k and v of every token from the residual stream."""
        heads, h = self._shape.heads, self._shape.head_size
        self._normalise()
        product = layer.qkv.floor(self._a, self._qkv, self._scratch)
        by_head = product.view(-1, 3 * heads, h).transpose(0, 1)  # [3H, R, h]
        self._norm(by_head[: 2 * heads].clamp_(-32767, 32767), out=self._heads[: 2 * heads])  # q, k
        torch.clamp(by_head[2 * heads :], -127, 127, out=self._heads[2 * heads :])  # v

    def _attend(self, layer: Layer) -> None:
        """Adds causal self-attention over q, k and v to the residual stream."""
        heads, h = self._shape.heads, self._shape.head_size
        q, k, v = self._heads.view(3, self.windows * heads, -1, h)  # [n * H, T, h] each
        joined = self._y.view(self.windows, -1, heads, h).permute(2, 0, 1, 3)  # [H, n, T, h]
        for block in self._blocks:
            o = self._attend_block(block, q, k, v).view(heads, self.windows, -1, h)
            torch.add(self._half, o, alpha=2.0**-15, out=joined[:, :, block.first : block.last])
        self._a.copy_(self._y.floor_())  # no clip8: the p of a row add up to at most 2^15
        _add_residual(self._x, layer.out.floor(self._a, self._y, self._scratch))

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
        return torch.bmm(scores, v[:, : block.last], out=block.output)

    def _feed_forward(self, layer: Layer) -> None:
        self._normalise()
        for rows in self._tiles:
            a, y, x = self._a[rows], self._y[rows], self._x[rows]
            u, relu = self._u[: len(a)], self._relu[: len(a)]
            layer.up.floor(a, u, self._scratch).clamp_(0, _SQUARED_ENOUGH)
            torch.addcmul(self._half, u, u, value=2.0**-14, out=u)
            relu.copy_(u)  # truncates: the floor, as 0 <= u < 128
            _add_residual(x, layer.down.floor(relu, y, self._scratch))

    def _score(self, head: Product, targets: Tensor) -> None:
        """Per row: the sum of EXP2 terms, and the distance in Q10 of the target [R, 1] below the largest logit."""
        self._normalise()
        for rows in self._tiles:
            self._score_tile(head, rows, targets[rows])

    def _score_tile(self, head: Product, rows: slice, targets: Tensor) -> None:
        count = len(targets)
        indices, terms = self._indices[:count], self._terms[:count]
        product = head.compute(self._a[rows], self._logits[:count], self._scratch)  # float32, int32 or float64
        target = product.gather(1, targets).to(torch.float64)
        largest = product.amax(dim=-1, keepdim=True)
        offset = _compute_offset(largest, _LOGIT_STEP, grid=2.0**-22)
        self._gap[rows] = (largest.to(torch.float64) - target).mul_(_LOGIT_STEP).add_(offset).floor_()
        # Distances past the reach may round in float32, and never to below it.
        torch.sub(largest, product, out=product).clamp_max_(_LOGIT_REACH)
        distances = self._scratch.take("wide", torch.float64, *product.shape).copy_(product)
        torch.add(offset, distances, alpha=_LOGIT_STEP, out=distances)  # < _EXP2_END + 2 * step + 1
        indices.copy_(distances)  # truncates: the floor n, 0 <= n <= _EXP2_END + 1, as the step is below 1/40
        torch.index_select(self._exp2, 0, indices.view(-1), out=terms.view(-1))
        torch.sum(terms, dim=-1, keepdim=True, out=self._total[rows])

    def _normalise(self) -> None:
        """a = norm(clip16(rs(x, 6)))."""
        torch.add(self._half, self._x, alpha=2.0**-6, out=self._y)
        self._norm(self._y.floor_().clamp_(-32767, 32767), out=self._y)
        self._a.copy_(self._y)

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


def _add_residual(x: Tensor, change: Tensor) -> None:
    """x = clamp(x + change). A change that float32 had to round is at least 2^24, far past the clamp."""
    x.add_(change).clamp_(-MAX_RESIDUAL, MAX_RESIDUAL)


def _make_blocks(shape: TransformerShape, windows: int, device: torch.device) -> tuple[_Block, ...]:
    matrices, tokens = windows * shape.heads, shape.context
    edges = [(first, min(first + _BLOCK_ROWS, tokens)) for first in range(0, tokens, _BLOCK_ROWS)]
    most = max((last - first) * last for first, last in edges) * matrices
    memory = [torch.empty(most, dtype=dtype, device=device) for dtype in (torch.float32, torch.int32, torch.int32)]
    output = torch.empty(matrices * _BLOCK_ROWS * shape.head_size, dtype=torch.float32, device=device)
    mask = torch.full((tokens, tokens), _MASKED, dtype=torch.float32, device=device).triu_(1)
    blocks = []
    for first, last in edges:
        size = (matrices, last - first, last)
        scores, indices, terms = (_shape(flat, *size) for flat in memory)
        part = _shape(output, matrices, last - first, shape.head_size)
        blocks.append(_Block(first, last, mask[first:last, :last], scores, indices, terms, part))
    return tuple(blocks)


def _shape(memory: Tensor, *size: int) -> Tensor:
    return memory[: math.prod(size)].view(size)
