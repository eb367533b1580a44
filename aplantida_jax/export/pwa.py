"""Stage `pwa`: the app in one directory that any static host with https can serve.

    dist/pwa/
        index.html, *.js, style.css, ...    the app's own files, from web/
        vendor/                             TensorFlow.js
        models/current.json                 {"metadata": path, "sha256": its hash}
        models/<name>/<version>/            the bundle

The manifest of this stage lies beside the directory and not in it: it names hosts and
paths of whoever built the app, and the directory is public. A bundle that has not
passed `validate_export` is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from aplantida_jax import directories, files, manifest, paths
from aplantida_jax.data import labels
from aplantida_jax.errors import UserError
from aplantida_jax.export import bundle, web_files

POINTER = "current.json"


def run(config: Any, workdir: Path) -> None:
    """Builds the app around the bundle of `export.name` and `export.version`."""
    site = paths.pwa_dir(config)
    bundle_dir = paths.bundle_dir(config)
    result = paths.validation_dir(config) / bundle.VALIDATION
    job = manifest.begin(
        config,
        stage="pwa",
        out_dir=site.parent,
        inputs=_inputs(config),
        depends_on=(),
    )
    if job is None:
        return
    metadata = bundle.read(bundle_dir)
    if paths.classes(config).exists():
        manifest.check_label_map(
            metadata["label_map"],
            labels.read(paths.classes(config)).fingerprint,
            where=bundle_dir,
            made_by="export_model",
        )
    require_validated(metadata, result)
    if config.dry_run:
        megabytes = files.size_of(bundle_dir) / 1e6
        logging.info("would build the app, model %.2f MB, into %s", megabytes, site)
        return
    build(site, bundle_dir)
    job.finish(
        outputs=[site],
        metrics={"bytes": files.size_of(site), "version": metadata["version"]},
        label_map=metadata["label_map"],
    )
    logging.info(
        "app: %s, %.2f MB; look at it with: python -m aplantida_jax.web_server %s",
        site,
        files.size_of(site) / 1e6,
        site,
    )


def _inputs(config: Any) -> list[manifest.Input]:
    """The bundle, its validation, the app's own files, TensorFlow.js, the label map."""
    return [
        manifest.Input(paths.bundle_dir(config) / bundle.METADATA, "export_model"),
        manifest.Input(
            paths.validation_dir(config) / bundle.VALIDATION, "validate_export"
        ),
        *(manifest.Input(web_files.WEB / name, "pwa") for name in web_files.APP),
        *_vendor_inputs(),
        *_label_map_inputs(config),
    ]


def _label_map_inputs(config: Any) -> list[manifest.Input]:
    """The dataset's label map, if it is there: a bundle may be all that was kept."""
    path = paths.classes(config)
    return [manifest.Input(path, "export_dataset")] if path.exists() else []


def build(site: Path, bundle_dir: Path) -> None:
    """Writes the app with the given bundle into the directory `site`, at once."""
    with directories.atomic_directory(site) as directory:
        web_files.install(web_files.APP, directory)
        models = directory / "models"
        metadata = bundle.read(bundle_dir)
        target = models / metadata["name"] / metadata["version"]
        bundle.copy(bundle_dir, target)
        described = target / bundle.METADATA
        files.write_json(
            models / POINTER,
            {
                "metadata": described.relative_to(models).as_posix(),
                "sha256": files.sha256_file(described),
            },
        )


def require_validated(metadata: Mapping[str, Any], result: Path) -> None:
    """Raises UserError unless the validation passed, and of these very weights."""
    validation = files.read_json(result, made_by="validate_export")
    if not validation["passed"]:
        raise UserError(
            f"{result} says that the model did not pass: run stage 'validate_export', "
            "which says why"
        )
    checked = validation["variants"][metadata["weights"]]["files"]
    shipped = {name: entry["sha256"] for name, entry in metadata["files"].items()}
    if any(shipped.get(name) != digest for name, digest in checked.items()):
        raise UserError(
            f"{result} is about other weights than the bundle's: run stage "
            "'validate_export' again"
        )


def _vendor_inputs() -> list[manifest.Input]:
    install = "scripts/install_web.sh"
    return [manifest.Input(file, install) for file in web_files.vendor_files()]
