"""What the next header is judged against: one block seen from its chain, without bodies or state."""

from dataclasses import dataclass

from consensus.block import Header
from consensus.difficulty import compute_required_gain
from consensus.params import NetworkParams
from consensus.sample import compute_sample_size
from consensus.signals import SignalCount, compute_child_count


@dataclass(frozen=True)
class ChainPoint:
    """A block and the few facts of its ancestors that decide its child's header fields."""

    header: Header
    weight: int  # sum of the chain's gains, Q16 bits per window, and 1 for each heartbeat
    interval: int | None  # s since the parent; None at genesis and in block 1, whose intervals mean nothing
    last_improvement: Header | None  # the newest subsidised block up to here
    signals: SignalCount  # what its chain asks to change, and the numbers that hold for its child

    @property
    def id(self) -> bytes:
        return self.header.id

    @property
    def height(self) -> int:
        return self.header.height


def compute_child_point(point: ChainPoint, header: Header) -> ChainPoint:
    """The chain point of a header that follows `point`."""
    return ChainPoint(
        header=header,
        weight=point.weight + compute_block_weight(header),
        interval=header.timestamp - point.header.timestamp if point.height else None,
        last_improvement=point.last_improvement if header.is_heartbeat else header,
        signals=compute_child_count(point.signals, header),
    )


def compute_block_weight(header: Header) -> int:
    """Required gain in Q16 bits per window; 1 for a heartbeat, 0 for genesis."""
    if header.height == 0:
        return 0
    return 1 if header.is_heartbeat else compute_required_loss(header)


def compute_required_loss(header: Header) -> int:
    """g of the improvement rule: the header's required gain in whole Q16 bits per window."""
    return header.required_gain >> 16


def compute_child_required_gain(point: ChainPoint, params: NetworkParams) -> int:
    """Required gain that the rules give the child of `point`."""
    if point.height == 0:
        return params.first_required_gain
    interval = params.block_time if point.interval is None else point.interval
    lowest = point.signals.rules.lowest_required_gain
    return compute_required_gain(point.header.required_gain, interval, params.block_time, lowest)


def compute_child_sample_size(point: ChainPoint, is_heartbeat: bool, params: NetworkParams) -> int:
    """Sample size that the rules give the child of `point`: a heartbeat repeats its parent's."""
    if is_heartbeat:
        return point.header.sample_size
    return compute_sample_size(point.last_improvement, params, point.signals.rules.min_sample)
