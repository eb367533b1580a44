"""What ran, on what, from which inputs: written and verified in one place.

Every stage calls `begin` before it works and `Job.finish` after. `begin` refuses inputs
that are missing or that are not what their own stage recorded, says when there is
nothing to do, and `finish` writes `manifest.json` beside the output:

    {stage, key, config, inputs{path: sha256}, outputs{name: sha256}, metrics,
     label_map, git_commit, command, versions, device, seed, started, finished,
     sha256: of all that}

`key` is the SHA-256 of the part of the configuration that the output depends on and of
the inputs' stages, file names and hashes, wherever they lie: same key and untouched
outputs mean that the work is done.
"""

import dataclasses
import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from absl import logging

from aplantida_jax import files
from aplantida_jax.errors import UserError
from aplantida_jax.redaction import redact

MANIFEST = "manifest.json"
_FIELDS = {
    *("stage", "key", "config", "inputs", "outputs", "metrics", "label_map"),
    *("git_commit", "command", "versions", "device", "seed", "started", "finished"),
}
_PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy"),
    *("tensorflow", "tensorflowjs", "opencv-contrib-python-headless"),
    *("pymongo", "requests"),
)
# Fields of a section that change speed, memory or messages, never a result: another
# value does not make work that is done or under way worthless.
_EXECUTION_ONLY = {
    "demo": ("workers",),
    "distill": ("teacher_batch_size",),
    "input": ("threads", "prefetch", "read_from"),  # the same pixels from either
    "model": ("remat", "attention"),
    "train": ("log_every", "checkpoint_minutes", "keep_epochs"),
}
# Paths of inputs: what is read there counts, by its hash, and not where it lies.
_PATHS = {
    "model": ("pretrained",),
    "predict": ("import_npz",),
    "out_of_distribution": ("images_dir",),
    "compare": ("name",),
}


@dataclasses.dataclass(frozen=True)
class Input:
    """A file or directory that a stage reads, and the stage that makes it.

    `command` completes "run ... first", when the stage's name alone would not tell.
    `finished` asks for the stage's manifest too: what grows while its stage runs is
    there, but not whole, before.
    """

    path: Path
    stage: str
    command: str = ""
    finished: bool = False

    def how(self) -> str:
        return f"stage '{self.stage}'" + (f" ({self.command})" if self.command else "")


@dataclasses.dataclass
class Job:
    """A stage at work; `begin` makes it."""

    stage: str
    out_dir: Path
    key: str
    config: dict[str, Any]
    inputs: dict[str, str]
    started: str

    def finish(
        self,
        *,
        outputs: Iterable[Path],
        metrics: Mapping[str, Any],
        label_map: str = "",
    ) -> None:
        """Records the outputs (files or directories under `out_dir`) and the metrics.

        Args:
            outputs: paths to hash; all lie under `out_dir`.
            metrics: plain JSON values that sum up the stage.
            label_map: fingerprint of the label map that the output depends on.
        """
        recorded = {
            Path(path).relative_to(self.out_dir).as_posix(): files.sha256_tree(path)
            for path in outputs
        }
        described = _plain(
            {
                "stage": self.stage,
                "key": self.key,
                "config": self.config,
                "inputs": self.inputs,
                "outputs": recorded,
                "metrics": dict(metrics),
                "label_map": label_map,
                "git_commit": _git_commit(),
                "command": " ".join(redact(argument) for argument in sys.argv),
                "versions": _versions(),
                "device": _device(),
                "seed": self.config["seed"],
                "started": self.started,
                "finished": _now(),
            }
        )
        sealed = {**described, "sha256": _digest(described)}
        files.write_json(self.out_dir / MANIFEST, sealed)


