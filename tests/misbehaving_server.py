"""An HTTP server on loopback that does to its clients what real hosts do.

The path says what: see `_Handler`. Requests are noted with their time and address.
"""

import collections
import gzip
import http.server
import socket
import threading
import time
from typing import Any
from urllib.parse import unquote

_MINUS_ONE = b"Transfer-Encoding: chunked\r\n\r\n-1\r\n"
_GZIP = b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n"
_FLOODS = {
    "chunk": b"HTTP/1.1 200 OK\r\n" + _MINUS_ONE,
    "page": b"HTTP/1.1 404 Not Found\r\n" + _MINUS_ONE,
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: /image/a\r\n" + _MINUS_ONE,
    "gzip": b"HTTP/1.1 200 OK\r\n" + _GZIP + gzip.compress(b"picture"),
    "gzip_head": b"HTTP/1.1 200 OK\r\n" + _GZIP + b"\x1f\x8b\x08\x08" + bytes(6),
    "continue": b"",
}
# A gzip's file name may be of any length, and expands to nothing.
_FLOODED = dict.fromkeys(_FLOODS, b"x" * (1 << 16))
_FLOODED["continue"] = b"HTTP/1.1 100 Continue\r\n\r\n" * ((1 << 16) // 25)


class MisbehavingServer(http.server.ThreadingHTTPServer):
    """Serves `images` under /image/<name>, and trouble elsewhere.

    Attributes:
        requests: (monotonic time, path), as they came.
        throttle: how many of the next requests under /image/ are answered 429.
        retry_after: header of those answers, None for none.
        block: how many of the next requests under /image/ get a page instead.
        fail: how many of the next requests under /image/ are answered 500.
        delay_s: before each answer under /image/ and /nohead/.
        sent: bytes of /flood/ that the client, or what lies between, took.
        open: connections, at the moment; most_open: at any one moment.
    """

    daemon_threads = True

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), _Handler)
        self.images: dict[str, bytes] = {}
        self.requests: list[tuple[float, str]] = []
        self.agents: set[str] = set()
        self.throttle = 0
        self.retry_after: str | None = None
        self.block = 0
        self.fail = 0
        self.delay_s = 0.0
        self.sent = self.open = self.most_open = 0
        self.lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def url(self, path: str) -> str:
        return f"http://{self.host}/{path}"

    def asked(self) -> collections.Counter[str]:
        """Path -> how often it was asked for."""
        with self.lock:
            return collections.Counter(path for _, path in self.requests)

    def gaps(self) -> list[float]:
        """Seconds between one request and the next."""
        times = [when for when, _ in self.requests]
        return [after - before for before, after in zip(times, times[1:], strict=False)]

    def __enter__(self) -> "MisbehavingServer":
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: MisbehavingServer

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests.append((time.monotonic(), self.path))
            self.server.agents.add(self.headers["User-Agent"])
        kind, _, rest = self.path.lstrip("/").partition("/")
        getattr(self, f"serve_{kind}")(rest)

    do_HEAD = do_GET

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.open += 1
            self.server.most_open = max(self.server.most_open, self.server.open)

    def finish(self) -> None:
        with self.server.lock:
            self.server.open -= 1
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve_image(self, name: str) -> None:
        with self.server.lock:
            throttled, self.server.throttle = (
                self.server.throttle > 0,
                max(0, self.server.throttle - 1),
            )
            blocked, self.server.block = (
                self.server.block > 0,
                max(0, self.server.block - 1),
            )
            failed, self.server.fail = (
                self.server.fail > 0,
                max(0, self.server.fail - 1),
            )
        time.sleep(self.server.delay_s)
        wait = self.server.retry_after
        if throttled:
            self.answer(429, b"slow down", **({"Retry_After": wait} if wait else {}))
        elif failed:
            self.answer(500, b"oops")
        elif blocked:
            self.answer(200, b"<html>are you human?</html>")
        elif name not in self.server.images:
            self.answer(404, b"not here")
        else:
            self.answer(200, self.server.images[name], Content_Type="text/html")

    def serve_status(self, rest: str) -> None:
        """/status/503/17 answers 503 with Retry-After 17."""
        status, _, wait = unquote(rest).partition("/")
        self.answer(int(status), b"x", **({"Retry_After": wait} if wait else {}))

    def serve_redirect(self, target: str) -> None:
        self.answer(302, Location=unquote(target))

    def serve_loop(self, rest: str) -> None:
        self.answer(301, Location=f"/loop/{rest}x")

    def serve_flood(self, kind: str) -> None:
        """Sends 100 MB, or as much of it as the client takes, after a start."""
        self.wfile.write(_FLOODS[kind])
        self.close_connection = True
        for _ in range(1600):
            self.wfile.write(_FLOODED[kind])
            self.server.sent += 1 << 16

    def serve_cut(self, rest: str) -> None:
        """Promises more than it sends."""
        self.answer(200, b"half of it", Content_Length="1000")
        self.close_connection = True

    def serve_endless(self, rest: str) -> None:
        """No length, closed at the end."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(self.server.images.get(rest, b"all of it"))
        self.close_connection = True

    def serve_chunked(self, rest: str) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (b"one ", b"two"):
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        self.wfile.write(b"" if rest == "cut" else b"0\r\n\r\n")
        self.close_connection = rest == "cut"

    def serve_bytes(self, count: str) -> None:
        self.answer(200, bytes(int(count)))

    def serve_gzip(self, count: str) -> None:
        packed = gzip.compress(bytes(int(count)), 9)
        self.answer(200, packed, Content_Encoding="gzip")

    def serve_gzipcut(self, count: str) -> None:
        packed = gzip.compress(b"x" * int(count), 9)[:-9]
        self.answer(200, packed, Content_Encoding="gzip")

    def serve_brotli(self, rest: str) -> None:
        self.answer(200, b"x", Content_Encoding="br")

    def serve_drip(self, part: str) -> None:
        """A byte now and then, of the head or of the body."""
        if part == "body":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
        for _ in range(100):
            self.wfile.write(b"H")
            self.wfile.flush()
            time.sleep(0.05)

    def serve_reset(self, rest: str) -> None:
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def serve_nonsense(self, rest: str) -> None:
        self.wfile.write(b"this is not HTTP\r\n\r\n")
        self.close_connection = True

    def serve_once(self, rest: str) -> None:
        """Answers, and then closes a connection that it said it would keep."""
        self.answer(200, b"once")
        self.close_connection = True

    def serve_nohead(self, rest: str) -> None:
        time.sleep(self.server.delay_s)
        if self.command == "HEAD":
            self.answer(405)
        else:
            self.answer(206, b"x" * 10)

    def serve_hiddenhead(self, rest: str) -> None:
        """Says that what it has is not there, to those who only ask for its head."""
        if self.command == "HEAD":
            self.answer(404)
        else:
            self.answer(206, b"x" * 10)
