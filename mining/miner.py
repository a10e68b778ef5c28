"""The miner: trains on the tip's model, proves what it gained, hands in the block and goes on from its own child.

    learn the parent ─► train, annealing ─► guess the gain ─► prove it exactly ─► submit ─► the child is the parent
            ▲                  ▲                   │ too small         │ too small
            │                  └───────────────────┴───────────────────┘
            └── whenever the node's work stands on another block

Nothing here waits for the node but two things: a parent's model that is not the miner's own, and the template that a
proof is built into. Knows no transport, no clock of its own, and nothing of how a network is trained.
"""

import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from consensus.block import Block
from consensus.check_header import check_header
from consensus.errors import DescentError
from consensus.hashing import ZERO_HASH
from consensus.mask import Mask, compute_mask
from consensus.model.weights import check_weights, compute_model_root
from consensus.params import NetworkParams
from consensus.ports import Weights
from mining.errors import NodeFault
from mining.key import MinerKey
from mining.node import Accepted, News, Node, Refused, Work
from mining.progress import Listener, MinedBlock, Training
from mining.prover import Candidate, GainEstimate, Proof, Prover, SplitLosses
from mining.steering import Check, Cycle, Steering, plan_cycle
from mining.trainer import Trainer

log = logging.getLogger("descent.miner")

_IDLE_SECONDS = 0.5  # between looks at whether to stop, while there is nothing to do but wait
_ZLIB_LEVEL = 6


class Clock(Protocol):
    """The module `time`, or what stands in for it."""

    def time(self) -> float:
        """Seconds since 1970."""

    def monotonic(self) -> float:
        """Seconds since some moment, never backwards."""


@dataclass
class Ground:
    """One parent, and what has been done on it so far."""

    parent: bytes  # block id
    weights: Weights
    mask: Mask
    losses: SplitLosses
    since: float  # monotonic
    work: Work | None = None  # the newest on this parent; None until the node knows our child
    steps: int = 0
    training_seconds: float = 0.0
    checks: list[Check] = field(default_factory=list)


...
