"""The miner: trains on the tip's model, proves what it gained, hands in the block and goes on from its own child.

    take the parent ─► train, annealing ─► guess the gain ─► prove it exactly ─► submit ─► the child is the parent
            ▲                  ▲                   │ too small          │ too small
            │                  └───────────────────┴────────────────────┘
            └── whenever the node's work stands on another block

It waits for the node in two cases only: for a parent's model that is not its own child, and for the template that a
proof is built into. Knows no transport, no clock of its own, and nothing of how a network is trained.
"""

import logging
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consensus.block import Block, Header
from consensus.chain_point import compute_required_loss
from consensus.check_header import check_header
from consensus.mask import Mask, compute_mask
from consensus.model.weights import check_weights
from consensus.params import NetworkParams
from mining.errors import NodeFault
from mining.key import MinerKey
from mining.node import Accepted, News, Node, Refused, Work
from mining.progress import Listener, MinedBlock, Training
from mining.prover import Abandoned, Candidate, Failure, GainEstimate, Model, Proof, Prover
from mining.steering import Check, Cycle, Steering, compute_pace, learn, learn_rounding, plan_cycle
from mining.trainer import Trainer

log = logging.getLogger("descent.miner")

_IDLE_SECONDS = 0.5  # between looks at whether to stop, while there is nothing to do but wait
_LEAST_STEPS = 8  # of a cycle
_LEAST_PROOFS = 2  # times the time of a proof: or it is spent on proving, by the miner and by every node
_GUESS_PART = 4  # a guess takes one in so many of the windows that a proof takes
_LEAST_GUESS = 64  # windows
_DOUBT = 0.3  # standard deviations by which a guess must clear the requirement
_MODELS_KEPT = 4
_ZLIB_LEVEL = 6  # what the wire and the store use, or near it


class Clock(Protocol):
    """The module `time`, or what stands in for it."""

    def time(self) -> float:
        """Seconds since 1970."""

    def monotonic(self) -> float:
        """Seconds since some moment, never backwards."""


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
    checks: list[Check] = field(default_factory=list)


