"""The collection, from wherever it is: one stream of raw documents.

    mongodb://...   pymongo, in the order of `_id`; after a lost connection it goes on
                    behind the last `_id` (pymongo itself never retries `getMore`)
    *.json          an array, or one document a line
    *.jsonl         one document a line (mongoexport)
    *.bson          mongodump

JSON may be Extended JSON. Nothing is loaded whole. A document that cannot be decoded is
still a document, with a `problem`, so that what was read can be accounted for; a *file*
that is cut off or damaged between documents is an error. Invalid UTF-8 is replaced by
U+FFFD. No message carries the user or password of the URI.
"""

import codecs
import dataclasses
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bson
import pymongo
from absl import logging
from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo import errors as mongo_errors

from aplantida_jax import manifest
from aplantida_jax.errors import UserError

_MONGO = re.compile(r"mongodb(\+srv)?://")
# One document with invalid UTF-8, or a date beyond year 9999, must not stop the rest.
_LENIENT: CodecOptions = CodecOptions(
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
_CHUNK = 1 << 20
_SERVER_WAIT_MS = 10_000
_TRIES = 6  # in a row, with no document between them
_LARGEST_BSON = 48 << 20  # the server allows 16 MB


@dataclasses.dataclass(frozen=True)
class RawDocument:
    """A document as it was read.

    Attributes:
        where: where in the source, for people: "line 7".
        value: the decoded document, {} when it could not be decoded.
        problem: why it could not, "" when it could.
    """

    where: str
    value: dict[str, Any]
    problem: str = ""


def is_mongodb(uri: str) -> bool:
    return _MONGO.match(uri) is not None


def describe(uri: str) -> str:
    """The URI for messages: without user, password and options."""
    return manifest.redact(uri).split("?")[0] if is_mongodb(uri) else uri


def documents(source: Any) -> Iterator[RawDocument]:
    """Streams the collection that `config.source` names.

    Raises:
        UserError: no such file or server, access refused, damaged file.
    """
    if is_mongodb(source.uri):
        return _from_mongodb(source)
    path = Path(source.uri)
    if not path.is_file():
        raise UserError(
            f"--config.source.uri={source.uri} is no file and no mongodb:// address"
        )
    if path.suffix == ".bson":
        return _from_bson(path)
    if path.suffix not in (".json", ".jsonl"):
        raise UserError(f"{path}: a dump is a .json, .jsonl or .bson file (unpack it?)")
    return _from_array(path) if _starts_array(path) else _from_lines(path)


def _starts_array(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(_CHUNK).removeprefix(codecs.BOM_UTF8).lstrip()
    if start.split(b"\n", 1)[0].strip() == b"{":
        raise UserError(
            f"{path} holds documents over several lines: export it without --pretty, "
            "or with --jsonArray"
        )
    return start.startswith(b"[")


def _extended(value: dict[str, Any]) -> Any:
    """{"$oid": ...} -> ObjectId; almost all objects are none of Extended JSON's."""
    if value and next(iter(value))[:1] == "$":
        return json_util.object_hook(value)
    return value


_DECODER = json.JSONDecoder(object_hook=_extended)
_SCANNER = json.JSONDecoder()  # finds where an element ends, whatever it holds
_BAD_JSON = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


def _from_lines(path: Path) -> Iterator[RawDocument]:
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            text = line.decode("utf-8", errors="replace").strip().removeprefix("\ufeff")
            if text:
                yield _decoded(f"line {number}", _DECODER.decode, text)


def _from_array(path: Path) -> Iterator[RawDocument]:
    """Element by element over a buffer that holds little more than one of them."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        buffer, at, number, ended = file.read(_CHUNK).lstrip()[1:], 0, 0, False
        while True:
            at = _skip(buffer, at)
            if buffer[at : at + 1] == "]":
                return
            try:
                _, end = _SCANNER.raw_decode(buffer, at)
            except (ValueError, RecursionError):
                end = at
            # What ends at the buffer's very end may go on behind it, e.g. a number.
            if at < end and (end < len(buffer) or ended):
                number += 1
                yield _decoded(f"element {number}", _DECODER.decode, buffer[at:end])
                at = end
                continue
            if ended:
                raise _cut_off(path, f"element {number + 1}")
            # As much again as was looked at in vain: long elements stay linear.
            more = file.read(max(_CHUNK, len(buffer) - at))
            buffer, at, ended = buffer[at:] + more, 0, not more


def _skip(buffer: str, at: int) -> int:
    while at < len(buffer) and buffer[at] in " \t\r\n,":
        at += 1
    return at


def _from_bson(path: Path) -> Iterator[RawDocument]:
    with open(path, "rb") as file:
        number = 0
        while prefix := file.read(4):
            number += 1
            length = int.from_bytes(prefix, "little", signed=True)
            if len(prefix) < 4 or not 5 <= length <= _LARGEST_BSON:
                raise _cut_off(path, f"document {number}")
            raw = prefix + file.read(length - 4)
            if len(raw) < length:
                raise _cut_off(path, f"document {number}")
            yield _decoded(f"document {number}", _of_bson, raw)


def _cut_off(path: Path, where: str) -> UserError:
    return UserError(f"{path} is cut off or damaged at {where}: dump it again")


def _of_bson(raw: bytes) -> dict[str, Any]:
    return bson.decode(raw, codec_options=_LENIENT)


def _decoded(where: str, decode: Callable[[Any], Any], data: Any) -> RawDocument:
    try:
        value = decode(data)
    except (*_BAD_JSON, bson.errors.BSONError) as error:
        return RawDocument(where, {}, f"cannot be decoded: {error}")
    return _document(where, value)


def _document(where: str, value: Any) -> RawDocument:
    if isinstance(value, dict):
        return RawDocument(where, value)
    return RawDocument(where, {}, f"is not a document but {type(value).__name__}")


def _from_mongodb(source: Any) -> Iterator[RawDocument]:
    last_id: Any = None
    number = failures = 0
    with _client(source.uri) as client:
        # Undecoded but for the top level, which `_id_of` needs.
        options = _LENIENT.with_options(document_class=RawBSONDocument)
        collection = client[source.database].get_collection(source.collection, options)
        while True:
            try:
                for raw in _after(collection, source, last_id):
                    number, failures = number + 1, 0
                    yield _decoded(f"document {number}", _of_bson, raw.raw)
                    last_id = _id_of(raw, last_id)
                break
            except (mongo_errors.AutoReconnect, mongo_errors.CursorNotFound) as error:
                failures += 1
                if failures >= _TRIES or number == 0:
                    raise _explained(source.uri, error) from None
                logging.warning("connection lost after %d documents", number)
                time.sleep(2.0 ** (failures - 1))
            except mongo_errors.PyMongoError as error:
                raise _explained(source.uri, error) from None
    if number == 0:
        raise UserError(
            f"{source.database}.{source.collection} at {describe(source.uri)} has no "
            "documents: check --config.source.database and --config.source.collection"
        )


def _id_of(raw: RawBSONDocument, fallback: Any) -> Any:
    """The `_id` of a document, also of one whose other fields cannot be decoded."""
    try:
        return raw["_id"]
    except (KeyError, bson.errors.BSONError):
        return fallback


def _client(uri: str) -> pymongo.MongoClient:
    try:
        return pymongo.MongoClient(uri, serverSelectionTimeoutMS=_SERVER_WAIT_MS)
    except (mongo_errors.PyMongoError, ValueError) as error:
        raise _explained(uri, error) from None


def _after(collection: Any, source: Any, last_id: Any) -> Any:
    wanted: dict[str, Any] = {}
    if last_id is not None:
        # Not {"_id": {"$gt": ...}}, which sees only ids of the same type.
        wanted = {"$expr": {"$gt": ["$_id", {"$literal": last_id}]}}
    cursor = collection.find(wanted, list(source.fields), batch_size=source.batch_size)
    return cursor.sort("_id", pymongo.ASCENDING)


def _explained(uri: str, error: Exception) -> UserError:
    """Says what happened without pymongo's message, which may hold the password."""
    where = describe(uri)
    if isinstance(error, mongo_errors.OperationFailure):
        return UserError(
            f"{where} refused (code {error.code}): check user, password and rights"
        )
    if isinstance(error, mongo_errors.ConnectionFailure):
        return UserError(f"{where} does not answer: is the server running there?")
    return UserError(
        f"--config.source.uri is no usable MongoDB address ({type(error).__name__}): "
        "in a user or password, ':', '/', '?', '#', '@' and '%' are written %3A, %2F, "
        "%3F, %23, %40 and %25"
    )
