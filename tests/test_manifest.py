import hashlib
import json
import random
import sys

import pytest

from aplantida_jax import files, manifest
from aplantida_jax.errors import UserError
from configs import common

SECRET = "hunter2"


@pytest.fixture
def config(tmp_path):
    config = common.base("teacher_x", "split")
    config.data_dir = str(tmp_path / "data")
    config.source.uri = f"mongodb://ana:{SECRET}@db.example:27017/plants"
    return config


def begin(config, out_dir, *inputs, depends_on=("split", "source")):
    return manifest.begin(
        config, stage="split", out_dir=out_dir, inputs=inputs, depends_on=depends_on
    )


def finish(job, text="result", **metrics):
    files.write_text(job.out_dir / "out.txt", text)
    job.finish(outputs=[job.out_dir / "out.txt"], metrics=metrics, label_map="f" * 64)


def upstream(tmp_path, text="photos"):
    """The output of a finished stage 'download'."""
    config = common.base("teacher_x", "download")
    out_dir = tmp_path / "download"
    files.write_text(out_dir / "index.jsonl", text)
    job = manifest.begin(
        config, stage="download", out_dir=out_dir, inputs=(), depends_on=("download",)
    )
    job.finish(outputs=[out_dir / "index.jsonl"], metrics={})
    return manifest.Input(out_dir / "index.jsonl", "download", "--config=x.py")


def test_what_is_finished_needs_no_work_again(config, tmp_path):
    source = upstream(tmp_path)
    finish(begin(config, tmp_path / "split", source))
    assert begin(config, tmp_path / "split", source) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.split.update({"phash_distance": 5}),
        lambda config: config.source.update({"database": "other"}),
        lambda config: config.update({"seed": 7}),
    ],
)
def test_another_configuration_or_seed_is_other_work(config, tmp_path, change):
    finish(begin(config, tmp_path / "split"))
    change(config)
    assert begin(config, tmp_path / "split") is not None


def test_a_field_that_the_output_does_not_depend_on_changes_nothing(config, tmp_path):
    finish(begin(config, tmp_path / "split"))
    config.train.learning_rate = 7.0
    assert begin(config, tmp_path / "split") is None


def test_another_input_is_other_work(config, tmp_path):
    finish(begin(config, tmp_path / "split", upstream(tmp_path)))
    changed = upstream(tmp_path, "other photos")
    assert begin(config, tmp_path / "split", changed) is not None


def test_the_same_inputs_elsewhere_are_the_same_work(config, tmp_path):
    key = begin(config, tmp_path / "split", upstream(tmp_path)).key
    (tmp_path / "moved").mkdir()
    assert begin(config, tmp_path / "split", upstream(tmp_path / "moved")).key == key
    around = tmp_path / "moved" / ".." / "download" / "index.jsonl"
    spelt = manifest.Input(around, "download")
    assert begin(config, tmp_path / "split", spelt).key == key


def test_inputs_that_changed_places_are_other_work(config, tmp_path):
    pair = []
    for name, text in (("a", "one"), ("b", "two")):
        files.write_text(tmp_path / name / "store.json", text)
        pair.append(manifest.Input(tmp_path / name / "store.json", "predict"))
    keys = {begin(config, tmp_path / "x", *order).key for order in (pair, pair[::-1])}
    assert len(keys) == 2


def test_weights_count_by_what_is_in_them_not_by_where_they_lie(config, tmp_path):
    keys = []
    for place, text in (("a", "same"), ("b", "same"), ("c", "other")):
        path = tmp_path / place / "net.npz"
        files.write_text(path, text)
        config.model.pretrained = str(path)
        weights = manifest.Input(path, "fetch_weights")
        job = begin(config, tmp_path / "x", weights, depends_on=("model",))
        keys.append(job.key)
        assert job.config["model"]["pretrained"] == str(path)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("damage", ["changed", "deleted"])
def test_a_damaged_output_is_made_again(config, tmp_path, damage):
    finish(begin(config, tmp_path / "split"))
    if damage == "changed":
        (tmp_path / "split" / "out.txt").write_text("resulT")
    else:
        (tmp_path / "split" / "out.txt").unlink()
    assert begin(config, tmp_path / "split") is not None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "7", "{}", '{"key": "KEY"}', '{"key": "KEY", "outputs": 7}'],
)
def test_a_damaged_manifest_is_made_again(config, tmp_path, content):
    job = begin(config, tmp_path / "split")
    finish(job)
    broken = content.replace("KEY", job.key)
    (tmp_path / "split" / manifest.MANIFEST).write_text(broken)
    assert begin(config, tmp_path / "split") is not None


def test_every_flipped_bit_of_a_manifest_is_noticed(config, tmp_path):
    source = upstream(tmp_path)
    path = source.path.parent / manifest.MANIFEST
    whole = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), 150):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError, match="run stage 'download'"):
            manifest.read(path.parent, made_by="download")
        with pytest.raises(UserError, match="run stage 'download'"):
            begin(config, tmp_path / "split", source)
    path.write_bytes(whole)
    assert begin(config, tmp_path / "split", source) is not None


