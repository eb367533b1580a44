from aplantida_jax.data import records
from aplantida_jax.data.leakage import Written
from aplantida_jax.data.records import Photo


def photo(number: int, **fields) -> Photo:
    return Photo(
        image_id=f"{number:016x}",
        plant_id="p",
        latin_name="Rosa canina",
        class_id=fields.pop("class_id", 0),
        url=f"{number}.jpg",
        source="s",
        licence=fields.pop("licence", "CC0-1.0"),
        licence_raw="cc0",
        attribution="",
        countries=(),
        regions=(),
        **{
            "group_id": f"{number:016x}",
            "sha256": f"sha{number}",
            "phash": f"{0xFFFF << (number * 4 % 48):016x}",
            **fields,
        },
    )


def written(tmp_path, **splits: list[Photo]) -> Written:
    files = {}
    for split in ("train", "val", "test"):
        files[split] = tmp_path / f"{split}.jsonl"
        records.write_photos(files[split], splits.get(split, []))
    return Written(files)


def test_a_clean_split(tmp_path):
    found = written(tmp_path, train=[photo(0), photo(3)], val=[photo(7)])
    assert set(found.leakage(6).values()) == {0}


def test_every_kind_of_leak(tmp_path):
    train = [photo(0, observation="o"), photo(4), photo(8, phash=f"{0b111:016x}")]
    found = written(
        tmp_path,
        train=train,
        val=[photo(1, observation="o"), photo(0, phash="")],
        test=[photo(9, phash="0" * 16), photo(10, sha256="sha4", phash="")],
    )
    # Image 0 comes twice, with its group and hash; sha4 once more.
    assert found.leakage(6) == {
        "images": 1,
        "groups": 1,
        "sha256": 2,
        "observations": 1,
        "near_duplicates": 1,
    }
    assert found.leakage(2)["near_duplicates"] == 0


def test_nothing_known_is_no_leak(tmp_path):
    blank = {"sha256": "", "phash": "", "observation": ""}
    found = written(tmp_path, train=[photo(0, **blank)], val=[photo(1, **blank)])
    assert set(found.leakage(6).values()) == {0}


def test_summary(tmp_path):
    found = written(
        tmp_path,
        train=[photo(0), photo(1), photo(2, class_id=1, licence="CC-BY-4.0")],
        val=[photo(3), photo(4, class_id=2)],
        test=[photo(5)],
    ).summary()
    assert found["splits"]["train"] == {
        "images": 3,
        "classes": 2,
        "licences": {"CC0-1.0": 2, "CC-BY-4.0": 1},
    }
    assert found["classes"] == {
        "total": 3,
        "with_1_group": 2,
        "with_2_groups": 0,
        "with_3_or_more_groups": 1,
        "in_val_not_train": 1,
        "in_test_not_train": 0,
        "in_all_splits": 1,
    }
    assert found["val_classes_in_train"] == 0.5
    assert found["groups"] == {"total": 6, "with_several_images": 0, "largest": 1}
