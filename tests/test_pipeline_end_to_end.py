"""Every stage, in its own process, from generated plants to a validated app.

At a tiny size, with real components: HTTP, cache, pack, JAX, TensorFlow, Chromium.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

_SIZE = [
    "--config.demo.species=6",
    "--config.demo.images=260",
    "--config.demo.image_size=128",
    "--config.demo.unknown=2",
    "--config.train.epochs=3",
    "--config.train.batch_size=16",
    "--config.eval.batch_size=32",
    "--config.eval.bootstrap=100",
    "--config.model.image_size=32",
    "--config.input.resize=36",
    "--config.export.validation_images=20",
]

_LATER = [  # experiment, stage: all that stand on the label map
    ("dataset", "split"),
    ("dataset", "pack"),
    ("dataset", "preview"),
    ("baseline", "baseline"),
    ("teacher_global", "train"),
    ("teacher_global", "evaluate"),
    ("teacher_global", "predict"),
    ("student_distill", "combine"),
    ("student_distill", "train"),
    ("student_finetune", "calibrate"),
    ("student_finetune", "out_of_distribution"),
    ("export_tfjs", "export_model"),
    ("export_tfjs", "validate_export"),
    ("export_tfjs", "pwa"),
    ("report", "report"),
]


def _options(root: Path) -> list[str]:
    return [
        *_SIZE,
        f"--config.data_dir={root}/data",
        f"--config.runs_dir={root}/workdirs",
        f"--config.dist_dir={root}/dist",
        f"--config.source.uri={root}/data/raw/plants.jsonl",
        f"--config.out_of_distribution.images_dir={root}/data/raw/unknown",
    ]


def _pipeline(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    script = ROOT / "scripts" / "reproduce_full_pipeline.sh"
    return subprocess.run(
        [str(script), ":demo", "--pack", *arguments, "--", *_options(root)],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )


def _stage(root: Path, experiment: str, stage: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            *(str(ROOT / ".venv/bin/python"), "-m", "aplantida_jax.main"),
            f"--config=configs/{experiment}.py:demo",
            f"--config.stage={stage}",
            *_options(root),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pipeline")
    done = _pipeline(root)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return root


def _json(path: Path) -> dict:
    return json.loads(path.read_text())


def test_no_photo_without_a_licence_gets_in(finished: Path):
    facts = _json(finished / "data/raw/facts.json")
    exported = (finished / "data/export/photos.jsonl").read_text().splitlines()
    assert len(exported) - 1 == facts["licences"]["permissive"]


def test_nothing_leaks_between_splits(finished: Path):
    stats = _json(finished / "data/splits/all/dataset_stats.json")
    assert set(stats["leakage"].values()) == {0}
    assert stats["splits"]["val"]["images"] > 0
    assert stats["splits"]["test"]["images"] > 0


def test_the_browser_agrees_with_python(finished: Path):
    validation = _json(finished / "dist/validation/student/1.0/validation.json")
    assert validation["passed"]
    for variant in validation["variants"].values():
        assert variant["correlation"] > 0.995


def test_the_student_was_asked_about_what_it_cannot_know(finished: Path):
    run = finished / "workdirs/student_finetune"
    kinds = _json(run / "out_of_distribution/out_of_distribution.json")["kinds"]
    facts = _json(finished / "data/raw/facts.json")
    assert kinds["held_out"]["images"] == sum(facts["held_out"].values()) > 0
    assert kinds["pictures"]["images"] == 18  # two of each kind
    names = {
        c["latin_name"] for c in _json(finished / "data/export/classes.json")["classes"]
    }
    assert not names & set(facts["held_out"])


def test_the_app_and_the_report_are_there(finished: Path):
    assert (finished / "dist/pwa/index.html").stat().st_size > 500
    report = (finished / "workdirs/report/report.html").read_text()
    assert "student_finetune" in report
    assert (finished / "workdirs/report/dashboard.png").stat().st_size > 10_000
    assert list((finished / "workdirs/report").glob("TRAINING_MANIFEST_v*.yaml"))


def test_every_artefact_carries_the_label_maps_fingerprint(finished: Path):
    fingerprint = _json(finished / "data/export/classes.json")["fingerprint"]
    manifests = [
        _json(path)
        for folder in ("data/splits", "data/soft_labels", "workdirs", "dist")
        for path in (finished / folder).rglob("manifest.json")
    ]
    assert len(manifests) > 15
    wrong = [m["stage"] for m in manifests if m["label_map"] != fingerprint]
    assert wrong == []


def _written(root: Path) -> dict[str, int]:
    """When each file of the stages was written."""
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns
        for folder in ("data/export", "data/splits", "workdirs", "dist")
        for path in (root / folder).rglob("*")
        if path.is_file()
    }


def test_a_second_run_writes_nothing(finished: Path):
    before = _written(finished)
    again = _pipeline(finished)
    assert again.returncode == 0, again.stderr[-3000:]
    assert again.stderr.count("nothing to do") >= again.stdout.count("=== ")
    assert _written(finished) == before


def test_a_label_map_changed_by_one_class_is_refused_by_every_later_stage(
    finished: Path,
):
    path = finished / "data/export/classes.json"
    original = path.read_bytes()
    changed = json.loads(original)
    changed["classes"][0]["latin_name"] += "x"
    path.write_text(json.dumps(changed))
    try:
        accepted = []
        for experiment, stage in _LATER:
            done = _stage(finished, experiment, stage)
            said = done.stderr.strip().splitlines()[-1]
            if done.returncode != 1 or "classes.json" not in said:
                accepted.append((stage, done.returncode, said))
            assert "Traceback" not in done.stderr
        assert accepted == []
    finally:
        path.write_bytes(original)
