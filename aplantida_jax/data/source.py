"""The collection, from wherever it is: one stream of raw documents.

    mongodb://...   a server, in the order of `_id` (`aplantida_jax.data.mongodb`)
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import bson
from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion

from aplantida_jax.data import id_order, mongodb
from aplantida_jax.data.mongodb import describe, is_mongodb
from aplantida_jax.errors import UserError

# One document with invalid UTF-8, or a date beyond year 9999, must not stop the rest.
_LENIENT: CodecOptions = CodecOptions(
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
_CHUNK = 1 << 20
_LARGEST_BSON = 48 << 20  # the server allows 16 MB
# Characters of a document as JSON, where 16 MB of BSON may become several times as
# much. What goes on for longer is damaged, and must not fill the memory.
_LARGEST_JSON = 128 << 20


@dataclasses.dataclass(frozen=True)
class RawDocument:
    """A document as it was read.

    Attributes:
        where: where in the source, for people: "line 7".
        value: the decoded document; of one that could not be decoded only its `_id`,
            if at least that is legible, else {}.
        problem: why it could not, "" when it could.
    """

    where: str
    value: dict[str, Any]
    problem: str = ""


def documents(source: Any) -> Iterator[RawDocument]:
    """Streams the collection that `config.source` names.

    Raises:
        UserError: no such file or server, access refused, damaged file.
    """
    if is_mongodb(source.uri):
        return _from_mongodb(source)
    path = dump_file(source.uri)
    if path.suffix == ".bson":
        return _from_bson(path)
    if path.suffix not in (".json", ".jsonl"):
        raise UserError(f"{path}: a dump is a .json, .jsonl or .bson file (unpack it?)")
    return _from_array(path) if _starts_array(path) else _from_lines(path)


def dump_file(uri: str) -> Path:
    """The file that `uri` names.

    Raises:
        UserError: there is none, or a directory. A mistyped address comes here too, so
            the message carries no more of it than it would of a good one.
    """
    path = Path(uri)
    if path.is_dir():
        raise UserError(
            f"{describe(uri)} is a directory: --config.source.uri must name the dump's "
            "file, e.g. plants.bson in it"
        )
    if not path.is_file():
        raise UserError(
            f"{describe(uri)} is missing: --config.source.uri is no file and no "
            "mongodb:// address (stage 'demo_data' makes the demo's)"
        )
    return path


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
_UNDECODABLE = (
    # decimal.InvalidOperation is an ArithmeticError, as OverflowError is.
    *(ValueError, TypeError, KeyError, ArithmeticError, RecursionError),
    bson.errors.BSONError,
)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}"]', re.DOTALL)
# What mongoexport begins every document with.
_JSON_ID = re.compile(
    r'\s*\{\s*"_id"\s*:\s*(\{\s*"\$\w+"\s*:\s*"[^"\\]*"\s*\}|"[^"\\]*"|-?\d+)'
)


def _from_lines(path: Path) -> Iterator[RawDocument]:
    with open(path, "rb") as lines:
        number = 0
        while line := lines.readline(_LARGEST_JSON):
            number += 1
            if len(line) == _LARGEST_JSON and not line.endswith(b"\n"):
                raise _cut_off(path, f"line {number}")
            text = line.decode("utf-8", errors="replace").strip().removeprefix("\ufeff")
            if text:
                yield _of_json(f"line {number}", text)


def _from_array(path: Path) -> Iterator[RawDocument]:
    """Element by element over a buffer that holds little more than one of them."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        buffer, at, number, ended = file.read(_CHUNK).lstrip()[1:], 0, 0, False
        while True:
            at = _skip(buffer, at)
            if buffer[at : at + 1] == "]":
                _check_rest(path, file, buffer[at + 1 :], number)
                return
            end = _end_of_value(buffer, at)
            # What ends at the buffer's very end may go on behind it, e.g. a number.
            if at < end and (end < len(buffer) or ended):
                number += 1
                yield _of_json(f"element {number}", buffer[at:end])
                at = end
                continue
            if ended or len(buffer) - at > _LARGEST_JSON:
                raise _cut_off(path, f"element {number + 1}")
            # As much again as was looked at in vain: long elements stay linear.
            more = file.read(max(_CHUNK, len(buffer) - at))
            buffer, at, ended = buffer[at:] + more, 0, not more


def _check_rest(path: Path, file: TextIO, rest: str, elements: int) -> None:
    """Raises UserError if anything but white space stands behind the array."""
    while not rest.strip():
        if not (rest := file.read(_CHUNK)):
            return
    raise UserError(
        f"{path} goes on behind the end of its array, after element {elements}: put "
        "each array into a file of its own, or dump it again"
    )


def _end_of_value(buffer: str, at: int) -> int:
    """Where the value at `at` ends, however deep it is; `at` when it is not whole."""
    try:
        return _SCANNER.raw_decode(buffer, at)[1]
    except ValueError:
        return at
    except RecursionError:
        depth = 0
    for token in _TOKEN.finditer(buffer, at):
        if token[0] == '"':  # a string that is not whole
            return at
        depth += (token[0] in "[{") - (token[0] in "]}")
        if depth == 0:
            return token.end()
    return at


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
            yield _of_bson(f"document {number}", raw)


def _cut_off(path: Path, where: str) -> UserError:
    return UserError(f"{path} is cut off or damaged at {where}: dump it again")


def _of_json(where: str, text: str) -> RawDocument:
    try:
        return _document(where, _DECODER.decode(text))
    except _UNDECODABLE as error:
        found = _JSON_ID.match(text)
        legible = _only_id(_DECODER.decode, f'{{"_id": {found[1]}}}') if found else {}
        return RawDocument(where, legible, f"cannot be decoded: {error}")


def _of_bson(where: str, raw: bytes) -> RawDocument:
    try:
        return _document(where, _decode_bson(raw))
    except _UNDECODABLE as error:
        found = id_order.id_of(raw)
        alone = id_order.encoded(found, "_id") if found else b""
        legible = _only_id(_decode_bson, alone) if found else {}
        return RawDocument(where, legible, f"cannot be decoded: {error}")


def _decode_bson(raw: bytes) -> dict[str, Any]:
    return bson.decode(raw, codec_options=_LENIENT)


def _only_id(decode: Callable[[Any], Any], alone: Any) -> dict[str, Any]:
    try:
        return decode(alone)
    except _UNDECODABLE:
        return {}


def _document(where: str, value: Any) -> RawDocument:
    if isinstance(value, dict):
        return RawDocument(where, value)
    return RawDocument(where, {}, f"is not a document but {type(value).__name__}")


def _from_mongodb(source: Any) -> Iterator[RawDocument]:
    for number, raw in enumerate(mongodb.raw_documents(source), start=1):
        yield _of_bson(f"document {number}", raw)
