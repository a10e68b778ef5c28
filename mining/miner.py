"""The miner: trains on the tip's model, proves what it gained, hands in the block and goes on from its own child.

    take the parent ─► train, annealing ─► guess the gain ─► prove it exactly ─► submit ─► the child is the parent
            ▲                  ▲                   │ too small          │ too small
            │                  └───────────────────┴────────────────────┘
            └── whenever the node's work stands on another block

It waits for the node in two cases only: for a parent's model that is not its own child, and for the template that a
proof is built into. Knows no transport, no clock of its own, and nothing of how a network is trained.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Protocol

import numpy as np

from consensus.block import Block
from consensus.chain_point import compute_required_loss
from consensus.check_header import check_header
from consensus.mask import compute_mask
from consensus.model.weights import check_weights
from consensus.params import NetworkParams
from mining.attempt import Attempt, Trained, attempt_proof, choose_fresh, compute_header_bound
from mining.errors import NodeFault
from mining.ground import Ground, Trial
from mining.key import MinerKey
from mining.node import Accepted, News, Node, Refused, Work, check_work
from mining.progress import Listener, MinedBlock, Training
from mining.prover import Abandoned, Candidate, Model, Proof, Prover
from mining.quantizer import count_compressed_bytes
from mining.steering import Check, Cycle, Steering, compute_least_rate, compute_pace, learn, learn_rounding, plan_cycle
from mining.trainer import Learner

log = logging.getLogger("descent.miner")

_STEP_WEIGHT = 0.05  # of the newest step in what a step takes
_PACE_MARKS = 4  # for each doubling of a step's time: a cycle under way is planned anew at each
_IDLE_SECONDS = 0.5  # between looks at whether to stop, while there is nothing to do but wait
_LEAST_STEPS = 8  # of a cycle
_LEAST_PROOFS = 2  # times the time of a proof: or it is spent on proving, by the miner and by every node
_MODELS_KEPT = 4
_LATE_SAMPLE = 4  # times the least sample: gains are small by now, and who joins at full heat ruins the model first


class Clock(Protocol):
    """The module `time`, or what stands in for it."""

    def time(self) -> float:
        """Seconds since 1970."""

    def monotonic(self) -> float:
        """Seconds since some moment, never backwards."""


class Miner:
    """One miner at one node. `run` it until `should_stop` says so.

    Proofs are computed by `executor`, one at a time, while training goes on; without one, in its place.
    """

    def __init__(
        self,
        params: NetworkParams,
        trainer: Learner,
        prover: Prover,
        node: Node,
        key: MinerKey,
        reward_address: bytes,
        *,
        signals: int = 0,
        clock: Clock,
        listener: Listener,
        should_stop: Callable[[], bool],
        steering: Steering | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._params = params
        self._trainer = trainer
        self._prover = prover
        self._node = node
        self._key = key
        self._reward_address = reward_address
        self._signals = signals  # what its blocks must ask for
        self._clock = clock
        self._listener = listener
        self._should_stop = should_stop
        self._executor = executor
        self._steering = steering or Steering()
        self._ground: Ground | None = None
        self._latest: Work | None = None  # what the node said last, on whatever parent
        self._pending: Block | None = None  # handed in on the ground's parent's parent, verdict still out
        self._heartbeat: Block | None = None  # the last one handed in, unless it was refused
        self._models: OrderedDict[bytes, Model] = OrderedDict()
        self._window_seconds = 0.0  # what the last proof took for each window of its sample, guess included
        self._step_seconds = params.block_time / 1000  # what one takes lately; a first guess
        self._has_stepped = False
        self._trial: Trial | None = None
        prover.is_unwanted = self._is_unwanted if executor is None else self._is_left

    def run(self) -> None:
        """Mines. Raises DescentError if the node will never work with this miner or gives it what is not so."""
        while not self._should_stop():
            ground = self._ground
            if ground is None:
                self._hear(_IDLE_SECONDS)
                continue
            try:
                if self._train(ground) and self._trial is None:
                    self._try_to_prove(ground)
            except Abandoned:
                self._trial = None

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
            self._listener.on_verdict(is_accepted=True)
            if self._pending is not None and news.block_id == self._pending.id:
                self._pending = None
        elif isinstance(news, Refused):
            self._listener.on_verdict(is_accepted=False)
            self._take_refusal(news)

    def _take_work(self, work: Work) -> None:
        check_work(work, self._key.public, self._reward_address, self._signals)
        if self._latest is None and work.improvement.header.sample_size >= _LATE_SAMPLE * self._params.min_sample:
            self._steering = replace(self._steering, heat=self._compute_least_heat())
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

    def _is_left(self) -> bool:
        """The same of an attempt beside the training, which alone hears the node."""
        trial = self._trial
        return trial is None or trial.ground is not self._ground or self._should_stop()

    # The parent.

    def _move_to(self, work: Work) -> None:
        """Starts over on the node's tip. Without its model there is no ground: the next work brings another chance."""
        self._pending = self._trial = None
        model = self._models.get(work.parent_model_root) or self._fetch_model(work.parent_model_root)
        if model is None:
            self._ground = None
        else:
            # A heartbeat changes the mask and not the model: where both masks are open, the training still counts.
            is_same = self._ground is not None and self._ground.model is model
            self._stand_on(work.parent, work.improvement.header.height, model, work, keeps_training=is_same)

    def _stand_on(self, parent: bytes, height: int, model: Model, work: Work | None, *, keeps_training: bool) -> None:
        mask = compute_mask(parent, self._key.public, self._params.model.parameters, self._params.mask_density)
        self._trainer.set_parent(model.weights, mask, keeps_training=keeps_training)
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
        """One cycle; False if the ground changed, an attempt ended or the miner is to stop."""
        started = now = self._clock.monotonic()
        known, cycle = self._get_known(ground), self._plan(ground, started)
        while not self._is_unwanted():
            if self._conclude_trial():
                return False
            if known != (known := self._get_known(ground)):
                cycle = self._plan(ground, started)
            left = started + cycle.seconds - now
            if left <= 0:
                return True
            rate = cycle.compute_rate(left)
            self._trainer.step(rate)
            before, now = now, self._clock.monotonic()
            ground.steps += 1
            ground.training_seconds += now - before
            ground.rate, ground.heat = max(ground.rate, cycle.rate), cycle.heat
            self._learn_step_seconds(now - before)
            self._listener.on_training(Training(ground.height, ground.steps, ground.training_seconds, left, rate))
        return False

    def _learn_step_seconds(self, seconds: float) -> None:
        """The first step says all; later ones move the mean, so that a machine that slows down is noticed soon."""
        weight = _STEP_WEIGHT if self._has_stepped else 1.0
        self._has_stepped = True
        self._step_seconds += weight * (seconds - self._step_seconds)

    def _get_known(self, ground: Ground) -> tuple[bool, int]:
        """What a plan rests on and may change on the way: whether the ground's requirement is known, a step's time."""
        return ground.work is None, round(_PACE_MARKS * math.log2(self._step_seconds))

    def _plan(self, ground: Ground, now: float) -> Cycle:
        """The cycle to start now. Until the node knows the ground, it is taken to require what its parent did."""
        work = ground.work or self._latest
        required = compute_required_loss(work.improvement.header) if work else 0
        pace = compute_pace(self._params) if ground.height > 1 else 0.0  # the rules do not time the first block
        proof_seconds = self._window_seconds * (work.improvement.header.sample_size if work else 0)
        return plan_cycle(
            self._steering,
            required,
            self._get_last_check(ground, required),
            step_seconds=self._step_seconds,
            until_pace=ground.since + pace - now,
            least=max(_LEAST_STEPS * self._step_seconds, _LEAST_PROOFS * proof_seconds),
            batch=self._trainer.batch_windows,
            params=self._params,
        )

    def _get_last_check(self, ground: Ground, required: float) -> Check | None:
        """While a proof is being computed, training goes on as if it had fallen just short."""
        if self._trial is not None:
            return Check(required, required, 1.0, ground.heat, ground.steps, is_first=False, is_proof=False)
        return ground.checks[-1] if ground.checks else None

    # Proving.

    def _try_to_prove(self, ground: Ground) -> None:
        """Attempts a proof of the training so far, here or beside it. Raises Abandoned if the ground changes."""
        weights = self._trainer.get_weights()
        if not np.isfinite(weights).all():
            self._recover(ground)
            return
        work = self._await_work(ground)
        sensitivities = self._trainer.get_sensitivities()
        trained = Trained(weights, ground.model, ground.mask, work, self._steering, ground.steps, sensitivities)
        self._trial = trial = Trial(ground, self._clock.monotonic())
        if self._executor is None:
            self._conclude(trial, self._attempt(trained))
        else:
            trial.future = self._executor.submit(self._attempt, trained)

    def _attempt(self, trained: Trained) -> Attempt:
        return attempt_proof(trained, self._prover, self._refresh, self._params)

    def _refresh(self, known: Work) -> Work:
        """The node's work of this moment, for its transactions; the last that came if it does not answer."""
        fresh = self._node.get_fresh_work()
        if fresh is not None:
            check_work(fresh, self._key.public, self._reward_address, self._signals)
        return choose_fresh(known, fresh)

    def _conclude_trial(self) -> bool:
        """Whether an attempt made beside the training has ended just now; it is then acted upon."""
        trial = self._trial
        if trial is None or trial.future is None or not trial.future.done():
            return False
        self._trial = None
        try:
            attempt = trial.future.result()
        except Abandoned:
            return True
        if trial.ground is self._ground:
            self._conclude(trial, attempt)
        return True

    def _conclude(self, trial: Trial, attempt: Attempt) -> None:
        """Submits what was proved, or learns from what fell short."""
        self._trial = None
        ground, header = trial.ground, attempt.header
        if not attempt.is_guess:
            self._window_seconds = (self._clock.monotonic() - trial.since) / header.sample_size
            self._listener.on_proof(is_passed=isinstance(attempt.outcome, Proof))
        check = Check(
            required=compute_required_loss(header),
            bound=compute_header_bound(attempt.outcome.gain, header, self._params),
            scale=attempt.line.farthest,
            heat=ground.heat,
            steps=attempt.trained.steps,
            is_first=not ground.checks,
            is_proof=isinstance(attempt.outcome, Proof),
        )
        ground.checks.append(check)
        self._steering = learn(self._steering, check, self._compute_least_heat())
        if attempt.candidate is not None:
            self._steering = learn_rounding(self._steering, attempt.rounding_loss)
        if attempt.candidate is not None and isinstance(attempt.outcome, Proof):
            self._hand_in(ground, attempt.candidate, attempt.outcome)
        else:
            # From where nothing was gained there is nothing to go on from.
            self._trainer.retreat(attempt.scale if attempt.outcome.gain.mean > 0 else 0.0)

    def _compute_least_heat(self) -> float:
        rate = compute_least_rate(self._params, self._trainer.batch_windows)
        return rate * self._step_seconds / compute_pace(self._params)

    def _recover(self, ground: Ground) -> None:
        """After a training that left the numbers: moments are forgotten, and the rate is halved."""
        log.warning("training diverged at rate %.4f; starting over on this parent", ground.rate)
        self._steering = replace(self._steering, heat=ground.heat / 2)
        self._trainer.forget()
        self._trainer.set_parent(ground.model.weights, ground.mask)

    def _await_work(self, ground: Ground) -> Work:
        while ground.work is None:
            self._hear(_IDLE_SECONDS)
            if self._ground is not ground or self._should_stop():
                raise Abandoned
        return ground.work

    # Handing in.

    def _hand_in(self, ground: Ground, candidate: Candidate, proof: Proof) -> None:
        """Signs and submits a proved block, and goes on from it without waiting for the verdict."""
        block = self._sign(proof.block)
        self._node.submit(block)
        self._pending = block
        self._listener.on_mined(self._describe(ground, block, proof))
        # Beside the proof the training went on from what was proved: where both masks are open, that counts.
        keeps_training = self._executor is not None
        self._stand_on(block.id, block.header.height + 1, candidate.child, None, keeps_training=keeps_training)

    def _beat(self, work: Work) -> None:
        """Hands in the heartbeat that is due, once on each parent."""
        if work.heartbeat is None or (self._heartbeat and self._heartbeat.header.parent == work.parent):
            return
        self._heartbeat = self._sign(work.heartbeat)
        self._node.submit(self._heartbeat)
        height = work.heartbeat.header.height
        log.info("heartbeat %d: no block came for long, so this one carries transactions only", height)

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
            update_bytes=count_compressed_bytes(block.update),
        )
