import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from aplantida_jax import files
from aplantida_jax.demo import generate as stage
from aplantida_jax.errors import UserError
from configs import common

SMALL = {"seed": 3, "species": 3, "images": 30, "image_size": 32}


def tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): files.sha256_file(path)
        for path in root.rglob("*")
        if path.is_file()
    }


def config_for(root: Path):
    config = common.base("test", "demo_data", "demo")
    config.data_dir = str(root)
    config.seed = 3
    config.demo.update({"species": 3, "images": 30, "image_size": 32, "workers": 1})
    config.demo.update({"held_out": 1, "unknown": 1})
    return config


def test_workers_change_no_byte(tmp_path):
    stage.generate(tmp_path / "one", **SMALL, workers=1)
    stage.generate(tmp_path / "two", **SMALL, workers=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def _dies(item):
    os._exit(9)


def _finds_the_disk_full(item):
    raise OSError(errno.ENOSPC, "no space left")


def test_a_killed_process_is_named_and_none_is_left():
    with pytest.raises(UserError, match="was killed"):
        list(stage._map_in_processes(_dies, [("a", None), ("b", None)], 2))
    for process in multiprocessing.active_children():
        process.join(10)
    assert multiprocessing.active_children() == []


def test_an_error_in_a_process_is_raised_here():
    with pytest.raises(OSError, match="no space left"):
        list(stage._map_in_processes(_finds_the_disk_full, [("a", None)], 2))


def test_another_seed_is_another_collection(tmp_path):
    stage.generate(tmp_path / "one", **SMALL, workers=1)
    stage.generate(tmp_path / "two", **(SMALL | {"seed": 4}), workers=1)
    first, second = (tree(tmp_path / name) for name in ("one", "two"))
    assert not {n for n in first if n.startswith("images")} & set(second)


def test_interrupted_and_resumed_is_uninterrupted(tmp_path, monkeypatch):
    stage.generate(tmp_path / "whole", **SMALL, workers=1)
    render, drawn = stage.render, []

    def stops_after_ten(name, *rest):
        if len(drawn) == 10:
            raise KeyboardInterrupt
        drawn.append(name)
        return render(name, *rest)

    monkeypatch.setattr(stage, "render", stops_after_ten)
    with pytest.raises(KeyboardInterrupt):
        stage.generate(tmp_path / "cut", **SMALL, workers=1)
    assert not (tmp_path / "cut" / "plants.jsonl").exists()
    (tmp_path / "cut" / "images" / ".left.jpg.over.tmp").write_bytes(b"half")

    before = list(drawn)
    drawn.clear()
    monkeypatch.setattr(
        stage, "render", lambda name, *rest: drawn.append(name) or render(name, *rest)
    )
    stage.generate(tmp_path / "cut", **SMALL, workers=1)
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")
    assert not set(before) & set(drawn)


def test_a_dump_of_another_origin_is_not_overwritten(tmp_path):
    (tmp_path / "plants.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="move it away"):
        stage.generate(tmp_path, **SMALL, workers=1)
    assert (tmp_path / "plants.jsonl").read_text() == "{}\n"


@pytest.mark.parametrize(
    "wrong", [{"species": 0}, {"species": 37}, {"images": 5}, {"image_size": 8}]
)
def test_impossible_numbers_are_refused_by_name(tmp_path, wrong):
    with pytest.raises(UserError, match=f"config.demo.{next(iter(wrong))}="):
        stage.generate(tmp_path / "raw", **(SMALL | wrong), workers=1)
    assert not (tmp_path / "raw").exists()


def test_the_stage_leaves_a_manifest_and_has_nothing_to_do_again(tmp_path, monkeypatch):
    config = config_for(tmp_path)
    stage.run(config, tmp_path / "unused")
    manifest = files.read_json(tmp_path / "raw" / "manifest.json", made_by="")
    written = {"plants.jsonl", "facts.json", "images", "unknown"}
    assert set(manifest["outputs"]) == written
    assert manifest["metrics"]["images"] == 30

    monkeypatch.setattr(stage, "generate", lambda *a, **k: pytest.fail("worked again"))
    stage.run(config, tmp_path / "unused")


def test_a_lost_picture_comes_back(tmp_path):
    config = config_for(tmp_path)
    stage.run(config, tmp_path / "unused")
    before = tree(tmp_path / "raw" / "images")
    lost = sorted((tmp_path / "raw" / "images").iterdir())[3]
    lost.unlink()
    stage.run(config, tmp_path / "unused")
    assert tree(tmp_path / "raw" / "images") == before


def test_a_dry_run_writes_nothing(tmp_path):
    config = config_for(tmp_path)
    config.dry_run = True
    stage.run(config, tmp_path / "unused")
    assert list(tmp_path.iterdir()) == []
