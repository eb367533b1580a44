"""Stage `export_model`: checkpoint -> SavedModel -> TensorFlow.js -> bundle.

    dist/saved_model/<name>/<version>/                          SavedModel
    dist/variants/<name>/<version>/{float32,float16,uint8}/     graph models
    dist/models/<name>/<version>/                               bundle, see bundle.py

Three steps, each with its own manifest, so that another `export.weights` or a new
calibration rewrites the bundle only. The checkpoint is the best one of the experiment
`export.run`. Under the production profile a model with a tainted ancestor is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from aplantida_jax import directories, files, manifest, paths
from aplantida_jax.data import labels, licences, records
from aplantida_jax.errors import UserError
from aplantida_jax.export import bundle, graph, tfjs

_SAVED_MODEL = ("saved_model.pb", "variables")


def run(config: Any, workdir: Path) -> None:
    """Writes what is missing or out of date; `workdir` is that of `export.run`."""
    steps = (
        (_begin_saved_model, _write_saved_model),
        (_begin_variants, _write_variants),
        (_begin_bundle, _write_bundle),
    )
    for begin, write in steps:
        job = begin(config)
        if job is None:
            continue
        info = _info(config)
        licence_of(config, info)
        if config.dry_run:
            _say_plan(config, info, job)
            return
        write(config, info, job)


def licence_of(config: Any, info: Mapping[str, Any]) -> dict[str, Any]:
    """{"profile", "publishable", "reasons"} of a trained model.

    Raises:
        UserError: the profile is "production" and an ancestor does not admit it.
    """
    profile = config.dataset.licence_profile
    publishable, reasons = licences.verdict(info["provenance"])
    if profile == "production" and not publishable:
        raise UserError(
            f"{config.export.run} may not ship: {'; '.join(reasons)}. Train it without "
            "that, or give --config.dataset.licence_profile=experimental for a trial "
            "that is not published"
        )
    return {"profile": profile, "publishable": publishable, "reasons": reasons}


def write_saved_model(
    module: Any, variables: Any, info: Mapping[str, Any], directory: Path
) -> None:
    """Writes the SavedModel of a trained module; `info` is its best.json."""
    graph.check_jax()
    network = graph.InferenceGraph(
        graph.check_model(module),
        variables,
        mean=info["input"]["mean"],
        std=info["input"]["std"],
    )
    graph.write_saved_model(network, info["model"]["image_size"], directory)


def write_variants(saved_model: Path, directory: Path) -> None:
    """Writes one graph model per precision, named after it, under `directory`."""
    tfjs.convert(saved_model, directory / "float32")
    for precision in tfjs.PRECISIONS:
        tfjs.requantise(directory / "float32", directory / precision, precision)


def saved_model_inputs(config: Any) -> list[manifest.Input]:
    """The SavedModel's files, for the stages that read it."""
    directory = paths.saved_model_dir(config)
    return [manifest.Input(directory / name, "export_model") for name in _SAVED_MODEL]


def variant_input(config: Any, precision: str) -> manifest.Input:
    """A graph model, for the stages that read it."""
    return manifest.Input(bundle.variants_dir(config) / precision, "export_model")


def _begin_saved_model(config: Any) -> manifest.Job | None:
    return manifest.begin(
        config,
        stage="export_model",
        out_dir=paths.saved_model_dir(config),
        inputs=[_classes_input(config), _best_input(config)],
        depends_on=(),
    )


def _write_saved_model(config: Any, info: Mapping[str, Any], job: manifest.Job) -> None:
    from aplantida_jax.train import checkpoint

    if info["region"]:
        raise UserError(
            f"{config.export.run} knows the classes of region {info['region']} only, "
            "and the app answers from all: point config.export.run at a run without "
            "config.region"
        )
    label_map = labels.read(paths.classes(config))
    best = checkpoint.load_best(paths.run_dir(config, config.export.run), label_map)
    with directories.atomic_directory(job.out_dir) as directory:
        write_saved_model(best.module, best.variables, best.info, directory)
    job.finish(
        outputs=[job.out_dir / name for name in _SAVED_MODEL],
        metrics={"bytes": files.size_of(job.out_dir)},
        label_map=label_map.fingerprint,
    )
    logging.info("SavedModel: %s", job.out_dir)


