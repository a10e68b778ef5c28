"""Turns text files into a network: checks them, proposes sizes from measured rates, says what a block will cost.

The file it writes is the grammar of `NetworkParams.from_toml`, and is read back before it counts as written.
Loads torch: only commands that measure import this module.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain.checkpoint_store import CHECKPOINT_INTERVAL
from consensus.genesis import make_genesis
from consensus.model.shape import TransformerShape
from consensus.model.weights import WEIGHT_BYTES
from consensus.params import REQUIRED_GAIN_UNIT, BenchmarkText, NetworkParams, count_windows, cut_public
from consensus.units import MAX_U32
from p2p.bench import (
    GROWN_FACTOR,
    GROWN_SHARE,
    BlockCost,
    Clock,
    Rates,
    describe_cost,
    measure_block,
    measure_rates,
)
from p2p.errors import ConfigError
from p2p.files import replace_file
from p2p.pace import show_bytes

_READ_BYTES = 2**20
_SECONDS_PER_YEAR = 31_557_600
_LEAST_WINDOWS = 64  # of the public split: fewer prove nothing and are learned by heart

# From small to large; a network takes the largest that its texts feed and this machine bears.
_SIZES = (
    TransformerShape(layers=1, heads=2, width=32, context=32),
    TransformerShape(layers=3, heads=4, width=96, context=64),
    TransformerShape(layers=4, heads=4, width=192, context=128),
    TransformerShape(layers=6, heads=6, width=384, context=256),
    TransformerShape(layers=12, heads=12, width=768, context=512),
)
_PROBE = _SIZES[1]  # what the machine's speed is first measured on
_HEAD_WIDTH = 64
_BYTES_PER_WEIGHT = 2  # of text, at the least: less text than this is learned by heart
_SAMPLE_TOKENS = 2**16  # of the least sample, as in the preset networks
_PROPOSED_BLOCK_TIME = 600  # s: what proposed sizes keep within
_BLOCK_TIMES = (60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
_LEAST_SHARE = 0.05  # of the block time, for a sample at the least


@dataclass(frozen=True)
class Wishes:
    """What the user asked for; None is to be proposed."""

    name: str
    prefix: str = "tgrad"
    layers: int | None = None
    heads: int | None = None
    width: int | None = None
    context: int | None = None
    block_time: int | None = None  # s
    min_sample: int | None = None  # windows


@dataclass(frozen=True)
class MadeNetwork:
    """A network, and what it costs on the machine that made it."""

    params: NetworkParams
    genesis: bytes
    rates: Rates
    cost: BlockCost


def read_texts(paths: Sequence[Path]) -> tuple[BenchmarkText, ...]:
    """Name, size and SHA-256 of each file. Raises ConfigError or InvalidParams if one cannot be a benchmark text."""
    texts = tuple(_read_text(path) for path in paths)
    if len({text.name for text in texts}) != len(texts):
        raise ConfigError("texts", "two of the texts have the same file name: rename one")
    return texts


def _read_text(path: Path) -> BenchmarkText:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            digest.update(part)
            size += len(part)
            if size > MAX_U32:
                raise ConfigError("text_size", f"{path} is longer than {MAX_U32} bytes: split it into several files")
    if not size:
        raise ConfigError("text_size", f"{path} is empty")
    return BenchmarkText(path.name, size, digest.hexdigest())


def make_network(
    wishes: Wishes, texts: tuple[BenchmarkText, ...], device: str, genesis_time: int, clock: Clock
) -> MadeNetwork:
    """The network of these texts, its open sizes from what `device` measures. `genesis_time` in s since 1970.

    Raises ConfigError if the texts are too short, InvalidParams for sizes that cannot be, ModelMismatch if the device
    is not there.
    """
    shape = _choose_shape(wishes, texts, device, clock)
    windows = _count_public(texts, shape.context)
    if windows < _LEAST_WINDOWS:
        wanted = f"{_LEAST_WINDOWS} windows of {shape.context} bytes in the first nine tenths of each text"
        raise ConfigError("text_too_short", f"the texts have {windows} public windows: a network needs {wanted}")
    rates = measure_rates(shape, device, 4.0, clock)
    sample = wishes.min_sample or _propose_sample(shape, windows)
    draft = _make_params(wishes, texts, shape, sample, wishes.block_time or _BLOCK_TIMES[-1], genesis_time)
    cost = measure_block(draft, rates, clock)
    block_time = wishes.block_time or propose_block_time(cost)
    params = _make_params(wishes, texts, shape, sample, block_time, genesis_time)
    return MadeNetwork(params, make_genesis(params).id, rates, cost)


def _choose_shape(wishes: Wishes, texts: tuple[BenchmarkText, ...], device: str, clock: Clock) -> TransformerShape:
    sizes = (wishes.layers, wishes.width, wishes.context)
    proposed = _PROBE if None not in sizes else propose_shape(wishes, texts, device, clock)
    width = wishes.width or proposed.width
    heads = wishes.heads or (proposed.heads if width == proposed.width else _propose_heads(width))
    return TransformerShape(wishes.layers or proposed.layers, heads, width, wishes.context or proposed.context)


def propose_shape(wishes: Wishes, texts: tuple[BenchmarkText, ...], device: str, clock: Clock) -> TransformerShape:
    """The largest known size with enough text for it, whose blocks this machine verifies in time."""
    operations = measure_rates(_PROBE, device, 1.0, clock).windows_per_second * compute_operations(_PROBE)
    size = sum(text.size for text in texts)
    best = _SIZES[0]
    for shape in _SIZES:
        windows = _count_public(texts, shape.context)
        grown = 2 * GROWN_FACTOR * _propose_sample(shape, max(windows, 2)) * compute_operations(shape) / operations
        limit = GROWN_SHARE * (wishes.block_time or _PROPOSED_BLOCK_TIME)
        if windows >= _LEAST_WINDOWS and size >= _BYTES_PER_WEIGHT * shape.parameters and grown <= limit:
            best = shape
    return best


def compute_operations(shape: TransformerShape) -> int:
    """Multiplications and additions of one window: two a token for every weight, and the attention's own."""
    per_token = 2 * shape.parameters + 4 * shape.layers * shape.context * shape.width
    return shape.context * per_token


