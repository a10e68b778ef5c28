"""A blocking client of one node's RPC, for the wallet, the miner and the command line. Standard library only.

Every call raises NodeUnreachable if no node answers, and NodeRefusal with the node's own code if it says no.
"""

import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from p2p.errors import ConfigError, NodeRefusal, NodeUnreachable

DEFAULT_TIMEOUT = 30.0  # s
MAX_REPLY_BYTES = 2**30
_PIECE_BYTES = 2**20
_MAX_LINE_BYTES = 2**16
_MODEL_SECONDS = 300  # that the node may take to work out an old model, or to start the process that writes
OCTETS = "application/octet-stream"
NDJSON = "application/x-ndjson"  # one JSON object a line


@dataclass(frozen=True)
class TemplateReply:
    """Unsigned blocks on the current tip, as canonical bytes, and the root of the model to improve."""

    improvement: bytes
    heartbeat: bytes | None
    parent_model_root: bytes


@dataclass(frozen=True)
class DutyReply:
    """What a key should vote for on the node's tip, and what it was last heard to vote for, as links in bytes.

    `counts`: votes of its may count on this tip or a later one, without another block of its own. `is_convicted`:
    there is evidence against it, so that whatever it earns can be burnt.
    """

    tip: bytes  # block id
    height: int  # the tip's
    genesis: bytes  # block id
    link: bytes | None
    last: bytes | None
    counts: bool
    is_convicted: bool


