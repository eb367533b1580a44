"""Species that are held out: which, and that nothing which is trained on has them."""

import json
from pathlib import Path

import cv2
import pytest

from aplantida_jax import files, paths
from aplantida_jax.data import (
    audit,
    decode,
    download,
    export_dataset,
    hold_out,
    labels,
    names,
    records,
    split,
)
from aplantida_jax.data.cache import Cache
from aplantida_jax.demo import generate
from aplantida_jax.demo.held_out_species import HELD_OUT, PHOTOS
from aplantida_jax.demo.species import SPECIES
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import unknown_images
from configs import dataset as dataset_config

NAMES = [f"Genus species{i}" for i in range(2000)]


def test_the_share_is_kept_and_more_species_move_none():
    drawn = {name for name in NAMES if name in hold_out.HoldOut(share=0.1, seed=3)}
    assert 0.07 < len(drawn) / len(NAMES) < 0.13
    wider = {name for name in NAMES if name in hold_out.HoldOut(share=0.2, seed=3)}
    assert drawn < wider
    other = {name for name in NAMES if name in hold_out.HoldOut(share=0.1, seed=4)}
    assert other != drawn
    assert not any(name in hold_out.HoldOut() for name in NAMES)


def test_a_name_in_any_spelling_is_held_out():
    found = hold_out.of(["ROSA x CANINA", "Salvia  rosmarinus"], 0.0, seed=1)
    assert "Rosa × canina" in found
    assert "Salvia rosmarinus" in found
    assert "Rosa alba" not in found
    with pytest.raises(UserError, match="'123', which is not a Latin name"):
        hold_out.of(["123"], 0.0, seed=1)


def test_the_demo_holds_its_own_species_out():
    config = dataset_config.get_config("demo")
    assert list(config.dataset.hold_out) == [plant.latin_name for plant in HELD_OUT]
    known = {plant.genus for plant in SPECIES}
    assert [plant.genus in known for plant in HELD_OUT] == [True] * 4 + [False]
    for plant in HELD_OUT:
        assert names.normalise(plant.latin_name) == plant.latin_name
        assert names.genus_of(plant.latin_name) == plant.genus


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory):
    """The demo's stages up to the split, with two species held out."""
    root = tmp_path_factory.mktemp("collected")
    config = dataset_config.get_config("demo")
    config.data_dir = str(root)
    config.source.uri = str(root / "raw" / "plants.jsonl")
    config.dataset.min_image_side = 30
    config.split.regions = ()
    numbers = {"species": 3, "images": 60, "image_size": 64, "held_out": 2}
    generate.generate(root / "raw", seed=config.seed, workers=1, **numbers)
    _plant_copies(root / "raw")
    for stage in (export_dataset, download, split):
        stage.run(config, root / "unused")
    return config


def _plant_copies(raw: Path) -> None:
    """Gives the first held-out species three photos of a species that is learnt.

    One with the same bytes, one encoded anew, one of the same observation.
    """
    dump = raw / "plants.jsonl"
    documents = [json.loads(line) for line in dump.read_text().splitlines()]
    by_name = {d.get("latinName"): d for d in documents}
    held_out = by_name[HELD_OUT[0].latin_name]
    learnt = by_name[SPECIES[0].latin_name]["images"]
    usable = [i for i in learnt if i["license"] in ("CC0", "cc-by", "CC BY 4.0")]
    original, another = usable[0], usable[-1]
    picture = cv2.imread(str(raw / original["url"]))
    cv2.imwrite(str(raw / "images" / "anew.jpg"), picture, [1, 95])
    (raw / "images" / "same.jpg").write_bytes((raw / original["url"]).read_bytes())
    own = held_out["images"][0]
    for name in ("anew", "same"):
        held_out["images"].append(
            {**own, "url": f"images/{name}.jpg"}
            | {"observationId": f"of-{name}", "attribution": name}
        )
    held_out["images"][0] = {
        **own,
        **{f: another[f] for f in ("observationId", "attribution", "date", "source")},
    }
    dump.write_text("".join(json.dumps(document) + "\n" for document in documents))


