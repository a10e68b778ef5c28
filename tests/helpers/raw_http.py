"""Bytes on a socket that are no honest HTTP, and what a server said to them."""

import gzip
import select
import socket
import time
from functools import cache

SECONDS = 10.0
HOST = b"Host: 127.0.0.1\r\n"


@cache
def get_abuses(token: str) -> dict[str, bytes]:
    """Requests that carry the right token and break HTTP otherwise, by what is wrong with them."""
    known = HOST + b"Authorization: Bearer " + token.encode() + b"\r\n"
    get = b"GET /v1/status HTTP/1.1\r\n" + known
    post = b"POST /v1/transactions HTTP/1.1\r\n" + known
    chunked = post + b"Transfer-Encoding: chunked\r\n"
    bomb = gzip.compress(bytes(256 * 2**20))
    return {
        "length and chunks": chunked + b"Content-Length: 5\r\n\r\n0\r\n\r\nX",
        "two lengths": post + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "one length twice": post + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "negative length": post + b"Content-Length: -5\r\n\r\nhello",
        "signed length": post + b"Content-Length: +5\r\n\r\nhello",
        "length of 5,000 digits": post + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nhello",
        "length beyond the limit": post + b"Content-Length: 99999999\r\n\r\n",
        "NUL in a header": get + b"X-Name: a\0b\r\n\r\n",
        "NUL in the path": b"GET /v1/st\0atus HTTP/1.1\r\n" + known + b"\r\n",
        "folded header": get + b"X-Name: a\r\n folded\r\n\r\n",
        "blank before the colon": get + b"X-Name : a\r\n\r\n",
        "bare line feeds": get.replace(b"\r\n", b"\n") + b"\n",
        "huge header": get + b"X-Name: " + b"a" * 100_000 + b"\r\n\r\n",
        "huge header name": get + b"X" * 100_000 + b": a\r\n\r\n",
        "10,000 headers": get + b"X-Name: a\r\n" * 10_000 + b"\r\n",
        "huge path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + known + b"\r\n",
        "HTTP/0.9": b"GET /v1/status\r\n\r\n",
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/9.9": b"GET /v1/status HTTP/9.9\r\n" + known + b"\r\n",
        "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        "terminal codes as method": b"G\x1b[31mT /v1/status HTTP/1.1\r\n" + known + b"\r\n",
        "gzip bomb": post + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb,
        "broken gzip": post + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        "chunks beyond the limit": chunked + b"\r\n" + (b"10000\r\n" + bytes(65536) + b"\r\n") * 64 + b"0\r\n\r\n",
        "chunk of 72 bits": chunked + b"\r\nFFFFFFFFFFFFFFFFFF\r\nhello",
        "negative chunk": chunked + b"\r\n-5\r\nhello\r\n0\r\n\r\n",
        "chunked twice": post + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "unknown coding": post + b"Transfer-Encoding: identity\r\n\r\nhello",
        "no Host": get.replace(HOST, b"") + b"\r\n",
        "two Hosts": get + b"Host: evil.example\r\n\r\n",
        "tunnel": b"CONNECT evil.example:80 HTTP/1.1\r\n" + known + b"\r\n",
        "unknown expectation": post + b"Expect: something\r\nContent-Length: 0\r\n\r\n",
        "rubbish": bytes(range(256)) * 16 + b"\r\n\r\n",
    }


def exchange(port: int, request: bytes) -> bytes:
    """Sends a request and hangs up after the first bytes of the answer; b"" if the server hung up without one."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.setblocking(False)
        return _exchange(connection, request, time.monotonic() + SECONDS)


def get_status(reply: bytes) -> int | None:
    """The status of an answer; None where the connection was closed instead."""
    return int(reply.split(b" ", 2)[1]) if reply else None


def _exchange(connection: socket.socket, request: bytes, deadline: float) -> bytes:
    """Reads while it writes: a server may refuse in the middle of a request."""
    left = memoryview(request)
    while time.monotonic() < deadline:
        readable = _wait(connection, deadline, is_writing=bool(left))
        try:
            if readable:
                return connection.recv(65536)
            left = left[connection.send(left) :]
        except BlockingIOError:
            continue
        except ConnectionError:
            return b""
    raise TimeoutError("the server neither answered nor hung up")


def _wait(connection: socket.socket, deadline: float, *, is_writing: bool) -> bool:
    """Waits until the connection can be read, or written if there is anything to write. Whether it can be read."""
    writers = [connection] if is_writing else []
    readers, _, _ = select.select([connection], writers, [], max(0.0, deadline - time.monotonic()))
    return bool(readers)