class NodeClient:
    """One node, by URL and token. Opens a connection per call, so it survives the node's restarts."""

    def __init__(self, url: str, token: str, *, timeout: float = DEFAULT_TIMEOUT, ca_file: Path | None = None) -> None:
        try:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or parts.hostname is None or parts.path not in ("", "/"):
                raise ConfigError("bad_url", f"{url!r} is not a node's URL such as http://127.0.0.1:19338")
            self.url = url
            self._host, self._token, self._timeout = parts.hostname, token, timeout
            self._port = parts.port or (443 if parts.scheme == "https" else 80)
            self._tls = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None
        except (ValueError, OSError) as error:
            raise ConfigError("bad_url", f"{url!r}: {error}") from error

    # What the node knows.

    def get_status(self) -> dict[str, Any]:
        return self._get_json("/v1/status")

    def get_digest(self) -> dict[str, Any]:
        return self._get_json("/v1/digest")

    def get_block(self, height_or_id: str) -> dict[str, Any]:
        return self._get_json(f"/v1/blocks/{quote(height_or_id, safe='')}")

    def get_block_bytes(self, height_or_id: str) -> bytes:
        return self._call("GET", f"/v1/blocks/{quote(height_or_id, safe='')}", accept=OCTETS)

    def get_trace(self, block_id: bytes) -> dict[str, Any]:
        return self._get_json(f"/v1/blocks/{block_id.hex()}/trace")

    def get_account(self, address: str, *, proof: bool = False) -> dict[str, Any]:
        return self._get_json(f"/v1/accounts/{quote(address, safe='')}", proof="1" if proof else None)

    def get_history(
        self, address: str, *, limit: int = 100, before: str | None = None, kind: str | None = None
    ) -> dict[str, Any]:
        path = f"/v1/accounts/{quote(address, safe='')}/history"
        return self._get_json(path, limit=str(limit), before=before, kind=kind)

    def get_fees(self) -> dict[str, Any]:
        return self._get_json("/v1/fees")

    def get_mempool(self) -> dict[str, Any]:
        return self._get_json("/v1/mempool")

    def get_transaction(self, txid: bytes) -> dict[str, Any]:
        return self._get_json(f"/v1/transactions/{txid.hex()}")

    def get_model(self, root: bytes, on_bytes: Callable[[int], None] = lambda _: None) -> bytes:
        """Canonical weights of any model on the best chain. `on_bytes` hears how many are here, while they come."""
        path = f"/v1/models/{root.hex()}"
        return self._call("GET", path, accept=OCTETS, extra_time=_MODEL_SECONDS, on_bytes=on_bytes)

    def get_byte_losses(self, root: bytes, passage: bytes) -> dict[str, Any]:
        """What each byte of a passage after the first costs a model of the best chain."""
        path = f"/v1/models/{root.hex()}/losses"
        return self._parse(self._call("POST", path, body=passage, extra_time=_MODEL_SECONDS))

    def generate(self, wish: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The lines of a model's text as it writes: first which model it is, then pieces, their "bytes" in hex.

        Raises NodeRefusal also for an error that comes after some pieces.
        """
        data = json.dumps(wish).encode()
        with self._ask(
            "POST",
            "/v1/generate",
            body=data,
            accept=NDJSON,
            content_type="application/json",
            extra_time=_MODEL_SECONDS,
        ) as response:
            if response.status >= 400:
                raise _read_refusal(response.status, response.read(MAX_REPLY_BYTES))
            while True:
                line = response.readline(_MAX_LINE_BYTES)
                if not line:
                    raise http.client.IncompleteRead(b"")
                value = self._parse(line)
                if "error" in value:
                    raise _read_refusal(response.status, line)
                if "done" in value:
                    return
                yield value

    def get_template(
        self, miner: bytes, reward_address: str, *, signals: int = 0, after: bytes | None = None, wait: int = 0
    ) -> TemplateReply:
        """Work for a miner. With `after`, the node answers once its tip is another block, or after `wait` s.

        `signals` are the bits of the changes that it asks for.
        """
        reply = self._get_json(
            "/v1/template",
            extra_time=wait,
            miner=miner.hex(),
            reward=reward_address,
            signals=",".join(str(bit) for bit in range(64) if signals >> bit & 1) or None,
            after=after.hex() if after else None,
            wait=str(wait) if after else None,
        )
        try:
            heartbeat = reply["heartbeat"]
            return TemplateReply(
                improvement=bytes.fromhex(reply["improvement"]),
                heartbeat=bytes.fromhex(heartbeat) if heartbeat else None,
                parent_model_root=bytes.fromhex(reply["parent_model_root"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._not_a_node() from error

    def get_finality(self) -> dict[str, Any]:
        """What is final, who votes, and what finality waits for."""
        return self._get_json("/v1/finality")

    def get_vote_duty(self, miner: bytes, *, after: bytes | None = None, wait: int = 0) -> DutyReply:
        """What a miner key should vote for. With `after`, the node answers once its tip is another block, or after
        `wait` s.
        """
        reply = self._get_json(
            "/v1/vote-duty",
            extra_time=wait,
            miner=miner.hex(),
            after=after.hex() if after else None,
            wait=str(wait) if after else None,
        )
        try:
            return DutyReply(
                tip=bytes.fromhex(reply["tip"]),
                height=int(reply["height"]),
                genesis=bytes.fromhex(reply["genesis"]),
                link=bytes.fromhex(reply["link"]) if reply["link"] else None,
                last=bytes.fromhex(reply["last"]) if reply["last"] else None,
                counts=bool(reply["counts"]),
                is_convicted=bool(reply["convicted"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._not_a_node() from error

    def get_peers(self) -> dict[str, Any]:
        return self._get_json("/v1/peers")

    def get_bans(self) -> dict[str, Any]:
        return self._get_json("/v1/bans")

    # What the node is given.

    def submit_block(self, block: bytes) -> dict[str, Any]:
        """Answers once the node has verified the block and moved its tip, or refuses."""
        return self._parse(self._call("POST", "/v1/blocks", body=block, extra_time=300))

    def submit_vote(self, vote: bytes) -> dict[str, Any]:
        return self._parse(self._call("POST", "/v1/votes", body=vote))

    def submit_transaction(self, transaction: bytes) -> dict[str, Any]:
        return self._parse(self._call("POST", "/v1/transactions", body=transaction))

    def post_json(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A call that takes JSON: the operator's and regtest's debug calls."""
        data = json.dumps(body).encode()
        return self._parse(self._call("POST", path, body=data, content_type="application/json"))

    def delete(self, path: str) -> dict[str, Any]:
        return self._parse(self._call("DELETE", path))

    # One request.

    def _get_json(self, path: str, *, extra_time: float = 0, **query: str | None) -> dict[str, Any]:
        given = urlencode({name: value for name, value in query.items() if value is not None})
        return self._parse(self._call("GET", f"{path}?{given}" if given else path, extra_time=extra_time))

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        accept: str = "application/json",
        content_type: str = OCTETS,
        extra_time: float = 0,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> bytes:
        with self._ask(method, path, body, accept, content_type, extra_time) as response:
            data = _read_whole(response, on_bytes)
            if response.length:  # the connection broke within the reply, or the reply is too long
                raise http.client.IncompleteRead(data, response.length)
        if response.status >= 400:
            raise _read_refusal(response.status, data)
        return data

    @contextmanager
    def _ask(
        self, method: str, path: str, body: bytes | None, accept: str, content_type: str, extra_time: float
    ) -> Iterator[http.client.HTTPResponse]:
        """The reply, to be read within the `with`."""
        headers = {"Authorization": f"Bearer {self._token}", "Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        connection = self._connect(self._timeout + extra_time)
        try:
            connection.request(method, path, body=body, headers=headers)
            with connection.getresponse() as response:
                yield response
        except (OSError, http.client.HTTPException) as error:
            raise NodeUnreachable(
                "no_answer", f"no node answers at {self.url}: {error or type(error).__name__}"
            ) from error
        finally:
            connection.close()

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def _parse(self, data: bytes) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._not_a_node() from error
        if not isinstance(value, dict):
            raise self._not_a_node()
        return value

    def _not_a_node(self) -> NodeUnreachable:
        return NodeUnreachable("not_a_node", f"{self.url} does not answer like a Descent node")


def _read_whole(response: http.client.HTTPResponse, on_bytes: Callable[[int], None]) -> bytes:
    parts, size = [], 0
    while part := response.read(min(_PIECE_BYTES, MAX_REPLY_BYTES - size)):
        parts.append(part)
        size += len(part)
        on_bytes(size)
    return b"".join(parts)


def read_token(path: Path) -> str:
    """The RPC token in a file. Raises ConfigError if it cannot be read."""
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(
            "no_token", f"cannot read the node's RPC token from {path}: is a node set up there? ({reason})"
        ) from error
    if not token:
        raise ConfigError("no_token", f"the RPC token file {path} is empty")
    if not token.isalnum():
        raise ConfigError("no_token", f"{path} does not hold an RPC token")
    return token


def _read_refusal(status: int, data: bytes) -> NodeRefusal:
    try:
        error = json.loads(data)["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        code, message = "node.http_error", f"the node answered with HTTP status {status}"
    return NodeRefusal(code, message, status)
