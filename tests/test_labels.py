import dataclasses
import hashlib
import json

import pytest

from aplantida_jax import files, manifest
from aplantida_jax.data import labels
from aplantida_jax.errors import UserError


def taxon(class_id, name, *regions):
    return labels.Taxon(
        class_id=class_id,
        latin_name=name,
        common_name="menta",
        common_name_en="mint",
        genus=name.split()[0],
        family="Lamiaceae",
        countries=("ES",),
        regions=regions,
    )


LABELS = labels.LabelMap(
    (
        taxon(0, "Mentha × piperita", "EU_SW"),
        taxon(1, "Mentha spicata", "EU_NORTH", "EU_SW"),
        taxon(2, "Salvia rosmarinus"),
    )
)


def renamed(label_map, class_id, name):
    taxa = list(label_map.taxa)
    taxa[class_id] = dataclasses.replace(taxa[class_id], latin_name=name)
    return labels.LabelMap(tuple(taxa))


def test_a_label_map_comes_back_as_it_was(tmp_path):
    labels.write(tmp_path / "classes.json", LABELS)
    assert labels.read(tmp_path / "classes.json") == LABELS
    assert len(LABELS) == 3


def test_the_fingerprint_is_the_sha256_of_the_ordered_names():
    names = ["Mentha \\u00d7 piperita", "Mentha spicata", "Salvia rosmarinus"]
    text = "[" + ", ".join(f'"{name}"' for name in names) + "]"
    assert LABELS.fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_the_fingerprint_changes_with_names_and_their_order_only():
    one, two, three = LABELS.taxa
    others = [
        renamed(LABELS, 1, "Mentha longifolia"),
        labels.LabelMap((one, two)),
        labels.LabelMap((two, one, three)),
        labels.LabelMap((*LABELS.taxa, taxon(3, "Thymus vulgaris"))),
    ]
    assert len({LABELS.fingerprint, *(other.fingerprint for other in others)}) == 5
    # Common names may be translated without a new training.
    translated = dataclasses.replace(one, common_name="hierbabuena")
    same = labels.LabelMap((translated, two, three))
    assert same.fingerprint == LABELS.fingerprint


def test_an_artefact_of_a_map_that_differs_by_one_class_is_refused():
    other = renamed(LABELS, 2, "Salvia officinalis")
    with pytest.raises(UserError, match="made for label map"):
        manifest.check_label_map(
            other.fingerprint, LABELS.fingerprint, where="best.json", made_by="train"
        )


def test_classes_of_regions():
    assert LABELS.in_regions(()) == [True, True, True]
    assert LABELS.in_regions(("EU_SW",)) == [True, True, False]
    assert LABELS.in_regions(("EU_NORTH", "EU_EAST")) == [False, True, False]
    assert LABELS.in_regions(("EU_EAST",)) == [False, False, False]


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored["classes"][1].update(latin_name="Mentha longifolia"),
        lambda stored: stored["classes"].pop(),
        lambda stored: stored["classes"].reverse(),
        lambda stored: stored["classes"][0].update(class_id=1),
        lambda stored: stored["classes"][0].pop("genus"),
        lambda stored: stored["classes"][0].update(colour="green"),
        lambda stored: stored.update(fingerprint="0" * 64),
        lambda stored: stored.pop("fingerprint"),
        lambda stored: stored.update(classes=7),
    ],
    ids=["renamed", "one less", "reversed", "wrong id", "no genus", "unknown field"]
    + ["wrong fingerprint", "no fingerprint", "no list"],
)
def test_an_altered_label_map_is_refused(tmp_path, change):
    path = tmp_path / "classes.json"
    labels.write(path, LABELS)
    stored = json.loads(path.read_text())
    change(stored)
    files.write_json(path, stored)
    with pytest.raises(UserError, match="run stage 'export_dataset' again"):
        labels.read(path)


@pytest.mark.parametrize("content", ["", "[]", "7", "null"])
def test_what_is_no_label_map_is_refused(tmp_path, content):
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(UserError, match="run stage 'export_dataset' again"):
        labels.read(tmp_path / "classes.json")


def test_a_missing_label_map_names_its_stage(tmp_path):
    with pytest.raises(UserError, match="stage 'export_dataset' makes it"):
        labels.read(tmp_path / "classes.json")
