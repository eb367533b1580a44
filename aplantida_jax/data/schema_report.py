"""What a collection's documents really look like: every field, its types, odd values.

Fields are paths, "images[].url"; types have MongoDB's names. Memory is bounded: the
paths are, and of a field's values only counts and a few examples are kept.
"""

import collections
import dataclasses
import datetime
import json
import math
import unicodedata
from typing import Any

import bson
from bson.datetime_ms import DatetimeMS

_MOST_PATHS = 500  # distinct ones; the rest is counted as one
_DEEPEST = 6
_EXAMPLES = 3
# Fields with few distinct values, of which each is counted.
_COUNTED = ("images[].license", "images[].source")
_MOST_VALUES = 2000
_TYPES = (
    # bool before int, of which it is a subclass.
    (bool, "bool"),
    (str, "string"),
    (dict, "object"),
    (list, "array"),
    (int, "int"),
    (float, "double"),
    (type(None), "null"),
    (bson.ObjectId, "objectId"),
    ((datetime.datetime, DatetimeMS), "date"),
    (bson.Decimal128, "decimal"),
    ((bytes, bson.Binary), "binary"),
)


@dataclasses.dataclass
class _Field:
    types: collections.Counter[str]
    odd: collections.Counter[str]
    examples: dict[str, list[str]]
    values: collections.Counter[str]


class SchemaReport:
    """Counts documents as they pass; `to_json` sums up."""

    def __init__(self) -> None:
        self._fields: dict[str, _Field] = {}

    def add(self, document: dict[str, Any]) -> None:
        for name, value in document.items():
            self._visit(_clean(str(name)), value, 1)

    def odd(self, path: str, oddity: str, value: Any) -> None:
        """Counts a value of `path` that is odd for a reason that its reader knows."""
        field = self._field(path)
        field.odd[oddity] += 1
        examples = field.examples.setdefault(oddity, [])
        shown = _shown(value)
        if len(examples) < _EXAMPLES and shown not in examples:
            examples.append(shown)

    def to_json(self) -> dict[str, Any]:
        """{path: {"types": {type: count}, "odd": {what: count}, ...}}."""
        return {
            path: {
                "types": dict(field.types.most_common()),
                "odd": dict(field.odd.most_common()),
                "examples": field.examples,
                "values": dict(field.values.most_common()),
            }
            for path, field in sorted(self._fields.items())
        }

    def _visit(self, path: str, value: Any, depth: int) -> None:
        field = self._field(path)
        field.types[_type_of(value)] += 1
        if path in _COUNTED:
            shown = _clean(value) if isinstance(value, str) else _shown(value)
            full = len(field.values) >= _MOST_VALUES and shown not in field.values
            field.values["(more values)" if full else shown] += 1
        oddity = _oddity(value)
        if oddity:
            self.odd(path, oddity, value)
        if depth == _DEEPEST:
            return
        if isinstance(value, dict):
            for name, item in value.items():
                self._visit(_clean(f"{path}.{name}"), item, depth + 1)
        elif isinstance(value, list):
            for item in value:
                self._visit(f"{path}[]", item, depth + 1)

    def _field(self, path: str) -> _Field:
        if path not in self._fields and len(self._fields) >= _MOST_PATHS:
            path = "(more fields)"
        if path not in self._fields:
            count = collections.Counter[str]
            self._fields[path] = _Field(count(), count(), {}, count())
        return self._fields[path]


def _type_of(value: Any) -> str:
    for kind, name in _TYPES:
        if isinstance(value, kind):
            return name
    return type(value).__name__


def _oddity(value: Any) -> str:
    """What is odd about a value whatever its field, "" for nothing."""
    if isinstance(value, str):
        return _odd_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "not finite"
    if isinstance(value, list | dict) and not value:
        return "empty"
    return ""


def _odd_text(text: str) -> str:
    if not text:
        return "empty"
    if text.isascii() and text.isprintable() and text == text.strip():
        return ""
    if text != text.strip():
        return "space around"
    if "\ufffd" in text or any("\ud800" <= c <= "\udfff" for c in text):
        return "broken characters"
    if any(unicodedata.category(c) in ("Cc", "Cf") for c in text):
        return "invisible characters"
    if not unicodedata.is_normalized("NFC", text):
        return "not NFC"
    return ""


def _clean(text: str) -> str:
    """Without lone surrogates, which no file can hold; not endless."""
    return text[:200].encode("utf-8", "replace").decode()


def _shown(value: Any) -> str:
    if isinstance(value, str):
        value = value[:80]
    return json.dumps(value, default=str)[:80]