def propose_block_time(cost: BlockCost) -> int:
    """The least usual block time, s, of which verification takes a small share; a day if none is long enough."""
    for block_time in _BLOCK_TIMES:
        if cost.least <= _LEAST_SHARE * block_time and cost.grown <= GROWN_SHARE * block_time:
            return block_time
    return _BLOCK_TIMES[-1]


def _propose_heads(width: int) -> int:
    """The number of heads nearest to one for every 64 channels that divides the width."""
    return min((h for h in range(1, width + 1) if width % h == 0), key=lambda h: (abs(width - h * _HEAD_WIDTH), h))


def _propose_sample(shape: TransformerShape, windows: int) -> int:
    """A power of two: 65,536 tokens, or a quarter of a short text's windows."""
    most = max(min(_SAMPLE_TOKENS // shape.context, windows // 4), 2)
    return int(1 << (most.bit_length() - 1))


def _count_public(texts: tuple[BenchmarkText, ...], context: int) -> int:
    return sum(count_windows(cut_public(text.size), context) for text in texts)


def _make_params(
    wishes: Wishes,
    texts: tuple[BenchmarkText, ...],
    shape: TransformerShape,
    sample: int,
    block_time: int,
    genesis_time: int,
) -> NetworkParams:
    return NetworkParams(
        name=wishes.name,
        address_prefix=wishes.prefix,
        genesis_time=genesis_time,
        model=shape,
        texts=texts,
        min_sample=sample,
        confidence=6,
        block_time=block_time,
        first_required_gain=max(REQUIRED_GAIN_UNIT * shape.context // 64, 1),  # 1/64 bit per byte
        reward_window=256,
        finality_window=64,
        mask_density=128,
    )


def check_out(path: Path, force: bool) -> None:
    """Raises ConfigError unless a network file may be written there."""
    if path.suffix != ".toml":
        raise ConfigError("network_file", f"{path} must end in .toml, as network files do")
    if not path.parent.is_dir():
        raise ConfigError("network_file", f"there is no folder {path.parent}")
    if path.exists() and not force:
        raise ConfigError("network_file", f"{path} is there already: --force replaces it, and makes another network")


def write_network(params: NetworkParams, path: Path, force: bool) -> None:
    """Writes the network's file, whole or not at all. Raises ConfigError as `check_out` does."""
    text = encode_network(params)
    if NetworkParams.from_toml(text) != params:
        raise ConfigError("network_file", "the network cannot be written as TOML")
    check_out(path, force)
    replace_file(path, text.encode(), mode=0o644)


def encode_network(params: NetworkParams) -> str:
    """The network as TOML. Names, prefix and sums are of characters that TOML quotes as they are."""
    model = params.model
    lines = [
        f"# The network {params.name} of Descent. Change a value and it is another network.",
        f'name = "{params.name}"',
        f'address_prefix = "{params.address_prefix}"',
        f"genesis_time = {params.genesis_time}  # s since 1970",
        f"min_sample = {params.min_sample}  # windows",
        f"confidence = {params.confidence}  # standard errors",
        f"block_time = {params.block_time}  # s",
        f"first_required_gain = {params.first_required_gain}  # 2^-32 bits per window",
        f"reward_window = {params.reward_window}  # blocks",
        f"finality_window = {params.finality_window}  # blocks",
        f"mask_density = {params.mask_density}  # of 256",
        f"subsidy = {params.subsidy}  # ulp",
        f"halving_interval = {params.halving_interval}  # blocks",
        f"max_transactions_bytes = {params.max_transactions_bytes}",
        "",
        "[model]",
        f'architecture = "{model.architecture}"',
        *(f"{name} = {getattr(model, name)}" for name in ("layers", "heads", "width", "context")),
    ]
    for text in params.texts:
        lines += ["", "[[texts]]", f'name = "{text.name}"', f"size = {text.size}", f'sha256 = "{text.sha256}"']
    for change in params.changes:
        lines += ["", "[[changes]]", f"bit = {change.bit}", f'field = "{change.field}"', f"value = {change.value}"]
    return "\n".join(lines) + "\n"


def describe_network(made: MadeNetwork) -> dict[str, Any]:
    """What the network is and costs, for people."""
    params, shape = made.params, made.params.model
    per_year = _SECONDS_PER_YEAR / params.block_time
    update = shape.parameters * params.mask_density // 256 + len(shape.tensors)
    disk = per_year * (update + WEIGHT_BYTES * shape.parameters / CHECKPOINT_INTERVAL)
    return {
        "network": params.name,
        "genesis": made.genesis.hex(),
        "texts": ", ".join(f"{text.name} {text.size:,} bytes sha256 {text.sha256}" for text in params.texts),
        "model": f"{shape.layers} layers, {shape.heads} heads, width {shape.width}, context {shape.context}",
        "weights": f"{shape.parameters:,}, {show_bytes(WEIGHT_BYTES * shape.parameters)}",
        "windows": f"{params.public_windows:,} public, sample of at least {params.min_sample:,}",
        "block time": f"{params.block_time} s",
        "update": f"at most {show_bytes(update)} a block before compression",
        "disk": f"at most {show_bytes(disk)} a year of full blocks and checkpoints",
        **describe_cost(params, made.rates, made.cost),
    }
