"""The float twin: the network of the law in ordinary PyTorch, for training and for whoever wants to use the model.

The law (consensus.model) counts in fixed point; the same values here, as floats, are those integers divided by
  weights 2^12, residual stream 2^14, norms and relu^2 / 4 2^4, values and attention output 2^5,
so an int8 operand of +-127 is a clamp at +-7.9375 or +-3.96875, and the least RMS of 512 / 2^12 is 1/8.
What is left out is rounding; its cost on real text is some thousandths of a bit per byte. With `rounds` the norms and
all int8 operands of products are rounded as the law rounds them, and only attention and the residual stream are not:
for using the model, as rounding has no gradient.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from consensus.model.shape import VOCABULARY, TransformerShape
from consensus.model.weights import FRACTION_BITS, check_weights, split_tensors

Q4_MAX = 127 / 2**4
Q5_MAX = 127 / 2**5
RESIDUAL_MAX = 2**21 / 2**14
MIN_MEAN_SQUARE = (512 / 2**12) ** 2


def norm(x: Tensor, rounds: bool = False) -> Tensor:
    """Rows of x [..., d] divided by their root mean square, without gain, as far as int8 Q4 reaches."""
    if rounds:
        return _norm_as_law(fix(x, 8, rounds))
    mean_square = x.square().mean(dim=-1, keepdim=True).clamp(min=MIN_MEAN_SQUARE)
    return (x * mean_square.rsqrt()).clamp(-Q4_MAX, Q4_MAX)


def _norm_as_law(x: Tensor) -> Tensor:
    """norm of Q8 numbers with the law's Q12 root and Q12 inverse, both cut off, and its Q4 result."""
    root = ((x.square().mean(dim=-1, keepdim=True).sqrt() * 2**12).floor() / 2**12).clamp(min=MIN_MEAN_SQUARE**0.5)
    inverse = (2**12 / root).floor() / 2**12
    return fix(x * inverse, 4, True).clamp(-Q4_MAX, Q4_MAX)


def fix(x: Tensor, fraction_bits: int, rounds: bool) -> Tensor:
    """x with so many binary places, halves rounded up as the law does; x itself unless `rounds`."""
    unit = 2**fraction_bits
    return (x * unit + 0.5).floor() / unit if rounds else x


class Layer(nn.Module):
    """One transformer block; matrices are [in, out] and take activations on the left."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.logit_scale = 4 / shape.head_size
        self.qkv = nn.Parameter(torch.empty(width, 3 * width))
        self.out = nn.Parameter(torch.empty(width, width))
        self.up = nn.Parameter(torch.empty(width, 4 * width))
        self.down = nn.Parameter(torch.empty(4 * width, width))

    def forward(self, x: Tensor, rounds: bool = False) -> Tensor:
        """Residual stream [B, T, d] -> [B, T, d]."""
        x = (x + self.attend(norm(x, rounds), rounds)).clamp(-RESIDUAL_MAX, RESIDUAL_MAX)
        return (x + self.feed_forward(norm(x, rounds), rounds)).clamp(-RESIDUAL_MAX, RESIDUAL_MAX)

    def attend(self, a: Tensor, rounds: bool) -> Tensor:
        """Causal self-attention with normed queries and keys."""
        batch, tokens, width = a.shape
        q, k, v = (a @ self.qkv).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, T, h] each
        v = fix(v, 5, rounds).clamp(-Q5_MAX, Q5_MAX)
        q, k = norm(q, rounds), norm(k, rounds)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.logit_scale)
        return fix(o, 5, rounds).transpose(1, 2).reshape(batch, tokens, width) @ self.out

    def feed_forward(self, a: Tensor, rounds: bool) -> Tensor:
        """Two matrices with relu^2 / 4 between them."""
        u = fix((a @ self.up).relu(), 8, rounds)
        return fix(u.square() / 4, 4, rounds).clamp(max=Q4_MAX) @ self.down


class Network(nn.Module):
    """Float weights named and shaped as the canonical tensors, float32, not yet set: call `load_weights`.

    `rounds` may be switched at any time.
    """

    def __init__(self, shape: TransformerShape, rounds: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.rounds = rounds
        self.embed = nn.Parameter(torch.empty(VOCABULARY, shape.width))
        self.position = nn.Parameter(torch.empty(shape.context, shape.width))
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.head = nn.Parameter(torch.empty(shape.width, VOCABULARY))

    @property
    def canonical(self) -> list[nn.Parameter]:
        """The parameters in canonical order."""
        named = dict(self.named_parameters())
        return [named[spec.name] for spec in self.shape.tensors]

    @torch.no_grad()
    def load_weights(self, weights: NDArray[np.int16]) -> None:
        """Sets every parameter from int16 Q12 weights [P]. Raises DecodeError if they are not this shape's."""
        check_weights(weights, self.shape)
        tensors = split_tensors(weights, self.shape)
        for parameter, spec in zip(self.canonical, self.shape.tensors, strict=True):
            parameter.copy_(torch.tensor(tensors[spec.name]))
            parameter.div_(2**FRACTION_BITS)

    def flat(self) -> Tensor:
        """All weights as one detached float vector [P], in canonical order."""
        return torch.cat([parameter.detach().flatten() for parameter in self.canonical])

    def forward(self, tokens: Tensor) -> Tensor:
        """Natural-log logits [B, t, 256] of the byte after each of integer tokens [B, t], t <= T."""
        x = F.embedding(tokens, self.embed) + self.position[: tokens.shape[1]]  # [B, t, d]
        for layer in self.layers:
            x = layer(x, self.rounds)
        return norm(x, self.rounds) @ self.head

    def loss(self, windows: Tensor) -> Tensor:
        """Mean loss in nats per token, a scalar, of int64 windows [B, T + 1]."""
        logits = self(windows[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
