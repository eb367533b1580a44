import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from aplantida_jax import stages
from aplantida_jax.errors import UserError

NO_JAX = ("demo_data", "export_dataset", "audit", "download", "split") + (
    "pack",
    "compare",
)
NO_TENSORFLOW = ("fetch_weights", "preview", "baseline", "evaluate", "predict") + (
    *("calibrate", "out_of_distribution", "report"),
)


def imported(stage_names):
    """The top-level modules that a fresh process has after loading these stages."""
    script = (
        "import sys\n"
        "from aplantida_jax import stages\n"
        "assert all(callable(stages.load(name)) for name in sys.argv[1:])\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *stage_names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("stage", "instead"), [("compare", "compare.name"), ("report", "another name")]
)
def test_a_stage_of_no_run_refuses_a_workdir(stage, instead):
    with pytest.raises(UserError, match=instead) as caught:
        stages.check_workdir(stage, "mine")
    assert caught.value.exit_code == 2
    stages.check_workdir(stage, None)
    stages.check_workdir("train", "mine")


@pytest.mark.parametrize("stage", stages.STAGES)
def test_every_stage_is_a_module_with_run_config_workdir(stage):
    spec = importlib.util.find_spec(stages.STAGES[stage])
    assert spec is not None
    tree = ast.parse(Path(spec.origin).read_text())
    signatures = [
        [argument.arg for argument in node.args.args]
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == "run"
    ]
    assert signatures == [["config", "workdir"]]
    first = ast.get_docstring(tree).replace("`", "")
    assert first.startswith(f"Stage {stage}:")


def test_the_data_stages_never_load_jax():
    loaded = imported(NO_JAX)
    assert "numpy" in loaded
    assert loaded.isdisjoint({"jax", "flax", "tensorflow", "torch"})


def test_stages_that_only_compute_never_load_tensorflow():
    loaded = imported(NO_TENSORFLOW)
    assert "jax" in loaded
    assert "tensorflow" not in loaded


@pytest.mark.parametrize(
    ("name", "near"), [("trian", "train"), ("exportmodel", "export_model")]
)
def test_a_misspelt_stage_gets_a_suggestion_and_the_list(name, near):
    with pytest.raises(UserError, match=f"did you mean '{near}'") as caught:
        stages.load(name)
    assert caught.value.exit_code == 2
    assert ", ".join(stages.STAGES) in str(caught.value)


def test_a_stage_like_no_other_gets_the_list_only():
    with pytest.raises(UserError) as caught:
        stages.load("xyzzy")
    assert "did you mean" not in str(caught.value)
    assert ", ".join(stages.STAGES) in str(caught.value)
