"""The server's order of `_id`: where a document stands in it, and what comes behind.

Values stay undecoded BSON, because a string that is no UTF-8 could not be decoded and
encoded again, and a document need not be decodable to be gone on behind.
"""

import math
import struct
from typing import Any, NamedTuple

import bson
from bson.raw_bson import RawBSONDocument

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
RARE_TYPES = frozenset(
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
