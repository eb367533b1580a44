import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aplantida_jax import config as config_lib
from aplantida_jax import stages
from configs import common

ROOT = Path(__file__).resolve().parent.parent
SECRET = "hunter2"
URI = f"mongodb://ana:{SECRET}@db.example:27017/"
TINY = [
    "--config=configs/dataset.py:demo",
    "--config.stage=demo_data",
    "--config.demo.images=16",
    "--config.demo.species=2",
    "--config.demo.image_size=64",
    "--config.demo.workers=1",
    "--config.demo.held_out=1",
    "--config.demo.unknown=1",
]


def run(*arguments, prefix=()):
    """Runs main as a user does; returns exit code, standard output, error output."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "aplantida_jax.main", *arguments],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def refused(*arguments):
    """(exit code, the one line) of a command that a user got wrong."""
    code, out, err = run(*arguments)
    assert "Traceback" not in err
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith(("W", "I"))]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert SECRET not in err
    return code, lines[0]


DATASET = "--config=configs/dataset.py:demo"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([DATASET, "--config.train.learning_rte=1"], 'Did you mean "learning_rate"'),
        ([DATASET, "--config.trian.epochs=1"], 'Did you mean "train"'),
        ([DATASET, "--config.train.xyzzy=1"], "xyzzy"),
        ([DATASET, "--config.train.epochs=many"], "--config.train.epochs=many"),
        ([DATASET, "--config.train.epochs=1.5"], "--config.train.epochs=1.5"),
        ([DATASET, "--config.input.smart_crop=maybe"], "--config.input.smart_crop"),
        ([DATASET, "--config.train=3"], "--config.train=3"),
        ([DATASET, "--config.split.fractions=0.5,0.5"], "three positive numbers"),
        ([DATASET, "--config.train.lr_multipliers=('^a',1.0)"], "(('^head', 10.0),)"),
        ([DATASET, "--config.train.optimizer=sgd", "--config.stage=combine"], "adamw"),
        ([DATASET, "--config.stage=trian"], "did you mean 'train'"),
        ([DATASET, "--config.stage=xyzzy"], ", ".join(stages.STAGES)),
        ([DATASET, "stage=split"], "unexpected argument 'stage=split'"),
        ([DATASET, "--dryrun"], "dry_run"),
        ([DATASET, "--config.stage=compare", "--workdir=x"], "--workdir=x is no place"),
        ([DATASET, "--device=tpu"], "cpu|gpu"),
        ([DATASET, "--log_level=loud"], "debug|info|warning|error"),
        ([DATASET, "--processes=2"], "belong together"),
        (
            [DATASET, "--coordinator=a:1", "--processes=2", "--process=0"],
            "runs in one process: leave --coordinator",
        ),
        ([], "--config is missing: e.g. --config=configs/"),
        (["--config="], "empty"),
        (["--config"], "--config"),
        (["--config=configs/nope.py"], "No such file or directory: 'configs/nope.py'"),
        (["--config=configs/nope.py", "--config.seed=1"], "'configs/nope.py'"),
        (["--config=configs"], "Is a directory: 'configs'"),
        (["--config=aplantida_jax/errors.py"], "get_config"),
        (["--config=configs/dataset.py:tiny"], "unknown variant ':tiny'"),
        (["--config=configs/dataset.py:tiny", "--config.seed=1"], "'demo'"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(arguments, said):
    code, line = refused(*arguments)
    assert code == 2
    assert said in line


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--config.source.uri={URI}", "--config.stage=combine"],
        [f"--config.sorce.uri={URI}"],
        [f"--config.seed={URI}"],
        ["--config.source.ury", URI],
        [URI],
        [URI.replace("://", "//")],
        [URI.replace("mongodb:", "mngodb:")],
        [f"--config.seed=mngodb:ana:{SECRET}@db.example"],
        [f"--uri={URI}"],
        [f"--config.source.uri=mongodb://ana:{SECRET}@db.example:port/"],
    ],
)
def test_no_message_carries_the_password_of_a_uri(arguments, tmp_path):
    code, line = refused(DATASET, f"--config.data_dir={tmp_path}", *arguments)
    assert code in (1, 2)
    assert "ana" not in line


@pytest.mark.parametrize(
    ("stage", "file", "maker"),
    [
        ("export_dataset", "raw/plants.jsonl", "demo_data"),
        ("download", "export/photos.jsonl", "export_dataset"),
        ("audit", "export/photos.jsonl", "export_dataset"),
        ("split", "export/photos.jsonl", "export_dataset"),
        ("combine", "export/classes.json", "export_dataset"),
        ("train", "export/classes.json", "export_dataset"),
    ],
)
def test_a_missing_input_names_the_stage_that_makes_it(tmp_path, stage, file, maker):
    code, line = refused(
        "--config=configs/teacher_global.py:demo",
        f"--config.stage={stage}",
        f"--config.data_dir={tmp_path}",
        f"--config.runs_dir={tmp_path}",
        f"--config.dist_dir={tmp_path}",
        f"--config.source.uri={tmp_path}/raw/plants.jsonl",
    )
    assert code == 1
    assert f"{tmp_path}/{file}" in line
    assert "is missing" in line
    assert f"stage '{maker}'" in line


def test_a_stage_runs_once_and_then_has_nothing_to_do(tmp_path):
    code, _, err = run(*TINY, f"--config.data_dir={tmp_path}")
    assert code == 0, err
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert before
    code, _, err = run(*TINY, f"--config.data_dir={tmp_path}")
    assert code == 0
    assert "nothing to do" in err
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert after == before


def test_a_dry_run_writes_nothing(tmp_path):
    code, _, err = run(*TINY, f"--config.data_dir={tmp_path}/data", "--dry_run")
    assert code == 0
    assert "16 images of 2 species" in err
    assert list(tmp_path.iterdir()) == []


def test_the_log_level_silences_what_is_below_it(tmp_path):
    code, out, err = run(
        *TINY, f"--config.data_dir={tmp_path}", "--dry_run", "--log_level=error"
    )
    assert (code, out, err) == (0, "", "")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_shows_the_options_and_every_stage(flag):
    code, out, err = run(flag)
    assert (code, err) == (0, "")
    assert "--config=configs/" in out
    assert "--dry_run" in out
    for stage in stages.STAGES:
        assert stage in out


@pytest.mark.parametrize("below", ["", "/below"])
def test_a_file_in_the_place_of_a_directory_is_one_line_and_exit_1(tmp_path, below):
    (tmp_path / "data").write_text("")
    code, line = refused(*TINY, f"--config.data_dir={tmp_path}/data{below}")
    assert code == 1
    assert f"'{tmp_path}/data" in line


ADDRESS = "mongodb://ana:hunter2@127.0.0.1:port/"


def test_an_address_in_the_environment_stands_in_for_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("APLANTIDA_MONGODB_URI", ADDRESS)
    export = ["--config=configs/dataset.py", f"--config.data_dir={tmp_path}"]
    code, line = refused(*export)
    assert code == 1
    assert "no usable MongoDB address" in line
    # What is given on the command line is what counts.
    code, line = refused(*export, f"--config.source.uri={tmp_path}/none.jsonl")
    assert f"{tmp_path}/none.jsonl is missing" in line
    monkeypatch.setenv("APLANTIDA_MONGODB_URI", f"ana:{SECRET}@db")
    code, line = refused(*export)
    assert code == 2
    assert "APLANTIDA_MONGODB_URI must be a mongodb://" in line


def test_the_default_address_is_the_one_that_the_environment_replaces():
    assert common.base("x", "train").source.uri == config_lib.DEFAULT_ADDRESS


def may_mount():
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/tmp"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs user and mount namespaces")
def test_a_full_disk_is_one_line_and_exit_1(tmp_path):
    mount = 'mount -t tmpfs -o size=16k none "$0" && exec "$@"'
    code, _, err = run(
        *TINY,
        f"--config.data_dir={tmp_path}/data",
        "--log_level=error",
        prefix=("unshare", "-Urm", "sh", "-c", mount, str(tmp_path)),
    )
    assert code == 1
    assert err.count("\n") == 1, err
    assert err.startswith("error: [Errno 28] No space left on device")
