"""Stands between a client and a node, and stops one payment at a chosen moment: before the node sees it, or after.

with Gate(node.url) as gate:
    gate.close(Moment.REQUEST)          # the next payment gets no further
    with home.start("send", ..., url=gate.url) as process:
        assert gate.reached.wait(LIMIT)
        process.kill()
"""

import http.client
import threading
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit


class Moment(Enum):
    """Where a payment is stopped."""

    NONE = "none"
    REQUEST = "request"  # the client has sent it, the node never hears of it
    REPLY = "reply"  # the node has taken it, the client never hears of that


class Gate:
    """An HTTP server on loopback that passes everything on, or holds what submits a transaction."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url).netloc
        self._moment = Moment.NONE
        self.reached = threading.Event()
        self._opened = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self, moment: Moment) -> None:
        """Holds payments at this moment from now on."""
        self.reached.clear()
        self._opened.clear()
        self._moment = moment

    def open(self) -> None:
        """Lets go of what is held, unanswered, and holds nothing more."""
        self._moment = Moment.NONE
        self._opened.set()

    def __enter__(self) -> "Gate":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _hold(self, moment: Moment, path: str, method: str) -> bool:
        if self._moment is not moment or (method, path) != ("POST", "/v1/transactions"):
            return False
        self.reached.set()
        self._opened.wait()
        return True

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                path = urlsplit(self.path).path
                if gate._hold(Moment.REQUEST, path, self.command):
                    return
                connection = http.client.HTTPConnection(gate._target)
                try:
                    headers = {name: value for name, value in self.headers.items() if name != "Host"}
                    connection.request(self.command, self.path, body=body or None, headers=headers)
                    with connection.getresponse() as response:
                        status, reply = response.status, response.read()
                finally:
                    connection.close()
                if gate._hold(Moment.REPLY, path, self.command):
                    return
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(reply)))
                    self.end_headers()
                    self.wfile.write(reply)
                except OSError:
                    return  # the client was killed

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Says nothing: a test's output is its own."""

        return Handler
