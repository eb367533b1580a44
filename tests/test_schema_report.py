import datetime
import json

import bson

from aplantida_jax.data import schema_report
from aplantida_jax.data.schema_report import SchemaReport


def test_every_type_has_its_name():
    report = SchemaReport()
    values = {
        "string": "a",
        "bool": True,
        "int": 1,
        "double": 1.5,
        "null": None,
        "objectId": bson.ObjectId(),
        "date": datetime.datetime(2020, 1, 1),
        "decimal": bson.Decimal128("1"),
        "binary": b"a",
        "array": [1],
        "object": {"a": 1},
    }
    for value in values.values():
        report.add({"field": value})
    found = report.to_json()
    assert found["field"]["types"] == dict.fromkeys(values, 1)
    assert found["field[]"]["types"] == {"int": 1}
    assert found["field.a"]["types"] == {"int": 1}


def test_names_as_odd_as_paths_stay_apart():
    report = SchemaReport()
    report.add({"a": [1], "b[]": "x"})
    report.add({"a": {"[]": "x", "": 1.5}, "b": [None]})
    types = {path: field["types"] for path, field in report.to_json().items()}
    assert types == {
        "a": {"array": 1, "object": 1},
        "a[]": {"int": 1},
        "a.[]": {"string": 1},
        "a.": {"double": 1},
        "b": {"array": 1},
        # The one pair that a path cannot tell apart.
        "b[]": {"string": 1, "null": 1},
    }


def test_odd_values():
    report = SchemaReport()
    odd = ["", " a", "a\ufffd", "a\u200bb", "u\u0308", "fine", "ñ", "a\ud800"]
    for value in [*odd, float("nan"), float("inf"), [], {}]:
        report.add({"field": value})
    found = report.to_json()["field"]
    assert found["odd"] == {
        "empty": 3,
        "broken characters": 2,
        "not finite": 2,
        "space around": 1,
        "invisible characters": 1,
        "not NFC": 1,
    }
    assert found["examples"]["empty"] == ['""', "[]", "{}"]
    json.dumps(report.to_json(), allow_nan=False, ensure_ascii=False).encode()


def test_licences_are_counted_one_by_one():
    report = SchemaReport()
    for licence in ("cc-by", "cc-by", None, "\ud800"):
        report.add({"images": [{"license": licence}]})
    values = report.to_json()["images[].license"]["values"]
    assert values == {"cc-by": 2, "null": 1, "?": 1}


def test_notices_are_counted_without_their_holders():
    report = SchemaReport()
    for number in range(schema_report._MOST_VALUES + 10):
        for rights in ("all rights reserved", "some rights reserved (CC BY)"):
            report.add({"images": [{"license": f"(c) Ana{number}, {rights}"}]})
    values = report.to_json()["images[].license"]["values"]
    assert values == dict.fromkeys(
        ("all rights reserved", "some rights reserved (CC BY)"), 2010
    )


def test_known_licences_are_counted_however_many_unknown_spellings_there_are():
    report = SchemaReport()
    for number in range(schema_report._MOST_VALUES + 10):
        report.add({"images": [{"license": f"licence {number}"}]})
    for licence in ("cc-by-nc", "CC BY-NC 4.0", "cc0"):
        report.add({"images": [{"license": licence}]})
    values = report.to_json()["images[].license"]["values"]
    assert len(values) == schema_report._MOST_VALUES + 3
    assert (values["CC-BY-NC-4.0"], values["CC0-1.0"]) == (2, 1)
    assert values["(more values)"] == 10


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(schema_report, "_MOST_PATHS", 10)
    monkeypatch.setattr(schema_report, "_MOST_VALUES", 3)
    report = SchemaReport()
    for number in range(50):
        report.add({"images": [{"license": str(number)}]})
        report.add({f"field{number}": number})
    nested: dict = {}
    for _ in range(200):
        nested = {"deeper": nested}
    report.add(nested)
    found = report.to_json()
    assert len(found) == 11
    assert found["(more fields)"]["types"]["int"] > 30
    assert found["images[].license"]["values"]["(more values)"] == 47


def test_six_levels_are_looked_at():
    report = SchemaReport()
    report.add({"a": {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}})
    *_, deepest = report.to_json()
    assert deepest == "a.b.c.d.e.f"


def test_a_value_too_deep_to_show_is_counted():
    nested: list = []
    for _ in range(5_000):
        nested = [nested]
    report = SchemaReport()
    report.add({"images": [{"license": nested}]})
    report.odd("distribution.countries[]", "not ISO-2", nested)
    found = report.to_json()
    shown = "(list, too deep to show)"
    assert found["images[].license"]["values"] == {shown: 1}
    assert found["distribution.countries[]"]["examples"] == {"not ISO-2": [shown]}
