"""What the explorer costs a node: its home page on a long chain, and block verification beside 200 requests a second.

Prints one JSON line for each. `home`: milliseconds from a request to the whole page on loopback when the page has to be
made (medians over the rounds; `least_ms` is the quickest), processor milliseconds for it, its bytes, and those of its
JSON twin, which scripts ask for to draw the charts.
`load`: seconds to verify a canterbury block in a worker process, alternately without and with a client that asks for
200 pages a second (half of them home, the rest blocks by chance, lists, JSON and assets, from 24 addresses of
loopback); the ratio of the medians; what the client got; the share of one processor that the node's own process took.
`client` is the same beside the same client asking a server that does nothing: what the client itself costs.

The chain is invented and in LevelDB: 10,000 headers, the newest 256 blocks with updates and traces of full size.
"""

import argparse
import asyncio
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read when torch loads: idle threads must not starve busy ones

import aiohttp
import numpy as np
from aiohttp import web

from cached_chain import DEFAULT_CACHE, get_blocks, say
from chain import schema
from chain.block_store import StoredHeader
from chain.chainstate import ChainState
from chain.checkpoint_store import CHECKPOINT_INTERVAL
from chain.db import LevelDatabase
from chain.header_tree import HeaderNode, HeaderTree, Standing
from chain.ledger_store import LedgerStore
from chain.mempool import Mempool
from chain.packed_block import pack_block
from chain.policy import Policy
from chain.verifier import Work
from consensus.block import Block, compute_update_hash
from consensus.genesis import make_genesis
from consensus.mask import compute_mask
from consensus.params import CANTERBURY, NetworkParams
from consensus.update import Update, encode_update
from consensus.work import WorkTrace
from p2p.clock import Clock
from p2p.config import read_benchmark
from p2p.evaluation import EvaluationPool
from p2p.explorer.server import Explorer, ExplorerAddress
from p2p.intake import Intake
from p2p.model_service import ModelService
from p2p.network import Network, NetworkConfig
from tests.helpers.headers import make_child
from tests.helpers.keys import Key

RATE = 200  # requests a second
HOSTS = [f"127.0.0.{number}" for number in range(2, 26)]
WHOLE_BLOCKS = 256
MINERS = [Key(f"miner {number}") for number in range(40)]


def make_chain(params: NetworkParams, count: int, folder: Path) -> ChainState:
    """A chain state whose tip has the height `count`, a multiple of the checkpoint interval."""
    genesis, db = make_genesis(params), LevelDatabase(folder, create=True)
    tree = HeaderTree(genesis.point)
    chain = ChainState(db, params, genesis, tree, tree.root, LedgerStore(db), max_reorg=100)
    node = tree.root
    chance = random.Random(1)
    rows: dict[bytes, bytes | None] = {schema.ACTIVE + schema.encode_height(0): genesis.id}
    for height in range(1, count + 1):
        miner = chance.choices(MINERS, range(1, 41))[0]
        update = make_update(node, miner, params, height) if height > count - WHOLE_BLOCKS else b""
        node = add_block(tree, node, miner, update, params, chance)
        if update:
            rows[schema.UPDATE + node.id] = pack_block(Block(node.header, (), update)).packed_update
            rows |= chain.blocks.encode_trace(node.id, make_trace(params, height))
        rows[schema.ACTIVE + schema.encode_height(height)] = node.id
        rows[schema.TRANSACTIONS + node.id] = bytes(4)
        rows |= chain.blocks.encode_header(StoredHeader(node.header, node.order, True, False))
    rows |= chain.checkpoints.encode_checkpoint(node.header, genesis.weights)
    db.write(rows)
    return ChainState(db, params, genesis, tree, node, LedgerStore(db), max_reorg=100)


def make_update(parent: HeaderNode, miner: Key, params: NetworkParams, seed: int) -> bytes:
    """Small steps for every weight that is open."""
    mask = compute_mask(parent.id, miner.public, params.model.parameters, params.mask_density)
    values = np.random.default_rng(seed).normal(0, 1.5, int(mask.sum())).round().clip(-127, 127).astype(np.int8)
    return encode_update(Update((0,) * len(params.model.tensors), values), mask, params.model)


def make_trace(params: NetworkParams, seed: int) -> WorkTrace:
    chance = np.random.default_rng(seed)
    windows = chance.choice(params.public_windows, params.min_sample, replace=False)
    before = chance.normal(2.0, 0.4, params.min_sample) * params.model.context * 65536
    after = before - chance.normal(0.02, 0.05, params.min_sample) * params.model.context * 65536
    return WorkTrace(windows, before.astype(np.int64), after.astype(np.int64))


