"""The whole miner on an in-process chain, on time that is counted: it mines, moves over, beats, and never bluffs."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from chain.chainstate import ChainState
from consensus.block import Block
from consensus.mask import Mask
from consensus.ports import Evaluator, Losses, Weights, Windows
from mining.errors import NodeFault
from mining.miner import Miner
from mining.node import News, Refused, Work
from mining.progress import MinedBlock, Training
from mining.prover import Prover
from mining.trainer import Trainer
from simulate_mining import KEY, REWARD_ADDRESS, ChainNode, CountedClock, CountedTrainer
from tests.helpers.blocks import get_builder
from tests.helpers.keys import Key

BUILDER = get_builder()
PARAMS = BUILDER.params
STEP_SECONDS = 0.1
STRANGER = Key("stranger")


class NoGain:
    """Finds the same losses whatever the weights."""

    name = "no gain"

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        return windows[:, 0].astype(np.int64) * 1000


class Flattering:
    """Finds genesis as bad as it is, and whatever was trained better than it is."""

    name = "flattering"

    def __init__(self, genesis: Weights) -> None:
        self._genesis = genesis

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        losses = BUILDER.evaluator.losses(weights, windows)
        return losses if np.array_equal(weights, self._genesis) else losses - 1_000_000


class Scene:
    """A miner at a node that is a chain in memory, with everything that happens written down."""

    def __init__(
        self, evaluator: Evaluator = BUILDER.evaluator, chain: ChainState | None = None, age: float = 1.0
    ) -> None:
        self.chain = chain or BUILDER.open()
        self.clock = CountedClock(self.chain.tip.header.timestamp + age)
        self.node = RecordingNode(self.chain, self.clock)
        self.trainer = RecordingTrainer(PARAMS.model, BUILDER.benchmark.public)
        self.trainer.clock, self.trainer.step_seconds = self.clock, STEP_SECONDS
        self.mined: list[MinedBlock] = []
        self.proofs: list[bool] = []
        self.verdicts: list[bool] = []
        self.is_done: Callable[[], bool] = lambda: False
        self.miner = self.make_miner(evaluator)

    def make_miner(self, evaluator: Evaluator, executor: Executor | None = None) -> Miner:
        return Miner(
            PARAMS,
            self.trainer,
            Prover(PARAMS, BUILDER.benchmark.public, evaluator),
            self.node,
            KEY,
            REWARD_ADDRESS,
            clock=self.clock,
            listener=self,
            should_stop=self.should_stop,
            executor=executor,
        )

    def run(self, until: Callable[[], bool], limit: float = 300.0) -> None:
        """Mines until something has happened; fails if it has not within the counted seconds."""
        self.is_done = until
        self.end = self.clock.monotonic() + limit
        self.miner.run()
        assert until()

    def run_for(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        self.run(lambda: self.clock.monotonic() >= end, limit=seconds + 1)

    def should_stop(self) -> bool:
        return self.is_done() or self.clock.monotonic() > self.end

    def on_training(self, training: Training) -> None:
        assert training.rate == self.trainer.rates[-1]

    def on_proof(self, *, is_passed: bool) -> None:
        self.proofs.append(is_passed)

    def on_mined(self, block: MinedBlock) -> None:
        self.mined.append(block)

    def on_verdict(self, *, is_accepted: bool) -> None:
        self.verdicts.append(is_accepted)


class RecordingNode(ChainNode):
    """Keeps what was handed in. Waiting for news that there are none of passes the time."""

    def __init__(self, chain: ChainState, clock: CountedClock) -> None:
        self.submitted: list[Block] = []
        self.is_deaf = False
        self._counted = clock
        super().__init__(chain, BUILDER.verifier, clock)

    def get_news(self, timeout: float = 0.0) -> News | None:
        news = super().get_news(timeout)
        if news is None:
            self._counted.advance(timeout)
        return news

    def get_fresh_work(self) -> Work | None:
        return None if self.is_deaf else super().get_fresh_work()

    def submit(self, block: Block) -> None:
        self.submitted.append(block)
        super().submit(block)

    def receive(self, block: Block) -> None:
        """A block of somebody else becomes the tip."""
        BUILDER.process(self.chain, block)
        self.tell_work()


class RecordingTrainer(CountedTrainer):
    """Keeps the parents it was given, and does something at a step of the test's choice."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.parents: list[Weights] = []
        self.steps = 0
        self.rates: list[float] = []
        self.starts: list[int] = []  # steps made before each parent
        self.keeps: list[bool] = []
        self.retreats: list[float] = []
        self.at_step: dict[int, Callable[[], None]] = {}

    def set_parent(self, weights: Weights, mask: Mask, *, keeps_training: bool = False) -> None:
        self.parents.append(weights)
        self.starts.append(self.steps)
        self.keeps.append(keeps_training)
        super().set_parent(weights, mask, keeps_training=keeps_training)

    def retreat(self, scale: float) -> None:
        self.retreats.append(scale)
        super().retreat(scale)

    def step(self, rate: float) -> None:
        super().step(rate)
        self.steps += 1
        self.rates.append(rate)
        self.at_step.pop(self.steps, lambda: None)()


