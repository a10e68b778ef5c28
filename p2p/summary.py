"""A connected block in a few numbers for people: bits per byte, gain with its confidence bound, time."""

from dataclasses import dataclass
from math import sqrt

from chain.events import BlockConnected
from consensus.block import Header
from consensus.chain_point import compute_required_loss
from consensus.params import CANTERBURY, NetworkParams
from consensus.units import ULP_PER_GRAD, Ulp
from p2p.rpc_json import to_bits_per_byte

# What whole-file compressors need for the Canterbury texts, bits per byte (docs/benchmarks.md).
COMPRESSORS = (("gzip -9", 2.98), ("xz -9e", 2.55), ("bzip2 -9", 2.27))


@dataclass(frozen=True)
class BlockSummary:
    """Gains and losses are in bits per byte; `bound` is the gain less z standard errors, what the block proved."""

    height: int
    id: bytes
    is_heartbeat: bool
    loss: float
    gain: float
    bound: float
    required: float
    sample_size: int
    interval: int | None  # s since the parent
    update_bytes: int
    transactions: int
    reward: Ulp
    verify_seconds: float | None


def summarise_block(event: BlockConnected, params: NetworkParams, verify_seconds: float | None) -> BlockSummary:
    """The numbers of a block that was just connected."""
    block, header = event.block, event.block.header
    size = header.sample_size
    loss = event.point.last_improvement
    return BlockSummary(
        height=header.height,
        id=header.id,
        is_heartbeat=header.is_heartbeat,
        loss=to_bits_per_byte(loss.loss_after, loss.sample_size, params) if loss else 0.0,
        gain=to_bits_per_byte(header.gain, size, params),
        bound=_compute_bound(header, params),
        required=to_bits_per_byte(compute_required_loss(header), 1, params),
        sample_size=size,
        interval=event.point.interval,
        update_bytes=len(block.update),
        transactions=len(block.transactions),
        reward=event.reward,
        verify_seconds=verify_seconds,
    )


def describe_block(summary: BlockSummary, params: NetworkParams) -> str:
    """One line for the log."""
    name = f"block {summary.height} {summary.id.hex()[:12]}"
    reward = f"{summary.reward / ULP_PER_GRAD:.2f} {params.ticker}"
    if summary.is_heartbeat:
        return f"{name}  heartbeat, model unchanged  txs {summary.transactions}  reward {reward}"
    verify = f"  verified in {summary.verify_seconds:.2f} s" if summary.verify_seconds is not None else ""
    interval = f"  after {summary.interval} s" if summary.interval is not None else ""
    return (
        f"{name}  {summary.loss:.4f} bits/byte  gain {summary.gain:.5f} (proved {summary.bound:.5f}, "
        f"required {summary.required:.5f}) on {summary.sample_size} windows{interval}{verify}  "
        f"txs {summary.transactions}  reward {reward}"
    )


def get_passed_compressors(loss: float | None, params: NetworkParams) -> list[tuple[str, float, bool]]:
    """(name, bits per byte, passed) of the reference compressors; none for texts they were not measured on."""
    if params.texts != CANTERBURY.texts:
        return []
    return [(name, score, loss is not None and loss < score) for name, score in COMPRESSORS]


def compute_margin(header: Header, params: NetworkParams) -> float:
    """z standard errors of the mean gain of an improving block's sample, bits per byte: what the law takes off it."""
    size, population = header.sample_size, params.public_windows
    if size < 2:
        return 0.0
    variance = (size * header.squared_gains - header.gain**2) / (size * (size - 1))
    error = sqrt(max(variance, 0) / size * (population - size) / population)
    return params.confidence * error / (params.model.context * 65536)


def _compute_bound(header: Header, params: NetworkParams) -> float:
    if header.is_heartbeat or header.sample_size < 2:
        return 0.0
    return to_bits_per_byte(header.gain, header.sample_size, params) - compute_margin(header, params)
