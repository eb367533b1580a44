"""A database server for tests, real and over a socket, whichever there is.

In this order: the one that APLANTIDA_TEST_MONGODB_URI names, `mongod` on PATH, and
.venv/bin/mongo_server (FerretDB, which scripts/install_mongo.sh builds).
"""

import dataclasses
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pymongo
import pytest

_BUILT = Path(__file__).resolve().parents[1] / ".venv" / "bin" / "mongo_server"
_START_S = 30.0


def address() -> str:
    """The server that is there already, "" for none."""
    return os.environ.get("APLANTIDA_TEST_MONGODB_URI", "")


def program() -> str:
    """The server that can be started, "" for none."""
    found = shutil.which("mongod")
    return found or (str(_BUILT) if _BUILT.exists() else "")


def description() -> str:
    """Which server the tests use, for people."""
    if address():
        return "the one that APLANTIDA_TEST_MONGODB_URI names"
    name = Path(program()).name
    return {
        "mongod": "mongod on PATH",
        "mongo_server": "FerretDB on SQLite, .venv/bin/mongo_server",
        "": "none, tests that need one are skipped (see scripts/install_mongo.sh)",
    }[name]


class Server:
    """A server process on a port and a directory of its own.

    Args:
        directory: for its data and its log.
        environment: variables that it is started with besides ours.
    """

    def __init__(self, directory: Path, **environment: str):
        self.directory = directory
        self._environment = {**os.environ, **environment}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.start()

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Also after `kill`: the same port, the same data."""
        data = self.directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        command = [program(), f"127.0.0.1:{self.port}", str(data)]
        if Path(program()).name == "mongod":
            command = [program(), "--dbpath", str(data), "--bind_ip", "127.0.0.1"]
            command += ["--port", str(self.port)]
        log = self.directory / "server.log"
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=out, env=self._environment
            )
        end = time.monotonic() + _START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"no database server: {log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False


@dataclasses.dataclass(frozen=True)
class Database:
    """An empty database of its own on a server."""

    uri: str
    name: str

    def fill(self, documents: Any, collection: str = "plants") -> None:
        """Inserts documents in the order given, in batches that any server takes."""
        with pymongo.MongoClient(self.uri) as client:
            target = client[self.name][collection]
            batch: list[Any] = []
            for document in documents:
                batch.append(document)
                images = sum(len(d.get("images") or ()) for d in batch)
                if len(batch) == 100 or images > 10_000:
                    target.insert_many(batch)
                    batch = []
            if batch:
                target.insert_many(batch)

    def drop(self) -> None:
        with pymongo.MongoClient(self.uri) as client:
            client.drop_database(self.name)


def need_server() -> None:
    """Skips the test where there is no server; in CI that is a failure."""
    if address() or program():
        return
    why = "there is no database server: scripts/install_mongo.sh builds one"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)
