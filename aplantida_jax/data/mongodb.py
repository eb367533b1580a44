"""A collection on a MongoDB server: its documents as BSON, in the order of `_id`.

The server projects and sorts, and sends batches; while one is worked on the next is on
its way. pymongo never retries `getMore`: after a lost connection this goes on behind
the last `_id`, of whatever type, so that nothing is read twice or missed. Documents are
handed on undecoded, because one with invalid UTF-8 would cost its whole batch.

No message carries the user or password of the URI, nor an option that may be a secret.
"""

import math
import re
import struct
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import bson
import pymongo
from absl import logging
from bson.raw_bson import RawBSONDocument
from pymongo import errors

from aplantida_jax import manifest
from aplantida_jax.errors import UserError

_ADDRESS = re.compile(r"mongodb(\+srv)?://")
_SERVER_WAIT_MS = 10_000
# A server that says nothing for so long is as good as gone; one without an index on
# what it sorts by needs its time before the first batch.
_SOCKET_WAIT_MS = 300_000
# Before each try in a row; any document that arrives sets them back.
_PAUSES_S = (0.1, 1.0, 2.0, 5.0, 10.0)
_BAD_VALUE = 2  # the server's code for a query that it does not understand

# Types of `_id` in the order in which MongoDB sorts them (manual, "Comparison/Sort
# Order"): their numbers in BSON and their names in a query. Arrays, regular expressions
# and undefined cannot be an `_id`.
_TYPES: tuple[tuple[tuple[int, ...], tuple[str, ...]], ...] = (
    ((0xFF,), ("minKey",)),
    ((0x0A,), ("null",)),
    ((0x01, 0x10, 0x12, 0x13), ("number",)),
    ((0x02, 0x0E), ("string", "symbol")),
    ((0x03,), ("object",)),
    ((0x05,), ("binData",)),
    ((0x07,), ("objectId",)),
    ((0x08,), ("bool",)),
    ((0x09,), ("date",)),
    ((0x11,), ("timestamp",)),
    ((0x0C,), ("dbPointer",)),
    ((0x0D,), ("javascript",)),
    ((0x0F,), ("javascriptWithScope",)),
    ((0x7F,), ("maxKey",)),
)
# Not every server that speaks the protocol knows these; one that does not holds none.
_RARE = frozenset(
    ("symbol", "dbPointer", "javascript", "javascriptWithScope", "maxKey")
)
_PLACE = {kind: place for place, (kinds, _) in enumerate(_TYPES) for kind in kinds}
# Bytes of a value by its type (bsonspec.org); then those that say their own length, by
# what is to be added to it.
_FIXED = {
    **{0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8},
    **{0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0},
}
_COUNTED = {0x02: 4, 0x03: 0, 0x04: 0, 0x05: 5, 0x0C: 16, 0x0D: 4, 0x0E: 4, 0x0F: 0}
_REGEX = 0x0B


class Element(NamedTuple):
    """A BSON value that has not been decoded: the number of its type and its bytes."""

    kind: int
    data: bytes


def is_mongodb(uri: str) -> bool:
    return _ADDRESS.match(uri) is not None


def describe(uri: str) -> str:
    """The address for messages: without user, password and options."""
    shown = manifest.redact(uri).split("?")[0]
    # "user:password@host" without a scheme is no address, and no file either.
    user, _, host = shown.rpartition("@")
    return host if ":" in user else shown


def raw_documents(source: Any) -> Iterator[bytes]:
    """Yields every document of the collection that `config.source` names.

    Raises:
        UserError: no server there, access refused, no documents; or the connection is
            lost again and again without a document in between.
    """
    reading = _Reading(source)
    with _client(source.uri) as client:
        while True:
            try:
                for raw in _split(_read_ahead(reading.cursor(client))):
                    reading.arrived(raw)
                    yield raw
                break
            except errors.PyMongoError as error:
                reading.recover(error)
    if not reading.found:
        raise UserError(
            f"{source.database}.{source.collection} at {describe(source.uri)} has no "
            "documents: check --config.source.database and --config.source.collection"
        )


