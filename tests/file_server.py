"""An HTTP server on loopback for one large file, with the faults of real hosts."""

import base64
import hashlib
import http.server
import re
import threading
import time


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `body` under every path; a path's last part may ask for trouble.

    Attributes:
        body: what the file is; its ETag follows it.
        faults: taken from the front, one an answer: an int is a status, "cut" half of
            what was asked for, "slow" a few bytes now and then, "page" HTML, "gzip" a
            coding that was not asked for, "elsewhere" the wrong range, "redirect" to
            the same file, "loop" to itself.
        ranges: whether Range is understood.
        etag: whether an ETag is sent.
        headers: to send beside, on every answer.
        asked: (path, Range, If-Range) of the requests, as they came.
    """

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.faults: list[int | str] = []
        self.ranges = self.etag = True
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, str | None, str | None]] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights/model.npz"

    def google_hash(self) -> str:
        md5 = base64.b64encode(hashlib.md5(self.body).digest()).decode()
        return f"crc32c=AAAAAA==,md5={md5}"

    def __enter__(self) -> "FileServer":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range"), self.headers.get("If-Range")
        server.asked.append((self.path, *wanted))
        fault = server.faults.pop(0) if server.faults else ""
        if isinstance(fault, int):
            return self._head(fault, 0, **{"Retry-After": "0"})
        if fault in ("redirect", "loop"):
            if fault == "loop":
                server.faults.insert(0, "loop")
            return self._head(302, 0, Location=f"/elsewhere{self.path}")
        etag = f'"{hashlib.sha256(server.body).hexdigest()[:16]}"'
        start = self._start(etag)
        if start >= len(server.body):
            return self._head(
                416, 0, **{"Content-Range": f"bytes */{len(server.body)}"}
            )
        extra = {"ETag": etag} if server.etag else {}
        if start:
            first = 1 if fault == "elsewhere" else start
            last = len(server.body) - 1
            extra["Content-Range"] = f"bytes {first}-{last}/{len(server.body)}"
        if fault == "page":
            extra["Content-Type"] = "text/html; charset=utf-8"
        if fault == "gzip":
            extra["Content-Encoding"] = "gzip"
        rest = server.body[start:]
        self._head(206 if start else 200, len(rest), **extra)
        self._send(rest, fault)

    def _start(self, etag: str) -> int:
        """The first byte to send."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not (wanted and self.server.ranges):
            return 0
        return int(wanted[1]) if self.headers.get("If-Range") in (None, etag) else 0

    def _head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**self.server.headers, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, rest: bytes, fault: str) -> None:
        if fault == "cut":
            self.wfile.write(rest[: len(rest) // 2])
            self.close_connection = True
        elif fault == "slow":
            for first in range(0, len(rest), 10):
                self.wfile.write(rest[first : first + 10])
                self.wfile.flush()
                time.sleep(0.02)
        else:
            self.wfile.write(rest)

    def log_message(self, *args: object) -> None:
        """Silent."""
