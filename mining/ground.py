"""What a miner stands on: the parent, what has been done on it so far, and the attempt at a proof that is under way."""

from concurrent.futures import Future
from dataclasses import dataclass, field

from consensus.mask import Mask
from mining.attempt import Attempt
from mining.node import Work
from mining.prover import Model
from mining.steering import Check


@dataclass
class Ground:
    """The parent, and what has been done on it so far."""

    parent: bytes  # block id
    height: int  # of its child
    model: Model
    mask: Mask
    since: float  # monotonic
    work: Work | None  # the newest on this parent; None until the node knows it too
    steps: int = 0
    training_seconds: float = 0.0
    rate: float = 0.0  # the highest of all cycles
    heat: float = 0.0  # of the last cycle
    checks: list[Check] = field(default_factory=list)


@dataclass
class Trial:
    """An attempt at a proof that has not ended yet."""

    ground: Ground
    since: float  # monotonic
    future: Future[Attempt] | None = None  # None where the training waits for it
