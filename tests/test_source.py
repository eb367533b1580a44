import datetime
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import bson
import pytest
from bson import json_util

from aplantida_jax.data import source
from aplantida_jax.data.schema_report import SchemaReport
from aplantida_jax.errors import UserError
from configs import dataset

PLANTS = [
    {"_id": bson.ObjectId(b"%012d" % number), "latinName": f"Genus species{number}"}
    for number in range(25)
]


def config_for(uri: str | Path):
    config = dataset.get_config()
    config.source.uri = str(uri)
    config.source.batch_size = 4
    return config.source


def read(uri: str | Path) -> list[source.RawDocument]:
    return list(source.documents(config_for(uri)))


def extended(document: dict) -> str:
    return json_util.dumps(document)


@pytest.mark.parametrize("name", ["plants.json", "plants.jsonl"])
def test_lines_of_extended_json(tmp_path, name):
    path = tmp_path / name
    path.write_text("\n".join(map(extended, PLANTS)) + "\n\n")
    found = read(path)
    assert [document.value for document in found] == PLANTS
    assert found[2].where == "line 3"


@pytest.mark.parametrize("chunk", [8, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_in_pieces_of_any_size(tmp_path, monkeypatch, chunk, indent):
    monkeypatch.setattr(source, "_CHUNK", chunk)
    path = tmp_path / "plants.json"
    documents = [json.loads(extended(plant)) for plant in PLANTS]
    path.write_text("\ufeff " + json.dumps(documents, indent=indent), encoding="utf-8")
    assert [document.value for document in read(path)] == PLANTS


def test_bson(tmp_path):
    path = tmp_path / "plants.bson"
    path.write_bytes(b"".join(map(bson.encode, PLANTS)))
    assert [document.value for document in read(path)] == PLANTS


def test_values_beyond_json(tmp_path):
    path = tmp_path / "plants.jsonl"
    path.write_text(
        '{"_id": {"$oid": "90b0a7d9a574bfb0c593bc3e"}, "a": {"$numberDouble": "NaN"},'
        ' "b": {"$date": "2020-05-01T00:00:00Z"}, "c": {"$numberLong": "5"},'
        ' "d": {"$numberDecimal": "1.5"}}\n'
    )
    (found,) = read(path)
    assert math.isnan(found.value["a"])
    assert found.value["b"].date() == datetime.date(2020, 5, 1)
    assert (found.value["c"], str(found.value["d"])) == (5, "1.5")


def test_a_document_that_cannot_be_read_is_still_counted(tmp_path):
    path = tmp_path / "plants.jsonl"
    lines = [b'{"_id": 1}', b'{"_id": 2', b"[1, 2]", b'{"_id": {"$oid": "zz"}}']
    deep = b'{"_id": ' + b"[" * 100_000
    path.write_bytes(b"\n".join([*lines, deep, b'{"_id": "\xff"}']))
    found = read(path)
    assert [bool(document.problem) for document in found] == [
        *(False, True, True, True, True, False)
    ]
    assert [document.where for document in found][1] == "line 2"
    assert found[-1].value == {"_id": "\ufffd"}


def test_an_odd_element_does_not_spoil_an_array(tmp_path):
    path = tmp_path / "plants.json"
    path.write_text('[{"_id": 1}, {"_id": {"$oid": 5}}, 7, {"_id": 3}]')
    found = read(path)
    assert [document.value.get("_id") for document in found] == [1, None, None, 3]
    assert [bool(document.problem) for document in found] == [False, True, True, False]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b'[{"_id": 1}, {"_id": 2'),
        ("a.json", b'[{"_id": 1}'),
        ("a.json", b'[{"_id": 1} oops]'),
        ("a.bson", bson.encode(PLANTS[0]) + bson.encode(PLANTS[1])[:-3]),
        ("a.bson", bson.encode(PLANTS[0]) + b"\x01\x00"),
        ("a.bson", b"\xff\xff\xff\x7f" + bytes(50)),
    ],
)
def test_a_file_that_is_cut_off_is_an_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="cut off or damaged at"):
        read(tmp_path / name)


