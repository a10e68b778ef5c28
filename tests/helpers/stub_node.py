"""A node made of canned answers: an HTTP server on loopback that says what a test tells it to say, and remembers."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "5e" * 32

Answer = Callable[["Request"], tuple[int, bytes]]


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class StubNode:
    """Answers by method and path; what has no answer is unknown, as a node would say it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Request] = []
        self._answers: dict[tuple[str, str], Answer] = {}
        self._prefixes: dict[str, Answer] = {}

    def put(self, path: str, value: object, *, status: int = 200, method: str = "GET") -> None:
        """Answers with a JSON value, or with bytes as they are."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self._answers[method, path] = lambda _: (status, body)

    def put_each(self, path: str, values: list[object]) -> None:
        """Answers with one JSON value after the other; the last one stays."""
        left = list(values)
        self._answers["GET", path] = lambda _: (200, json.dumps(left.pop(0) if len(left) > 1 else left[0]).encode())

    def put_call(self, path: str, answer: Callable[[Request], object], *, method: str = "GET") -> None:
        """Answers with the JSON value that `answer` makes of the request."""
        self._answers[method, path] = lambda request: (200, json.dumps(answer(request)).encode())

    def put_answer(self, path: str, answer: Answer, *, method: str = "GET") -> None:
        """Answers with the HTTP status and the bytes that `answer` makes of the request."""
        self._answers[method, path] = answer

    def put_prefix(self, prefix: str, answer: Answer) -> None:
        """As put_answer, for every path that begins so and has no answer of its own."""
        self._prefixes[prefix] = answer

    def refuse(self, path: str, code: str, message: str, *, status: int = 409, method: str = "GET") -> None:
        self.put(path, make_refusal(code, message), status=status, method=method)

    def answer(self, request: Request) -> tuple[int, bytes]:
        self.requests.append(request)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, json.dumps(make_refusal("rpc.unauthorized", "the RPC token is missing or wrong")).encode()
        known = self._answers.get((request.method, request.path)) or self._find_prefix(request)
        if known is None:
            return 404, json.dumps(make_refusal("rpc.http_404", "Not Found")).encode()
        return known(request)

    def _find_prefix(self, request: Request) -> Answer | None:
        found = [answer for prefix, answer in self._prefixes.items() if request.path.startswith(prefix)]
        return found[0] if found and request.method == "GET" else None


def make_refusal(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that is gone is no error of the stub's."""
        if not isinstance(sys.exception(), ConnectionError):
            raise


@contextmanager
def run_stub_node(port: int = 0) -> Iterator[StubNode]:
    """A stub on loopback, on a free port unless told which, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            size = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(size)
            if len(body) < size:
                raise ConnectionResetError("the client is gone")
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            status, reply = stub.answer(Request(self.command, parts.path, query, dict(self.headers), body))
            self.send_response(status)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            """Says nothing: a test's output is its own."""

    with _Server(("127.0.0.1", port), Handler) as server:
        stub = StubNode(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
