import datetime
import json
import math
from pathlib import Path

import bson
import pytest
from bson import json_util

from aplantida_jax.data import source
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


def test_other_files_are_refused_with_advice(tmp_path):
    with pytest.raises(UserError, match="is no file and no mongodb"):
        read(tmp_path / "plants.json")
    (tmp_path / "plants.csv").write_text("a,b")
    with pytest.raises(UserError, match=r"\.json, \.jsonl or \.bson"):
        read(tmp_path / "plants.csv")
    (tmp_path / "plants.json").write_text('{\n  "_id": 1\n}\n')
    with pytest.raises(UserError, match="--pretty"):
        read(tmp_path / "plants.json")
