"""A static file server on the loopback interface.

Serves a dump's own images to `download`, the validation page to Chromium, and the built
app to whoever wants to look at it (`python -m aplantida_jax.web_server DIRECTORY`).
"""

import contextlib
import functools
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# Lets a page measure memory and use wasm threads; the app needs neither to work.
CROSS_ORIGIN_ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
    }

    def __init__(self, *args: Any, headers: Mapping[str, str], **kwargs: Any):
        self._extra_headers = headers
        super().__init__(*args, **kwargs)

    def end_headers(self) -> None:
        for name, value in self._extra_headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the client reports what it asked for."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is its own affair; anything else is told."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def serve(
    directory: Path, *, headers: Mapping[str, str] | None = None, port: int = 0
) -> Iterator[str]:
    """Serves `directory` while the block runs.

    Args:
        directory: whose files are served.
        headers: sent with every answer.
        port: 0 takes a free one.

    Yields:
        The base URL, "http://127.0.0.1:<port>", without a final slash.
    """
    handler = functools.partial(
        _Handler, directory=str(directory), headers=headers or {}
    )
    server = _Server(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _port(text: str) -> int | None:
    return int(text) if text.isdecimal() and int(text) < 65_536 else None


def main(argv: list[str]) -> int:
    """Serves a directory until Ctrl-C."""
    port = _port(argv[2]) if len(argv) == 3 else 8000
    if len(argv) not in (2, 3) or port is None or not Path(argv[1]).is_dir():
        print("usage: python -m aplantida_jax.web_server DIRECTORY [PORT]")
        return 2
    try:
        with serve(Path(argv[1]), headers=CROSS_ORIGIN_ISOLATION, port=port) as url:
            print(f"{argv[1]} is at {url}/ (Ctrl-C stops)")
            threading.Event().wait()
    except KeyboardInterrupt:
        print("stopped")
    except OSError as error:
        print(f"port {port}: {error}; give another one as the second argument")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