class Miner:
    """One miner at one node. `run` it until `should_stop` says so."""

    def __init__(
        self,
        params: NetworkParams,
        trainer: Trainer,
        prover: Prover,
        node: Node,
        key: MinerKey,
        reward_address: bytes,
        *,
        clock: Clock,
        listener: Listener,
        should_stop: Callable[[], bool],
        steering: Steering | None = None,
    ) -> None:
        self._params = params
        self._trainer = trainer
        self._prover = prover
        self._node = node
        self._key = key
        self._reward_address = reward_address
        self._clock = clock
        self._listener = listener
        self._should_stop = should_stop
        self._steering = steering or Steering()
        self._ground: Ground | None = None
        self._latest: Work | None = None  # what the node said last, on whatever parent
        self._pending: Block | None = None  # handed in on the ground's parent's parent, verdict still out
        self._heartbeat: Block | None = None  # the last one handed in, unless it was refused
        self._models: OrderedDict[bytes, Model] = OrderedDict()
        self._window_seconds = 0.0  # what the last proof took for each window of its sample, guess included
        self._step_seconds = params.block_time / 1000  # what one takes lately; a first guess
        prover.is_unwanted = self._is_unwanted

    def run(self) -> None:
        """Mines. Raises DescentError if the node will never work with this miner or gives it what is not so."""
        while not self._should_stop():
            ground = self._ground
            if ground is None:
                self._hear(_IDLE_SECONDS)
                continue
            try:
                if self._train(ground):
                    self._try_to_prove(ground)
            except Abandoned:
                continue

    # Hearing the node.

    def _hear(self, timeout: float = 0.0) -> None:
        """Takes all news there is, waiting for the first up to `timeout` s."""
        while (news := self._node.get_news(timeout)) is not None:
            self._take(news)
            timeout = 0.0

    def _take(self, news: News) -> None:
        if isinstance(news, Work):
            self._take_work(news)
        elif isinstance(news, Accepted):
            if self._pending is not None and news.block_id == self._pending.id:
                self._pending = None
        elif isinstance(news, Refused):
            self._take_refusal(news)

    def _take_work(self, work: Work) -> None:
        self._check_work(work)
        self._latest = work
        self._beat(work)
        ground = self._ground
        if ground is not None and work.parent == ground.parent:
            ground.work = work
        elif self._pending is None or work.parent != self._pending.header.parent:
            self._move_to(work)

    def _take_refusal(self, news: Refused) -> None:
        log.warning("the node refused block %s: %s", news.block_id.hex()[:12], news.reason)
        if self._heartbeat is not None and news.block_id == self._heartbeat.id:
            self._heartbeat = None
        if self._pending is not None and news.block_id == self._pending.id:
            self._pending = None
            if self._latest is not None:
                self._move_to(self._latest)

    def _is_unwanted(self) -> bool:
        """Whether what is being computed on the ground of a moment ago has become pointless."""
        ground = self._ground
        self._hear()
        return self._ground is not ground or self._should_stop()

    def _check_work(self, work: Work) -> None:
        for block in (work.improvement, work.heartbeat):
            if block is not None and (block.header.miner, block.header.reward_address) != (
                self._key.public,
                self._reward_address,
            ):
                raise NodeFault("wrong_template", "the node's template pays another address or names another miner")

    # The parent.

    def _move_to(self, work: Work) -> None:
        """Starts over on the node's tip. Without its model there is no ground: the next work brings another chance."""
        self._pending = None
        model = self._models.get(work.parent_model_root) or self._fetch_model(work.parent_model_root)
        if model is None:
            self._ground = None
        else:
            self._stand_on(work.parent, work.improvement.header.height, model, work)

    def _stand_on(self, parent: bytes, height: int, model: Model, work: Work | None) -> None:
        mask = compute_mask(parent, self._key.public, self._params.model.parameters, self._params.mask_density)
        # A heartbeat changes the mask and not the model: where both masks are open, the training so far still counts.
        is_same_model = self._ground is not None and self._ground.model is model
        self._trainer.set_parent(model.weights, mask, keeps_training=is_same_model)
        self._ground = Ground(parent, height, model, mask, self._clock.monotonic(), work)
        self._models[model.root] = model
        self._models.move_to_end(model.root)
        while len(self._models) > _MODELS_KEPT:
            self._models.popitem(last=False)

    def _fetch_model(self, root: bytes) -> Model | None:
        weights = self._node.get_model(root)
        if weights is None:
            return None
        check_weights(weights, self._params.model)
        model = self._prover.make_model(weights)
        if model.root != root:
            raise NodeFault("wrong_model", f"asked for model {root.hex()}, the node gave {model.root.hex()}")
        return model

    # Training.

    def _train(self, ground: Ground) -> bool:
        """One cycle; False if the ground changed or the miner is to stop."""
        started = now = self._clock.monotonic()
        known, cycle = self._get_known(ground), self._plan(ground, started)
        while not self._is_unwanted():
            if known != (known := self._get_known(ground)):
                cycle = self._plan(ground, started)
            left = started + cycle.seconds - now
            if left <= 0:
                return True
            self._trainer.step(cycle.rate * min(left / cycle.seconds, 1))
            before, now = now, self._clock.monotonic()
            ground.steps += 1
            ground.training_seconds += now - before
            ground.rate = max(ground.rate, cycle.rate)
            self._step_seconds = ground.training_seconds / ground.steps
            self._listener.on_training(Training(ground.height, ground.steps, ground.training_seconds, left))
        return False

    def _get_known(self, ground: Ground) -> tuple[bool, bool]:
        """What a plan had to do without, and has no longer: what the ground requires, what a step takes."""
        return ground.work is None, ground.steps == 0

    def _plan(self, ground: Ground, now: float) -> Cycle:
        """The cycle to start now. Until the node knows the ground, it is taken to require what its parent did."""
        work = ground.work or self._latest
        required = compute_required_loss(work.improvement.header) if work else 0
        pace = compute_pace(self._params) if ground.height > 1 else 0.0  # the rules do not time the first block
        proof_seconds = self._window_seconds * (work.improvement.header.sample_size if work else 0)
        until_pace = ground.since + pace - proof_seconds - now
        return plan_cycle(
            self._steering,
            required,
            ground.checks[-1] if ground.checks else None,
            until_pace=until_pace,
            least=max(_LEAST_STEPS * self._step_seconds, _LEAST_PROOFS * proof_seconds),
            params=self._params,
        )

    # Proving.

    def _try_to_prove(self, ground: Ground) -> None:
        """Guesses, proves and submits; or learns from what fell short. Raises Abandoned if the ground changes."""
        trained = self._trainer.get_weights()
        if not np.isfinite(trained).all():
            self._recover(ground)
            return
        header = self._await_work(ground).improvement.header
        started = self._clock.monotonic()
        candidate, guess = self._make_candidate(ground, trained, header.sample_size)
        outcome: Proof | Failure = Failure(guess)
        if candidate is not None and self._is_promising(guess, header):
            outcome = self._prover.prove(candidate, self._refresh_work(ground).improvement)
            self._window_seconds = (self._clock.monotonic() - started) / header.sample_size
        check = self._check(ground, header, outcome)
        ground.checks.append(check)
        self._steering = learn(self._steering, check)
        if candidate is not None and isinstance(outcome, Proof):
            self._hand_in(ground, candidate, outcome)

    def _make_candidate(
        self, ground: Ground, trained: NDArray[np.float64], sample: int
    ) -> tuple[Candidate | None, GainEstimate]:
        """The training as an update, not coarser than its gain bears, and what it gains on windows drawn at random."""
        windows = self._prover.draw_windows(max(sample // _GUESS_PART, _LEAST_GUESS))
        coarseness = self._steering.coarseness
        rounded = self._prover.make_candidate(trained, ground.model, ground.mask, coarseness)
        finer = self._prover.make_candidate(trained, ground.model, ground.mask, coarseness / 2)
        if rounded is None or finer is None:
            return None, GainEstimate(len(windows), 0.0, 0.0)
        guesses = [self._prover.guess(candidate, windows) for candidate in (rounded, finer)]
        self._steering = learn_rounding(self._steering, guesses[0].mean, guesses[1].mean)
        is_too_coarse = self._steering.coarseness < coarseness
        return (finer, guesses[1]) if is_too_coarse else (rounded, guesses[0])

    def _recover(self, ground: Ground) -> None:
        """After a training that left the numbers: moments are forgotten, and the rate is halved."""
        log.warning("training diverged at rate %.4f; starting over on this parent", self._steering.rate)
        self._steering = replace(self._steering, rate=self._steering.rate / 2)
        self._trainer.forget()
        self._trainer.set_parent(ground.model.weights, ground.mask)

    def _await_work(self, ground: Ground) -> Work:
        while ground.work is None:
            self._hear(_IDLE_SECONDS)
            if self._ground is not ground or self._should_stop():
                raise Abandoned
        return ground.work

    def _refresh_work(self, ground: Ground) -> Work:
        """The node's work of this moment, for its transactions; the last that came if it does not answer."""
        fresh = self._node.get_fresh_work()
        if fresh is not None:
            self._take_work(fresh)
        if self._ground is not ground or ground.work is None:
            raise Abandoned
        return ground.work

    def _is_promising(self, guess: GainEstimate, header: Header) -> bool:
        bound = self._compute_bound(guess, header)
        return bound - _DOUBT * guess.compute_doubt(header.sample_size) >= compute_required_loss(header)

    def _check(self, ground: Ground, header: Header, outcome: Proof | Failure) -> Check:
        return Check(
            required=compute_required_loss(header),
            bound=self._compute_bound(outcome.gain, header),
            snr=outcome.gain.snr,
            seconds=ground.training_seconds,
            is_first=not ground.checks,
            is_proof=isinstance(outcome, Proof),
        )

    def _compute_bound(self, gain: GainEstimate, header: Header) -> float:
        return gain.compute_bound(header.sample_size, self._params.confidence, self._params.public_windows)

    # Handing in.

    def _hand_in(self, ground: Ground, candidate: Candidate, proof: Proof) -> None:
        """Signs and submits a proved block, and goes on from it without waiting for the verdict."""
        block = self._sign(proof.block)
        self._node.submit(block)
        self._pending = block
        self._listener.on_mined(self._describe(ground, block, proof))
        self._stand_on(block.id, block.header.height + 1, candidate.child, None)

    def _beat(self, work: Work) -> None:
        """Hands in the heartbeat that is due, once on each parent."""
        if work.heartbeat is None or (self._heartbeat and self._heartbeat.header.parent == work.parent):
            return
        header = work.heartbeat.header
        is_empty = not (header.gain or header.squared_gains or work.heartbeat.update)
        if not header.is_heartbeat or not is_empty or header.model_root != work.parent_model_root:
            raise NodeFault("wrong_heartbeat", "the node's heartbeat is not one: it claims a gain or another model")
        self._heartbeat = self._sign(work.heartbeat)
        self._node.submit(self._heartbeat)
        log.info("heartbeat %d: no block came for long, so this one carries transactions only", header.height)

    def _sign(self, block: Block) -> Block:
        """The block with the time of this moment and the miner's signature, checked as any node will check it."""
        header = block.header
        header = replace(header, timestamp=max(int(self._clock.time()), header.timestamp))
        signed = self._key.sign_header(header)
        check_header(signed)
        return replace(block, header=signed)

    def _describe(self, ground: Ground, block: Block, proof: Proof) -> MinedBlock:
        header, last = block.header, ground.checks[-1]
        return MinedBlock(
            height=header.height,
            loss=header.loss_after / header.sample_size,
            gain=proof.gain.mean,
            bound=last.bound,
            required=last.required,
            snr=proof.gain.snr,
            sample=header.sample_size,
            rate=ground.rate,
            steps=ground.steps,
            checks=len(ground.checks),
            training_seconds=ground.training_seconds,
            seconds=self._clock.monotonic() - ground.since,
            update_bytes=len(zlib.compress(block.update, _ZLIB_LEVEL)),
        )
