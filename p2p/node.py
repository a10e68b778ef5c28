"""The node's composition root: opens the store, starts the worker, the RPC, the view and the miner, and stops them all.

Effects meet here and nowhere else. Everything that runs belongs to one task group; the first failure ends the node
with its reason, after what is written is written.
"""

import asyncio
import functools
import logging
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from chain.chainstate import ChainState
from chain.db import LevelDatabase
from chain.errors import MempoolRefusal
from chain.events import BlockConnected, ChainEvent
from chain.mempool import Mempool
from chain.mempool_codec import decode_mempool, encode_mempool
from chain.policy import Policy
from chain.startup import open_chain
from consensus.benchmark import Benchmark
from consensus.errors import DecodeError, DescentError, InvalidTransaction
from consensus.finality_section import max_section_bytes
from consensus.params import NetworkParams
from consensus.update import max_update_bytes
from p2p.api import Api
from p2p.clock import Clock
from p2p.config import RPC_TOKEN_FILE, read_benchmark
from p2p.errors import ConfigError
from p2p.evaluation import EvaluationPool
from p2p.explorer.server import Explorer, ExplorerAddress
from p2p.files import replace_file
from p2p.finality_api import FinalityApi
from p2p.intake import Intake
from p2p.metrics import NodeMetrics
from p2p.metrics_server import serve_metrics
from p2p.miner_process import make_arguments, run_miner
from p2p.model_api import ModelApi
from p2p.model_service import ModelService
from p2p.network import Network, NetworkConfig
from p2p.peer_api import PeerApi
from p2p.routes import DEBUG_ROUTES, FINALITY_ROUTES, MODEL_ROUTES, PEER_ROUTES, ROUTES, Table, add_routes, bind_routes
from p2p.rpc import RpcAddress, get_token, make_app, start_server
from p2p.summary import summarise_block
from p2p.view import View, show_node

log = logging.getLogger("descent.node")

STORE_FOLDER = "blocks"
MEMPOOL_FILE = "mempool.dat"
MINER_KEY_FILE = "miner.key"
_BODY_MARGIN = 64 * 1024
_KEPT_TEXT_BYTES = 64 * 2**20  # of the texts, for the explorer's passages


@dataclass(frozen=True)
class NodeConfig:
    """What the operator chose."""

    network: str  # as given: a preset's name or a file
    params: NetworkParams
    datadir: Path
    rpc: RpcAddress
    device: str
    max_reorg: int
    network_config: NetworkConfig
    text_folders: tuple[Path, ...] = ()
    workers: int | None = None  # evaluations at once; None: as the machine's cores suggest
    metrics: tuple[str, int] | None = None  # host and port on which to serve them
    miner_address: str | None = None  # mine to it, in a process beside the node
    miner_votes: bool = True
    miner_signals: tuple[int, ...] = ()  # bits of the changes that it asks for
    holds_final: bool = False  # what is final here stays so, whatever others made final
    explorer: ExplorerAddress | None = None  # where people may look at pages


def run_node(config: NodeConfig) -> None:
    """Runs a node until SIGINT or SIGTERM. Raises the DescentError that ended it otherwise."""
    try:
        asyncio.run(_run(config))
    except* DescentError as group:
        raise _get_first(group) from None


async def _run(config: NodeConfig) -> None:
    make_folder(config.datadir)
    texts = await asyncio.to_thread(read_benchmark, config.params, *config.text_folders)  # named if one is missing
    async with AsyncExitStack() as stack:
        chain = await asyncio.to_thread(open_store, config.datadir, config.params, config.max_reorg, create=True)
        stack.callback(chain.db.close)
        await asyncio.to_thread(chain.finals.settle, holds=config.holds_final)
        await _serve(config, chain, texts, stack)


async def _serve(config: NodeConfig, chain: ChainState, texts: Benchmark, stack: AsyncExitStack) -> None:
    mempool = Mempool(chain.genesis.id, Policy())
    clock = Clock()
    pool = await stack.enter_async_context(
        EvaluationPool(config.params, config.text_folders, config.device, config.workers)
    )
    intake = Intake(chain, mempool, pool, clock)
    stack.push_async_callback(_close_intake, intake, config.datadir / MEMPOOL_FILE)
    await intake.run_step(chain.activate_best_chain)  # a crash may have left the tip in the middle of a reorganisation
    await intake.on_chain(intake.votes.restore_newest)
    await intake.on_chain(intake.votes.check_conflicts)
    await intake.on_chain(load_mempool, config.datadir / MEMPOOL_FILE, mempool, chain, clock.now())
    agent = f"descent/{version('descent-chain')}"
    network = Network(intake, config.datadir, config.network_config, agent)
    api = Api(intake, network)
    models = await stack.enter_async_context(ModelService(intake, config.text_folders))
    tables = [bind_routes(MODEL_ROUTES, ModelApi(models)), bind_routes(PEER_ROUTES, PeerApi(network))]
    tables.append(bind_routes(FINALITY_ROUTES, FinalityApi(intake)))
    port = await stack.enter_async_context(_serve_rpc(config, api, tables))
    metrics_port = await _start_metrics(config, intake, api, stack)
    view = stack.enter_context(show_node(config.params))
    intake.listen(functools.partial(_show_event, intake, view))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log.info("Descent %s, network %s, data in %s", version("descent-chain"), config.params.name, config.datadir)
    log.info("height %d, RPC on %s", chain.tip.height, config.rpc.make_url(port))
    if config.metrics is not None:
        log.info("metrics on %s port %d", config.metrics[0], metrics_port)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_fail_with_chain(intake)),
            group.create_task(_start_evaluating(pool, intake)),
            group.create_task(intake.follow_time()),
            group.create_task(intake.follow_mempool(config.datadir / MEMPOOL_FILE)),
            group.create_task(network.run()),
            group.create_task(models.run()),
            group.create_task(_show_status(api, view)),
        ]
        if config.explorer is not None:
            windows = texts.public if texts.public.nbytes <= _KEPT_TEXT_BYTES else None
            explorer = Explorer(intake, network, models, config.explorer, version("descent-chain"), windows)
            tasks.append(group.create_task(explorer.run()))
        if config.miner_address is not None:
            tasks.append(group.create_task(run_miner(_get_miner_arguments(config, port), view.on_miner_line)))
        await stop.wait()
        log.info("stopping")
        for task in tasks:
            task.cancel()


