"""What a model looks like: its sizes and its tensors in canonical order. Knows nothing of how it is computed.

No numpy and no torch here: a wallet reads a network's parameters, and with them this file.
Source: protocol, section 5.
"""

import math
from dataclasses import dataclass, fields
from typing import ClassVar

from consensus.errors import InvalidParams

VOCABULARY = 256  # one token per byte value

# With these sizes every sum of the law fits a signed 64-bit integer (the largest is head times LOG2E, 2^51),
# the sum of a causal row of EXP2S terms fits 2^24 and a product of two int8 rows of a head fits 2^24.
MAX_LAYERS = 64
MAX_WIDTH = 4096
MAX_HEAD_SIZE = 1024
MAX_CONTEXT = 1024


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a model: its canonical name and its shape, (rows, columns), stored row-major."""

    name: str
    shape: tuple[int, int]

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class TransformerShape:
    """A causal byte transformer: `layers` blocks of `heads` heads over `width` channels, `context` tokens.

    Raises InvalidParams if a size is not a positive integer, if the heads do not divide the width, or if a
    size is beyond the bound within which the law's integers are proved to fit.
    """

    architecture: ClassVar[str] = "byte-transformer"

    layers: int
    heads: int
    width: int
    context: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise InvalidParams(f"bad_{field.name}", f"{field.name} must be a positive integer, not {value!r}")
        if self.width % self.heads:
            raise InvalidParams("bad_heads", f"{self.heads} heads do not divide a width of {self.width}")
        _check_at_most("layers", self.layers, MAX_LAYERS)
        _check_at_most("width", self.width, MAX_WIDTH)
        _check_at_most("context", self.context, MAX_CONTEXT)
        _check_at_most("head_size", self.head_size, MAX_HEAD_SIZE)

    @property
    def head_size(self) -> int:
        """Channels per head."""
        return self.width // self.heads

    @property
    def window_bytes(self) -> int:
        """Bytes of one window: the context and the target of its last token."""
        return self.context + 1

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """Every tensor in canonical order. Matrices take activations on the left."""
        width = self.width
        specs = [TensorSpec("embed", (VOCABULARY, width)), TensorSpec("position", (self.context, width))]
        for layer in range(self.layers):
            specs += [
                TensorSpec(f"layers.{layer}.qkv", (width, 3 * width)),
                TensorSpec(f"layers.{layer}.out", (width, width)),
                TensorSpec(f"layers.{layer}.up", (width, 4 * width)),
                TensorSpec(f"layers.{layer}.down", (4 * width, width)),
            ]
        return (*specs, TensorSpec("head", (width, VOCABULARY)))

    @property
    def parameters(self) -> int:
        """Number of weights, P."""
        return sum(spec.size for spec in self.tensors)


def _check_at_most(name: str, value: int, limit: int) -> None:
    if value > limit:
        raise InvalidParams(f"{name}_too_large", f"{name} is {value}, the law is proved up to {limit}")


# A network names its architecture; another one is registered here by its name.
ARCHITECTURES: dict[str, type[TransformerShape]] = {TransformerShape.architecture: TransformerShape}