def begin(
    config: Any,
    *,
    stage: str,
    out_dir: Path,
    inputs: Sequence[Input],
    depends_on: Sequence[str],
) -> Job | None:
    """Checks a stage's inputs and says whether there is work.

    Args:
        config: the whole configuration.
        stage: the stage's name.
        out_dir: directory that the stage owns.
        inputs: every file or directory that it reads.
        depends_on: top-level configuration fields, or "section.field", that change the
            output.

    Returns:
        The job to finish, or None when the output is there, whole and up to date.

    Raises:
        UserError: an input is missing, or is not what its stage recorded.
    """
    out_dir = Path(out_dir)
    hashes = {str(item.path): _checked_hash(item) for item in inputs}
    relevant = {name: _result_fields(config, name) for name in sorted(depends_on)}
    relevant["seed"] = config.seed
    read = [[i.stage, Path(i.path).name, hashes[str(i.path)]] for i in inputs]
    key = _digest({"stage": stage, "config": relevant, "inputs": read})
    if _is_done(out_dir, key):
        logging.info("%s: nothing to do, %s is up to date", stage, out_dir)
        return None
    return Job(stage, out_dir, key, redact(_plain(config)), hashes, _now())


def read(out_dir: Path, *, made_by: str) -> dict[str, Any]:
    """The manifest of a finished stage, or a UserError that names it."""
    path = Path(out_dir) / MANIFEST
    found = files.read_json(path, made_by=made_by)
    if not _is_whole(found):
        raise UserError(f"{path} is damaged: run stage '{made_by}' again")
    return found


def check_label_map(found: str, expected: str, *, where: Path, made_by: str) -> None:
    """Raises UserError when an artefact was made for another label map."""
    if found != expected:
        raise UserError(
            f"{where} was made for label map {found[:12] or '(none)'}, but "
            f"classes.json is {expected[:12]}: run stage '{made_by}' again"
        )


def _checked_hash(item: Input) -> str:
    path = Path(item.path)
    if not path.exists():
        raise UserError(f"{path} is missing: {item.how()} makes it, run that first")
    actual = files.sha256_tree(path)
    beside = path.parent / MANIFEST
    if item.finished and not beside.exists():
        raise UserError(f"{path} is not finished: run {item.how()} again, it goes on")
    if beside.exists():
        try:
            recorded = read(path.parent, made_by=item.stage)["outputs"].get(path.name)
        except (KeyError, TypeError, AttributeError):
            raise UserError(f"{beside} is damaged: run {item.how()} again") from None
        if recorded is not None and recorded != actual:
            raise UserError(
                f"{path} is not what {item.how()} wrote (SHA-256 {actual[:12]} instead "
                f"of {recorded[:12]}): run that stage again"
            )
    return actual


def _is_done(out_dir: Path, key: str) -> bool:
    path = out_dir / MANIFEST
    if not path.exists():
        return False
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        if not _is_whole(recorded):
            raise ValueError("its seal does not agree")
        if recorded["key"] != key:
            return False
        outputs = dict(recorded["outputs"])
    except (ValueError, KeyError, TypeError):
        logging.warning("%s is damaged: the stage runs again", path)
        return False
    for name, digest in outputs.items():
        output = out_dir / name
        if not output.exists() or files.sha256_tree(output) != digest:
            logging.warning("%s has changed: the stage runs again", output)
            return False
    return True


def _is_whole(recorded: Any) -> bool:
    """Whether a manifest has the fields that were written; older ones have no seal."""
    if not isinstance(recorded, dict):
        return False
    fields = {name: value for name, value in recorded.items() if name != "sha256"}
    if "sha256" not in recorded:
        return fields.keys() <= _FIELDS
    return recorded["sha256"] == _digest(fields)


def _result_fields(config: Any, name: str) -> Any:
    """A section of the configuration without what does not change the result.

    Or one field of a section: "section.field".
    """
    section, _, only = name.partition(".")
    value = _plain(config[section])
    for field in _EXECUTION_ONLY.get(section, ()) + _PATHS.get(section, ()):
        value.pop(field)
    value = value[only] if only else value
    # A password is not what a result depends on, and a hash of it could be guessed.
    return redact(value)


def _plain(value: Any) -> Any:
    """ConfigDicts and tuples as plain JSON values."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    return json.loads(json.dumps(value))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _git_commit() -> str:
    root = Path(__file__).resolve().parent.parent
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _device() -> str:
    """The JAX device if the stage used JAX, else the machine; never starts JAX."""
    jax = sys.modules.get("jax")
    if jax is None:
        return f"{platform.machine()}, {os.cpu_count()} cores"
    device = jax.devices()[0]
    return f"{device.platform}: {device.device_kind} x {jax.device_count()}"
