"""A TCP proxy on loopback that breaks connections off after so many bytes."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

_CHUNK = 1 << 14


class CuttingProxy:
    """Forwards to a port of this machine, as a context.

    Args:
        port: where the server listens.
        cut_after: each time so many bytes more have come from the server, all
            connections are reset; when all are used up it only forwards.
        then: called after each cut, before anything can connect again.
    """

    def __init__(
        self, port: int, cut_after: list[int], then: Callable[[], None] = lambda: None
    ):
        self.cuts = 0
        self._target = ("127.0.0.1", port)
        self._cut_after = list(cut_after)
        self._then = then
        self._passed = 0
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept)

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self._listener.getsockname()[1]}/"

    def __enter__(self) -> "CuttingProxy":
        self._thread.start()
        return self

    def __exit__(self, *args: Any) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            self._reset()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                near, _ = self._listener.accept()
                self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        with self._lock:
            try:
                far = socket.create_connection(self._target)
            except OSError:  # the server is down at the moment
                near.close()
                return
            self._open += [near, far]
        for pair in ((near, far, False), (far, near, True)):
            threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(
        self, source: socket.socket, sink: socket.socket, counted: bool
    ) -> None:
        # A socket that was reset by the other direction, or by a cut.
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if counted:
                    data = self._until_cut(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _until_cut(self, data: bytes) -> bytes:
        with self._lock:
            self._passed += len(data)
            if self._cut_after and self._passed >= self._cut_after[0]:
                self._passed = 0
                self._cut_after.pop(0)
                self.cuts += 1
                self._reset()
                self._then()
        return data

    def _reset(self) -> None:
        for end in self._open:
            # Lingering for no time sends RST, as a host that fell over does.
            linger = struct.pack("ii", 1, 0)
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open = []