def test_held_out_species_are_no_classes(collected):
    label_map = labels.read(paths.classes(collected))
    assert [taxon.latin_name for taxon in label_map.taxa] == sorted(
        plant.latin_name for plant in SPECIES[:3]
    )
    photos = list(
        records.read_photos(paths.held_out(collected), made_by="export_dataset")
    )
    assert len(photos) == 2 * PHOTOS + 2
    assert {p.latin_name for p in photos} == {s.latin_name for s in HELD_OUT[:2]}
    assert {p.class_id for p in photos} == {hold_out.NO_CLASS}
    assert [p.image_id for p in photos] == sorted(p.image_id for p in photos)
    assert all(p.licence and p.attribution and p.countries for p in photos)


def test_documents_add_up(collected):
    found = files.read_json(paths.export_dir(collected) / "manifest.json", made_by="")
    metrics = found["metrics"]
    assert metrics["documents_read"] == (
        metrics["documents_exported"] + metrics["documents_quarantined"]
    )
    assert metrics["documents_quarantined"] == 3
    assert metrics["held_out_species"] == 2
    assert metrics["held_out_photos"] == 2 * PHOTOS + 2


def test_they_are_downloaded_and_in_no_split(collected):
    held_out = {
        p.image_id for p in records.read_photos(paths.held_out(collected), made_by="")
    }
    index = files.read_jsonl(paths.download_index(collected), made_by="")
    status = {row["image_id"]: row["status"] for row in index}
    assert {status[image_id] for image_id in held_out} == {"ok"}
    for part in paths.SPLITS:
        photos = list(
            records.read_photos(paths.split_file(collected, part), made_by="")
        )
        assert photos
        assert not held_out & {p.image_id for p in photos}
        assert not {p.latin_name for p in photos} & {s.latin_name for s in HELD_OUT}


def test_the_audit_does_not_miss_them(collected):
    audit.run(collected, Path("unused"))
    found = files.read_json(paths.audit_dir(collected) / "audit.json", made_by="")
    assert found["urls"]["download"]["not_exported"] == 0
    photos = records.read_rows(paths.photos(collected), made_by="")
    assert found["urls"]["download"]["asked"] == len(list(photos))


def test_copies_of_what_is_learnt_are_not_asked_about(collected):
    found = unknown_images.held_out(collected)
    assert found.left_out == {unknown_images.COPY: 3}
    assert len(found) == 2 * PHOTOS - 1
    learnt = [
        photo
        for part in paths.SPLITS
        for photo in records.read_photos(paths.split_file(collected, part), made_by="")
    ]
    asked = {
        p.image_id: p
        for p in records.read_photos(paths.held_out(collected), made_by="")
        if p.image_id in set(found.image_id)
    }
    assert not {p.observation for p in learnt} & {p.observation for p in asked.values()}
    index = files.read_jsonl(paths.download_index(collected), made_by="")
    sha256 = {row["image_id"]: row["sha256"] for row in index}
    assert not {p.sha256 for p in learnt} & {sha256[i] for i in asked}


def test_without_a_hold_out_there_is_no_file(collected, tmp_path):
    config = collected.copy_and_resolve_references()
    config.data_dir = str(tmp_path)
    config.dataset.hold_out = ()
    export_dataset.run(config, tmp_path)
    assert not paths.held_out(config).exists()
    assert len(labels.read(paths.classes(config))) == 5
    assert unknown_images.held_out(config) is None


def test_what_the_decoder_reads_of_them_is_there(collected):
    found = unknown_images.held_out(collected)
    cache = Cache(paths.cache_dir(collected), 1.0)
    data = cache.get(found.image_id[0])
    cache.close()
    assert decode.decode(data, max_pixels=10**6).ndim == 3


