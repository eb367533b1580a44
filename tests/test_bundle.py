import pytest
import tiny_export as tiny

from aplantida_jax import files
from aplantida_jax.data import labels
from aplantida_jax.errors import UserError
from aplantida_jax.export import bundle

INFO = {
    "name": "student",
    "step": 7,
    "epoch": 1,
    "sha256": "ab" * 32,
    "label_map": tiny.label_map().fingerprint,
    "model": {
        "name": "mobilenet_v2_0.35",
        "num_classes": 12,
        "image_size": 32,
        "head_rank": 0,
    },
    "input": {"resize": 36, "mean": tiny.MEAN, "std": tiny.STD},
    "metrics": {"top1_accuracy": 0.5},
    "provenance": [{"name": "train", "kind": "data", "licences": ["CC0-1.0"]}],
}
CALIBRATION = {
    "temperature": 1.3,
    "threshold": 0.6,
    "genus_threshold": None,
    "accuracy": 0.96,
    "coverage": 0.7,
    "loss": 1.0,
}


@pytest.fixture
def made(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text("{}")
    (model / "group1-shard1of1.bin").write_bytes(bytes(range(256)))
    directory = tmp_path / "bundle"
    directory.mkdir()
    bundle.write(
        directory,
        graph_model=model,
        label_map=tiny.label_map(),
        credits_text="everybody\n",
        calibration=CALIBRATION,
        metadata=bundle.metadata(
            name="student",
            version="1.0",
            weights="float32",
            info=INFO,
            calibration=CALIBRATION,
            licence={"profile": "production", "publishable": True, "reasons": []},
        ),
    )
    return directory


def test_metadata_tells_what_the_app_needs(made):
    found = bundle.read(made)

    assert found["label_map"] == tiny.label_map().fingerprint
    assert found["input"] == {"size": 32, "resize": 36}
    assert found["calibration"]["temperature"] == 1.3
    assert found["calibration"]["genus_threshold"] is None
    assert "loss" not in found["calibration"]
    assert set(found["files"]) == {
        "model.json",
        "group1-shard1of1.bin",
        "classes.json",
        "calibration.json",
        "CREDITS",
    }
    whole = files.read_json(made / "calibration.json", made_by="export_model")
    assert whole == CALIBRATION
    assert labels.read(made / "classes.json") == tiny.label_map()


def test_same_inputs_give_the_same_bytes(made, tmp_path):
    again = tmp_path / "again"
    bundle.copy(made, again)
    assert files.sha256_tree(again) == files.sha256_tree(made)


@pytest.mark.parametrize(
    "name", ["model.json", "group1-shard1of1.bin", "calibration.json", "CREDITS"]
)
def test_an_altered_file_is_refused(made, name):
    data = bytearray((made / name).read_bytes())
    data[0] ^= 1
    (made / name).write_bytes(data)
    with pytest.raises(UserError, match=rf"{name} is not what the bundle says.*again"):
        bundle.read(made)


def test_a_missing_file_is_refused(made):
    (made / "CREDITS").unlink()
    with pytest.raises(UserError, match="CREDITS is missing: stage 'export_model'"):
        bundle.read(made)


def test_copy_leaves_behind_what_is_not_part_of_it(made, tmp_path):
    (made / "manifest.json").write_text('{"config": "private"}')
    bundle.copy(made, tmp_path / "copy")
    assert not (tmp_path / "copy" / "manifest.json").exists()


def test_credits_name_every_author_once_per_licence():
    photos = [tiny.photo(seed, 0) for seed in range(12)]
    weights = {"name": "imagenet.npz", "kind": "weights", "licences": ["Apache-2.0"]}

    text = bundle.credits_of(photos, [*INFO["provenance"], weights])

    assert (
        "CC-BY-4.0 (6 photos)\nhttps://creativecommons.org/licenses/by/4.0/\n" in text
    )
    assert "    Ana Pérez (2)\n    José Ruiz (2)\n" in text
    assert "authors whom the source does not name (2)" in text
    assert "imagenet.npz (Apache-2.0)" in text
    assert text.index("CC-BY-4.0") < text.index("CC0-1.0")
