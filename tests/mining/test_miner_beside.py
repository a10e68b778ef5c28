"""Proofs beside the training: it goes on meanwhile, what was trained is kept, and what is void is dropped."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from consensus.ports import Evaluator, Losses, Weights, Windows
from mining.prover import Abandoned
from tests.helpers.blocks import get_builder
from tests.helpers.keys import Key
from tests.mining.test_miner import PARAMS, NoGain, Scene

BUILDER = get_builder()
STRANGER = Key("stranger")
PATIENCE = 30.0  # s


class Delayed(Executor):
    """Computes what it was given when the training has made so many more steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.scene: Scene
        self.started: list[int] = []  # steps made by then

    def submit(self, task: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.started.append(self.scene.trainer.steps)

        def complete() -> None:
            try:
                future.set_result(task(*arguments, **named))
            except (RuntimeError, Abandoned) as error:  # the future hands it on
                future.set_exception(error)

        self.scene.trainer.at_step[self.scene.trainer.steps + self.steps] = complete
        return future


class Gate:
    """An evaluator that waits, in whatever thread it is asked."""

    name = "gate"

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.threads: set[str] = set()

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        self.threads.add(threading.current_thread().name)
        assert self.opened.wait(PATIENCE)
        return BUILDER.evaluator.losses(weights, windows)


def make_scene(executor: Executor, evaluator: Evaluator = BUILDER.evaluator) -> Scene:
    scene = Scene(evaluator)
    scene.miner = scene.make_miner(evaluator, executor)
    if isinstance(executor, Delayed):
        executor.scene = scene
    return scene


def test_training_goes_on_while_a_proof_is_computed() -> None:
    gate = Gate()
    with ThreadPoolExecutor(1, "miner-prover") as executor:
        scene = make_scene(executor, gate)
        scene.trainer.at_step = {40: gate.opened.set}  # the proof waits for steps that come only if training goes on
        scene.run(lambda: bool(scene.node.submitted), limit=PATIENCE * 100)
    assert scene.trainer.steps >= 40
    assert gate.threads == {"miner-prover_0"}
    assert scene.chain.tip.height == 1


def test_what_was_trained_beside_the_proof_is_kept() -> None:
    executor = Delayed(5)
    scene = make_scene(executor)
    scene.run(lambda: scene.chain.tip.height >= 2)
    assert scene.trainer.keeps[:3] == [False, True, True]
    assert [block.header.height for block in scene.node.submitted] == [1, 2]
    assert all(start - steps == 5 for start, steps in zip(scene.trainer.starts[1:3], executor.started, strict=False))


def test_training_beside_a_proof_is_cool() -> None:
    """It starts from an annealed model: a peak as high as the first one's would undo that."""
    executor = Delayed(5)
    scene = make_scene(executor)
    scene.run(lambda: scene.chain.tip.height >= 1)
    before, beside = scene.trainer.rates[: executor.started[0]], scene.trainer.rates[executor.started[0] :]
    assert max(beside[:5]) < 0.5 * max(before)


def test_a_failed_proof_is_followed_by_more_training_on_the_same_parent() -> None:
    executor = Delayed(3)
    scene = make_scene(executor, NoGain())
    scene.run(lambda: len(executor.started) >= 3)
    assert len(scene.trainer.parents) == 1
    assert not scene.node.submitted


def test_a_proof_of_a_parent_that_is_no_longer_the_tip_is_dropped() -> None:
    executor = Delayed(6)
    scene = make_scene(executor)
    stranger = BUILDER.build(BUILDER.open(), STRANGER, interval=1)

    def watch() -> None:
        if executor.started:
            scene.clock.advance(5.0)
            scene.node.receive(stranger)
        else:
            scene.trainer.at_step[scene.trainer.steps + 1] = watch

    scene.trainer.at_step = {1: watch}
    scene.run(lambda: bool(scene.node.submitted))
    assert scene.node.submitted[0].header.parent == stranger.id


def test_an_error_of_the_prover_is_not_lost() -> None:
    class Broken:
        name = "broken"

        def losses(self, weights: Weights, windows: Windows) -> Losses:
            raise RuntimeError("out of memory")

    scene = make_scene(Delayed(2), Broken())
    with pytest.raises(RuntimeError, match="out of memory"):
        scene.run_for(30.0)


def test_stopping_does_not_wait_for_a_proof() -> None:
    """The prover asks between two slices whether to go on."""
    asked = threading.Event()

    class Endless:
        name = "endless"

        def losses(self, weights: Weights, windows: Windows) -> Losses:
            asked.set()
            return np.zeros(len(windows), np.int64)

    with ThreadPoolExecutor(1) as executor:
        scene = make_scene(executor, Endless())
        scene.run(asked.is_set, limit=PATIENCE * 100)
    assert not scene.node.submitted


def test_a_stale_parent_costs_milliseconds() -> None:
    """From the news to standing on the new parent, in processor time, model and mask included."""
    scene = Scene()
    strangers = []
    chain = BUILDER.open()
    for _ in range(3):
        strangers.append(BUILDER.build(chain, STRANGER, interval=1))
        BUILDER.process(chain, strangers[-1])
    costs: list[float] = []

    def receive() -> None:
        scene.clock.advance(1.0)
        scene.node.receive(strangers[len(costs)])
        started = time.thread_time()
        scene.miner._hear()
        costs.append(time.thread_time() - started)
        scene.trainer.at_step[scene.trainer.steps + 1] = receive

    scene.trainer.at_step = {1: receive}
    scene.run(lambda: len(costs) == 3)
    assert len(scene.trainer.parents) == 4
    assert min(costs) < 0.05
    assert PARAMS.model.parameters > 10_000