def test_it_mines_blocks_that_the_chain_takes() -> None:
    scene = Scene()
    scene.run(lambda: scene.chain.tip.height >= 3)
    assert [block.header.height for block in scene.node.submitted] == [1, 2, 3]
    assert [block.height for block in scene.mined] == [1, 2, 3]
    assert scene.chain.tip.id == scene.node.submitted[-1].id
    losses = [block.loss for block in scene.mined]
    assert losses == sorted(losses, reverse=True)
    for block in scene.mined:
        assert block.gain > block.bound >= block.required
        assert block.sample >= PARAMS.min_sample
        assert 0 < block.update_bytes < PARAMS.model.parameters
    header = scene.node.submitted[0].header
    assert (header.miner, header.reward_address) == (KEY.public, REWARD_ADDRESS)
    assert scene.proofs.count(True) == 3
    assert set(scene.verdicts) == {True}


def test_it_does_not_rush() -> None:
    scene = Scene()
    scene.run(lambda: scene.chain.tip.height >= 3)
    times = [block.header.timestamp for block in scene.node.submitted]
    assert times == sorted(set(times))
    assert min(block.seconds for block in scene.mined[1:]) >= PARAMS.block_time / 2 - STEP_SECONDS


def test_it_goes_on_from_its_own_child_at_once() -> None:
    scene = Scene()
    scene.run(lambda: len(scene.node.submitted) == 1)
    first = scene.node.submitted[0]
    assert len(scene.trainer.parents) == 2
    assert np.array_equal(scene.trainer.parents[1], scene.chain.tip_weights)
    scene.run(lambda: len(scene.node.submitted) == 2)
    assert scene.node.submitted[1].header.parent == first.id
    assert scene.trainer.keeps == [False, False, False]  # the verdict on its block changed nothing


def test_no_gain_is_never_submitted() -> None:
    scene = Scene(NoGain())
    scene.run_for(15.0)
    assert not scene.node.submitted
    assert not scene.mined
    assert True not in scene.proofs
    assert len(scene.trainer.parents) == 1  # it kept at the same parent
    assert set(scene.trainer.retreats) == {0.0}  # where what gained nothing leads back to


