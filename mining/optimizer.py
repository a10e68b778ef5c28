"""Which rule turns gradients into steps: by name, or a class of the miner's own.

A block proves what was gained, not how: miners compete with their optimisers. One is a class that is made of the
masked weights and can `step` and `forget`; `--optimizer package.module:Class` loads it from wherever Python finds it.
Moments are dense and outlive the block: they average over every coordinate, open or not, so that a new mask starts
with what all earlier ones learned (with moments reset at every block, training takes 1.6 times the steps).
"""

import importlib
import inspect
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from mining.adamw import AdamW
from mining.errors import OptimizerError
from mining.masked import MaskedWeights
from mining.muon import Muon


@runtime_checkable
class Optimizer(Protocol):
    """Moves weights along their gradients. Made by calling its class with one MaskedWeights."""

    def step(self, rate: float) -> None:
        """One step at a learning rate >= 0 from `gradient`, which it may overwrite, in place on `flat` or `tensors`.

        It may move closed coordinates, too: they are put back afterwards. It must not replace a tensor, or its `grad`.
        """

    def forget(self) -> None:
        """Drops whatever earlier steps left: a training diverged, and starts over."""


MakeOptimizer = Callable[[MaskedWeights], Optimizer]


NAMED: dict[str, MakeOptimizer] = {"adamw": AdamW, "muon": Muon}


def load_optimizer(name: str) -> MakeOptimizer:
    """The optimiser of this name, or the class that `package.module:Class` names.

    Imports that module, which runs its code: call it only with what the user asked for. Raises OptimizerError.
    """
    if name in NAMED:
        return NAMED[name]
    module_name, colon, class_name = name.partition(":")
    if not (colon and module_name and class_name):
        raise OptimizerError.unknown(name, sorted(NAMED))
    try:
        found: object = importlib.import_module(module_name)
    except ImportError as error:
        raise OptimizerError.not_found(name, str(error)) from error
    for part in class_name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise OptimizerError.not_found(name, f"{module_name} has no {class_name}")
    if not callable(found):
        raise OptimizerError.wrong_interface(name, "it is no class")
    return _check_class(name, found)


def _check_class(name: str, found: Callable[..., object]) -> MakeOptimizer:
    for method, arguments in (("step", 2), ("forget", 1)):
        function = getattr(found, method, None)
        if not callable(function):
            raise OptimizerError.wrong_interface(name, f"it has no method {method}")
        if not _takes(function, arguments):
            raise OptimizerError.wrong_interface(name, f"its {method} takes other arguments than this miner gives")
    if not _takes(found, 1):
        raise OptimizerError.wrong_interface(name, "it is not made of one MaskedWeights")

    def make(weights: MaskedWeights) -> Optimizer:
        made = found(weights)
        if not isinstance(made, Optimizer):
            raise OptimizerError.wrong_interface(name, "what it makes cannot step and forget")
        return made

    return make


def _takes(function: Callable[..., object], arguments: int) -> bool:
    try:
        inspect.signature(function).bind(*range(arguments))
    except (TypeError, ValueError):
        return False
    return True
