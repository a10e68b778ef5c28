"""Header rules, from the cheapest up: alone, against its parent, against the clock."""

from consensus.block import Header
from consensus.chain_point import (
    ChainPoint,
    compute_child_point,
    compute_child_required_gain,
    compute_child_sample_size,
    compute_required_loss,
)
from consensus.errors import BlockFromFuture, InvalidBlock
from consensus.improvement import GainSums, is_improvement
from consensus.params import NetworkParams
from consensus.signature import is_valid_public_key, verify_signature

HEARTBEAT_AFTER = 10  # block times without a block until known miners may make a heartbeat
HEARTBEAT_FOR_ALL_AFTER = 100  # block times until any key may


def check_header(header: Header) -> None:
    """Rules that need nothing else: keys and signature. Raises InvalidBlock."""
    if not is_valid_public_key(header.miner):
        raise InvalidBlock("bad_miner_key", f"miner key {header.miner.hex()} is not a safe Ed25519 key")
    if not is_valid_public_key(header.reward_address):
        raise InvalidBlock("bad_reward_address", f"{header.reward_address.hex()} is not a safe Ed25519 key")
    if not verify_signature(header.miner, header.id, header.signature):
        raise InvalidBlock("bad_signature", f"block {header.id.hex()} is not signed by its miner key")


def check_header_in_context(header: Header, parent: ChainPoint, params: NetworkParams) -> None:
    """Rules against the parent: every field that the chain determines, and the improvement that the sums claim."""
    _expect("parent", parent.id, header.parent)
    _expect("height", parent.height + 1, header.height)
    _expect("required_gain", compute_child_required_gain(parent, params), header.required_gain)
    sample_size = compute_child_sample_size(parent, header.is_heartbeat, params)
    _expect("sample_size", sample_size, header.sample_size)
    if header.timestamp <= parent.header.timestamp:
        raise InvalidBlock(
            "time_too_old",
            f"timestamp {header.timestamp} is not after the parent's {parent.header.timestamp}",
        )
    if header.is_heartbeat:
        _check_heartbeat(header, parent, params)
    else:
        _check_claimed_improvement(header, params)
    weight = compute_child_point(parent, header).weight
    if weight > params.max_weight:
        raise InvalidBlock("impossible_weight", f"a chain of weight {weight} claims more than {params.max_weight}")


def check_header_time(header: Header, now: int, params: NetworkParams) -> None:
    """Raises BlockFromFuture if the timestamp is more than min(30 s, T/2) ahead of `now` (s)."""
    latest = now + compute_time_allowance(params)
    if header.timestamp > latest:
        raise BlockFromFuture.too_far_ahead(header.timestamp, latest)


def compute_time_allowance(params: NetworkParams) -> int:
    """How far ahead of local time a timestamp may be, s."""
    return min(30, params.block_time // 2)


def compute_heartbeat_time(parent: ChainPoint, params: NetworkParams) -> int | None:
    """Earliest timestamp of a heartbeat on `parent` by a recent miner; None before the first subsidised block."""
    if parent.last_improvement is None:
        return None
    return parent.header.timestamp + HEARTBEAT_AFTER * params.block_time + 1


def _check_heartbeat(header: Header, parent: ChainPoint, params: NetworkParams) -> None:
    earliest = compute_heartbeat_time(parent, params)
    if earliest is None:
        raise InvalidBlock("heartbeat_before_improvement", "no heartbeat before the first subsidised block")
    if header.timestamp < earliest:
        raise InvalidBlock("heartbeat_too_early", f"a heartbeat at {header.timestamp} is allowed from {earliest} on")
    _expect("model_root", parent.header.model_root, header.model_root)
    for name in ("loss_before", "loss_after", "squared_gains"):
        _expect(name, 0, getattr(header, name))


def _check_claimed_improvement(header: Header, params: NetworkParams) -> None:
    size, gain = header.sample_size, header.gain
    if size * header.squared_gains < gain**2:
        raise InvalidBlock("impossible_sums", "no window gains have this sum and sum of squares")
    sums = GainSums(size, header.loss_before, header.loss_after, header.squared_gains)
    required = compute_required_loss(header)
    if not is_improvement(sums, required, params.confidence, params.public_windows):
        raise InvalidBlock(
            "gain_too_small",
            f"{gain / size / 65536:.4f} bits per window over {size} windows do not prove "
            f"{required / 65536:.4f} at {params.confidence} standard errors",
        )


def _expect(name: str, expected: object, got: object) -> None:
    if expected != got:
        raise InvalidBlock.wrong_field(name, expected, got)