@pytest.mark.parametrize(
    ("name", "species"),
    [
        ("Quercus ilex subsp. ballota", "Quercus ilex"),
        ("Mentha × piperita nothosubsp. citrata", "Mentha × piperita"),
        ("× Cuprocyparis leylandii var. alba", "× Cuprocyparis leylandii"),
        ("Quercus robur × petraea", "Quercus robur × petraea"),
        ("Quercus ilex", "Quercus ilex"),
        ("Quercus", ""),
        ("× Cuprocyparis", ""),
    ],
)
def test_the_species_of_a_name(name, species):
    assert names.normalise(name) == name
    assert names.species_of(name) == species


def test_subspecies_are_drawn_with_their_species():
    share = hold_out.HoldOut(share=0.1, seed=3)
    for name in NAMES:
        assert (name in share) == (f"{name} subsp. minor" in share), name
    assert "Genus" not in hold_out.HoldOut(share=0.999, seed=3)  # may be any species
    found = hold_out.of(["Quercus ilex ssp. ballota"], 0.0, seed=1)
    assert "Quercus ilex" in found
    assert "Quercus ilex var. minor" in found
    assert "Quercus" not in found


def _exported(root: Path, photos: dict[str, int], **dataset) -> tuple[set, set]:
    """Names of the classes and of the held-out species of such a collection."""
    config = dataset_config.get_config()
    config.data_dir = str(root / "data")
    config.dataset.update({"min_images_per_species": 3, **dataset})
    documents = [
        {
            "_id": f"p{number}",
            "latinName": name,
            "images": [
                {"url": f"https://example.org/{number}/{i}.jpg", "license": "CC0"}
                | {"source": "s"}
                for i in range(count)
            ],
        }
        for number, (name, count) in enumerate(photos.items())
    ]
    config.source.uri = str(root / "plants.jsonl")
    files.write_jsonl(Path(config.source.uri), documents)
    export_dataset.run(config, root)
    held_out = paths.held_out(config)
    rows = records.read_photos(held_out, made_by="") if held_out.exists() else ()
    classes = labels.read(paths.classes(config)).taxa
    return {taxon.latin_name for taxon in classes}, {photo.latin_name for photo in rows}


def test_a_synonym_and_a_subspecies_of_what_is_held_out_are_no_classes(tmp_path):
    synonyms = tmp_path / "synonyms.json"
    files.write_json(synonyms, {"Rosmarinus officinalis": "Salvia rosmarinus"})
    photos = {"Salvia rosmarinus": 3, "Salvia rosmarinus var. alba": 3, "Rosa alba": 3}
    classes, held_out = _exported(
        tmp_path,
        {**photos, "Rosmarinus officinalis": 4},
        synonyms=str(synonyms),
        hold_out=("Rosmarinus officinalis L.",),
    )
    assert classes == {"Rosa alba"}
    assert held_out == {"Salvia rosmarinus", "Salvia rosmarinus var. alba"}


def test_rare_species_are_held_out_at_no_cost(tmp_path):
    photos = {"Quercus ilex": 3, "Rosa alba": 4, "Acer negundo": 2, "Acer alnus": 1}
    of_no_species = {"Quercus ilex subsp. ballota": 2, "Viola": 1}
    every = photos | of_no_species
    classes, held_out = _exported(tmp_path, every, hold_out_rare=True)
    assert classes == {"Quercus ilex", "Rosa alba"}
    assert held_out == {"Acer negundo", "Acer alnus"}


def test_an_export_that_holds_nothing_out_says_so_now(tmp_path, caplog):
    with caplog.at_level("WARNING", logger="absl"):
        _exported(tmp_path / "a", {"Rosa alba": 3}, hold_out_rare=True)
    assert "no species is held out" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING", logger="absl"):
        _exported(tmp_path / "b", {"Rosa alba": 3, "Acer alnus": 1}, hold_out_rare=True)
    assert "held out" not in caplog.text