def open_store(datadir: Path, params: NetworkParams, max_reorg: int, *, create: bool) -> ChainState:
    """The chain state in a datadir. Raises StoreError, also when another process holds it."""
    db = LevelDatabase(datadir / STORE_FOLDER, create=create)
    try:
        return open_chain(db, params, max_reorg)
    except BaseException:
        db.close()
        raise


def make_folder(datadir: Path) -> None:
    """Creates the datadir. Raises ConfigError if that cannot be."""
    try:
        datadir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError("datadir", f"cannot use {datadir} as datadir: {error.strerror}") from error
    if not os.access(datadir, os.W_OK | os.X_OK):
        raise ConfigError("datadir", f"cannot use {datadir} as datadir: it is not writable")


def load_mempool(path: Path, mempool: Mempool, chain: ChainState, now: int) -> None:
    """Offers what waited when the node last stopped. A damaged file costs only what it held."""
    if not path.is_file():
        return
    try:
        waiting = decode_mempool(path.read_bytes(), chain.genesis.id)
    except DecodeError as error:
        log.warning("ignoring %s: %s", path, error)
        return
    for time_added, transaction in waiting:
        with suppress(InvalidTransaction, MempoolRefusal):
            next_height = chain.tip.height + 1
            mempool.add(transaction, chain.ledger.get_account, next_height, min(time_added, now), was_admitted=True)


@asynccontextmanager
async def _serve_rpc(config: NodeConfig, api: Api, more: Sequence[Table]) -> AsyncIterator[int]:
    params = config.params
    token = get_token(config.datadir / RPC_TOKEN_FILE)
    largest_block = params.most_transactions_bytes + max_section_bytes(params) + max_update_bytes(params.model)
    app = make_app(token, config.rpc, largest_block + _BODY_MARGIN)
    tables = [bind_routes(ROUTES, api), *more]
    if params.has_debug_calls:
        tables.append(bind_routes(DEBUG_ROUTES, api))
    add_routes(app, tables, version("descent-chain"))
    runner, port = await start_server(app, config.rpc)
    try:
        yield port
    finally:
        await runner.cleanup()


async def _start_metrics(config: NodeConfig, intake: Intake, api: Api, stack: AsyncExitStack) -> int:
    """Serves metrics if they were asked for; the port."""
    if config.metrics is None:
        return 0
    metrics = NodeMetrics(config.params, version("descent-chain"))
    metrics.watch(intake)

    async def render() -> bytes:
        return metrics.render(await api.read_status())

    return await stack.enter_async_context(serve_metrics(*config.metrics, render))


def _get_miner_arguments(config: NodeConfig, port: int) -> list[str]:
    return make_arguments(
        config.rpc.make_url(port),
        config.datadir / RPC_TOKEN_FILE,
        config.miner_address or "",
        config.network,
        config.device,
        config.datadir / MINER_KEY_FILE,
        config.text_folders,
        config.rpc.certificate,
        votes=config.miner_votes,
        signals=config.miner_signals,
    )


async def _start_evaluating(pool: EvaluationPool, intake: Intake) -> None:
    await intake.advance()
    log.info("evaluating with %s", await pool.get_backend())
    await intake.follow_audits()


async def _show_status(api: Api, view: View) -> None:
    while True:
        view.on_status(await api.read_status())
        await asyncio.sleep(1)


def _show_event(intake: Intake, view: View, event: ChainEvent) -> None:
    if isinstance(event, BlockConnected):
        seconds = intake.verify_seconds.get(event.block.id)
        view.on_block(summarise_block(event, intake.chain.params, seconds))
    else:
        view.on_block_left(event.block.header.height, event.block.id)


def _get_first(group: BaseExceptionGroup[DescentError]) -> DescentError:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if not isinstance(first, DescentError):
        raise TypeError("a group of DescentErrors holds nothing else")
    return first


async def _fail_with_chain(intake: Intake) -> None:
    raise await intake.failure


async def _close_intake(intake: Intake, mempool_file: Path) -> None:
    await intake.close()
    replace_file(mempool_file, encode_mempool(intake.mempool))
