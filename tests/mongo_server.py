"""A server of MongoDB's wire protocol that sends whatever bytes a test gives it.

For documents that no real server at hand would hold (NaN, Decimal128, invalid UTF-8,
types that do not exist), and for hanging up at an exact batch; what a real server can
do is tested with one (`database.py`). Speaks OP_QUERY (the first greeting) and OP_MSG
(hello, find sorted by `_id`, getMore), over loopback.
"""

import math
import socket
import socketserver
import struct
import threading
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument

# Strings that are no UTF-8 stay apart from one another.
_CODEC: CodecOptions = CodecOptions(
    unicode_decode_error_handler="surrogateescape",
    datetime_conversion=DatetimeConversion.DATETIME_MS,
)
# What `$type` calls the types of BSON (manual, "$type").
_TYPE_NAMES = {
    **{0x01: "number", 0x10: "number", 0x12: "number", 0x13: "number"},
    **{0x02: "string", 0x03: "object", 0x05: "binData", 0x07: "objectId"},
    **{0x08: "bool", 0x09: "date", 0x0A: "null", 0x0D: "javascript"},
    **{0x0E: "symbol", 0x11: "timestamp", 0x7F: "maxKey", 0xFF: "minKey"},
}
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013


class MongoServer(socketserver.ThreadingTCPServer):
    """Serves `documents`, each BSON that begins with its `_id`, in the order given.

    Attributes:
        hang_up_after: the connection is cut when this many batches were sent; each time
            it happens the first entry is dropped, and with none left it holds.
        silent_after: the same, but then nothing more is said on that connection.
        silent: set as soon as that happens.
        failures: code of an error that is the answer to the next batch but `n`, each
            once: [(n, code)].
        commands: names of the commands received.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, documents: list[bytes]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.documents = documents
        self.hang_up_after: list[int] = []
        self.silent_after: list[int] = []
        self.silent = threading.Event()
        self.failures: list[tuple[int, int]] = []
        self.batches = 0
        self._ended = threading.Event()
        self.commands: list[str] = []
        self.refusal: dict[str, Any] | None = None
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.server_address[1]}/"

    def __enter__(self) -> "MongoServer":
        self._thread.start()
        return self

    def say_nothing(self) -> None:
        self.silent.set()
        self._ended.wait()

    def __exit__(self, *args: object) -> None:
        self._ended.set()
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(socketserver.BaseRequestHandler):
    server: MongoServer

    def setup(self) -> None:
        self.cursor: list[bytes] = []

    def handle(self) -> None:
        while head := self._receive(16):
            length, request, _, code = struct.unpack("<iiii", head)
            body = self._receive(length - 16)
            if code == _OP_QUERY:
                start = body.index(b"\0", 4) + 1 + 8
                self._answer(request, self._run(bson.decode(body[start:])), old=True)
                continue
            command = bson.decode(body[5:], codec_options=_CODEC)
            answer = self._run(command)
            if answer is None:
                return
            self._answer(request, answer)

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.request.recv(count - len(data))
            if not part:
                return b""
            data += part
        return data

    def _answer(self, request: int, answer: Any, *, old: bool = False) -> None:
        payload = answer if isinstance(answer, bytes) else bson.encode(answer)
        if old:
            payload = struct.pack("<iqii", 8, 0, 0, 1) + payload
        else:
            payload = struct.pack("<IB", 0, 0) + payload
        code = _OP_REPLY if old else _OP_MSG
        head = struct.pack("<iiii", 16 + len(payload), 1, request, code)
        self.request.sendall(head + payload)

    def _run(self, command: dict[str, Any]) -> Any:
        name = next(iter(command))
        self.server.commands.append(name)
        if name.lower() in ("hello", "ismaster"):
            return {
                "ok": 1.0,
                "isWritablePrimary": True,
                "ismaster": True,
                "helloOk": True,
                "maxWireVersion": 21,
                "minWireVersion": 0,
                "maxBsonObjectSize": 1 << 24,
                "maxMessageSizeBytes": 48_000_000,
                "maxWriteBatchSize": 100_000,
            }
        if self.server.refusal:
            return {"ok": 0.0, **self.server.refusal}
        if name == "find":
            return self._find(command)
        if name == "getMore":
            return self._batch("nextBatch", command["collection"], command["batchSize"])
        return {"ok": 1.0}

    def _find(self, command: dict[str, Any]) -> Any:
        assert command["sort"] == {"_id": 1}
        documents = self.server.documents
        if wanted := command["filter"]:
            behind, *later = wanted["$or"]
            self.cursor = [
                raw
                for place, raw in enumerate(documents)
                if self._is_greater(place, behind["_id"])
                or any(_type_name(raw) in branch["_id"]["$type"] for branch in later)
            ]
        else:
            self.cursor = list(documents)
        return self._batch("firstBatch", command["find"], command["batchSize"])

    def _is_greater(self, place: int, condition: dict[str, Any]) -> bool:
        """As the server compares: only within the type, and NaN with nothing."""
        ((operator, than),) = condition.items()
        documents = self.server.documents
        own = _type_name(documents[place])
        if operator == "$gte":
            assert than == -math.inf
            return own == "number" and str(_id(documents[place])).lower() != "nan"
        if str(than).lower() == "nan":
            return False
        than_place = [repr(_id(raw)) for raw in documents].index(repr(than))
        return own == _type_name(documents[than_place]) and place > than_place

    def _batch(self, name: str, collection: str, size: int) -> Any:
        hang_up = self.server.hang_up_after
        if hang_up and self.server.batches >= hang_up[0]:
            hang_up.pop(0)
            self.server.batches = 0
            self.request.shutdown(socket.SHUT_RDWR)
            return None
        silent = self.server.silent_after
        if silent and self.server.batches >= silent[0]:
            silent.pop(0)
            self.server.batches = 0
            self.server.say_nothing()
            return None
        failures = self.server.failures
        if failures and self.server.batches >= failures[0][0]:
            self.server.batches = 0
            return {"ok": 0.0, "code": failures.pop(0)[1], "errmsg": "secret"}
        self.server.batches += 1
        batch, self.cursor = self.cursor[:size], self.cursor[size:]
        # An array is a document of its positions; encoded by hand, because a document
        # of it may be one that cannot be encoded.
        items = b"".join(
            b"\x03" + str(i).encode() + b"\0" + raw for i, raw in enumerate(batch)
        )
        array = struct.pack("<i", len(items) + 5) + items + b"\0"
        rest = bson.encode(
            {"id": bson.Int64(bool(self.cursor)), "ns": f"d.{collection}"}
        )
        inner = rest[4:-1] + b"\x04" + name.encode() + b"\0" + array
        cursor = struct.pack("<i", len(inner) + 5) + inner + b"\0"
        outer = bson.encode({"ok": 1.0})[4:-1] + b"\x03cursor\0" + cursor
        return struct.pack("<i", len(outer) + 5) + outer + b"\0"


def _id(raw: bytes) -> Any:
    """The `_id`, also of a document whose other values cannot be decoded."""
    shallow = _CODEC.with_options(document_class=RawBSONDocument)
    value = RawBSONDocument(raw, shallow)["_id"]
    if isinstance(value, RawBSONDocument):
        return bson.decode(value.raw, codec_options=_CODEC)
    return value


def _type_name(raw: bytes) -> str:
    assert raw[5:9] == b"_id\0"
    return {"symbol": "string"}.get(_TYPE_NAMES[raw[4]], _TYPE_NAMES[raw[4]])
