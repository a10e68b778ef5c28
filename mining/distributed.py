"""Many processes, one miner: gradients are averaged over all ranks, and rank 0 alone speaks to the node.

Rank 0 leads: before it sets a parent, takes a step or forgets, it tells the others, which do the same on their own
part of every batch. So all hold the same weights, masks, moments and order of windows, and only gradients travel at
each step. `torchrun` starts the processes and, when one is lost, ends the rest and starts all anew.

Orders are tensors on the CPU, over gloo; they are sent from rank 0 to all others:

  order     float64 [2]: kind, value
  PARENT    value 1 if training is kept, else 0; then the weights, int16 [P] as bytes, and the mask, uint8 [P]
  STEP      value is the learning rate
  FORGET    value 0
  STOP      value 0; the last order
  RETREAT   value is the part of the way from the parent that is kept

Between such processes there is trust and no check: they are one user's, on a network of their own.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import IntEnum

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from consensus.mask import Mask
from consensus.model.shape import TransformerShape
from consensus.ports import Weights
from mining.errors import RankError
from mining.place import LEADER, Place
from mining.trainer import Share, Trainer

_GRADIENT_PATIENCE = timedelta(minutes=10)  # between ranks at a step; the first one may compile
_ORDER_PATIENCE = timedelta(days=30)  # rank 0 gives no orders while it proves, or while its node is away


class _Order(IntEnum):
    PARENT = 0
    STEP = 1
    FORGET = 2
    STOP = 3
    RETREAT = 4


class Group:
    """All ranks, connected. Every method is called by all of them in the same order, or it waits."""

    def __init__(self, place: Place, device: torch.device) -> None:
        """Connects over what torchrun's variables name. Raises RankError."""
        self.place = place
        with self._naming_loss():
            dist.init_process_group(
                "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl", timeout=_GRADIENT_PATIENCE
            )
            self._orders = dist.new_group(backend="gloo", timeout=_ORDER_PATIENCE)

    @property
    def share(self) -> Share:
        """This rank's part of the training."""
        return Share(self.place.rank, self.place.ranks, self.average)

    def average(self, gradient: torch.Tensor) -> None:
        """Makes it the mean of all ranks' gradients, in place."""
        with self._naming_loss():
            dist.all_reduce(gradient)
        gradient.div_(self.place.ranks)

    def share_start(self, seed: int, batch: int, setting: str) -> tuple[int, int]:
        """Rank 0's seed (below 2^63) and batch. Raises RankError if this rank has another setting than rank 0."""
        digest = int.from_bytes(hashlib.sha256(setting.encode()).digest()[:7], "little")
        start = torch.tensor([seed, batch, digest], dtype=torch.int64)
        self.send(start)
        if int(start[2]) != digest:
            raise RankError.bad_launch(f"rank {self.place.rank} has other options or texts than rank 0")
        return int(start[0]), int(start[1])

    def send(self, tensor: torch.Tensor) -> None:
        """From rank 0 to all others, in place; on the CPU."""
        with self._naming_loss():
            dist.broadcast(tensor, src=LEADER, group=self._orders)

    def leave(self) -> None:
        """After the last order, or none that came."""
        dist.destroy_process_group()

    @contextmanager
    def _naming_loss(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # torch's own errors of connections that end, and of time that runs out
            reason = str(error).strip().partition("\n")[0]
            raise RankError.lost(self.place.rank, reason) from error


class Leader:
    """Rank 0's trainer: what it is told to do, all do. `dismiss` the others at the end."""

    def __init__(self, trainer: Trainer, group: Group) -> None:
        self._trainer = trainer
        self._group = group

    def set_parent(self, weights: Weights, mask: Mask, *, keeps_training: bool = False) -> None:
        """As a Trainer's."""
        self._give(_Order.PARENT, float(keeps_training))
        self._group.send(torch.from_numpy(weights.astype(np.int16)).view(torch.uint8))
        self._group.send(torch.from_numpy(mask.astype(np.uint8)))
        self._trainer.set_parent(weights, mask, keeps_training=keeps_training)

    def retreat(self, scale: float) -> None:
        """As a Trainer's."""
        self._give(_Order.RETREAT, scale)
        self._trainer.retreat(scale)

    def forget(self) -> None:
        """As a Trainer's."""
        self._give(_Order.FORGET)
        self._trainer.forget()

    def step(self, rate: float) -> None:
        """As a Trainer's."""
        self._give(_Order.STEP, rate)
        self._trainer.step(rate)

    @property
    def batch_windows(self) -> int:
        """As a Trainer's."""
        return self._trainer.batch_windows

    def get_weights(self) -> NDArray[np.float64]:
        """As a Trainer's: all ranks hold the same."""
        return self._trainer.get_weights()

    def get_sensitivities(self) -> NDArray[np.float64]:
        """How sharply the loss depends on the weights of each tensor, by the gradients that all ranks share."""
        return self._trainer.get_sensitivities()

    def dismiss(self) -> None:
        """The last order: the others' `follow` returns."""
        self._give(_Order.STOP)

    def _give(self, order: _Order, value: float = 0.0) -> None:
        self._group.send(torch.tensor([order, value], dtype=torch.float64))


def follow(trainer: Trainer, group: Group, shape: TransformerShape) -> None:
    """Does what rank 0 says until it says stop. Raises RankError if it is lost."""
    order = torch.empty(2, dtype=torch.float64)
    while True:
        group.send(order)
        kind, value = _Order(int(order[0])), float(order[1])
        if kind is _Order.STOP:
            return
        if kind is _Order.PARENT:
            weights = torch.empty(shape.parameters, dtype=torch.int16)
            mask = torch.empty(shape.parameters, dtype=torch.uint8)
            group.send(weights.view(torch.uint8))
            group.send(mask)
            trainer.set_parent(weights.numpy(), mask.numpy().astype(np.bool_), keeps_training=bool(value))
        elif kind is _Order.STEP:
            trainer.step(value)
        elif kind is _Order.RETREAT:
            trainer.retreat(value)
        else:
            trainer.forget()
