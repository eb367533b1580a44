"""Stage `fetch_weights`: published weights -> `weights_dir`, only when asked for.

    python -m aplantida_jax.main --config=configs/teacher_global.py \
        --config.stage=fetch_weights \
        --config.model.pretrained=google/vit_base_patch16_384

Downloads the file that the name stands for (published.py), goes on where it was cut
off, compares its hashes and loads it into the model that it is for. Beside it lies a
record, `<file>.json`: {name, url, bytes, sha256, licence, source, verified_by,
fetched}. A rerun verifies what is there; a file that was put there by hand is taken in
the same way. Without a name the stage lists them.
"""

import contextlib
import datetime
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from aplantida_jax import directories, files
from aplantida_jax.errors import UserError
from aplantida_jax.models import large_file, published, registry
from aplantida_jax.models.large_file import Limits
from aplantida_jax.models.origins import open_weights
from aplantida_jax.models.pretrained import load_pretrained
from aplantida_jax.models.published import Published

_MADE_BY = "fetch_weights"


def run(config: Any, workdir: Path) -> None:
    name = config.model.pretrained
    if not name:
        for entry in published.TABLE.values():
            logging.info("%-40s %s, %s", entry.name, entry.licence, entry.source)
        raise UserError(
            "give --config.model.pretrained one of the names above", exit_code=2
        )
    entry = published.look_up(name)
    path = Path(config.weights_dir) / entry.file
    if config.dry_run:
        there = "is there" if path.exists() else f"would be fetched from {entry.url}"
        logging.info("%s (%s): %s %s", name, entry.licence, path, there)
        return
    fetch(entry, Path(config.weights_dir))


def fetch(entry: Published, weights_dir: Path, limits: Limits | None = None) -> Path:
    """The verified file of `entry` in `weights_dir`.

    Raises:
        UserError: it can't be fetched, is not what its host, the table or its own
            record say, or another process is fetching into the directory.
    """
    weights_dir.mkdir(parents=True, exist_ok=True)
    path = weights_dir / entry.file
    with directories.exclusive(weights_dir):
        if path.exists():
            _take_in(entry, path)
        else:
            _bring(entry, path, limits or Limits())
    return path


def verify(entry: Published, path: Path) -> None:
    """Proves that the file of `entry` is what was fetched or taken in.

    Raises:
        UserError: it is not what the table or the record of its fetch says, or neither
            says anything: it was put there by hand, and nobody has looked at it.
    """
    if not (_listed(entry) or _recorded(path)):
        raise UserError(
            f"{path} was put there by hand, and nothing says yet that it is "
            f"{entry.name}: run --config.stage=fetch_weights --config.model.pretrained="
            f"{entry.name} once, which looks at every array (no network is needed)"
        )
    _verified(entry, path)


def _verified(entry: Published, path: Path) -> str:
    """The SHA-256 of the file of `entry`, compared with all that is known of it."""
    digests = _digests(path)
    mend = "says; remove that file and fetch it again:"
    _compare(digests, _listed(entry), f"{path} has", f"the table {mend}")
    _compare(digests, _recorded(path), f"{path} has", f"the record beside it {mend}")
    return digests["sha256"]


def check(entry: Published, path: Path) -> None:
    """Proves that a file holds the weights that `entry` says: all names and shapes.

    Raises:
        UserError: it doesn't.
    """
    opened = open_weights(path)
    origin = opened.origin
    found = (origin.format, origin.image_size, origin.num_classes)
    stated = (entry.format, entry.image_size, entry.num_classes)
    if found != stated:
        raise UserError(
            f"{path} is not {entry.name}: its format, image size and classes are "
            f"{found} instead of {stated}"
        )
    module = registry.create(
        entry.model,
        num_classes=max(1, entry.num_classes),
        image_size=entry.image_size,
        **origin.settings,
    )
    images = jax.ShapeDtypeStruct((1, entry.image_size, entry.image_size, 3), "float32")
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    zeros = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, jnp.dtype("float32")), shapes
    )
    load_pretrained(opened, module, zeros)


def _bring(entry: Published, path: Path, limits: Limits) -> None:
    """Downloads, verifies, and only then gives the file its name."""
    part = path.with_name(f"{path.name}.part")
    logging.info("fetching %s (%s): %s", entry.name, entry.licence, entry.source)
    claims = large_file.download(entry.url, part, limits)
    try:
        digests = _digests(part)
        _compare(digests, claims, f"what came of {entry.url} has", "its host sends")
        _compare(digests, _listed(entry), f"{entry.url} has", "the table says")
        _compare(
            *(digests, _recorded(path), f"{entry.url} has"),
            f"{_record_path(path).name} of an earlier fetch, to be removed if the "
            "change is welcome, says",
        )
        check(entry, part)
    except UserError:
        large_file.forget(part)
        raise
    part.replace(path)
    files.sync_directory(path.parent)
    large_file.forget(part)
    known = sorted({**claims, **_listed(entry)})
    _record(entry, path, digests["sha256"], known or ["https only"])


def _take_in(entry: Published, path: Path) -> None:
    """Verifies a file that is there; one without a record was put there by hand."""
    sha256 = _verified(entry, path)
    if _recorded(path):
        logging.info("fetch_weights: nothing to do, %s is there and whole", path)
        return
    check(entry, path)
    known = sorted(_listed(entry)) or ["its structure only"]
    _record(entry, path, sha256, known)


def _compare(
    digests: dict[str, str], stated: dict[str, str], found: str, by: str
) -> None:
    for kind, value in stated.items():
        if digests[kind] != value:
            raise UserError(f"{found} {kind} {digests[kind]}, but {by} {value}")


def _listed(entry: Published) -> dict[str, str]:
    return {"sha256": entry.sha256} if entry.sha256 else {}


def _digests(path: Path) -> dict[str, str]:
    found = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with open(path, "rb") as source:
        while chunk := source.read(1 << 20):
            for digest in found.values():
                digest.update(chunk)
    return {kind: digest.hexdigest() for kind, digest in found.items()}


def _recorded(path: Path) -> dict[str, str]:
    """{"sha256"} of the record beside a file, {} without one."""
    record = _record_path(path)
    with contextlib.suppress(KeyError, TypeError):
        if record.exists():
            return {"sha256": str(files.read_json(record, made_by=_MADE_BY)["sha256"])}
        return {}
    raise UserError(f"{record} is no record: remove it, then fetch again")


def _record(entry: Published, path: Path, sha256: str, verified_by: list[str]) -> None:
    record = {
        "name": entry.name,
        "url": entry.url,
        "bytes": path.stat().st_size,
        "sha256": sha256,
        "licence": entry.licence,
        "source": entry.source,
        "verified_by": verified_by,
        "fetched": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    files.write_json(_record_path(path), record)
    logging.info(
        "%s: %d bytes, SHA-256 %s, verified by %s",
        *(path, record["bytes"], sha256, ", ".join(verified_by)),
    )


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
