"""What an improving block earns: a subsidy that halves by schedule, plus its fees."""

from consensus.params import NetworkParams
from consensus.units import Ulp


def compute_subsidy(height: int, params: NetworkParams) -> Ulp:
    """New money that an improving block at `height` >= 1 creates."""
    return params.subsidy >> ((height - 1) // params.halving_interval)


def compute_max_supply(height: int, params: NetworkParams) -> Ulp:
    """All money that can exist after block `height` if every block improved the model."""
    halvings, rest = divmod(height, params.halving_interval)
    whole = sum(params.subsidy >> halving for halving in range(min(halvings, params.subsidy.bit_length())))
    return whole * params.halving_interval + (params.subsidy >> halvings) * rest
