"""What a training run needs before its first step, built from the configuration."""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from aplantida_jax import files, manifest, models, paths
from aplantida_jax.data import labels, pipeline, regions
from aplantida_jax.data.image_source import ImageSource, open_images
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.errors import UserError
from aplantida_jax.models import pretrained
from aplantida_jax.train import checkpoint, state, step

Provenance = list[dict[str, Any]]

# What a run leaves in its working directory.
_OF_A_RUN = ("checkpoints", "checkpoint_hashes.json", "best.json", "history.jsonl") + (
    "tensorboard",
    "manifest.json",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """The images of a run.

    Attributes:
        label_map: the one.
        images: where their files are.
        train, val: examples of the run's region.
        soft_labels: the teachers' rows when distilling, else None.
    """

    label_map: LabelMap
    images: ImageSource
    train: pipeline.Examples
    val: pipeline.Examples
    soft_labels: SoftLabels | None


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Durations in steps (batches), turned from epochs once.

    Attributes:
        steps_per_epoch: batches an epoch; what does not fill one is in the next.
        total_steps: of the whole run.
        accumulate: batches an update.
    """

    steps_per_epoch: int
    total_steps: int
    accumulate: int

    @classmethod
    def of(cls, config: Any, examples: int) -> "Schedule":
        size = config.train.batch_size
        if examples < size:
            raise UserError(
                f"{examples} training images do not fill one batch: set "
                f"--config.train.batch_size below {size}"
            )
        per_epoch = math.ceil(examples / size)
        return cls(per_epoch, per_epoch * config.train.epochs, config.train.accumulate)


def inputs(config: Any) -> list[manifest.Input]:
    """Everything that a run reads, for its manifest."""
    found = [manifest.Input(paths.classes(config), "export_dataset")]
    found += [
        manifest.Input(paths.split_file(config, split, config.region), "split")
        for split in ("train", "val")
    ]
    if config.model.init_from:
        best = paths.best(paths.run_dir(config, config.model.init_from))
        command = f"--config=configs/{config.model.init_from}.py"
        found.append(manifest.Input(best, "train", command, finished=True))
    elif config.model.pretrained:
        found.append(manifest.Input(Path(config.model.pretrained), "a download of it"))
    if config.distill.mode == "precomputed":
        store = paths.soft_labels(config, config.distill.soft_labels, "train")
        path = store / "store.json"
        found.append(manifest.Input(path, "combine", finished=True))
    return found


def load_data(config: Any) -> Data:
    """Opens the images and reads the splits; checks that all speak of one label map."""
    label_map = labels.read(paths.classes(config))
    stats_path = paths.split_stats(config, config.region)
    stats = files.read_json(stats_path, made_by="split")
    manifest.check_label_map(
        stats["label_map"], label_map.fingerprint, where=stats_path, made_by="split"
    )
    images = open_images(config)
    train, val = (
        pipeline.read_examples(
            config,
            paths.split_file(config, split, config.region),
            images,
            smart_crop=smart_crop,
        )
        for split, smart_crop in (
            ("train", config.input.smart_crop and not config.dry_run),
            ("val", config.input.smart_crop and config.input.eval_smart_crop),
        )
    )
    soft_labels = None
    if config.distill.mode == "precomputed":
        store = paths.soft_labels(config, config.distill.soft_labels, "train")
        soft_labels = SoftLabels(store, label_map=label_map, made_by="combine")
        soft_labels.require(train.image_id)
    return Data(label_map, images, train, val, soft_labels)


def constants(config: Any, data: Data) -> step.Constants:
    """The class mask of the run's region, and the training set's class prior."""
    mask = np.array(data.label_map.in_regions(regions.parse(config.region)))
    count = np.bincount(data.train.label, minlength=len(data.label_map))
    # One image more for each class: a class without any has a finite prior.
    log_prior = np.log((count + 1) / (count + 1).sum()).astype(np.float32)
    return step.Constants(jnp.asarray(mask), jnp.asarray(log_prior))


def model_fields(config: Any, num_classes: int) -> dict[str, Any]:
    """Arguments of `models.create`, as best.json keeps them.

    Where there are pretrained weights, `config.input` takes their normalisation.
    """
    fields = {
        "name": config.model.name,
        "num_classes": num_classes,
        "image_size": config.model.image_size,
        "dropout": config.model.dropout,
        "dtype": config.model.dtype,
        "remat": config.model.remat,
        "head_rank": config.model.head_rank,
    }
    if config.model.pretrained:
        # Padding, epsilon and activation follow where the weights come from.
        origin = pretrained.describe(config.model.pretrained)
        follow_normalisation(config, origin.mean, origin.std)
        fields.update(origin.settings)
    return fields


def follow_normalisation(config: Any, mean: Any, std: Any) -> None:
    """Feeds a network with images normalised as those that it was trained with."""
    wanted = {"mean": tuple(map(float, mean)), "std": tuple(map(float, std))}
    for name, value in wanted.items():
        if not np.allclose(config.input[name], value, atol=1e-3):
            logging.info("input.%s follows the weights: %s", name, value)
            config.input[name] = value


def initial_model(
    config: Any, label_map: LabelMap
) -> tuple[Any, Any, dict[str, Any], Provenance]:
    """Module, variables, fields, ancestors: from init_from, pretrained or scratch."""
    if config.model.init_from:
        parent_dir = paths.run_dir(config, config.model.init_from)
        parent = checkpoint.load_best(parent_dir, label_map)
        past = parent.info["input"]
        follow_normalisation(config, past["mean"], past["std"])
        fields = {**parent.info["model"], **model_fields(config, len(label_map))}
        module = models.create(**fields)
        shapes = state.variable_shapes(module, image_size=config.model.image_size)
        name = config.model.init_from
        logging.info("starting from %s, epoch %d", name, parent.info["epoch"])
        variables = state.take_over(shapes, parent.variables, name=name)
        kind = {"name": name, "kind": "teacher", "licences": []}
        return module, variables, fields, [kind, *parent.info["provenance"]]
    fields = model_fields(config, len(label_map))
    module = models.create(**fields)
    variables = state.init_variables(
        module, image_size=config.model.image_size, seed=config.seed
    )
    if not config.model.pretrained:
        logging.info("starting from scratch")
        return module, variables, fields, []
    variables, _ = models.load_pretrained(config.model.pretrained, module, variables)
    weights = {
        "name": Path(config.model.pretrained).name,
        "kind": "weights",
        "licences": [config.model.pretrained_licence],
    }
    return module, variables, fields, [weights]


def provenance(config: Any, data: Data, ancestors: Provenance) -> Provenance:
    """The chain of ancestors whose licences the trained model inherits."""
    stats = files.read_json(paths.split_stats(config, config.region), made_by="split")
    chain = [
        {
            "name": paths.split_file(config, "train", config.region).name,
            "kind": "data",
            "licences": sorted(stats["splits"]["train"]["licences"]),
        },
        *ancestors,
        *(data.soft_labels.provenance if data.soft_labels else []),
    ]
    unique: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in chain:
        unique.setdefault((entry["kind"], entry["name"]), entry)
    return list(unique.values())


def shardings(
    config: Any,
) -> tuple[jax.sharding.NamedSharding, jax.sharding.NamedSharding]:
    """(split along the batch, replicated) over all devices.

    Raises:
        UserError: a batch does not divide among the devices.
    """
    devices = jax.devices()
    for field in ("train", "eval"):
        size = config[field].batch_size
        if size % len(devices):
            raise UserError(
                f"--config.{field}.batch_size={size} does not divide among "
                f"{len(devices)} devices",
                exit_code=2,
            )
    mesh = jax.sharding.Mesh(np.array(devices), ("data",))
    split = jax.sharding.PartitionSpec("data")
    return (
        jax.sharding.NamedSharding(mesh, split),
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()),
    )


def shard_batch(
    batch: pipeline.Batch, sharding: jax.sharding.Sharding
) -> dict[str, jax.Array]:
    """A host batch on the devices, split along its first axis, without image ids."""
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
        if name != "image_id"
    }


def soft_label_lookup(
    data: Data,
) -> Callable[[pipeline.Batch], pipeline.Batch] | None:
    """Adds the teachers' rows to a batch, or None when there are no teachers."""
    if data.soft_labels is None:
        return None
    store = data.soft_labels
    return lambda batch: {**batch, **store.look_up(batch["image_id"])}


def set_aside_other_run(workdir: Path, key: str) -> None:
    """Moves the checkpoints of another configuration or dataset away; loses nothing."""
    marker = workdir / "run_key.txt"
    old = marker.read_text().strip() if marker.exists() else key
    if old != key:
        aside = workdir / f"previous-{old[:8]}-{int(time.time())}"
        aside.mkdir(parents=True)
        for name in _OF_A_RUN:
            if (workdir / name).exists():
                (workdir / name).rename(aside / name)
        logging.warning(
            "the configuration or the data changed: the old run is in %s", aside
        )
    files.write_text(marker, key + "\n")


def use_compilation_cache(config: Any) -> None:
    """Keeps compiled programs, so that a second start reaches its first step sooner."""
    cache = Path(config.runs_dir).resolve() / "xla_cache"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
