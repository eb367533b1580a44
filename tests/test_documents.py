"""The dump and the images, read without the code that wrote them."""

import collections
import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aplantida_jax import files
from aplantida_jax.data import licences, names
from aplantida_jax.demo import generate as stage
from aplantida_jax.demo.collection import long_tail

SPECIES, IMAGES = 16, 500


class Written:
    """A collection on disk."""

    def __init__(self, root: Path, facts: dict[str, Any]):
        self.root = root
        self.facts = facts
        lines = (root / "plants.jsonl").read_text(encoding="utf-8").splitlines()
        self.documents = [json.loads(line) for line in lines]
        self.fit = [
            document
            for document in self.documents
            if isinstance(document.get("latinName"), str)
            and isinstance(document["images"], list)
            and document["images"]
        ]
        self.of_species: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
        for document in self.fit:
            name = names.normalise(document["latinName"])
            self.of_species[name] += document["images"]
        self.images = [image for own in self.of_species.values() for image in own]

    def data(self, url: str) -> bytes:
        return (self.root / url).read_bytes()

    def decode(self, url: str) -> np.ndarray | None:
        data = np.frombuffer(self.data(url), np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    root = tmp_path_factory.mktemp("raw")
    facts = stage.generate(
        root, seed=3, species=SPECIES, images=IMAGES, image_size=48, workers=1
    )
    return Written(root, facts)


def test_facts_are_what_lies_beside_the_dump(written):
    assert files.read_json(written.root / "facts.json", made_by="") == written.facts
    digest = files.sha256_file(written.root / "plants.jsonl")
    assert written.facts["dump_sha256"] == digest


def test_counts_agree_with_the_dump(written):
    facts = written.facts
    assert facts["documents"] == len(written.documents)
    assert facts["species"] == len(written.of_species) == SPECIES
    assert facts["images"] == len(written.images) == IMAGES
    found = {name: len(images) for name, images in written.of_species.items()}
    assert facts["images_per_species"] == found
    observations = {image["observationId"] for image in written.images}
    assert facts["observations"] == len(observations)
    assert len({image["url"] for image in written.images}) == IMAGES


def test_unfit_documents_are_the_ones_stated(written):
    unfit = written.facts["unfit_documents"]
    by_id = {document["_id"]["$oid"]: document for document in written.documents}
    assert len(by_id) == len(written.documents)
    assert all(len(identifier) == 24 for identifier in by_id)
    assert "latinName" not in by_id[unfit["no_latin_name"]]
    assert isinstance(by_id[unfit["images_not_a_list"]]["images"], dict)
    assert by_id[unfit["no_images"]]["images"] == []
    assert len(written.fit) == len(written.documents) - 3
    lost = [
        *by_id[unfit["no_latin_name"]]["images"],
        *by_id[unfit["images_not_a_list"]]["images"].values(),
    ]
    assert written.facts["images_in_unfit_documents"] == len(lost)
    assert all((written.root / image["url"]).exists() for image in lost)


def test_a_species_is_given_under_two_spellings(written):
    spellings = collections.defaultdict(set)
    for document in written.fit:
        spellings[names.normalise(document["latinName"])].add(document["latinName"])
    twice = [name for name, found in spellings.items() if len(found) == 2]
    assert twice == written.facts["spelled_twice"] != []


def test_a_size_is_not_a_number(written):
    odd = [image["url"] for image in written.images if image["size"] != "original"]
    assert odd == written.facts["nan_sizes"]
    assert len(odd) == 1


def test_the_tail_is_long_and_its_end_is_spotless(written):
    counts = sorted(map(len, written.of_species.values()), reverse=True)
    assert counts[-4:] == [3, 2, 1, 1]
    assert counts[-5] >= 4
    assert counts[0] > 3 * counts[-6]
    rare = [images for images in written.of_species.values() if len(images) < 4]
    for images in rare:
        assert len({image["observationId"] for image in images}) == len(images)
        for image in images:
            spdx = licences.spdx(image["license"])
            assert spdx in licences.PROFILES["production"]
            assert written.decode(image["url"]) is not None


def test_the_default_collection_has_24_classes_of_50_images():
    counts = long_tail(36, 2400)
    assert sum(counts) == 2400
    assert 150 <= counts[0] <= 170
    assert sum(count >= 50 for count in counts) == 24
    assert counts[-4:] == [3, 2, 1, 1]
    assert min(counts[:-4]) >= 12
    assert counts == sorted(counts, reverse=True)


def test_licences_agree_with_the_licence_table(written):
    found = collections.Counter()
    for image in written.images:
        spdx = licences.spdx(image["license"])
        kind = "permissive" if spdx in licences.PROFILES["production"] else "unknown"
        found["noncommercial" if spdx and "-NC" in spdx else kind] += 1
    assert found == written.facts["licences"]
    assert 0.03 < found["noncommercial"] / IMAGES < 0.1
    assert 0.005 < found["unknown"] / IMAGES < 0.04


def test_photos_of_an_observation_agree_on_who_and_when(written):
    seen = collections.defaultdict(set)
    sizes: collections.Counter = collections.Counter()
    for name, images in written.of_species.items():
        for image in images:
            about = (name, image["attribution"], image["date"]["$date"])
            seen[image["observationId"]].add(about)
            sizes[image["observationId"]] += 1
    assert all(len(about) == 1 for about in seen.values())
    assert 0.15 < np.mean([count > 1 for count in sizes.values()]) < 0.4


def test_every_file_exists_but_the_missing_ones(written):
    missing = [
        i["url"] for i in written.images if not (written.root / i["url"]).exists()
    ]
    assert missing == written.facts["faults"]["missing"] != []


def test_broken_files_are_broken_as_stated(written):
    faults = written.facts["faults"]
    assert {len(urls) for urls in faults.values()} == {1}
    for url in faults["empty"]:
        assert written.data(url) == b""
    for url in faults["html"]:
        assert written.data(url).startswith(b"<!DOCTYPE html>")
        assert written.decode(url) is None
    for url in faults["truncated"]:
        assert written.data(url).startswith(b"\xff\xd8")
        assert not written.data(url).endswith(b"\xff\xd9")
    for url in faults["thumbnail"]:
        assert max(written.decode(url).shape) <= 60


def test_all_other_files_are_whole_pictures(written):
    broken = {url for urls in written.facts["faults"].values() for url in urls}
    for image in written.images:
        if image["url"] not in broken:
            assert written.data(image["url"]).endswith(b"\xff\xd9")
            assert min(written.decode(image["url"]).shape[:2]) >= 36


def test_exact_duplicates_are_all_files_with_equal_bytes(written):
    missing = set(written.facts["faults"]["missing"])
    same = collections.defaultdict(set)
    for image in written.images:
        if image["url"] not in missing:
            digest = hashlib.sha256(written.data(image["url"])).hexdigest()
            same[digest].add(image["url"])
    groups = {frozenset(urls) for urls in same.values() if len(urls) > 1}
    stated = {frozenset(pair) for pair in written.facts["exact_duplicates"]}
    assert groups == stated
    assert len(stated) == 10


def test_some_duplicates_are_in_another_observation(written):
    observation = {image["url"]: image["observationId"] for image in written.images}
    pairs = written.facts["exact_duplicates"] + written.facts["near_duplicates"]
    apart = [observation[url] != observation[of] for url, of in pairs]
    assert 0 < sum(apart) < len(apart)


def test_near_duplicates_look_the_same_and_are_not_the_same_bytes(written):
    def small(url):
        image = cv2.resize(written.decode(url), (16, 16), interpolation=cv2.INTER_AREA)
        image = image.astype(float)
        return image / image.mean()  # some are brightened

    pairs = written.facts["near_duplicates"]
    assert len(pairs) == 15
    for i, (url, of) in enumerate(pairs):
        assert written.data(url) != written.data(of)
        other = pairs[i - 1][1]
        near = np.abs(small(url) - small(of)).mean()
        assert near < 0.12
        assert near < 0.5 * np.abs(small(url) - small(other)).mean()
