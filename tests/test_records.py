import dataclasses
import hashlib

import pytest

from aplantida_jax import files
from aplantida_jax.data import records
from aplantida_jax.errors import UserError

PHOTO = records.Photo(
    image_id="00ff00ff00ff00ff",
    plant_id="65a0",
    latin_name="Mentha × piperita",
    class_id=3,
    url="https://example.org/ñ.jpg",
    source="inaturalist",
    licence="CC-BY-4.0",
    licence_raw="cc-by",
    attribution="Ana Núñez",
    countries=("ES", "PT"),
    regions=("EU_SW",),
)
PHOTOS = [PHOTO, dataclasses.replace(PHOTO, image_id="0a" * 8, countries=(), width=640)]


def test_an_image_id_is_the_start_of_the_sha256_of_the_url():
    # SHA-256 of "abc", FIPS 180-2 appendix B.1.
    assert records.image_id_of("abc") == "ba7816bf8f01cfea"
    url = "https://example.org/ñ.jpg"
    digest = hashlib.sha256(url.encode("utf-8")).hexdigest()
    assert records.image_id_of(url) == digest[:16]


def test_photos_come_back_as_they_were(tmp_path):
    path = tmp_path / "photos.jsonl"
    assert records.write_photos(path, iter(PHOTOS)) == 2
    assert list(records.read_photos(path, made_by="split")) == PHOTOS
    assert "Mentha × piperita" in path.read_text(encoding="utf-8")


def test_what_is_not_known_yet_may_be_left_out():
    row = PHOTO.to_json()
    for name in ("observation", "width", "height", "sha256", "phash", "group_id"):
        del row[name]
    assert records.Photo.from_json(row) == PHOTO


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.pop("url"),
        lambda row: row.pop("countries"),
        lambda row: row.update(colour="green"),
        lambda row: row.update(regions=None),
    ],
    ids=["no url", "no countries", "unknown field", "null regions"],
)
def test_a_row_that_is_no_photo_names_the_stage_to_run_again(tmp_path, change):
    row = PHOTO.to_json()
    change(row)
    files.write_jsonl(tmp_path / "a", [row])
    with pytest.raises(UserError, match=r"a is damaged .* run stage 'split' again"):
        list(records.read_photos(tmp_path / "a", made_by="split"))


def test_rows_are_photos_without_their_class(tmp_path):
    records.write_photos(tmp_path / "a", PHOTOS)
    rows = list(records.read_rows(tmp_path / "a", made_by="split"))
    assert [records.Photo.from_json(row) for row in rows] == PHOTOS


@pytest.mark.parametrize(
    "change",
    [lambda row: row.pop("phash"), lambda row: row.update(colour="green")],
    ids=["no phash", "unknown field"],
)
def test_rows_with_other_fields_name_the_stage_to_run_again(tmp_path, change):
    row = PHOTO.to_json()
    change(row)
    files.write_jsonl(tmp_path / "a", [row])
    with pytest.raises(UserError, match=r"fields (phash|colour)\): run stage 'split'"):
        list(records.read_rows(tmp_path / "a", made_by="split"))


def test_a_flipped_bit_names_the_stage_to_run_again(tmp_path):
    path = tmp_path / "photos.jsonl"
    records.write_photos(path, PHOTOS)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 11):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError, match="run stage 'split' again"):
            list(records.read_photos(path, made_by="split"))


def test_a_missing_file_names_its_stage(tmp_path):
    with pytest.raises(UserError, match="stage 'download' makes it"):
        list(records.read_photos(tmp_path / "nope", made_by="download"))
