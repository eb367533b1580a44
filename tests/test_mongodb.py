"""Reading from a server, byte by byte: what no real server at hand would hold or do.

What one does is tested in test_export_mongodb.py.
"""

import datetime
import io
import logging as std_logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from mongo_server import MongoServer

from aplantida_jax.data import id_order, mongodb, source
from aplantida_jax.errors import UserError
from configs import dataset

ROOT = Path(__file__).resolve().parents[1]
PLANTS = [
    {"_id": bson.ObjectId(b"%012d" % number), "latinName": f"Genus species{number}"}
    for number in range(25)
]
# One or more of every type that an `_id` can have, in MongoDB's order; BSON's own
# numbers of types, values written by hand.
IDS = [
    id_order.Element(0xFF, b""),  # MinKey
    id_order.Element(0x0A, b""),  # null
    id_order.Element(0x01, bytes.fromhex("000000000000f87f")),  # NaN
    id_order.Element(0x01, bytes.fromhex("000000000000f0ff")),  # -infinity
    id_order.Element(0x10, bytes.fromhex("ffffffff")),  # -1, 32 bits
    id_order.Element(0x01, bytes.fromhex("000000000000e03f")),  # 0.5
    id_order.Element(0x13, bson.Decimal128("0.75").bid),
    id_order.Element(0x12, bytes.fromhex("0000000001000000")),  # 2^32, 64 bits
    id_order.Element(0x02, bytes.fromhex("0100000000")),  # ""
    id_order.Element(0x0E, bytes.fromhex("020000006100")),  # the symbol "a"
    id_order.Element(0x02, bytes.fromhex("020000006200")),  # "b"
    id_order.Element(0x02, bytes.fromhex("02000000fe00")),  # no UTF-8
    id_order.Element(0x02, bytes.fromhex("02000000ff00")),  # nor this
    id_order.Element(0x03, bson.encode({})),
    id_order.Element(0x03, bson.encode({"a": {"$gt": 1}})),
    id_order.Element(0x05, bytes.fromhex("02000000006162")),  # b"ab"
    id_order.Element(0x05, bytes.fromhex("1000000004") + bytes(16)),  # an UUID
    id_order.Element(0x07, bytes(12)),
    id_order.Element(0x07, bytes.fromhex("ff" * 12)),
    id_order.Element(0x08, b"\0"),
    id_order.Element(0x08, b"\1"),
    id_order.Element(0x09, bytes.fromhex("ffffffffffffffff")),  # before 1970
    id_order.Element(0x09, bytes.fromhex("0000000000000040")),  # after year 9999
    id_order.Element(0x11, bytes(8)),
    id_order.Element(0x0D, bytes.fromhex("020000006100")),  # code
    id_order.Element(0x7F, b""),  # MaxKey
]


def config_for(uri: str) -> Any:
    config = dataset.get_config()
    config.source.uri = uri
    config.source.batch_size = 4
    return config.source


def read(uri: str) -> list[source.RawDocument]:
    return list(source.documents(config_for(uri)))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(mongodb, "_PAUSES_S", (0.0,) * 5)
    return


def with_id(element: id_order.Element) -> bytes:
    body = bytes([element.kind]) + b"_id\0" + element.data + b"\x10n\0\1\0\0\0\0"
    return (len(body) + 4).to_bytes(4, "little") + body


@pytest.mark.parametrize("element", IDS, ids=lambda e: f"{e.kind:#x}-{e.data.hex()}")
def test_the_id_is_found_as_it_was_written(element):
    assert id_order.id_of(with_id(element)) == element


def test_the_id_is_found_behind_values_of_every_type():
    before = {
        "regex": bson.Regex("a", "i"),
        "date": datetime.datetime(2020, 1, 1),
        "code": bson.Code("f", {"a": 1}),
        "reference": bson.DBRef("a", 1),
        "list": [1, {"_id": 5}],
        "null": None,
        "decimal": bson.Decimal128("1"),
        "timestamp": bson.Timestamp(1, 2),
    }
    raw = bson.encode(RawBSONDocument(bson.encode({**before, "_id": 7})))
    assert id_order.id_of(raw) == id_order.Element(0x10, b"\7\0\0\0")


@pytest.mark.parametrize(
    "raw",
    [
        bson.encode({}),
        bson.encode({"a": 1}),
        bson.encode({"_id": [1]}),
        bson.encode({"a": 1}).replace(b"\x10a", b"\x99a"),
        bson.encode({"a": "b", "_id": 1})[:9],
        b"",
    ],
)
def test_what_cannot_be_sorted_behind_is_no_id(raw):
    assert id_order.id_of(raw) is None


def test_it_goes_on_behind_an_id_of_any_type():
    documents = [with_id(element) for element in IDS]
    with MongoServer(documents) as server:
        server.hang_up_after = [1] * len(IDS)
        config = config_for(server.uri)
        config.batch_size = 1
        assert list(mongodb.raw_documents(config)) == documents
        # pymongo asks once more by itself when a find is not answered.
        assert len(server.hang_up_after) <= 1


def test_documents_without_an_id_cannot_be_gone_on_behind():
    documents = [bson.encode({"_id": [n]}) for n in range(9)]
    with MongoServer(documents) as server:
        assert list(mongodb.raw_documents(config_for(server.uri))) == documents
        server.batches, server.hang_up_after = 0, [1]
        with pytest.raises(UserError, match="does not answer"):
            read(server.uri)