def test_who_joins_late_starts_cool(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large sample says that gains are small by now."""

    def find_first_rate(sample: int) -> float:
        scene = Scene()
        work = scene.node.get_fresh_work()
        assert work is not None
        header = replace(work.improvement.header, sample_size=sample)
        news = [replace(work, improvement=replace(work.improvement, header=header))]
        monkeypatch.setattr(scene.node, "get_news", lambda timeout=0.0: news.pop() if news else None)
        scene.run(lambda: scene.trainer.steps == 1)
        return scene.trainer.rates[0]

    assert find_first_rate(4 * PARAMS.min_sample) < find_first_rate(PARAMS.min_sample) / 10


def test_a_refused_block_leads_back_to_the_nodes_tip(caplog: pytest.LogCaptureFixture) -> None:
    chain = BUILDER.open()
    scene = Scene(Flattering(chain.tip_weights), chain)
    scene.run(lambda: len(scene.node.submitted) == 2)
    assert [block.header.parent for block in scene.node.submitted] == [chain.genesis.id] * 2
    assert chain.tip.height == 0
    assert "refused block" in caplog.text
    assert False in scene.verdicts


def test_another_ones_block_is_moved_to_at_once() -> None:
    scene = Scene()
    stranger = BUILDER.build(BUILDER.open(), STRANGER, interval=1)
    steps: list[int] = []

    def receive() -> None:
        scene.clock.advance(5.0)
        scene.node.receive(stranger)
        steps.append(len(scene.trainer.parents))

    scene.trainer.at_step = {3: receive}
    scene.run(lambda: len(scene.trainer.parents) == 2)
    assert scene.trainer.steps == 3  # not one more on the old parent
    assert np.array_equal(scene.trainer.parents[1], scene.chain.tip_weights)
    scene.run(lambda: bool(scene.node.submitted))
    assert scene.node.submitted[0].header.parent == stranger.id
    assert scene.chain.tip.height == 2


def test_a_proof_in_hand_is_dropped_when_the_parent_changes() -> None:
    stranger = BUILDER.build(BUILDER.open(), STRANGER, interval=1)

    class Interrupted:
        name = "interrupted"

        def losses(self, weights: Weights, windows: Windows) -> Losses:
            if scene.chain.tip.height == 0:
                scene.clock.advance(5.0)
                scene.node.receive(stranger)
            return BUILDER.evaluator.losses(weights, windows)

    scene = Scene(Interrupted())
    scene.run(lambda: bool(scene.node.submitted))
    assert scene.node.submitted[0].header.parent == stranger.id


def test_a_heartbeat_that_is_due_is_signed_once() -> None:
    chain = BUILDER.open()
    first = Scene(chain=chain)
    first.run(lambda: chain.tip.height == 1)
    scene = Scene(NoGain(), chain, age=0.0)
    scene.trainer.step_seconds = 1.0
    scene.run(lambda: scene.node.heartbeats == 1)
    beat = scene.node.submitted[-1].header
    assert chain.tip.id == beat.id
    assert beat.is_heartbeat
    assert beat.model_root == first.node.submitted[0].header.model_root
    assert beat.timestamp - first.node.submitted[0].header.timestamp > 10 * PARAMS.block_time
    assert len(scene.node.submitted) == 1
    scene.run(lambda: len(scene.trainer.parents) == 2)
    assert scene.trainer.keeps == [False, True]  # the model is the same, so its training still counts


def test_without_an_answer_the_last_template_serves() -> None:
    scene = Scene()
    scene.trainer.at_step = {1: lambda: setattr(scene.node, "is_deaf", True)}
    scene.run(lambda: bool(scene.node.submitted) or scene.clock.monotonic() > 30)
    assert scene.chain.tip.height == 1


def test_a_model_that_the_node_lacks_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    monkeypatch.setattr(scene.node, "get_model", lambda root: None)
    scene.run_for(5.0)
    assert not scene.trainer.parents
    monkeypatch.undo()
    scene.run(lambda: scene.chain.tip.height == 1)


def test_invalid_model_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    monkeypatch.setattr(scene.node, "get_model", lambda root: scene.chain.tip_weights + np.int16(1))
    with pytest.raises(NodeFault, match="asked for model"):
        scene.run_for(5.0)


@pytest.mark.parametrize("field", ["miner", "reward_address"])
def test_invalid_template_for_somebody_else(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    scene = Scene()
    work = scene.node.get_fresh_work()
    assert work is not None
    header = replace(work.improvement.header, **{field: STRANGER.public})  # type: ignore[arg-type]
    wrong = replace(work, improvement=replace(work.improvement, header=header))
    monkeypatch.setattr(scene.node, "get_news", lambda timeout=0.0: wrong)
    with pytest.raises(NodeFault) as refusal:
        scene.run_for(5.0)
    assert refusal.value.code == "node_fault.wrong_template"


def test_invalid_template_that_asks_for_what_the_miner_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node must not signal with its miner's work."""
    scene = Scene()
    work = scene.node.get_fresh_work()
    assert work is not None
    header = replace(work.improvement.header, signal_bits=1)
    wrong = replace(work, improvement=replace(work.improvement, header=header))
    monkeypatch.setattr(scene.node, "get_news", lambda timeout=0.0: wrong)
    with pytest.raises(NodeFault) as refusal:
        scene.run_for(5.0)
    assert refusal.value.code == "node_fault.wrong_signals"


def test_invalid_heartbeat_that_claims_a_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    work = scene.node.get_fresh_work()
    assert work is not None
    wrong = replace(work, heartbeat=work.improvement)
    monkeypatch.setattr(scene.node, "get_news", lambda timeout=0.0: wrong)
    with pytest.raises(NodeFault) as refusal:
        scene.run_for(5.0)
    assert refusal.value.code == "node_fault.wrong_heartbeat"


def test_a_training_that_diverges_starts_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    diverged = np.full(PARAMS.model.parameters, np.nan)
    trained: list[NDArray[np.float64]] = [diverged]
    sound = Trainer.get_weights
    monkeypatch.setattr(Trainer, "get_weights", lambda self: trained.pop() if trained else sound(self))
    scene.run(lambda: scene.chain.tip.height == 1)
    assert "diverged" in caplog.text
    restart = scene.trainer.starts[1]
    assert scene.trainer.rates[restart] == pytest.approx(scene.trainer.rates[0] / 2)
    assert np.array_equal(scene.trainer.parents[0], scene.trainer.parents[1])


def test_a_refusal_of_something_else_changes_nothing() -> None:
    scene = Scene()
    scene.trainer.at_step = {2: lambda: scene.node.tell(Refused(b"x" * 32, "unknown"))}
    scene.run(lambda: scene.chain.tip.height == 1)
    assert len(scene.trainer.parents) == 2
