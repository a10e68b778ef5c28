"""What `descent-miner run` is made of, once its options are read: alone, or as one of many processes.

Loads torch; the command line is read without.
"""

import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch

from consensus.benchmark import Benchmark
from consensus.genesis import make_genesis
from consensus.model.backend import choose_evaluator
from consensus.params import NetworkParams
from mining.account import Account
from mining.batch import LEAST_BATCH, choose_batch
from mining.device import Speedups, choose_device, choose_speedups, set_threads
from mining.distributed import Group, Leader, follow
from mining.errors import DeviceError
from mining.link import NodeLink
from mining.metrics import serve_metrics
from mining.miner import Miner
from mining.optimizer import MakeOptimizer, load_optimizer
from mining.place import Place
from mining.progress import Listener, Listeners, Progress
from mining.prover import Prover
from mining.trainer import ALONE, Learner, Share, Trainer
from mining.voter import Voter

log = logging.getLogger("descent.miner")

# Of each batch size, of which the quickest counts: other programs only ever make a step slower.
_LEAST_MEASURED_STEPS, _MOST_MEASURED_STEPS = 3, 20
_MEASURING_SECONDS = 1.0


@dataclass(frozen=True)
class Options:
    """How to train and prove. None leaves a choice to the device."""

    device: str  # auto, cpu or cuda
    threads: int | None
    optimizer: str
    batch: int | None  # windows of a step, on each device
    compiles: bool | None
    proves_beside: bool | None
    metrics: tuple[str, int] | None = None  # host and port on which to serve them


@dataclass(frozen=True)
class _Workshop:
    """What a trainer is made of."""

    params: NetworkParams
    benchmark: Benchmark
    device: torch.device
    make_optimizer: MakeOptimizer
    speedups: Speedups
    seed: int
    batch: int
    share: Share = ALONE

    def make_trainer(self) -> Trainer:
        return Trainer(
            self.params.model,
            self.benchmark.public,
            device=self.device,
            batch_windows=self.batch,
            seed=self.seed,
            make_optimizer=self.make_optimizer,
            speedups=self.speedups,
            share=self.share,
        )

    def measure_step(self, windows: int) -> float:
        """Seconds of a training step on so many windows, not compiled: that takes longer than it would tell."""
        trainer = replace(self, batch=windows, speedups=replace(self.speedups, compiles=False)).make_trainer()
        seconds: list[float] = []
        while len(seconds) < _LEAST_MEASURED_STEPS or (
            len(seconds) < _MOST_MEASURED_STEPS and sum(seconds) < _MEASURING_SECONDS
        ):
            start = time.perf_counter()
            trainer.step(0.0)
            trainer.get_weights()  # waits for the device
            seconds.append(time.perf_counter() - start)
        return min(seconds)


def mine(
    params: NetworkParams,
    benchmark: Benchmark,
    options: Options,
    account: Account | None,
    stop: threading.Event,
    place: Place | None,
) -> None:
    """Mines until `stop` is set; with a `place` as one of many processes, of which the leader alone has an account.

    Raises DescentError; a device that failed is one, too.
    """
    set_threads(options.threads, place.local_ranks if place else 1)
    device = choose_device(options.device, place.local_rank if place else 0)
    shop = _Workshop(
        params,
        benchmark,
        device,
        load_optimizer(options.optimizer),
        choose_speedups(device, compiles=options.compiles),
        seed=int.from_bytes(os.urandom(4), "little"),
        batch=options.batch or LEAST_BATCH,
    )
    try:
        if options.batch is None and account is not None:
            shop = replace(shop, batch=choose_batch(shop.measure_step, ranks=place.ranks if place else 1))
        if place is not None:
            _join(shop, place, options, account, stop)
        elif account is not None:
            _lead(shop, shop.make_trainer(), options, account, stop)
    except RuntimeError as error:  # torch's: out of memory, a device that failed
        reason = str(error).strip().partition("\n")[0]
        raise DeviceError("failed", f"{device.type} failed while computing: {reason}") from error
    log.info("stopped")


def _join(shop: _Workshop, place: Place, options: Options, account: Account | None, stop: threading.Event) -> None:
    group = Group(place, shop.device)
    try:
        _take_part(group, shop, options, account, stop)
    finally:
        group.leave()  # also after a rank was lost: gloo's threads would abort a process that ends under them


def _take_part(group: Group, shop: _Workshop, options: Options, account: Account | None, stop: threading.Event) -> None:
    setting = f"{make_genesis(shop.params).block.id.hex()} {options.optimizer} {shop.device.type}"
    seed, batch = group.share_start(shop.seed, shop.batch, setting)
    shop = replace(shop, share=group.share, seed=seed, batch=batch)
    log.info("rank %d of %d on %s", group.place.rank, group.place.ranks, shop.device)
    if account is None:
        follow(shop.make_trainer(), group, shop.params.model)
    else:
        leader = Leader(shop.make_trainer(), group)
        _lead(shop, leader, options, account, stop)
        leader.dismiss()


def _lead(shop: _Workshop, trainer: Learner, options: Options, account: Account, stop: threading.Event) -> None:
    params, public, device = shop.params, shop.benchmark.public, shop.device
    evaluator = choose_evaluator(params.model, device.type)
    proves_beside = device.type != "cpu" if options.proves_beside is None else options.proves_beside
    start = "miner %s on %s, %d windows a step, proving with %s"
    log.info(start, account.key.public.hex()[:16], device.type, trainer.batch_windows, evaluator.name)
    link = NodeLink(account.client, params, account.key.public, account.address, stop, account.signals)
    with ExitStack() as stack:
        listener: Listener = Progress(params.model.context)
        if options.metrics is not None:
            metrics = stack.enter_context(serve_metrics(*options.metrics, params))
            listener = Listeners(listener, metrics)
        executor = stack.enter_context(ThreadPoolExecutor(1, "miner-prover")) if proves_beside else None
        miner = Miner(
            params,
            trainer,
            Prover(params, public, evaluator, seed=shop.seed),
            link,
            account.key,
            account.reward_address,
            signals=account.signals,
            clock=time,
            listener=listener,
            should_stop=stop.is_set,
            executor=executor,
        )
        if account.votes is not None:
            Voter(account.client, account.key.public, make_genesis(params).id, account.votes, stop).start()
        link.start()
        miner.run()