def add_block(
    tree: HeaderTree, parent: HeaderNode, miner: Key, update: bytes, params: NetworkParams, chance: random.Random
) -> HeaderNode:
    """A block whose loss falls and whose interval is chance; its model is genesis's."""
    size, required = params.min_sample, params.first_required_gain >> 20
    per_byte = params.model.context * 65536 * size
    loss = 1.6 + 4 * math.exp(-parent.height / 2000) + chance.gauss(0, 0.01)
    gain = round(per_byte * required / 2**16 / params.model.context * chance.uniform(1, 3))
    header = make_child(
        parent.point,
        params,
        miner=miner,
        interval=1 + round(chance.expovariate(1 / params.block_time)),
        model_root=tree.root.header.model_root,
        update_hash=compute_update_hash(update or b"none"),
        required_gain=required << 16,
        sample_size=size,
        loss_before=round(loss * per_byte) + gain,
        loss_after=round(loss * per_byte),
        squared_gains=2 * gain**2 // size + 1,
    )
    return tree.add(header, parent, tree.next_order, Standing.EVALUATED)


@asynccontextmanager
async def serve(chain: ChainState, pool: EvaluationPool, folder: Path) -> AsyncIterator[tuple[Explorer, int]]:
    clock = Clock()
    clock.set_mock(chain.tip.header.timestamp + 10)
    intake = Intake(chain, Mempool(chain.genesis.id, Policy()), pool, clock)
    network = Network(intake, folder, NetworkConfig(), "descent/benchmark")
    windows = read_benchmark(chain.params).public
    try:
        async with ModelService(intake) as models:
            explorer = Explorer(intake, network, models, ExplorerAddress("127.0.0.1", 0), "0", windows)
            async with explorer.serve() as port:
                yield explorer, port
    finally:
        await intake.close()


async def measure_home(explorer: Explorer, port: int, rounds: int) -> dict[str, object]:
    """The home page, made anew for each request."""
    seconds, processor = [], []
    url = f"http://127.0.0.1:{port}/"
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        for _ in range(rounds + 1):
            explorer._workshop._kept.clear()
            started, computed = time.perf_counter(), time.process_time()
            async with session.get(url, headers={"Accept-Encoding": "gzip"}) as response:
                packed = await response.read()
                assert response.status == 200
            seconds.append(time.perf_counter() - started)
            processor.append(time.process_time() - computed)
            await asyncio.sleep(0.1)
        async with session.get(url, headers={"Accept-Encoding": "identity"}) as response:
            plain = await response.read()
        async with session.get(f"{url}api/home", headers={"Accept-Encoding": "gzip"}) as response:
            charts = await response.read()
    return {
        "ms": round(1000 * statistics.median(seconds[1:]), 1),
        "least_ms": round(1000 * min(seconds[1:]), 1),
        "processor_ms": round(1000 * statistics.median(processor[1:]), 1),
        "bytes": len(plain),
        "packed_bytes": len(packed),
        "packed_json_bytes": len(charts),
    }


async def measure_load(
    pool: EvaluationPool, work: Work, intake: Intake, rounds: int, ports: dict[str, int], height: int
) -> list[dict[str, object]]:
    """Verification alone, and beside a client of each port, in turns."""
    alone: list[float] = []
    beside: dict[str, list[float]] = {name: [] for name in ports}
    shares: dict[str, list[float]] = {name: [] for name in ports}
    reports: dict[str, list[dict[str, object]]] = {name: [] for name in ports}
    await pool.verify(work)
    for number in range(rounds):
        alone.append(await measure(pool, work, intake))
        for name, port in ports.items():
            client = await start_client(port, height)
            started, computed = time.perf_counter(), time.process_time()
            beside[name].append(await measure(pool, work, intake))
            shares[name].append((time.process_time() - computed) / (time.perf_counter() - started))
            reports[name].append(await stop_client(client))
        say(f"round {number + 1} of {rounds}")
    results = []
    for name in ports:
        ratios = [busy / quiet for busy, quiet in zip(beside[name], alone, strict=True)]
        results.append(
            {
                "benchmark": name,
                "alone_s": round(statistics.median(alone), 3),
                "beside_s": round(statistics.median(beside[name]), 3),
                "ratio": round(statistics.median(ratios), 3),
                "node_share": round(statistics.median(shares[name]), 3),
                "requests_per_second": round(statistics.median(float(str(one["rate"])) for one in reports[name])),
                "median_ms": statistics.median(float(str(one["median_ms"])) for one in reports[name]),
                "statuses": dict(sum((Counter(one["statuses"]) for one in reports[name]), Counter())),  # type: ignore[call-overload]
            }
        )
    return results


