"""What a collection's documents really look like: every field, its types, odd values.

Fields are paths, "images[].url"; types have MongoDB's names. Memory is bounded: the
paths are, and of a field's values only counts and a few examples are kept.
"""

import collections
import datetime
import json
import math
import unicodedata
from typing import Any

import bson
from bson.datetime_ms import DatetimeMS

from aplantida_jax.data import licences

_MOST_PATHS = 500  # distinct ones; the rest is counted as one
_DEEPEST = 6
_EXAMPLES = 3
# Fields with few distinct values, of which each is counted.
_LICENCE = "images[].license"
_COUNTED = (_LICENCE, "images[].source")
_MOST_VALUES = 2000
MORE_VALUES = "(more values)"  # of licences: more unknown ones
_BLANK = ("", " ")
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


class _Field:
    """What was seen of one path; counts of types are by Python's, named at the end."""

    def __init__(self, path: str):
        self.path = path
        self.types: collections.Counter[type] = collections.Counter()
        self.odd: collections.Counter[str] = collections.Counter()
        self.examples: dict[str, list[str]] = {}
        self.values: collections.Counter[str] = collections.Counter()
        self.counts_values = path in _COUNTED
        # The fields below, by their names as written; None is an array's items.
        self.children: dict[str | None, _Field] = {}


class SchemaReport:
    """Counts documents as they pass; `to_json` sums up."""

    def __init__(self) -> None:
        self._fields: dict[str, _Field] = {}
        self._root = _Field("")

    def add(self, document: dict[str, Any]) -> None:
        self._visit_items(self._root, document, 0)

    def odd(self, path: str, oddity: str, value: Any) -> None:
        """Counts a value of `path` that is odd for a reason that its reader knows."""
        _count_odd(self._field(path), oddity, value)

    def to_json(self) -> dict[str, Any]:
        """{path: {"types": {type: count}, "odd": {what: count}, ...}}."""
        return {
            path: {
                "types": _named(field.types),
                "odd": dict(field.odd.most_common()),
                "examples": field.examples,
                "values": dict(field.values.most_common()),
            }
            for path, field in sorted(self._fields.items())
        }

    def _visit(self, field: _Field, value: Any, depth: int) -> None:
        # Millions of values pass here, and almost all of them are plain strings.
        field.types[type(value)] += 1
        if field.counts_values:
            _count_value(field, value)
        if isinstance(value, str) and _is_plain(value):
            return
        if oddity := _oddity(value):
            _count_odd(field, oddity, value)
        if depth == _DEEPEST:
            return
        if isinstance(value, dict):
            self._visit_items(field, value, depth)
        elif isinstance(value, list):
            below = field.children.get(None) or self._child(field, None, "[]")
            for item in value:
                self._visit(below, item, depth + 1)

    def _visit_items(self, field: _Field, value: dict[str, Any], depth: int) -> None:
        children = field.children
        for name, item in value.items():
            child = children.get(name)
            if child is None:
                child = self._child(field, name, f".{name}" if field.path else name)
            self._visit(child, item, depth + 1)

    def _child(self, parent: _Field, name: str | None, step: str) -> _Field:
        path = _clean(parent.path + step)
        field = self._field(path)
        # Only what has a field of its own: the number of names is not bounded.
        if field.path == parent.path + step:
            parent.children[name] = field
        return field

    def _field(self, path: str) -> _Field:
        if path not in self._fields and len(self._fields) >= _MOST_PATHS:
            path = "(more fields)"
        if path not in self._fields:
            self._fields[path] = _Field(path)
        return self._fields[path]


def _count_odd(field: _Field, oddity: str, value: Any) -> None:
    field.odd[oddity] += 1
    examples = field.examples.setdefault(oddity, [])
    shown = _shown(value)
    if len(examples) < _EXAMPLES and shown not in examples:
        examples.append(shown)


def _count_value(field: _Field, value: Any) -> None:
    licence = field.path == _LICENCE
    if isinstance(value, str):
        shown = _clean(licences.folded(value) if licence else value)
    else:
        shown = _shown(value)
    if len(field.values) >= _MOST_VALUES and shown not in field.values:
        # A licence's id is a spelling of it, so that all that are known are counted.
        shown = (licence and licences.spdx(shown)) or MORE_VALUES
    field.values[shown] += 1


def _named(types: collections.Counter[type]) -> dict[str, int]:
    """Counts by MongoDB's names, the most frequent first."""
    named: collections.Counter[str] = collections.Counter()
    for kind, count in types.items():
        known = (name for base, name in _TYPES if issubclass(kind, base))
        named[next(known, kind.__name__)] += count
    return dict(named.most_common())


def _is_plain(text: str) -> bool:
    return (
        text.isascii()
        and text.isprintable()
        and text[:1] not in _BLANK
        and text[-1] != " "
    )


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
    try:
        return json.dumps(value, default=str)[:80]
    except RecursionError:
        return f"({type(value).__name__}, too deep to show)"