def of_server(documents: list[dict]) -> list[bytes]:
    return [bson.encode(document) for document in documents]


def test_mongodb_in_batches():
    with MongoServer(of_server(PLANTS)) as server:
        assert [document.value for document in read(server.uri)] == PLANTS
        assert server.commands.count("getMore") == 6


def test_mongodb_goes_on_behind_the_last_document():
    with MongoServer(of_server(PLANTS)) as server:
        server.hang_up_after = [1, 2, 1]
        assert [document.value for document in read(server.uri)] == PLANTS
        assert server.hang_up_after == []


def test_mongodb_one_bad_document_costs_no_other():
    documents = of_server(PLANTS[:6])
    invalid = bson.encode({"_id": PLANTS[2]["_id"], "latinName": "Rosa ??"})
    documents[2] = invalid.replace(b"??", b"\xff\xfe")
    # An inner value of a type that does not exist.
    broken = bson.encode({"_id": PLANTS[3]["_id"], "d": {"a": 1}})
    documents[3] = broken.replace(b"\x10a\x00", b"\x99a\x00")
    with MongoServer(documents) as server:
        server.hang_up_after = [1]
        found = read(server.uri)
    assert [bool(document.problem) for document in found] == [False] * 3 + [True] + [
        False
    ] * 2
    assert found[2].value["latinName"] == "Rosa \ufffd\ufffd"


def test_mongodb_errors_keep_the_password():
    for uri in (
        "mongodb://ana:se/cret@127.0.0.1:1/",
        "mongodb://ana:se?cret#@127.0.0.1:1/",
        "mongodb://ana:secret@:99999999/",
    ):
        with pytest.raises(UserError) as raised:
            read(uri)
        assert "cret" not in str(raised.value)
        assert raised.value.__cause__ is None
    assert "cret" not in source.describe("mongodb://ana:se/cret@db.example/?a=b")


def test_mongodb_refusal_and_emptiness():
    with MongoServer(of_server(PLANTS)) as server:
        server.refusal = {"code": 13, "errmsg": "not authorized: secret"}
        with pytest.raises(UserError, match=r"refused \(code 13\)") as raised:
            read(server.uri)
        assert "secret" not in str(raised.value)
    with (
        MongoServer([]) as server,
        pytest.raises(UserError, match="has no documents"),
    ):
        read(server.uri)


# MongoDB's error_codes.yml: MaxTimeMSExpired, CursorNotFound, and others by which a
# server gives up one read and not the collection.
@pytest.mark.parametrize("code", [50, 43, 133, 175, 237, 262, 11601])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_mongodb_goes_on_where_the_server_gave_a_read_up(code, batch):
    with MongoServer(of_server(PLANTS)) as server:
        server.failures = [(batch, code)] * 2
        assert [document.value for document in read(server.uri)] == PLANTS
        assert server.failures == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        *((13, "check user, password"), (18, "check user, password")),
        *((8000, "check user, password"), (292, "stopped with error 292: see the")),
        (237, "stopped with error 237: see the"),
    ],
)
def test_mongodb_errors_are_named_by_their_codes(code, said):
    with MongoServer(of_server(PLANTS)) as server:
        server.failures = [(0, code)] * 9  # more than are waited out
        with pytest.raises(UserError, match=said) as raised:
            read(server.uri)
    assert "secret" not in str(raised.value)


def test_mongodb_that_is_not_there(monkeypatch):
    monkeypatch.setattr(mongodb, "_SERVER_WAIT_MS", 200)
    tries = io.StringIO()
    handler = std_logging.StreamHandler(tries)
    std_logging.getLogger("absl").addHandler(handler)
    try:
        with pytest.raises(UserError, match="does not answer"):
            read("mongodb://127.0.0.1:1/")
    finally:
        std_logging.getLogger("absl").removeHandler(handler)
    # A server that was never there is not waited for.
    assert "connection lost" not in tries.getvalue()


def test_mongodb_that_falls_silent_is_asked_again(monkeypatch):
    monkeypatch.setattr(mongodb, "_SOCKET_WAIT_MS", 300)
    with MongoServer(of_server(PLANTS)) as server:
        server.silent_after = [0, 2, 1]
        assert [document.value for document in read(server.uri)] == PLANTS
        assert server.silent_after == []


def test_an_interrupt_does_not_wait_for_a_server_that_says_nothing(tmp_path):
    with MongoServer(of_server(PLANTS)) as server:
        server.silent_after = [2]
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "aplantida_jax.main"),
                *("--config=configs/dataset.py", f"--config.source.uri={server.uri}"),
                f"--config.data_dir={tmp_path}/data",
                "--config.source.batch_size=4",
            ],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.silent.wait(60)
            child.send_signal(signal.SIGINT)
            # Of the 300 seconds after which silence counts as a lost connection.
            _, said = child.communicate(timeout=30)
        finally:
            child.kill()
    assert child.returncode == 130
    assert said.endswith("interrupted; run the same command again to go on\n")
    assert "Traceback" not in said
    assert list(tmp_path.glob("data/*")) == []
