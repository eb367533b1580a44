"""A small real dataset on disk for tests that train or evaluate.

Six classes of coloured shapes as JPEGs in a real cache, with the files that the data
stages would leave; the end-to-end test runs those stages themselves.
"""

import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import database
import numpy as np
import pytest
import training_processes
from misbehaving_server import MisbehavingServer

from aplantida_jax import files, paths
from aplantida_jax.data import labels, records, regions
from aplantida_jax.data.cache import Cache
from configs import student_distill, teacher_global

CLASSES = 6
PER_CLASS = {"train": 16, "val": 4, "test": 4}
_COUNTRIES = (("ES",), ("DE",), ("ES", "DE"), ("PT",), ("PL",), ("FR", "SE"))


def draw(class_id: int, rng: np.random.Generator) -> np.ndarray:
    """A disc or a square of the class's colour on noise, uint8 [96, 120, 3]."""
    image = rng.integers(60, 120, (96, 120, 3)).astype(np.uint8)
    colour = tuple(int(c) for c in np.eye(3)[class_id % 3] * 180 + 40)
    centre = tuple(int(v) for v in rng.integers(36, 60, 2))
    radius = int(rng.integers(18, 30))
    if class_id < 3:
        cv2.circle(image, centre, radius, colour, -1)
    else:
        low = (centre[0] - radius, centre[1] - radius)
        high = (centre[0] + radius, centre[1] + radius)
        cv2.rectangle(image, low, high, colour, -1)
    return image


def _label_map() -> labels.LabelMap:
    return labels.LabelMap(
        tuple(
            labels.Taxon(
                class_id=i,
                latin_name=f"Genus{'ab'[i // 3]} species{i}",
                common_name=f"planta {i}",
                common_name_en=f"plant {i}",
                genus=f"Genus{'ab'[i // 3]}",
                family="Familia",
                countries=_COUNTRIES[i],
                regions=regions.regions_of(_COUNTRIES[i]),
            )
            for i in range(CLASSES)
        )
    )


def _photo(
    taxon: labels.Taxon, split: str, number: int, cache: Cache, rng: Any
) -> records.Photo:
    url = f"images/{taxon.class_id}-{split}-{number}.jpg"
    image_id = records.image_id_of(url)
    encoded = cv2.imencode(".jpg", draw(taxon.class_id, rng)[..., ::-1])[1]
    cache.put(image_id, encoded.tobytes())
    return records.Photo(
        image_id=image_id,
        plant_id=f"{taxon.class_id:024x}",
        latin_name=taxon.latin_name,
        class_id=taxon.class_id,
        url=url,
        source="test",
        licence="CC-BY-4.0",
        licence_raw="cc-by",
        attribution=f"author {number}",
        countries=taxon.countries,
        regions=taxon.regions,
        width=120,
        height=96,
        group_id=image_id,
    )


def small(config: Any, root: Path) -> Any:
    """Makes a demo configuration small enough for a test, under `root`."""
    config.data_dir = str(root / "data")
    config.runs_dir = str(root / "workdirs")
    config.dist_dir = str(root / "dist")
    config.model.image_size = 32
    config.input.resize = 36
    config.train.update({"batch_size": 16, "epochs": 3, "patience": 9, "log_every": 2})
    config.train.warmup_epochs = 0.5
    config.eval.batch_size = 16
    return config


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Where the small dataset lies, and configurations that use it."""

    root: Path
    label_map: labels.LabelMap

    def teacher(self) -> Any:
        return small(teacher_global.get_config("demo"), self.root)

    def student(self) -> Any:
        return small(student_distill.get_config("demo"), self.root)


def write_dataset(root: Path) -> Dataset:
    """Writes label map, cache, splits and statistics under `root`."""
    dataset = Dataset(root, _label_map())
    config = dataset.teacher()
    labels.write(paths.classes(config), dataset.label_map)
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    rng = np.random.default_rng(7)
    for region in ("", "EU_SW"):
        wanted = regions.parse(region)
        for split, count in PER_CLASS.items():
            photos = [
                _photo(taxon, split, number, cache, rng)
                for taxon in dataset.label_map.taxa
                if not wanted or set(wanted) & set(taxon.regions)
                for number in range(count)
            ]
            photos.sort(key=lambda photo: photo.image_id)
            records.write_photos(paths.split_file(config, split, region), photos)
        stats = {
            "label_map": dataset.label_map.fingerprint,
            "splits": {
                split: {"licences": {"CC-BY-4.0": count}}
                for split, count in PER_CLASS.items()
            },
        }
        files.write_json(paths.split_stats(config, region), stats)
    cache.close()
    return dataset


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    """An HTTP server on loopback; a test gives it images, and faults."""
    with MisbehavingServer() as running:
        yield running


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_dataset(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The small dataset with a teacher trained on it; read-only for the tests."""
    from aplantida_jax.train import loop

    dataset = write_dataset(tmp_path_factory.mktemp("trained"))
    config = dataset.teacher()
    config.train.update({"epochs": 12, "learning_rate": 3e-3, "patience": 99})
    loop.run(config, paths.run_dir(config, config.name))
    return dataset


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The small dataset that processes of their own train on; see training_processes.

    Each in a working directory of its own, all with one compilation cache.
    """
    return write_dataset(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="session")
def undisturbed(processes: Dataset) -> Path:
    """The working directory of a run in one process, on one device."""
    workdir = processes.root / "undisturbed"
    code, said = training_processes.finished(
        training_processes.start(processes.root, workdir)
    )
    assert code == 0, said
    return workdir


def pytest_report_header() -> str:
    return f"database server: {database.description()}"


@pytest.fixture(scope="session")
def mongodb_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database server that all tests share."""
    database.need_server()
    if database.address():
        yield database.address()
        return
    server = database.Server(tmp_path_factory.mktemp("mongodb"))
    yield server.uri
    server.kill()


@pytest.fixture
def mongodb(mongodb_uri: str) -> Iterator[database.Database]:
    """A database of the test's own, dropped after it."""
    own = database.Database(mongodb_uri, f"aplantida_{uuid.uuid4().hex}")
    yield own
    own.drop()


@pytest.fixture
def mongodb_process(tmp_path: Path) -> Iterator[database.Server]:
    """A server of the test's own, to be killed and started again."""
    if not database.program():
        database.need_server()
        pytest.skip("the database server that the address names cannot be killed")
    server = database.Server(tmp_path / "mongodb")
    yield server
    server.kill()
