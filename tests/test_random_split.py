"""The plan's two failures, with numbers: random splits, and a label map for each.

Generated plants as collections have them: several photos of one individual, the same
file twice, and smaller copies of it. The model memorises: it answers with the class of
the most similar training photo, compared as 16 x 16 thumbnails.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_collection import config_for, document
from split_collection import near_copy, read, stats

from aplantida_jax import paths
from aplantida_jax.data import decode, download, export_dataset, labels, split
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.records import Photo
from aplantida_jax.demo.draw import draw
from aplantida_jax.demo.species import SPECIES
from aplantida_jax.errors import UserError
from aplantida_jax.train import setup

CLASSES, OBSERVATIONS = 24, 6


@dataclasses.dataclass(frozen=True)
class Learnt:
    """Photos of one split: float32 [n, features], class ids int64 [n]."""

    thumbnails: np.ndarray
    class_id: np.ndarray

    def answer(self, thumbnails: np.ndarray) -> np.ndarray:
        """The class of the nearest photo: int64 [m]."""
        squares = (self.thumbnails**2).sum(1)
        distance = squares - 2 * thumbnails @ self.thumbnails.T
        return self.class_id[distance.argmin(1)]


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Any:
    """Exported and downloaded: of every individual two photos, each with two copies."""
    root = tmp_path_factory.mktemp("plants")
    (root / "images").mkdir()
    documents = []
    for number, species in enumerate(SPECIES[:CLASSES]):
        images = []
        for observation in range(OBSERVATIONS):
            for photo in (1, 2):
                name = f"images/{number}_{observation}_{photo}"
                seen = {"license": "cc0", "observationId": f"{number}-{observation}"}
                data = jpeg_of(number, observation, photo)
                for file, own in (
                    (f"{name}.jpg", data),
                    (f"{name}_same.jpg", data),
                    (f"{name}_near.jpg", near_copy(data, 60)),
                ):
                    (root / file).write_bytes(own)
                    images.append({"url": file, **seen})
                    # What was taken over from elsewhere belongs to no observation.
                    seen = {"license": "cc0"}
        found = document(species.latin_name, [])
        documents.append({**found, "images": images})
    config = config_for(root, documents)
    export_dataset.run(config, root)
    download.run(config, root)
    return config


def jpeg_of(species: int, observation: int, photo: int) -> bytes:
    image = draw(
        SPECIES[species].traits,
        seed=1,
        species=species,
        observation=observation,
        photo=photo,
        image_size=128,
    )
    return decode.encode_jpeg(image, 90)


def split_by(collection: Any, method: str, directory: Path) -> Any:
    """The collection, split by the real stage into `directory`."""
    config = collection.copy_and_resolve_references()
    config.split.method = method
    config.data_dir = str(directory)
    config.download.cache_dir = str(paths.cache_dir(collection))
    for name in ("export", "download"):
        (directory / name).symlink_to(Path(collection.data_dir) / name)
    split.run(config, directory)
    return config


def learnt(config: Any, photos: Sequence[Photo]) -> Learnt:
    """What the split's photos look like, from the cache."""
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    rows = []
    for photo in photos:
        data = cache.get(photo.image_id)
        assert data is not None
        image = decode.decode(data, max_pixels=10**7)
        small = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA)
        rows.append(small.astype(np.float32).ravel() / 255)
    cache.close()
    return Learnt(np.array(rows), np.array([photo.class_id for photo in photos]))


@pytest.fixture(scope="module")
def splits(collection, tmp_path_factory) -> dict[str, Any]:
    """Method -> configuration, after the stage ran."""
    return {
        method: split_by(collection, method, tmp_path_factory.mktemp(method))
        for method in ("random", "grouped")
    }


@pytest.fixture(scope="module")
def scores(splits) -> dict[str, float]:
    """Method -> top-1 on val of the model that memorised train."""
    found = {}
    for method, config in splits.items():
        photos = read(config)
        train, val = learnt(config, photos["train"]), learnt(config, photos["val"])
        assert (train.answer(train.thumbnails) == train.class_id).mean() == 1
        found[method] = float((train.answer(val.thumbnails) == val.class_id).mean())
    return found


def test_memorising_pays_on_a_random_split_only(splits, scores):
    leaks = {method: stats(config)["leakage"] for method, config in splits.items()}
    print(f"\nval top-1 of a model that memorises: {scores}; leaks: {leaks}")
    assert scores["random"] > 0.85
    assert scores["grouped"] < 0.3
    # Each kind of leak that makes the difference was counted by the stage.
    for kind in ("groups", "sha256", "observations", "near_duplicates"):
        assert leaks["random"][kind] > 30
    assert set(leaks["grouped"].values()) == {0}


def own_map(photos: Sequence[Photo]) -> dict[str, int]:
    """A label map as a program builds it that looks at one split only."""
    names = dict.fromkeys(photo.latin_name for photo in photos)
    return {name: index for index, name in enumerate(names)}


def test_a_label_map_for_each_split_is_the_plans_collapse(splits, scores):
    config = splits["random"]
    photos = read(config)
    train, val = learnt(config, photos["train"]), learnt(config, photos["val"])
    names = [t.latin_name for t in labels.read(paths.classes(config)).taxa]
    answers = [names[class_id] for class_id in train.answer(val.thumbnails)]
    # The network's outputs are numbered as in train, val's labels as in val.
    trained, scored = own_map(photos["train"]), own_map(photos["val"])
    outputs = np.array([trained[name] for name in answers])
    targets = np.array([scored[photo.latin_name] for photo in photos["val"]])
    collapsed = float((outputs == targets).mean())
    on_train = [trained[p.latin_name] for p in photos["train"]]
    memorised = np.array(on_train) == [
        trained[names[class_id]] for class_id in train.answer(train.thumbnails)
    ]
    print(
        f"\none label map: train {memorised.mean():.3f}, val {scores['random']:.3f}; "
        f"one for each split: train {memorised.mean():.3f}, val {collapsed:.3f}; "
        f"chance {1 / CLASSES:.3f} (the plan: train 0.986, val 0.0003)"
    )
    assert memorised.mean() > 0.98
    assert scores["random"] > 0.85
    assert collapsed < 4 / CLASSES


def test_a_split_for_another_label_map_is_refused(collection, tmp_path):
    config = split_by(collection, "grouped", tmp_path)
    (tmp_path / "export").unlink()
    label_map = labels.read(paths.classes(collection))
    renumbered = [
        dataclasses.replace(taxon, class_id=index)
        for index, taxon in enumerate(reversed(label_map.taxa))
    ]
    labels.write(paths.classes(config), labels.LabelMap(tuple(renumbered)))
    with pytest.raises(UserError, match=r"label map .* run stage 'split' again"):
        setup.load_data(config)
    told = json.loads(paths.split_stats(config).read_text())
    assert told["label_map"] == label_map.fingerprint
