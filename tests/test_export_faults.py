"""Documents that do not fit, through every source with the same outcome.

The sources: the three kinds of dump, a server of the wire protocol, which sends any
bytes, and a real database server for what such a server stores.
"""

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import database
import pytest
from bson import json_util
from mongo_server import MongoServer

from aplantida_jax import files, paths
from aplantida_jax.data import export_dataset, source
from configs import dataset

DUMPS = {"array": "plants.json", "lines": "plants.jsonl", "bson": "plants.bson"}
SOURCES = (*DUMPS, "wire", "server")
# Six bytes that every encoder leaves alone, replaced by six that are no UTF-8.
MARK, NO_UTF8 = "BROKEN", b"\xff\xfe\xfd\xc3\x28\xff"
DEPTH = 10_000


def image(number: int, **fields: Any) -> dict[str, Any]:
    url = f"https://example.org/{number}.jpg"
    return {"url": url, "source": "s", "license": "cc-by", **fields}


@dataclasses.dataclass(frozen=True)
class Case:
    """A document, what becomes of it, and whether a real server stores it.

    Attributes:
        reason: why it is quarantined, "" when it is exported.
        extra: bytes of a BSON element, and the same as JSON, to stand behind the rest.
    """

    document: dict[str, Any]
    reason: str = ""
    storable: bool = True
    extra: tuple[bytes, str] = (b"", "")

    @property
    def bson(self) -> bytes:
        body = bson.encode(self.document)[4:-1] + self.extra[0] + b"\0"
        raw = (len(body) + 4).to_bytes(4, "little") + body
        return raw.replace(MARK.encode(), NO_UTF8)

    @property
    def json(self) -> bytes:
        text = json_util.dumps(self.document)[:-1] + self.extra[1] + "}"
        return text.encode().replace(MARK.encode(), NO_UTF8)


def plant(identifier: Any, name: Any = "Rosa canina", **fields: Any) -> dict[str, Any]:
    return {"_id": identifier, "latinName": name, "images": [image(1)], **fields}


def without(document: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != field}


def deep() -> tuple[bytes, str]:
    inner = bson.encode({})
    for _ in range(DEPTH):
        body = b"\x03a\0" + inner + b"\0"
        inner = (len(body) + 4).to_bytes(4, "little") + body
    return b"\x03deep\0" + inner, ', "deep": ' + '{"a": ' * DEPTH + "{}" + "}" * DEPTH


DAY = datetime.datetime(2021, 5, 4)
SHOWN_IDS = {
    None: "",
    1.5: '{"$numberDouble": "1.5"}',
    7.0: "7",
    DAY: '{"$date": {"$numberLong": "1620086400000"}}',
}
CASES = [
    Case(plant("a0", images=[image(1), image(2)], commonName="Escaramujo")),
    Case(plant("a1", images=[image(2, attribution="another"), image(3)])),
    # Odd values where something can do without them.
    Case(plant("b0", "Rosa alba", images=[image(4, width=None, height="9")])),
    Case(plant("b1", "Rosa alba", commonName=5, distribution=[], images=[image(5)])),
    Case(plant("b2", "Rosa alba", images=[image(6, date=DAY, attribution="Ana")])),
    Case(
        plant("b3", "Rosa alba", images=[image(7, width=float("nan"))]), storable=False
    ),
    Case(
        plant("b4", "Rosa alba", images=[image(8, width=bson.Decimal128("NaN"))]),
        storable=False,
    ),
    Case(
        plant("b5", "Rosa alba", images=[image(9, attribution=f"Ana {MARK}")]),
        storable=False,
    ),
    # The same document under another _id: its image is a duplicate.
    Case(plant("c0", images=[image(1), image(2)], commonName="Escaramujo")),
    Case(without(plant("m0"), "latinName"), "no_latin_name"),
    Case(without(plant("m1"), "images"), "images_not_a_list"),
    Case(plant("m2", images=[]), "no_images"),
    Case(plant("m3", images=[{}]), "no_usable_image"),
    Case(plant("t0", 5), "no_latin_name"),
    Case(plant("t1", ["Rosa"]), "no_latin_name"),
    Case(plant("t2", None), "no_latin_name"),
    Case(plant("t3", DAY), "no_latin_name"),
    Case(plant("t4", images={"0": image(1)}), "images_not_a_list"),
    Case(plant("t5", images="https://example.org/1.jpg"), "images_not_a_list"),
    Case(plant("t6", images=["https://example.org/1.jpg", None]), "no_usable_image"),
    Case(plant("t7", images=[image(1, url=DAY)]), "no_usable_image"),
    Case(plant("t8", images=[image(10, license=["cc-by"])]), "no_usable_image"),
    Case(plant("n0", float("nan")), "no_latin_name", storable=False),
    Case(plant("n1", bson.Decimal128("1.5")), "no_latin_name", storable=False),
    Case(plant("u0", f"Rosa {MARK}"), "broken_latin_name", storable=False),
    Case(
        plant("u1", images=[image(1, url=f"https://example.org/{MARK}.jpg")]),
        "no_usable_image",
        storable=False,
    ),
    Case(plant("v0"), "undecodable", storable=False, extra=deep()),
    Case(plant(None), "no_id", storable=False),
    # An _id that is no text.
    Case(plant({"a": 1}, images=[]), "no_images"),
    Case(plant(1.5, images=[]), "no_images"),
    Case(plant(7.0, images=[]), "no_images"),
    Case(plant(DAY, images=[]), "no_images"),
]