class _Reading:
    """How far the collection was read, and what was learnt of its server.

    Attributes:
        found: has any document come?
    """

    def __init__(self, source: Any):
        self.found = False
        self._source = source
        self._batch_size = source.batch_size
        self._last: Element | None = None
        self._unknown: frozenset[str] = frozenset()
        self._failures = 0

    def cursor(self, client: pymongo.MongoClient) -> Any:
        """Batches, as they come, of what has not been read yet."""
        collection = client[self._source.database][self._source.collection]
        return collection.find_raw_batches(
            resumed_after(self._last, self._unknown),
            list(self._source.fields),
            batch_size=self._batch_size,
            sort=[("_id", pymongo.ASCENDING)],
        )

    def arrived(self, raw: bytes) -> None:
        self.found, self._failures, self._last = True, 0, id_of(raw)

    def recover(self, error: errors.PyMongoError) -> None:
        """Returns when it is worth going on; else raises UserError."""
        if self.found and self._last is None:  # nothing to go on behind
            raise _explained(self._source.uri, error) from None
        if isinstance(error, errors.AutoReconnect | errors.CursorNotFound):
            self._pause(error)
        elif isinstance(error, errors.ProtocolError) and self._batch_size > 1:
            # Not every server keeps a batch within what the protocol can carry.
            self._batch_size = max(1, self._batch_size // 8)
        elif getattr(error, "code", 0) == _BAD_VALUE and not self._unknown:
            self._unknown = _RARE
        else:
            raise _explained(self._source.uri, error) from None

    def _pause(self, error: errors.PyMongoError) -> None:
        never = isinstance(error, errors.ServerSelectionTimeoutError) and not self.found
        if never or self._failures == len(_PAUSES_S):
            raise _explained(self._source.uri, error) from None
        logging.warning("connection lost: going on behind the last document")
        time.sleep(_PAUSES_S[self._failures])
        self._failures += 1


def resumed_after(last: Element | None, unknown: frozenset[str]) -> dict[str, Any]:
    """The query for what sorts behind `_id` `last`; None asks for everything.

    `$gt` alone sees only values of its own type, and `$expr` uses no index on older
    servers. Each branch here is a range of the index on `_id`.

    Args:
        last: the `_id` of the last document.
        unknown: names of types that the server does not know.
    """
    if last is None:
        return {}
    later = [
        name
        for _, names in _TYPES[_PLACE[last.kind] + 1 :]
        for name in names
        if name not in unknown
    ]
    branches = [{"_id": _greater(last)}]
    if later:
        branches.append({"_id": {"$type": later}})
    return {"$or": branches}


def _greater(last: Element) -> Any:
    # NaN is the lowest of the numbers, and not less than any of them.
    if _is_nan(last):
        return {"$gte": -math.inf}
    # Its very bytes: a string that is no UTF-8 could not be decoded and encoded again.
    return RawBSONDocument(encoded(last, "$gt"))


def _is_nan(value: Element) -> bool:
    if value.kind == 0x01:
        return math.isnan(struct.unpack("<d", value.data)[0])
    return (
        value.kind == 0x13
        and bson.Decimal128.from_bid(value.data).to_decimal().is_nan()
    )


def encoded(value: Element, name: str) -> bytes:
    """The BSON of {name: value}."""
    body = bytes([value.kind]) + name.encode() + b"\0" + value.data + b"\0"
    return struct.pack("<i", len(body) + 4) + body


def id_of(raw: bytes) -> Element | None:
    """The `_id` of an encoded document; None when nothing can be sorted behind it."""
    at = 4
    try:
        while kind := raw[at]:
            start = raw.index(b"\0", at + 1) + 1
            end = start + _length(kind, raw, start)
            if raw[at + 1 : start - 1] == b"_id":
                whole = kind in _PLACE and end < len(raw)
                return Element(kind, raw[start:end]) if whole else None
            at = end
    except (KeyError, IndexError, ValueError, struct.error):
        return None
    return None


def _length(kind: int, raw: bytes, start: int) -> int:
    """Bytes of the value of type `kind` at `start`; KeyError for no type of BSON."""
    if kind == _REGEX:  # two strings that end in zero
        return raw.index(b"\0", raw.index(b"\0", start) + 1) + 1 - start
    if kind in _FIXED:
        return _FIXED[kind]
    added = _COUNTED[kind]
    return added + struct.unpack_from("<i", raw, start)[0]


def _client(uri: str) -> pymongo.MongoClient:
    try:
        # pymongo's warnings about an address repeat the options, secret ones too.
        with warnings.catch_warnings(record=True) as odd:
            warnings.simplefilter("always")
            client: pymongo.MongoClient = pymongo.MongoClient(
                uri,
                serverSelectionTimeoutMS=_SERVER_WAIT_MS,
                socketTimeoutMS=_SOCKET_WAIT_MS,
            )
    except (errors.PyMongoError, ValueError, TypeError, OSError) as error:
        raise _explained(uri, error) from None
    if odd:
        logging.warning("%s: %d odd options are left out", describe(uri), len(odd))
    return client


def _read_ahead(batches: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the same; the next one is fetched while the last one is worked on."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch


def _split(batches: Iterator[bytes]) -> Iterator[bytes]:
    for batch in batches:
        at = 0
        while at < len(batch):
            end = at + int.from_bytes(batch[at : at + 4], "little")
            yield batch[at:end]
            at = end


def _explained(uri: str, error: Exception) -> UserError:
    """Says what happened without pymongo's message, which may hold the password."""
    where = describe(uri)
    if isinstance(error, errors.OperationFailure):
        return UserError(
            f"{where} refused (code {error.code}): check user, password and rights"
        )
    if isinstance(error, errors.InvalidName):
        return UserError(
            "--config.source.database or --config.source.collection is no possible name"
        )
    if isinstance(error, errors.ConnectionFailure):
        return UserError(f"{where} does not answer: is the server running there?")
    return UserError(
        f"--config.source.uri is no usable MongoDB address ({type(error).__name__}): "
        "in a user or password, ':', '/', '?', '#', '@' and '%' are written %3A, %2F, "
        "%3F, %23, %40 and %25; the options' files must exist; the name of a "
        "mongodb+srv address must be known"
    )
