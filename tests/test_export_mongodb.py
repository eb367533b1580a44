"""The export from a real database server, which is killed and cut off.

The server is chosen in `database.py`; what such servers do not hold is tested with
`mongo_server.py`, byte by byte, in test_mongodb.py.
"""

import datetime
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import numpy as np
import pytest
from cutting_proxy import CuttingProxy
from database import Database, Server

from aplantida_jax import paths
from aplantida_jax.data import export_dataset, source
from aplantida_jax.data import mongodb as reader
from aplantida_jax.demo import full_size
from aplantida_jax.errors import UserError
from configs import dataset

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = 700
SIZES = np.full(650, 18)  # of classes; the other documents have no images


def config_for(root: Path, uri: str, name: str, batch_size: int = 10) -> Any:
    config = dataset.get_config()
    config.data_dir = str(root / "data")
    config.source.update({"uri": uri, "database": name, "batch_size": batch_size})
    config.dataset.min_images_per_species = 1
    return config


def exported(config: Any) -> dict[str, bytes]:
    directory = paths.export_dir(config)
    names = ("photos.jsonl", "classes.json", "quarantine.jsonl")
    return {name: (directory / name).read_bytes() for name in names}


def documents() -> Iterator[dict[str, Any]]:
    return full_size.documents(SIZES, DOCUMENTS, seed=5)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an export of the same documents from a dump."""
    root = tmp_path_factory.mktemp("undisturbed")
    dump = root / "plants.bson"
    dump.write_bytes(b"".join(map(bson.encode, documents())))
    config = config_for(root, str(dump), "")
    export_dataset.run(config, root)
    return exported(config)


def test_the_server_projects_and_sends_batches(tmp_path, mongodb):
    ids = [bson.ObjectId(b"%012d" % n) for n in range(25)]
    plants = [
        {"_id": i, "latinName": "Rosa canina", "notes": "x" * 99, "images": []}
        for i in ids
    ]
    mongodb.fill(random.Random(3).sample(plants, len(plants)))
    config = config_for(tmp_path, mongodb.uri, mongodb.name, batch_size=4)
    found = [document.value for document in source.documents(config.source)]
    # In the order of _id, without the field that nobody asked for.
    expected = [{"_id": i, "latinName": "Rosa canina", "images": []} for i in ids]
    assert found == expected


def filled(uri: str) -> str:
    """The name of the database that holds the documents."""
    name = "aplantida_killed"
    Database(uri, name).fill(documents())
    return name


def test_a_server_that_is_killed_and_comes_back(tmp_path, mongodb_process, undisturbed):
    server: Server = mongodb_process
    name = filled(server.uri)

    def kill() -> None:
        server.kill()
        back.start()

    back = threading.Timer(1.0, server.start)
    with CuttingProxy(server.port, [1_000_000], kill) as proxy:
        config = config_for(tmp_path, proxy.uri, name)
        export_dataset.run(config, tmp_path)
        back.join()
    assert proxy.cuts == 1
    assert exported(config) == undisturbed


def test_a_connection_that_breaks_twenty_times(tmp_path, mongodb_process, undisturbed):
    name = filled(mongodb_process.uri)
    generator = random.Random(11)
    cut_after = [generator.randrange(1, 250_000) for _ in range(20)]
    with CuttingProxy(mongodb_process.port, cut_after) as proxy:
        config = config_for(tmp_path, proxy.uri, name)
        export_dataset.run(config, tmp_path)
    assert proxy.cuts == 20
    assert exported(config) == undisturbed


def test_ids_of_every_type_that_the_server_stores(tmp_path, mongodb_process):
    # In MongoDB's order of types (manual, "Comparison/Sort Order").
    ids = [
        *(None, -5, 0.5, 1, bson.Int64(2**40), "", "a", "b", {}, {"a": 1}),
        *(b"a", bson.ObjectId(bytes(12)), bson.ObjectId(b"z" * 12), False, True),
        *(datetime.datetime(1960, 1, 1), datetime.datetime(2020, 1, 1)),
        bson.Timestamp(1, 1),
    ]
    # Large beside what the driver and the server say to each other to connect.
    plants = [{"_id": i, "latinName": "Rosa canina" * 1_000} for i in ids]
    Database(mongodb_process.uri, "ids").fill(random.Random(2).sample(plants, len(ids)))
    with CuttingProxy(mongodb_process.port, [15_000] * 25) as proxy:
        config = config_for(tmp_path, proxy.uri, "ids", batch_size=1)
        found = [document.value for document in source.documents(config.source)]
    assert proxy.cuts >= 10
    assert found == plants


def test_a_server_that_stays_away(tmp_path, mongodb_process, monkeypatch):
    name = filled(mongodb_process.uri)
    monkeypatch.setattr(reader, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(reader, "_SERVER_WAIT_MS", 300)
    with CuttingProxy(mongodb_process.port, [1_000_000], mongodb_process.kill) as proxy:
        config = config_for(tmp_path, proxy.uri, name)
        with pytest.raises(UserError, match="does not answer"):
            export_dataset.run(config, tmp_path)
    assert not paths.export_dir(config).exists()
    assert list((tmp_path / "data").iterdir()) == []


def test_an_export_that_is_killed_five_times(tmp_path, mongodb, undisturbed):
    mongodb.fill(documents())
    config = config_for(tmp_path, mongodb.uri, mongodb.name)
    command = [
        *(sys.executable, "-m", "aplantida_jax.main", "--config=configs/dataset.py"),
        f"--config.data_dir={config.data_dir}",
        f"--config.source.uri={mongodb.uri}",
        f"--config.source.database={mongodb.name}",
        "--config.source.batch_size=10",
        "--config.dataset.min_images_per_species=1",
    ]
    data = Path(config.data_dir)
    generator = random.Random(7)
    for _ in range(5):
        before = set(data.glob(".export.*"))
        child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        while child.poll() is None and set(data.glob(".export.*")) <= before:
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.5))
        child.kill()
        child.wait()
        if paths.export_dir(config).exists():
            assert exported(config) == undisturbed
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    assert exported(config) == undisturbed
    assert [path.name for path in data.iterdir()] == ["export"]
