"""Documents that disagree about an image: about its licence, or about its plant."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from small_collection import config_for

from aplantida_jax import files, paths
from aplantida_jax.data import conflicts, export_dataset, licences

A, B, C = (f"https://example.org/{name}.jpg" for name in "abc")


def plant(identifier: str, name: str, *images: tuple[str, Any]) -> dict[str, Any]:
    """A document with images of (URL, licence)."""
    listed = [
        {"url": url, "license": raw, "attribution": identifier} for url, raw in images
    ]
    return {"_id": identifier, "latinName": name, "images": listed}


def exported(root: Path, *documents: dict[str, Any], profile: str = "production"):
    """(URL -> photo, _id -> quarantine line, metrics) of an export."""
    config = config_for(root, documents)
    config.dataset.licence_profile = profile
    export_dataset.run(config, root)
    directory = paths.export_dir(config)
    photos = files.read_jsonl(paths.photos(config), made_by="")
    rows = files.read_jsonl(directory / "quarantine.jsonl", made_by="")
    told = json.loads((directory / "manifest.json").read_text())["metrics"]
    assert told["documents_exported"] + told["documents_quarantined"] == len(documents)
    assert told["images_read"] == sum(len(d["images"]) for d in documents)
    assert told["images_read"] == (
        told["photos"]
        + told["duplicate_urls"]
        + told["images_in_rare_classes"]
        + sum(told["images_rejected"].values())
    )
    by_url = {photo["url"]: photo for photo in photos}
    return by_url, {row["_id"]: row for row in rows}, told


@pytest.mark.parametrize("denial", ["cc-by-nc", "all rights reserved", "?", None, 5])
@pytest.mark.parametrize("order", [1, -1])
def test_one_that_denies_an_image_outweighs_all_that_admit_it(tmp_path, denial, order):
    documents = [
        plant("1", "Rosa canina", (A, "cc0"), (B, "cc0")),
        plant("2", "Rosa canina", (A, "cc-by"), (C, "cc-by")),
        plant("3", "Rosa alba", (A, denial)),
    ]
    photos, quarantine, told = exported(tmp_path, *documents[::order])
    assert set(photos) == {B, C}
    reason = "licence_denied" if denial == "cc-by-nc" else "licence_unknown"
    assert told["images_rejected"] == {reason: 1, "licence_conflict": 2}
    assert {i: row["rejected_images"] for i, row in quarantine.items()} == {
        "1": {"licence_conflict": 1},
        "2": {"licence_conflict": 1},
        "3": {reason: 1},
    }
    assert not quarantine["1"]["quarantined"]


def test_a_document_may_contradict_itself(tmp_path):
    photos, _, told = exported(
        tmp_path, plant("1", "Rosa canina", (A, "cc0"), (A, "cc-by-nd"), (B, "cc0"))
    )
    assert set(photos) == {B}
    assert told["images_rejected"] == {"licence_denied": 1, "licence_conflict": 1}


def test_a_document_that_loses_every_image_is_quarantined(tmp_path):
    _, quarantine, told = exported(
        tmp_path,
        plant("1", "Rosa canina", (A, "cc0"), (A, "cc0")),
        plant("2", "Rosa alba", (A, "cc-by-nc"), (B, "cc0")),
        plant("3", "Rosa canina", (C, "cc0")),
    )
    assert told["documents_quarantined"] == 1
    row = quarantine["1"]
    assert (row["quarantined"], row["reason"]) == (True, "no_usable_image")
    assert row["rejected_images"] == {"licence_conflict": 2}


@pytest.mark.parametrize("order", [1, -1])
def test_of_admitted_licences_the_strictest_counts(tmp_path, order):
    documents = [
        plant("1", "Rosa canina", (A, "cc0"), (B, "cc-by-sa"), (C, "cc-by 4.0")),
        plant("2", "Rosa canina", (A, "cc-by-sa"), (B, "cc-by"), (C, "cc-by 3.0")),
        plant("3", "Rosa canina", (A, "cc-by")),
    ]
    photos, quarantine, told = exported(tmp_path, *documents[::order])
    chosen = {url: (p["plant_id"], p["licence"]) for url, p in photos.items()}
    assert chosen == {
        A: ("2", "CC-BY-SA-4.0"),
        B: ("1", "CC-BY-SA-4.0"),
        C: ("1", "CC-BY-4.0"),
    }
    # The credit is that of the same document.
    assert photos[A]["attribution"] == "2"
    assert (told["duplicate_urls"], quarantine) == (4, {})


def test_the_profile_decides_what_denies(tmp_path):
    photos, _, told = exported(
        tmp_path,
        plant("1", "Rosa canina", (A, "cc0")),
        plant("2", "Rosa canina", (A, "cc-by-nc")),
        profile="experimental",
    )
    assert photos[A]["licence"] == "CC-BY-NC-4.0"
    assert told["images_rejected"] == {}


@pytest.mark.parametrize("order", [1, -1])
def test_an_image_of_several_plants_is_counted_and_listed(tmp_path, order):
    documents = [
        plant("1", "Rosa canina", (A, "cc0"), (A, "cc0"), (B, "cc0")),
        plant("2", "Rosa alba", (A, "cc0"), (B, "cc0"), (C, "cc0")),
        plant("3", "Rosa nova", (A, "cc0")),
        plant("4", "Rosa alba", (C, "cc0")),
    ]
    photos, quarantine, told = exported(tmp_path, *documents[::order])
    names = {url: photo["latin_name"] for url, photo in photos.items()}
    assert names == {A: "Rosa canina", B: "Rosa canina", C: "Rosa alba"}
    assert told["urls_with_several_names"] == 2
    shared = {i: row["images_of_several_names"] for i, row in quarantine.items()}
    assert shared == {"1": 2, "2": 2, "3": 1}
    assert quarantine["2"]["rejected_images"] == {}


def test_every_condition_makes_a_licence_stricter():
    ranks = {
        name: conflicts.strictness(f"CC-{name}-4.0")
        for name in ("BY", "BY-SA", "BY-ND", "BY-NC", "BY-NC-SA", "BY-NC-ND")
    }
    for one, other in itertools.permutations(ranks, 2):
        if set(one.split("-")) < set(other.split("-")):
            assert ranks[one] < ranks[other]
    public = {"CC0-1.0", "CC-PDM-1.0", "CC-PDDC"}
    known = licences.PROFILES["experimental"]
    assert {one for one in known if not conflicts.strictness(one)} == public