@pytest.mark.parametrize("behind", ['[{"_id": 2}]', ",", "]", '{"_id": 2}', "x", "\0"])
@pytest.mark.parametrize("chunk", [1, 12, 13, 1 << 20])
def test_nothing_may_stand_behind_an_array(tmp_path, monkeypatch, behind, chunk):
    monkeypatch.setattr(source, "_CHUNK", chunk)
    path = tmp_path / "plants.json"
    path.write_text('[{"_id": 1}]' + " \n" * 40 + behind + "\n")
    with pytest.raises(UserError, match="goes on behind the end .* after element 1"):
        read(path)
    path.write_text('[{"_id": 1}]' + " \n" * 40)
    assert [document.value for document in read(path)] == [{"_id": 1}]


def test_no_value_of_extended_json_stops_the_rest(tmp_path):
    keys = [
        *("$oid", "$date", "$numberInt", "$numberLong", "$numberDouble", "$binary"),
        *("$numberDecimal", "$timestamp", "$regex", "$regularExpression", "$ref"),
        *("$code", "$scope", "$minKey", "$maxKey", "$undefined", "$uuid", "$symbol"),
        *("$dbPointer", "$type", "$none", "$"),
    ]
    nested = [{"$numberLong": "1" * 30}, {"base64": "?", "subType": "zz"}, {"t": -1}]
    values = [
        *(
            "foo",
            "",
            "NaN",
            "9" * 7000,
            "1e999999999",
            "2020-01-01T00:00:00Z",
            "\ud800",
        ),
        *(None, True, 0, -1, 1.5, 10**400, [], ["a"], {}, *nested),
    ]
    documents = [
        {"_id": number, "a": {key: value}}
        for number, (key, value) in enumerate(itertools.product(keys, values))
    ]
    documents += [{"_id": -1, "a": {"$binary": "aa", "$type": v}} for v in values]
    for name in ("plants.jsonl", "plants.json"):
        lines = [json.dumps(document) for document in documents]
        text = "\n".join(lines) if name == "plants.jsonl" else f"[{','.join(lines)}]"
        (tmp_path / name).write_text(text)
        found = read(tmp_path / name)
        ids = [document.value["_id"] for document in found]
        assert ids == [document["_id"] for document in documents]
        assert sum(bool(document.problem) for document in found) > 100
        for document in found:  # what was decoded can be looked at
            SchemaReport().add(document.value)


LIMITED = """
import resource, sys
from aplantida_jax.data import source
from aplantida_jax.data.schema_report import SchemaReport
from aplantida_jax.errors import UserError
from configs import dataset

resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
config = dataset.get_config()
config.source.uri = sys.argv[1]
try:
    list(source.documents(config.source))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "start", "where"),
    [
        ("a.jsonl", '{"_id": 1}\n{"_id": "', "line 2"),
        ("a.json", '[{"_id": 1},\n{"_id": "', "element 2"),
        ("a.json", '[{"_id": 1}, ', "element 2"),
    ],
)
def test_a_dump_that_lost_its_ends_does_not_fill_the_memory(
    tmp_path, name, start, where
):
    path = tmp_path / name
    path.write_text(start)
    with open(path, "r+b") as file:
        file.truncate(4 << 30)  # zeros that take no room
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True
    )
    assert done.stdout == f"{path} is cut off or damaged at {where}: dump it again\n"
    assert done.stderr == ""


def test_other_files_are_refused_with_advice(tmp_path):
    with pytest.raises(UserError, match="is no file and no mongodb"):
        read(tmp_path / "plants.json")
    with pytest.raises(UserError, match=r"is a directory: .* plants\.bson"):
        read(tmp_path)
    (tmp_path / "plants.csv").write_text("a,b")
    with pytest.raises(UserError, match=r"\.json, \.jsonl or \.bson"):
        read(tmp_path / "plants.csv")
    (tmp_path / "plants.json").write_text('{\n  "_id": 1\n}\n')
    with pytest.raises(UserError, match="--pretty"):
        read(tmp_path / "plants.json")