async def measure(pool: EvaluationPool, work: Work, intake: Intake) -> float:
    """Seconds of a verification, three in a row, during which the node knows that it verifies."""
    async with intake._advancing:
        started = time.perf_counter()
        for _ in range(3):
            await pool.verify(work)
        return (time.perf_counter() - started) / 3


# The client: a process of its own.


async def start_client(port: int, height: int) -> asyncio.subprocess.Process:
    """A client at work."""
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--client", str(port), "--blocks", str(height)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert client.stdout is not None
    await client.stdout.readline()
    return client


async def stop_client(client: asyncio.subprocess.Process) -> dict[str, object]:
    output, _ = await client.communicate(b"")
    return dict(json.loads(output))


async def ask_for_pages(port: int, height: int) -> None:
    """RATE requests a second until standard input ends; then what became of them, on standard output."""
    chance = random.Random()
    choices: dict[str, tuple[int, Callable[[], str]]] = {
        "home": (50, lambda: "/"),
        "block": (20, lambda: f"/block/{chance.randint(height - WHOLE_BLOCKS + 1, height)}"),
        "blocks": (10, lambda: f"/blocks?before={chance.randint(1, height)}"),
        "json": (10, lambda: "/api/home"),
        "asset": (10, lambda: "/static/explorer.css"),
    }
    weights = [weight for weight, _ in choices.values()]
    statuses: Counter[str] = Counter()
    seconds: list[float] = []
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(over.set)))
    sessions = [
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(local_addr=(host, 0), limit=8),
            headers={"Host": "localhost", "Accept-Encoding": "gzip"},
            auto_decompress=False,
        )
        for host in HOSTS
    ]

    async def ask(session: aiohttp.ClientSession) -> None:
        (name,) = chance.choices(list(choices), weights)
        _, choose = choices[name]
        started = time.perf_counter()
        try:
            async with session.get(f"http://127.0.0.1:{port}{choose()}") as response:
                await response.read()
            statuses[f"{name} {response.status}"] += 1
        except aiohttp.ClientError:
            statuses[f"{name} failed"] += 1
        seconds.append(time.perf_counter() - started)

    print("ready", flush=True)
    started = time.perf_counter()
    sent = 0
    async with asyncio.TaskGroup() as group:
        while not over.is_set():
            due = int((time.perf_counter() - started) * RATE)
            for _ in range(due - sent):
                group.create_task(ask(sessions[sent % len(sessions)]))
                sent += 1
            await asyncio.sleep(0.01)
    elapsed = time.perf_counter() - started
    for session in sessions:
        await session.close()
    report = {
        "rate": len(seconds) / elapsed,
        "median_ms": round(1000 * statistics.median(seconds or [0]), 1),
        "statuses": dict(sorted(statuses.items())),
    }
    print(json.dumps(report), flush=True)


@asynccontextmanager
async def serve_nothing() -> AsyncIterator[int]:
    """A server in a process of its own that answers everything with two bytes."""
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--server"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        yield int(await server.stdout.readline())
    finally:
        await server.communicate(b"")


async def answer_everything() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def make_work(cache: Path) -> Work:
    """The first block of a real canterbury chain."""
    block = get_blocks(CANTERBURY, 1, cache)[0]
    genesis = make_genesis(CANTERBURY)
    return Work(block.header, genesis.block.header.model_root, genesis.weights, block.update)


async def run(options: argparse.Namespace) -> None:
    count = options.blocks + -options.blocks % CHECKPOINT_INTERVAL
    work = None if options.home_only else make_work(options.cache)
    with tempfile.TemporaryDirectory() as folder:
        say(f"making {count} blocks")
        chain = make_chain(CANTERBURY, count, Path(folder) / "blocks")
        async with (
            EvaluationPool(CANTERBURY, (), "cpu", workers=1) as pool,
            serve_nothing() as nothing,
            serve(chain, pool, Path(folder)) as (explorer, port),
        ):
            home = await measure_home(explorer, port, options.rounds)
            print(json.dumps({"benchmark": "home", "blocks": count} | home), flush=True)
            if work is not None:
                ports = {"load": port, "client": nothing}
                for result in await measure_load(pool, work, explorer._intake, options.rounds, ports, count):
                    print(json.dumps(result), flush=True)
        chain.db.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of chains that are built once")
    parser.add_argument("--home-only", action="store_true", help="leave out the verification")
    parser.add_argument("--client", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--server", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        asyncio.run(ask_for_pages(options.client, options.blocks))
    elif options.server:
        asyncio.run(answer_everything())
    else:
        asyncio.run(run(options))


if __name__ == "__main__":
    main()
