"""A server of JPEGs for benchmarks: a process of its own, as fast as sockets allow."""

import contextlib
import dataclasses
import json
import multiprocessing
import multiprocessing.connection
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

_PICTURES = 16  # different ones; what is asked for decides which
_SIZE = (768, 1024)
# What `records.Photo` needs besides its URL; one free licence for all.
_PLANT = {"_id": "p1", "latinName": "Rosa canina"}


def pictures(size: tuple[int, int]) -> list[bytes]:
    """JPEGs [h, w] of as many bytes as photos have: 250 to 350 kB at 768 x 1024."""
    made = []
    for seed in range(_PICTURES):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (100 + 5 * seed, 130 + 6 * seed, 3))
        image = cv2.resize(
            coarse.astype(np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC
        )
        made.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])
    return [picture.tobytes() for picture in made]


class _Server:
    """Answers each connection in a thread, with prepared bytes."""

    def __init__(self, size: tuple[int, int], wall_after: int, wall_s: int):
        self._answers = [
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture
            for picture in pictures(size)
        ]
        self._wall_after = wall_after
        self._wall_s = wall_s
        self._lock = threading.Lock()
        self._count = 0
        self._wall_ends = 0.0
        self._first_refusals_end = 0.0
        self._walls = 0
        self._inside = 0

    def serve(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, contextlib.suppress(ConnectionError):
            received = b""
            while chunk := connection.recv(1 << 16):
                received += chunk
                if received.endswith(b"\r\n\r\n"):
                    path = received.split(b" ", 2)[1].decode()
                    connection.sendall(self._answer(path))
                    received = b""

    def _answer(self, path: str) -> bytes:
        if path == "/seen":
            seen = {"requests": self._count, "walls": self._walls}
            body = json.dumps(seen | {"inside": self._inside}).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        with self._lock:
            refused = self._is_refused(time.monotonic())
        if refused:
            wait = b"Retry-After: %d\r\n" % self._wall_s
            return b"HTTP/1.1 429 Slow\r\n" + wait + b"Content-Length: 0\r\n\r\n"
        number = int(path.strip("/").partition(".")[0])
        return self._answers[number % len(self._answers)]

    def _is_refused(self, now: float) -> bool:
        """Counts the request, and whether it comes inside a pause."""
        self._count += 1
        if self._wall_after and self._count == self._wall_after:
            self._walls += 1
            self._wall_ends = now + self._wall_s
            # Who was on the way when the first 429 was sent could not know of it.
            self._first_refusals_end = now + 0.2
            return True
        if now >= self._wall_ends:
            return False
        if now >= self._first_refusals_end:
            self._inside += 1
        return True


def _main(pipe: multiprocessing.connection.Connection, *options: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        server = _Server(*options)
        pipe.send(listener.getsockname()[1])
        server.serve(listener)


@dataclasses.dataclass(frozen=True)
class Running:
    """A server at work at `host`, "127.0.0.1:port"."""

    host: str

    def seen(self) -> dict[str, int]:
        """{"requests": so far, "walls": 429 periods, "inside": requests within one}."""
        with urllib.request.urlopen(f"http://{self.host}/seen") as answer:
            return json.loads(answer.read())


@contextlib.contextmanager
def running(
    *, size: tuple[int, int] = _SIZE, wall_after: int = 0, wall_s: int = 0
) -> Iterator[Running]:
    """Runs a server; with `wall_after` it answers 429 after so many requests."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_main, args=(theirs, size, wall_after, wall_s))
    process.start()
    try:
        yield Running(f"127.0.0.1:{ours.recv()}")
    finally:
        process.terminate()
        process.join()


def write_dump(root: Path, urls: list[str]) -> None:
    """Leaves `root/plants.json`, a dump of one plant with these images."""
    root.mkdir()
    images = [{"url": url, "license": "cc-by", "source": "s"} for url in urls]
    (root / "plants.json").write_text(json.dumps([{**_PLANT, "images": images}]))