def _begin_variants(config: Any) -> manifest.Job | None:
    return manifest.begin(
        config,
        stage="export_model",
        out_dir=bundle.variants_dir(config),
        inputs=saved_model_inputs(config),
        depends_on=(),
    )


def _write_variants(config: Any, info: Mapping[str, Any], job: manifest.Job) -> None:
    with directories.atomic_directory(job.out_dir) as directory:
        write_variants(paths.saved_model_dir(config), directory)
    sizes = {p: files.size_of(job.out_dir / p) for p in tfjs.PRECISIONS}
    operations = tfjs.operations(tfjs.read_model(job.out_dir / "float32"))
    job.finish(
        outputs=[job.out_dir / precision for precision in tfjs.PRECISIONS],
        metrics={"bytes": sizes, "operations": dict(operations)},
        label_map=info["label_map"],
    )
    logging.info(
        "TensorFlow.js: %s, %d operations; %s",
        job.out_dir,
        operations.total(),
        ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in sizes.items()),
    )


def _begin_bundle(config: Any) -> manifest.Job | None:
    calibrated = paths.calibration(paths.run_dir(config, config.export.run))
    return manifest.begin(
        config,
        stage="export_model",
        out_dir=paths.bundle_dir(config),
        inputs=[
            _classes_input(config),
            _best_input(config),
            manifest.Input(calibrated, "calibrate", _command(config)),
            manifest.Input(paths.split_file(config, "train"), "split"),
            variant_input(config, config.export.weights),
        ],
        depends_on=("dataset",),
    )


def _write_bundle(config: Any, info: Mapping[str, Any], job: manifest.Job) -> None:
    label_map = labels.read(paths.classes(config))
    photos = records.read_photos(paths.split_file(config, "train"), made_by="split")
    weights = config.export.weights
    calibration = _calibration(config, label_map)
    described = bundle.metadata(
        name=config.export.name,
        version=str(config.export.version),
        weights=weights,
        info=info,
        calibration=calibration,
        licence=licence_of(config, info),
    )
    with directories.atomic_directory(job.out_dir) as directory:
        bundle.write(
            directory,
            graph_model=variant_input(config, weights).path,
            label_map=label_map,
            credits_text=bundle.credits_of(photos, info["provenance"]),
            calibration=calibration,
            metadata=described,
        )
    size = files.size_of(job.out_dir)
    job.finish(
        outputs=sorted(job.out_dir.iterdir()),
        metrics={"bytes": size, "weights": weights},
        label_map=label_map.fingerprint,
    )
    logging.info("bundle (%s): %s, %.2f MB", weights, job.out_dir, size / 1e6)


def _calibration(config: Any, label_map: labels.LabelMap) -> dict[str, Any]:
    path = paths.calibration(paths.run_dir(config, config.export.run))
    calibration = files.read_json(path, made_by="calibrate")
    manifest.check_label_map(
        calibration["label_map"],
        label_map.fingerprint,
        where=path,
        made_by="calibrate",
    )
    return calibration


def _info(config: Any) -> dict[str, Any]:
    """best.json of the run that ships."""
    run_dir = paths.run_dir(config, config.export.run)
    return files.read_json(paths.best(run_dir), made_by="train")


def _best_input(config: Any) -> manifest.Input:
    run_dir = paths.run_dir(config, config.export.run)
    return manifest.Input(paths.best(run_dir), "train", _command(config))


def _classes_input(config: Any) -> manifest.Input:
    return manifest.Input(paths.classes(config), "export_dataset")


def _command(config: Any) -> str:
    return f"--config=configs/{config.export.run}.py"


def _say_plan(config: Any, info: Mapping[str, Any], job: manifest.Job) -> None:
    model = info["model"]
    logging.info(
        "would export %s (%s, %d classes, %d px, epoch %s): %s, and what follows from "
        "it, up to the %s bundle in %s; under a minute",
        config.export.run,
        model["name"],
        model["num_classes"],
        model["image_size"],
        info["epoch"],
        job.out_dir,
        config.export.weights,
        paths.bundle_dir(config),
    )
