import json
import random
import subprocess
import sys
import time
from pathlib import Path

import bson
import pytest
from bson import json_util
from mongo_server import MongoServer

from aplantida_jax import files, paths
from aplantida_jax.data import export_dataset, labels, records
from aplantida_jax.errors import UserError
from configs import dataset

ROOT = Path(__file__).resolve().parents[1]


def image(number: int, **fields):
    url = f"https://example.org/{number}.jpg"
    return {"url": url, "source": "s", "license": "CC BY 4.0", **fields}


def plant(identifier: str, name: str, images: list, **fields):
    return {"_id": identifier, "latinName": name, "images": images, **fields}


DOCUMENTS = [
    plant(
        "b2",
        "quercus\u00a0ROBUR L.",
        [image(1), image(2), image(3, license="cc-by-nc"), image(4, license="?")],
        commonName="Carballo",
        distribution={"countries": ["DE", "ES"]},
    ),
    plant(
        "a1",
        "Quercus robur",
        [image(2, attribution="first"), image(5), image(6, width=50, height=80)],
        commonName="Roble",
        family="Fagaceae",
        distribution={"countries": ["FR"]},
    ),
    plant("c3", "Mentha x piperita", [image(7), image(8), image(9)]),
    plant("d4", "Rara avis", [image(10)]),
    plant("e5", "Nuda planta", []),
    plant("f6", "Vetita planta", [image(11, license=None)]),
    plant("g7", "Mentha ×piperita", [image(7)]),
    plant("h8", "Salvia rosmarinus", [image(20), image(21), image(22)]),
    plant("i9", "Rosmarinus officinalis", [image(23)]),
    {"latinName": "Sine numero", "images": [image(12)]},
    {"_id": "z", "images": "none"},
]


def config_for(root: Path, documents=DOCUMENTS, **changes):
    config = dataset.get_config()
    config.data_dir = str(root / "data")
    config.dataset.update({"min_images_per_species": 3, "hold_out_rare": False})
    config.dataset.update(changes)
    dump = root / "plants.jsonl"
    if documents is not None:
        dump.write_text("\n".join(json_util.dumps(d) for d in documents) + "\n")
    config.source.uri = str(dump)
    return config


def exported(config) -> dict[str, bytes]:
    directory = paths.export_dir(config)
    return {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if path.name != "manifest.json"
    }


def metrics(config) -> dict:
    path = paths.export_dir(config) / "manifest.json"
    return json.loads(path.read_text())["metrics"]


def quarantined(config) -> list[dict]:
    path = paths.export_dir(config) / "quarantine.jsonl"
    return list(files.read_jsonl(path, made_by="export_dataset"))


def photos(config) -> list[records.Photo]:
    return list(records.read_photos(paths.photos(config), made_by="export_dataset"))


def test_classes_and_photos(tmp_path):
    config = config_for(tmp_path)
    export_dataset.run(config, tmp_path)
    label_map = labels.read(paths.classes(config))
    assert [taxon.latin_name for taxon in label_map.taxa] == [
        *("Mentha × piperita", "Quercus robur", "Salvia rosmarinus")
    ]
    oak = label_map.taxa[1]
    # The lowest _id names it; countries are united.
    assert (oak.common_name, oak.family, oak.genus) == ("Roble", "Fagaceae", "Quercus")
    assert (oak.countries, oak.regions) == (("DE", "ES", "FR"), ("EU_NORTH", "EU_SW"))
    found = photos(config)
    assert [photo.image_id for photo in found] == sorted(p.image_id for p in found)
    numbers = {photo.url.split("/")[-1]: photo for photo in found}
    names = {f"{n}.jpg" for n in (1, 2, 5, 7, 8, 9, 20, 21, 22)}
    assert set(numbers) == names
    # One URL in two documents is one image, of the lowest _id.
    assert (numbers["2.jpg"].plant_id, numbers["2.jpg"].attribution) == ("a1", "first")
    assert numbers["2.jpg"].countries == ("DE", "ES", "FR")
    assert numbers["7.jpg"].class_id == 0


def test_everything_read_is_accounted_for(tmp_path):
    config = config_for(tmp_path)
    export_dataset.run(config, tmp_path)
    found = metrics(config)
    assert found["documents_read"] == len(DOCUMENTS) == 11
    assert found["documents_exported"] + found["documents_quarantined"] == 11
    rows = quarantined(config)
    assert {row["_id"]: row["reason"] for row in rows if row["quarantined"]} == {
        "": "no_id",
        "d4": "rare_class",
        "e5": "no_images",
        "f6": "no_usable_image",
        "i9": "rare_class",
        "z": "no_latin_name",
    }
    assert found["documents_quarantined"] == 6
    some = {
        row["_id"]: row["rejected_images"] for row in rows if row["rejected_images"]
    }
    assert some == {
        "a1": {"small": 1},
        "b2": {"licence_denied": 1, "licence_unknown": 1},
        "f6": {"licence_unknown": 1},
    }
    in_photos = found["photos"] + found["duplicate_urls"]
    in_photos += found["images_in_rare_classes"]
    assert in_photos + sum(found["images_rejected"].values()) == found["images_read"]
    assert found["licences"] == {"CC-BY-4.0": 9}


