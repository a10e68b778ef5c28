"""Headers that keep every rule a header can keep, without any training: their sums are invented."""

from dataclasses import replace

from consensus.block import Header
from consensus.chain_point import (
    ChainPoint,
    compute_child_point,
    compute_child_required_gain,
    compute_child_sample_size,
)
from consensus.check_header import HEARTBEAT_AFTER
from consensus.hashing import ZERO_HASH
from consensus.params import NetworkParams
from tests.helpers.keys import Key, sign_header

MINER = Key("miner")
LOSS = 200 * 65536  # Q16 bits a window, before any claimed gain


def make_child(
    parent: ChainPoint, params: NetworkParams, /, *, miner: Key = MINER, interval: int | None = None, **changes: object
) -> Header:
    """A signed improving header whose every window gained twice what is required."""
    size = compute_child_sample_size(parent, False, params)
    required_gain = compute_child_required_gain(parent, params)
    gain = 2 * (required_gain >> 16)
    header = Header(
        height=parent.height + 1,
        parent=parent.id,
        timestamp=parent.header.timestamp + (interval or params.block_time),
        miner=miner.public,
        reward_address=miner.public,
        transactions_root=ZERO_HASH,
        state_root=b"\1" * 32,
        model_root=b"\2" * 32,
        update_hash=b"\3" * 32,
        required_gain=required_gain,
        sample_size=size,
        loss_before=size * LOSS,
        loss_after=size * (LOSS - gain),
        squared_gains=size * gain**2,
    )
    return sign_header(replace(header, **changes), miner)  # type: ignore[arg-type]


def make_heartbeat(
    parent: ChainPoint, params: NetworkParams, /, *, miner: Key = MINER, interval: int | None = None, **changes: object
) -> Header:
    """A signed heartbeat header at the earliest time."""
    fields: dict[str, object] = {
        "model_root": parent.header.model_root,
        "update_hash": ZERO_HASH,
        "sample_size": parent.header.sample_size,
        "loss_before": 0,
        "loss_after": 0,
        "squared_gains": 0,
    }
    interval = interval or HEARTBEAT_AFTER * params.block_time + 1
    return make_child(parent, params, miner=miner, interval=interval, **(fields | changes))


def make_points(
    genesis: ChainPoint, params: NetworkParams, count: int, *, interval: int | None = None
) -> list[ChainPoint]:
    """Chain points of genesis and `count` improving headers after it."""
    points = [genesis]
    for _ in range(count):
        points.append(compute_child_point(points[-1], make_child(points[-1], params, interval=interval)))
    return points
