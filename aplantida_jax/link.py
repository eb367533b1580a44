"""A connection that carries lines of JSON, each an object."""

import json
import socket
from typing import Any, BinaryIO

_LONGEST_LINE = 4096  # bytes


class Link:
    """Lines of JSON over a connection."""

    def __init__(self, connection: socket.socket):
        self._socket = connection
        self._socket.settimeout(None)
        self._file: BinaryIO = connection.makefile("rb")

    def write(self, value: dict[str, Any]) -> None:
        self._socket.sendall(json.dumps(value).encode() + b"\n")

    def read(self, *, timeout: float | None = None) -> dict[str, Any] | None:
        """A line; None at the end, after `timeout` seconds, or if it isn't ours."""
        self._socket.settimeout(timeout)
        try:
            value = json.loads(self._file.readline(_LONGEST_LINE))
        except (OSError, ValueError):
            return None
        finally:
            self._socket.settimeout(None)
        return value if isinstance(value, dict) else None

    def close(self) -> None:
        self._file.close()
        self._socket.close()