def test_the_order_of_documents_does_not_matter(tmp_path):
    results = []
    for seed in range(4):
        root = tmp_path / str(seed)
        root.mkdir()
        documents = list(DOCUMENTS)
        random.Random(seed).shuffle(documents)
        config = config_for(root, documents)
        export_dataset.run(config, root)
        found = exported(config)
        # These tell where in the dump a document was.
        found.pop("quarantine.jsonl")
        found.pop("schema.json")
        results.append(found)
    assert all(result == results[0] for result in results)


def test_sources_give_the_same(tmp_path):
    expected = None
    readable = [d for d in DOCUMENTS if "_id" in d]
    for name in ("a.jsonl", "a.json", "a.bson"):
        root = tmp_path / name
        root.mkdir()
        config = config_for(root, None)
        dump = root / name
        config.source.uri = str(dump)
        if name == "a.bson":
            dump.write_bytes(b"".join(map(bson.encode, readable)))
        elif name == "a.json":
            dump.write_text(json_util.dumps(readable))
        else:
            dump.write_text("\n".join(map(json_util.dumps, readable)))
        export_dataset.run(config, root)
        found = (exported(config)["photos.jsonl"], exported(config)["classes.json"])
        assert expected in (None, found)
        expected = found
    root = tmp_path / "mongo"
    root.mkdir()
    config = config_for(root, None)
    ordered = sorted(readable, key=lambda d: d["_id"])
    with MongoServer([bson.encode(d) for d in ordered]) as server:
        config.source.uri = server.uri
        export_dataset.run(config, root)
        assert exported(config)["photos.jsonl"] == expected[0]
        # Nothing tells whether a database has changed: it is read again.
        reads = server.commands.count("find")
        export_dataset.run(config, root)
        assert server.commands.count("find") == 2 * reads
    assert exported(config)["photos.jsonl"] == expected[0]


def test_the_quarantine_is_in_the_order_of_ids(tmp_path):
    documents = [plant(f"{n:03}", "Rosa canina", [image(n)]) for n in range(30)]
    for number in range(0, 30, 3):
        documents[number]["images"] = []
        documents[number + 1]["images"].append(image(99, license="?"))
        documents[number + 2]["latinName"] = "Rara avis"
        documents[number + 2]["images"] = [image(77)]
    random.Random(3).shuffle(documents)
    config = config_for(tmp_path, documents)
    export_dataset.run(config, tmp_path)
    assert [row["_id"] for row in quarantined(config)] == [f"{n:03}" for n in range(30)]


@pytest.mark.parametrize("name", ["plants.json", "plants.jsonl", "plants.bson"])
def test_a_dump_without_documents_says_so(tmp_path, name):
    config = config_for(tmp_path, None)
    config.source.uri = str(tmp_path / name)
    (tmp_path / name).write_text("[]\n" if name == "plants.json" else "")
    with pytest.raises(UserError, match=rf"{name} holds no documents"):
        export_dataset.run(config, tmp_path)
    assert not paths.export_dir(config).exists()


def test_a_second_run_has_nothing_to_do(tmp_path):
    config = config_for(tmp_path)
    export_dataset.run(config, tmp_path)
    path = paths.export_dir(config) / "manifest.json"
    before = path.stat()
    export_dataset.run(config, tmp_path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    with open(config.source.uri, "a") as dump:
        dump.write(json_util.dumps(plant("j", "Rosa alba", [image(n) for n in (31,)])))
    export_dataset.run(config, tmp_path)
    assert metrics(config)["documents_read"] == 12


def test_a_dry_run_writes_nothing(tmp_path):
    config = config_for(tmp_path)
    config.dry_run = True
    export_dataset.run(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["plants.jsonl"]


def test_no_class_left_is_an_error_that_keeps_what_was_there(tmp_path):
    config = config_for(tmp_path)
    export_dataset.run(config, tmp_path)
    before = exported(config)
    config.dataset.min_images_per_species = 100
    with pytest.raises(UserError, match="no plant of 11 documents passes"):
        export_dataset.run(config, tmp_path)
    assert exported(config) == before


def test_killed_it_leaves_what_was_there_and_a_rerun_completes(tmp_path):
    documents = [
        plant(
            str(n),
            f"Genus species{chr(97 + n % 20)}",
            [image(k) for k in range(n, n + 9)],
        )
        for n in range(3000)
    ]
    config = config_for(tmp_path, documents)
    command = [
        *(sys.executable, "-m", "aplantida_jax.main", "--config=configs/dataset.py"),
        f"--config.data_dir={config.data_dir}",
        f"--config.source.uri={config.source.uri}",
        "--config.dataset.min_images_per_species=3",
    ]
    for delay in (0.4, 0.8):
        child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        child.kill()
        child.wait()
        if paths.export_dir(config).exists():
            assert len(photos(config)) == metrics(config)["photos"]
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    again = exported(config)
    fresh = config_for(tmp_path / "fresh", None)
    fresh.source.uri = config.source.uri
    export_dataset.run(fresh, tmp_path)
    assert exported(fresh) == again
    leftovers = [p for p in Path(config.data_dir).iterdir() if p.name.startswith(".")]
    assert leftovers == []