def shown_id(identifier: Any) -> str:
    """As canonical Extended JSON shows it."""
    if isinstance(identifier, dict):
        return '{"a": {"$numberInt": "1"}}'
    return SHOWN_IDS.get(identifier, identifier)


def cases_for(kind: str) -> list[Case]:
    return [case for case in CASES if case.storable or kind != "server"]


@contextlib.contextmanager
def source_of(
    kind: str, cases: list[Case], root: Path, request: pytest.FixtureRequest
) -> Iterator[dict[str, str]]:
    """The `config.source` that the cases can be read from."""
    if kind == "server":
        own: database.Database = request.getfixturevalue("mongodb")
        own.fill(bson.decode(case.bson) for case in cases)
        yield {"uri": own.uri, "database": own.name}
    elif kind == "wire":
        with MongoServer([case.bson for case in cases]) as server:
            yield {"uri": server.uri}
    else:
        path = root / DUMPS[kind]
        if kind == "bson":
            path.write_bytes(b"".join(case.bson for case in cases))
        elif kind == "lines":
            path.write_bytes(b"\n".join(case.json for case in cases))
        else:
            path.write_bytes(b"[" + b",\n".join(case.json for case in cases) + b"]")
        yield {"uri": str(path)}


def export(kind: str, cases: list[Case], root: Path, request: Any) -> Any:
    config = dataset.get_config()
    config.data_dir = str(root / "data")
    config.dataset.min_images_per_species = 1
    root.mkdir(exist_ok=True)
    with source_of(kind, cases, root, request) as fields:
        config.source.update(fields)
        export_dataset.run(config, root)
    return config


def exported(config: Any) -> tuple[bytes, bytes]:
    directory = paths.export_dir(config)
    return tuple(
        (directory / name).read_bytes() for name in ("photos.jsonl", "classes.json")
    )


@pytest.mark.parametrize("kind", SOURCES)
def test_every_fault_has_its_reason_and_nothing_is_lost(kind, tmp_path, request):
    cases = cases_for(kind)
    config = export(kind, cases, tmp_path / kind, request)
    directory = paths.export_dir(config)
    rows = files.read_jsonl(directory / "quarantine.jsonl", made_by="export_dataset")
    found = {row["_id"]: row["reason"] for row in rows if row["quarantined"]}
    assert found == {
        shown_id(case.document["_id"]): case.reason for case in cases if case.reason
    }
    metrics = json.loads((directory / "manifest.json").read_text())["metrics"]
    fit = sum(not case.reason for case in cases)
    assert metrics["documents_read"] == len(cases)
    assert metrics["documents_exported"] == fit
    assert metrics["documents_quarantined"] == len(cases) - fit
    # URLs that come again: 2 of a1, both of c0.
    assert metrics["duplicate_urls"] == 3
    assert (
        metrics["photos"]
        == sum(len(case.document["images"]) for case in cases if not case.reason) - 3
    )
    # Whatever the source, the same files.
    reference = export("lines", cases, tmp_path / "reference", request)
    assert exported(config) == exported(reference)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_document_of_almost_16_mb(kind, tmp_path, request):
    images = [image(n, attribution="x" * 164) for n in range(60_000)]
    large = Case(plant("large", images=images))
    assert 15_900_000 < len(large.bson) < 16_777_216
    config = export(kind, [large, *CASES[:2]], tmp_path, request)
    metrics = json.loads((paths.export_dir(config) / "manifest.json").read_text())
    assert metrics["metrics"]["photos"] == 60_000
    assert metrics["metrics"]["duplicate_urls"] == 4


def test_batches_larger_than_the_protocol_allows():
    # FerretDB, too, sends as many documents as it is asked for, whatever their size;
    # a message has 48 MB at most.
    images = [image(n, attribution="x" * 400) for n in range(30_000)]
    large = [bson.encode(plant(f"large{number}", images=images)) for number in range(4)]
    assert sum(map(len, large)) > 48_000_000
    config = dataset.get_config()
    with MongoServer(large) as server:
        config.source.uri = server.uri
        found = [len(raw.value["images"]) for raw in source.documents(config.source)]
    assert found == [30_000] * 4


@pytest.mark.parametrize("kind", DUMPS)
def test_documents_of_one_id_count_whatever_their_order(kind, tmp_path, request):
    # A dump may hold an _id twice, a collection may not.
    twice = [
        Case(plant("a", commonName="Rosal", images=[image(1), image(2)])),
        Case(plant("a", commonName="Escaramujo", images=[image(2, attribution="b")])),
        Case(plant("a", commonName="Rosal", images=[image(1), image(2)])),
    ]
    first = export(kind, twice, tmp_path / "1", request)
    second = export(kind, twice[::-1], tmp_path / "2", request)
    assert exported(first) == exported(second)
    metrics = json.loads((paths.export_dir(first) / "manifest.json").read_text())
    assert metrics["metrics"]["documents_exported"] == 3
    assert metrics["metrics"]["photos"] == 2
