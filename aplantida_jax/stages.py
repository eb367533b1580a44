"""Stage name -> module; a stage's module is imported when it runs, not before.

So `audit` never loads JAX, and only `train`, `export_model` and `validate_export` load
TensorFlow. Each module exports `run(config, workdir) -> None`.
"""

import difflib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aplantida_jax.errors import UserError

STAGES = {
    "demo_data": "aplantida_jax.demo.generate",
    "export_dataset": "aplantida_jax.data.export_dataset",
    "audit": "aplantida_jax.data.audit",
    "download": "aplantida_jax.data.download",
    "split": "aplantida_jax.data.split",
    "pack": "aplantida_jax.data.pack",
    "fetch_weights": "aplantida_jax.models.fetch_weights",
    "preview": "aplantida_jax.data.preview",
    "baseline": "aplantida_jax.evaluate.baseline",
    "train": "aplantida_jax.train.loop",
    "evaluate": "aplantida_jax.evaluate.evaluate",
    "predict": "aplantida_jax.distill.predict",
    "combine": "aplantida_jax.distill.combine",
    "calibrate": "aplantida_jax.evaluate.calibrate",
    "compare": "aplantida_jax.evaluate.compare",
    "out_of_distribution": "aplantida_jax.evaluate.out_of_distribution",
    "export_model": "aplantida_jax.export.export_model",
    "validate_export": "aplantida_jax.export.validate_export",
    "pwa": "aplantida_jax.export.pwa",
    "report": "aplantida_jax.report",
}

# They are about several runs, and have a place of their own below runs_dir.
_OF_NO_RUN = {
    "compare": "give it a place of its own with --config.compare.name=NAME",
    "report": "keep the one that is there under another name, then run this again",
}


def check_workdir(stage: str, workdir: str | None) -> None:
    """Refuses --workdir for a stage that would not write there.

    Raises:
        UserError: says what to do instead.
    """
    if workdir and stage in _OF_NO_RUN:
        raise UserError(
            f"--workdir={workdir} is no place for stage '{stage}', which belongs to no "
            f"run: leave it out; {_OF_NO_RUN[stage]}",
            exit_code=2,
        )


def load(stage: str) -> Callable[[Any, Path], None]:
    """The `run` function of a stage; an unknown name is a UserError that lists all."""
    if stage not in STAGES:
        near = difflib.get_close_matches(stage, STAGES, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UserError(
            f"config.stage='{stage}' is unknown: {hint}The stages are "
            + ", ".join(STAGES),
            exit_code=2,
        )
    return importlib.import_module(STAGES[stage]).run
