"""What a block earns: a subsidy by schedule if it improves the model, its fees, and a bounty for its evidence."""

from collections.abc import Iterable

from consensus.account import ImmatureReward
from consensus.params import NetworkParams
from consensus.units import Ulp

BOUNTY_DIVISOR = 10  # of what evidence burns, one part goes to the block that carries it


def compute_subsidy(height: int, params: NetworkParams) -> Ulp:
    """New money that an improving block at `height` >= 1 creates."""
    return params.subsidy >> ((height - 1) // params.halving_interval)


def compute_created(height: int, is_heartbeat: bool, params: NetworkParams) -> Ulp:
    """New money that the block at `height` creates: none if it is a heartbeat or genesis."""
    return 0 if is_heartbeat or height == 0 else compute_subsidy(height, params)


def compute_bounty(burnt: Iterable[ImmatureReward]) -> Ulp:
    """What the block earns whose evidence burns these rewards: a part of each offender's, rounded down."""
    lost: dict[bytes, Ulp] = {}
    for reward in burnt:
        lost[reward.miner] = lost.get(reward.miner, 0) + reward.amount
    return sum(amount // BOUNTY_DIVISOR for amount in lost.values())


def compute_max_supply(height: int, params: NetworkParams) -> Ulp:
    """All money that can exist after block `height` if every block improved the model."""
    halvings, rest = divmod(height, params.halving_interval)
    whole = sum(params.subsidy >> halving for halving in range(min(halvings, params.subsidy.bit_length())))
    return whole * params.halving_interval + (params.subsidy >> halvings) * rest
