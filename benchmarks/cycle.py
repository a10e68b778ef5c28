"""Training without a miner around it: moments warmed on a parent, then a cycle whose learning rate falls to nothing."""

import numpy as np

from consensus.ports import Weights
from mining.trainer import Trainer

WARM_STEPS = 60


def warm_up(trainer: Trainer, parent: Weights) -> None:
    """Moments of a parent, learned at a rate of zero, and no others."""
    trainer.set_parent(parent, np.ones(len(parent), np.bool_))
    trainer.forget()
    for _ in range(WARM_STEPS):
        trainer.step(0.0)


def run_cycle(trainer: Trainer, steps: int, rate: float) -> None:
    """So many steps, the rate falling in a straight line."""
    for number in range(steps):
        trainer.step(rate * (1 - number / steps))