def test_a_manifest_of_before_there_were_seals_is_believed(config, tmp_path):
    source = upstream(tmp_path)
    path = source.path.parent / manifest.MANIFEST
    described = json.loads(path.read_text())
    del described["sha256"]
    files.write_json(path, described)
    assert begin(config, tmp_path / "split", source) is not None
    files.write_json(path, {**described, "shA256": "0" * 64})  # a flip in its name
    with pytest.raises(UserError, match="is damaged: run stage 'download' again"):
        begin(config, tmp_path / "split", source)


def test_a_missing_input_names_the_stage_and_its_command(config, tmp_path):
    wanted = manifest.Input(tmp_path / "index.jsonl", "download", "--config=x.py")
    with pytest.raises(UserError) as caught:
        begin(config, tmp_path / "split", wanted)
    assert str(caught.value) == (
        f"{tmp_path}/index.jsonl is missing: stage 'download' (--config=x.py) makes "
        "it, run that first"
    )


def test_an_altered_input_is_refused_with_its_stage(config, tmp_path):
    source = upstream(tmp_path)
    source.path.write_text("photoz")
    with pytest.raises(UserError, match="is not what stage 'download'") as caught:
        begin(config, tmp_path / "split", source)
    assert str(source.path) in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"outputs": 7}'])
def test_an_input_beside_a_damaged_manifest_is_refused(config, tmp_path, content):
    source = upstream(tmp_path)
    (source.path.parent / manifest.MANIFEST).write_text(content)
    with pytest.raises(UserError, match="run stage 'download'"):
        begin(config, tmp_path / "split", source)


def test_an_input_directory_is_checked_whole(config, tmp_path):
    out_dir = tmp_path / "made"
    files.write_text(out_dir / "shards" / "a", "1")
    job = begin(config, out_dir)
    job.finish(outputs=[out_dir / "shards"], metrics={})
    wanted = manifest.Input(out_dir / "shards", "split")
    assert begin(config, tmp_path / "next", wanted) is not None
    files.write_text(out_dir / "shards" / "b", "")
    with pytest.raises(UserError, match="is not what stage 'split' wrote"):
        begin(config, tmp_path / "next", wanted)


def test_the_manifest_says_what_ran_on_what(config, tmp_path):
    source = upstream(tmp_path)
    finish(begin(config, tmp_path / "split", source), groups=3)
    said = manifest.read(tmp_path / "split", made_by="split")
    assert said["stage"] == "split"
    assert said["inputs"] == {str(source.path): hashlib.sha256(b"photos").hexdigest()}
    assert said["outputs"] == {"out.txt": hashlib.sha256(b"result").hexdigest()}
    assert said["metrics"] == {"groups": 3}
    assert said["label_map"] == "f" * 64
    assert said["seed"] == 42
    assert said["config"]["split"]["fractions"] == [0.8, 0.1, 0.1]
    assert said["versions"]["python"] == sys.version.split()[0]
    assert said["versions"]["numpy"].startswith("2.1.")
    assert said["started"] <= said["finished"]
    assert said["device"]
    assert said["git_commit"]


def test_no_password_reaches_the_manifest(config, tmp_path, monkeypatch):
    command = ["main.py", f"--config.source.uri={config.source.uri}", "--config=x.py"]
    monkeypatch.setattr(sys, "argv", command)
    finish(begin(config, tmp_path / "split"))
    text = (tmp_path / "split" / manifest.MANIFEST).read_text()
    assert SECRET not in text
    assert "ana" not in text
    said = json.loads(text)
    assert said["config"]["source"]["uri"] == "mongodb://db.example:27017/plants"
    assert said["command"].endswith("=mongodb://db.example:27017/plants --config=x.py")


@pytest.mark.parametrize(
    ("address", "same"),
    [
        (f"mongodb://ana:other{SECRET}@db.example:27017/plants", True),
        ("mongodb://db.example:27017/plants", True),
        (f"mongodb://ana:{SECRET}@db.example:27017/other", False),
    ],
)
def test_the_key_does_not_depend_on_a_password(config, tmp_path, address, same):
    # Else whoever reads the manifest could try passwords on it.
    first = begin(config, tmp_path / "a").key
    config.source.uri = address
    assert (begin(config, tmp_path / "b").key == first) is same


def test_a_label_map_must_be_the_same():
    manifest.check_label_map("a" * 64, "a" * 64, where="w", made_by="predict")
    for other in ("b" * 64, "a" * 63 + "b", ""):
        with pytest.raises(UserError, match="run stage 'predict' again"):
            manifest.check_label_map(other, "a" * 64, where="w", made_by="predict")


def test_an_unfinished_stage_has_no_manifest_to_read(tmp_path):
    with pytest.raises(UserError, match="stage 'train' makes it"):
        manifest.read(tmp_path, made_by="train")
