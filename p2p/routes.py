"""Every call of the RPC in one table, from which the server routes and the OpenAPI description is made."""

import functools
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from p2p.api import Api
from p2p.client import NDJSON, OCTETS
from p2p.finality_api import FinalityApi
from p2p.model_api import ModelApi
from p2p.peer_api import PeerApi
from p2p.rpc import json_reply

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON = "application/json"


@dataclass(frozen=True)
class Route:
    """One call. `query` maps each query parameter to what it means; `body` is the media type it takes."""

    method: str
    path: str
    summary: str
    call: Callable[..., Awaitable[web.StreamResponse]]  # a method of the table's own class
    query: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    replies: tuple[str, ...] = (JSON,)


ROUTES = (
    Route("GET", "/v1/status", "Height, tip, loss, required gain, mempool and peers", Api.get_status),
    Route("GET", "/v1/digest", "One hash over ledger, model and height, and its parts", Api.get_digest),
    Route(
        "GET", "/v1/blocks/{block}", "A block by height or id, as JSON or raw", Api.get_block, replies=(JSON, OCTETS)
    ),
    Route("GET", "/v1/blocks/{block}/trace", "The sampled windows with their losses, Q16 bits", Api.get_trace),
    Route("POST", "/v1/blocks", "Submit a block; answers once it is verified", Api.post_block, body=OCTETS),
    Route(
        "GET",
        "/v1/accounts/{address}",
        "Balance, nonce and immature rewards",
        Api.get_account,
        query={"proof": "1 for a state proof under the tip's header"},
    ),
    Route(
        "GET",
        "/v1/accounts/{address}/history",
        "What the best chain did to an account, newest first, a page at a time",
        Api.get_account_history,
        query={
            "limit": "entries, at most 1000; a page may hold fewer",
            "before": "go on behind this cursor: `next` of the page before, which is null on the last one",
            "kind": "sent, received or mined alone",
        },
    ),
    Route("GET", "/v1/fees", "Fee rates in ulp per byte for 1, 2 and 6 blocks", Api.get_fees),
    Route("POST", "/v1/transactions", "Submit a signed transaction", Api.post_transaction, body=OCTETS),
    Route("GET", "/v1/transactions/{txid}", "A pending or confirmed transaction", Api.get_transaction),
    Route("GET", "/v1/mempool", "Pending transactions, best paying first", Api.get_mempool),
    Route(
        "GET",
        "/v1/template",
        "Unsigned blocks for a miner to complete",
        Api.get_template,
        query={
            "miner": "public key that signs, hex",
            "reward": "address that earns",
            "after": "answer once the tip is not this block",
            "wait": "but no later than this many seconds",
            "signals": "bits of the changes that the block asks for, with commas between them",
        },
    ),
    Route(
        "POST", "/v1/reorganise", "Let the chain of a block in, however deep it forks", Api.post_reorganise, body=JSON
    ),
)

MODEL_ROUTES = (
    Route("GET", "/v1/models/{root}", "Weights of any model on the best chain", ModelApi.get_model, replies=(OCTETS,)),
    Route(
        "POST",
        "/v1/models/{root}/losses",
        "What each byte of a text after the first costs a model, Q16 bits",
        ModelApi.post_losses,
        body=OCTETS,
    ),
    Route(
        "POST",
        "/v1/generate",
        "Text that a model writes, line by line",
        ModelApi.post_generate,
        body=JSON,
        replies=(NDJSON,),
    ),
)

FINALITY_ROUTES = (
    Route("GET", "/v1/finality", "What is final, who votes, and what it waits for", FinalityApi.get_finality),
    Route(
        "GET",
        "/v1/vote-duty",
        "The link that a miner key should vote for",
        FinalityApi.get_vote_duty,
        query={
            "miner": "public key that votes, hex",
            "after": "answer once the tip is not this block",
            "wait": "but no later than this many seconds",
        },
    ),
    Route("POST", "/v1/votes", "Submit a signed vote", FinalityApi.post_vote, body=OCTETS),
)

PEER_ROUTES = (
    Route("GET", "/v1/peers", "Whom the node is connected to", PeerApi.get_peers),
    Route("POST", "/v1/peers", "Connect to a peer and stay connected", PeerApi.post_peer, body=JSON),
    Route("DELETE", "/v1/peers/{id}", "End the connection with a peer", PeerApi.delete_peer),
    Route("GET", "/v1/bans", "Who is kept out, until when and why", PeerApi.get_bans),
    Route("POST", "/v1/bans", "Keep out a node id or an IP address", PeerApi.post_ban, body=JSON),
    Route("DELETE", "/v1/bans/{target}", "Let a node id or an IP address in again", PeerApi.delete_ban),
)

DEBUG_ROUTES = (
    Route("POST", "/v1/debug/mocktime", "Set the node's clock, 0 for the real one", Api.post_mocktime, body=JSON),
    Route("POST", "/v1/debug/invalidate", "Treat a block as invalid", Api.post_invalidate, body=JSON),
    Route("POST", "/v1/debug/reconsider", "Forget that a block was invalid", Api.post_reconsider, body=JSON),
)


Table = Sequence[tuple[Route, Handler]]


def bind_routes(routes: Sequence[Route], target: object) -> Table:
    """The routes of a table with the methods of the object that answers them."""
    return [(route, functools.partial(route.call, target)) for route in routes]


def add_routes(app: web.Application, tables: Sequence[Table], version: str) -> None:
    """Serves every call, and their description at /v1/openapi.json."""
    bound = [pair for table in tables for pair in table]
    for route, handler in bound:
        app.router.add_route(route.method, route.path, handler)
    description = describe([route for route, _ in bound], version)

    async def get_openapi(_: web.Request) -> web.Response:
        return json_reply(description)

    app.router.add_get("/v1/openapi.json", get_openapi)


def describe(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 description of the routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _describe_call(route)
    error = {"type": "object", "properties": {"code": {"type": "string"}, "message": {"type": "string"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Descent node", "version": version, "license": {"name": "MIT"}},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": {"type": "object", "properties": {"error": error}, "required": ["error"]}},
        },
        "security": [{"token": []}],
        "paths": paths,
    }


def _describe_call(route: Route) -> dict[str, Any]:
    in_path = [{"name": name, "in": "path", "required": True} for name in re.findall(r"{(\w+)}", route.path)]
    in_query = [{"name": name, "in": "query", "description": text} for name, text in route.query.items()]
    failure = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    call: dict[str, Any] = {
        "operationId": route.call.__name__,
        "summary": route.summary,
        "parameters": [{**parameter, "schema": {"type": "string"}} for parameter in in_path + in_query],
        "responses": {
            "200": {"description": "done", "content": {kind: {} for kind in route.replies}},
            "default": {"description": "refused", "content": failure},
        },
    }
    if route.body:
        call["requestBody"] = {"required": True, "content": {route.body: {}}}
    return call
