"""scripts/reproduce_full_pipeline.sh: stages that exist, in an order that works."""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

from aplantida_jax import stages

ROOT = Path(__file__).resolve().parents[1]


def steps(root, *options):
    """(experiment, stage, other options) of each step, which are told, not run."""
    (root / "scripts").mkdir()
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "told $*"\n')
    python.chmod(0o755)
    script = shutil.copy(ROOT / "scripts" / "reproduce_full_pipeline.sh", root)
    script = shutil.move(script, root / "scripts")
    done = subprocess.run([script, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    start = "told -m aplantida_jax.main --config=configs/"
    found = []
    for line in done.stdout.splitlines():
        if line.startswith(start):
            file, stage, *more = line.removeprefix(start).split(" --config.")
            found.append((file, stage.removeprefix("stage="), more))
    return found


@pytest.mark.parametrize(
    ("options", "reference", "others"),
    [
        ((), "teacher_global", ()),
        ((":demo",), "student_labels", ()),
        (("--labels",), "student_labels", ()),
        (
            ("--labels", "--alternatives"),
            "student_labels",
            ("student_finetune_kl", "student_tail"),
        ),
    ],
)
def test_what_is_compared_was_trained_and_evaluated(
    tmp_path, options, reference, others
):
    told = steps(tmp_path, *options)
    variant = ":demo" if ":demo" in options else ""
    (at,) = (i for i, (_, stage, _) in enumerate(told) if stage == "compare")
    (runs,) = told[at][2]
    compared = ast.literal_eval(runs.removeprefix("compare.runs="))
    students = ("student_distill", "student_finetune")
    assert compared == (reference, *students, *others)
    for run in compared:
        for stage in ("train", "evaluate"):
            assert (f"{run}.py{variant}", stage, []) in told[:at]
    for file, stage, _ in told:
        assert (ROOT / "configs" / file.partition(":")[0]).exists()
        assert stage in stages.STAGES
