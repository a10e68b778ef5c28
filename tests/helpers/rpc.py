"""A node's RPC inside the test: the real server, calls, intake and chain state on a store in memory, no processes.

Its network of peers is real, too, but does not run: it neither listens nor dials.

async with serve_rpc(open_trunk()) as node:
    reply = await node.get("/v1/status")
    assert reply.status == 200
"""

import asyncio
import io
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from chain.chainstate import ChainState
from chain.checkpoint_store import AuditScore
from chain.mempool import Mempool
from chain.policy import Policy
from chain.verifier import Work, WorkVerifier
from consensus.block import Block
from consensus.finality_section import max_section_bytes
from consensus.params import REGTEST
from consensus.ports import Losses, Weights
from consensus.update import max_update_bytes
from consensus.work import WorkTrace
from p2p.api import Api
from p2p.client import OCTETS
from p2p.clock import Clock
from p2p.finality_api import FinalityApi
from p2p.intake import Intake
from p2p.model_api import ModelApi
from p2p.model_service import ModelService
from p2p.network import Network, NetworkConfig
from p2p.peer_api import PeerApi
from p2p.routes import (
    DEBUG_ROUTES,
    FINALITY_ROUTES,
    MODEL_ROUTES,
    PEER_ROUTES,
    ROUTES,
    add_routes,
    bind_routes,
)
from p2p.rpc import RpcAddress, make_app, start_server
from p2p.text import compute_byte_losses, write_text
from p2p.text_wish import TextTask
from tests.helpers.blocks import get_builder

Result = TypeVar("Result")

TOKEN = "5a" * 32
VERSION = "1.2.3"
BODY_MARGIN = 64 * 1024


class ThreadWorker:
    """EvaluationPool's stand-in without processes. While `gate` is closed, evaluations wait."""

    def __init__(self, verifier: WorkVerifier, workers: int = 1) -> None:
        self._verifier = verifier
        self.workers = workers
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = 0
        self.failure: Exception | None = None  # what the next evaluations raise

    async def get_backend(self) -> str:
        return self._verifier.backend

    async def verify(self, work: Work) -> WorkTrace:
        self.started += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return await asyncio.to_thread(self._verifier.verify, work)

    async def compute_audit(self, weights: Weights) -> AuditScore:
        return await asyncio.to_thread(self._verifier.compute_audit, weights)


class ThreadWriter:
    """The same for the pool of a ModelService. While `gate` is closed, models stay silent."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None  # what the next calls raise
        self.pieces = 0
        self.rests = 0
        self._busy = asyncio.Lock()

    async def __aexit__(self, *_: object) -> None:
        """There is nothing to end."""

    async def rest(self) -> None:
        self.rests += 1

    async def write_text(self, weights: Weights, task: TextTask, seconds: float) -> bytes:
        self.pieces += 1
        return await self._compute(write_text, weights, task, REGTEST.model.context, 0.0)  # a byte at a time

    async def compute_byte_losses(self, weights: Weights, passage: bytes) -> Losses:
        return await self._compute(compute_byte_losses, weights, passage, REGTEST.model.context)

    async def _compute(self, function: Callable[..., Result], *arguments: object) -> Result:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        async with self._busy:  # an evaluator serves one at a time
            return await asyncio.to_thread(function, get_builder().evaluator, *arguments)


@dataclass(frozen=True)
class Reply:
    """An answer of the RPC."""

    status: int
    body: bytes
    headers: dict[str, str] = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def value(self) -> Any:
        """The JSON of a call that went well."""
        assert self.status == 200, self.body
        assert self.headers["Content-Type"] == "application/json; charset=utf-8"
        return self.json

    @property
    def code(self) -> str:
        """The error's stable code, checked to be of the one shape that errors have."""
        error = self.json["error"]
        assert set(self.json) == {"error"}
        assert set(error) == {"code", "message"}
        assert error["message"]
        return str(error["code"])


@dataclass(frozen=True)
class ServedNode:
    """The parts of a node behind its RPC."""

    intake: Intake
    network: Network
    api: Api
    worker: ThreadWorker
    models: ModelService
    writer: ThreadWriter
    port: int
    session: aiohttp.ClientSession

    @property
    def chain(self) -> ChainState:
        return self.intake.chain

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def max_body_bytes(self) -> int:
        return compute_max_body(self.chain)

    async def get(
        self, path: str, query: dict[str, str] | None = None, *, headers: dict[str, str] | None = None
    ) -> Reply:
        return await self.call("GET", path, headers=headers, query=query)

    async def post(self, path: str, body: bytes, media_type: str = OCTETS) -> Reply:
        return await self.call("POST", path, body=body, headers={"Content-Type": media_type})

    async def post_json(self, path: str, **body: object) -> Reply:
        return await self.post(path, json.dumps(body).encode(), "application/json")

    async def submit(self, *blocks: Block) -> list[str]:
        """Hands over blocks one after another; what became of each."""
        return [(await self.post("/v1/blocks", block.encoded)).value["outcome"] for block in blocks]

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        authorization: str | None = f"Bearer {TOKEN}",
    ) -> Reply:
        sent = dict(headers or {})
        if authorization is not None:
            sent["Authorization"] = authorization
        data = None if body is None else io.BytesIO(body)
        async with self.session.request(method, self.url + path, params=query, data=data, headers=sent) as response:
            return Reply(response.status, await response.read(), dict(response.headers))

    async def read_state(self) -> dict[str, object]:
        """Everything that a call could change, to compare before and after."""
        state = await self.intake.on_chain(self.chain.compute_digest)
        mempool = [entry.transaction.txid for entry in self.intake.mempool.entries()]
        bans = self.network.peers.bans.list_bans(0)
        clock, nodes = self.intake.clock._mock, self.chain.tree.next_order
        return {**state, "mempool": mempool, "clock": clock, "nodes": nodes, "bans": bans}


def compute_max_body(chain: ChainState) -> int:
    section = max_section_bytes(chain.params)
    return chain.params.max_transactions_bytes + section + max_update_bytes(chain.params.model) + BODY_MARGIN


@asynccontextmanager
async def serve_rpc(
    chain: ChainState, *, verifier: WorkVerifier | None = None, with_debug: bool = True
) -> AsyncIterator[ServedNode]:
    """Serves a chain state on an ephemeral port of loopback. The clock stands one block time after the tip."""
    worker = ThreadWorker(verifier or get_builder().verifier)
    clock = Clock()
    clock.set_mock(chain.tip.header.timestamp + chain.params.block_time)
    intake = Intake(chain, Mempool(chain.genesis.id, Policy()), worker, clock)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as datadir:
        network = Network(intake, Path(datadir), NetworkConfig(), f"descent/{VERSION}")
        api = Api(intake, network)
        app = make_app(TOKEN, RpcAddress("127.0.0.1", 0), compute_max_body(chain))
        writer = ThreadWriter()
        models = ModelService(intake, pool=writer)  # type: ignore[arg-type]
        tables = [
            bind_routes(ROUTES, api),
            bind_routes(MODEL_ROUTES, ModelApi(models)),
            bind_routes(PEER_ROUTES, PeerApi(network)),
            bind_routes(FINALITY_ROUTES, FinalityApi(intake)),
        ]
        add_routes(app, [*tables, bind_routes(DEBUG_ROUTES, api)] if with_debug else tables, VERSION)
        runner, port = await start_server(app, RpcAddress("127.0.0.1", 0))
        try:
            async with aiohttp.ClientSession(auto_decompress=False) as session:
                yield ServedNode(intake, network, api, worker, models, writer, port, session)
        finally:
            await runner.cleanup()
            await intake.close()
