"""What a training run needs before its first step, built from the configuration."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from aplantida_jax import distributed, files, manifest, paths
from aplantida_jax.data import labels, order, pipeline, regions, whole_split
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.image_source import ImageSource, open_images
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.data.streaming import Stream
from aplantida_jax.distill.store import SoftLabels
from aplantida_jax.errors import UserError
from aplantida_jax.train import losses, pretraining, step, teacher_runs
from aplantida_jax.train.pretraining import Provenance
from aplantida_jax.train.teachers import Teachers


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """The images of a run.

    Attributes:
        label_map: the one.
        images: where their files are; with a stream, those of validation.
        train, val: examples of the run's region.
        soft_labels: the teachers' rows when distilling from a store, else None.
        stream: fetches training images that are missing, with `input.stream`.
        teachers: on the host, when distilling online, else None.
        teacher_ancestors: what the student inherits of the teachers of either kind.
    """

    label_map: LabelMap
    images: ImageSource
    train: pipeline.Examples
    val: pipeline.Examples
    soft_labels: SoftLabels | None
    stream: Stream | None = None
    teachers: Teachers | None = None
    teacher_ancestors: Provenance = dataclasses.field(default_factory=list)

    @property
    def train_images(self) -> ImageSource:
        """Where training takes its images from."""
        return self.stream or self.images

    def stop(self) -> None:
        """Asks no host for anything more; a signal's handler may call it."""
        if self.stream is not None:
            self.stream.stop()

    def close(self) -> None:
        """Ends the requests under way."""
        if self.stream is not None:
            self.stream.close()


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
                f"--config.train.batch_size to at most {examples}"
            )
        per_epoch = math.ceil(examples / size)
        return cls(per_epoch, per_epoch * config.train.epochs, config.train.accumulate)


def warn(config: Any) -> None:
    """Says what a run asks for and will not get.

    Mixing takes place within a batch, not among those that an update accumulates: of
    images alone in theirs, as after an "out of memory", none is mixed.
    """
    idle = {
        "train.label_smoothing": config.train.label_smoothing > 0,
        "train.logit_adjustment": config.train.logit_adjustment > 0,
        "train.class_weights": config.train.class_weights != "none",
    }
    if config.distill.mode != "none" and config.distill.ce_weight == 0:
        for field in (name for name, asked in idle.items() if asked):
            logging.warning(
                "--config.%s is of the cross-entropy: without effect while "
                "distill.ce_weight is 0",
                field,
            )
    if config.train.batch_size == 1 and config.augment.mixup_probability > 0:
        logging.warning(
            "--config.train.batch_size=1 leaves mixup and CutMix no second image: they "
            "are off; for 2 images in the same memory try --config.model.remat=true"
        )


def inputs(config: Any) -> list[manifest.Input]:
    """Everything that a run reads, for its manifest."""
    found = [manifest.Input(paths.classes(config), "export_dataset")]
    found += [
        manifest.Input(paths.split_file(config, split, config.region), "split")
        for split in ("train", "val")
    ]
    stats = paths.split_stats(config, config.region)
    found.append(manifest.Input(stats, "split"))  # the licences of what is learnt
    if config.model.init_from:
        best = paths.best(paths.run_dir(config, config.model.init_from))
        command = f"--config=configs/{config.model.init_from}.py"
        found.append(manifest.Input(best, "train", command, finished=True))
    elif config.model.pretrained:
        found.append(pretraining.input_of(config))
    if config.distill.mode == "precomputed":
        store = paths.soft_labels(config, config.distill.soft_labels, "train")
        path = store / "store.json"
        found.append(manifest.Input(path, "combine", finished=True))
    if config.distill.mode == "online":
        found += teacher_runs.inputs(config)
    return found


def depends_on(config: Any) -> tuple[str, ...]:
    """The fields of the configuration that a run's result depends on."""
    fields = ("model", "input", "augment", "train", "distill", "region")
    if config.distill.mode != "online":
        return fields  # what they did to soft labels is in the store's hash
    return (*fields, "combine.teachers", "combine.weights")


def load_data(config: Any) -> Data:
    """Opens the images and reads the splits; checks that all speak of one label map.

    The first process makes what is missing, e.g. crop boxes; the others find it.
    """
    with distributed.first_then_all("the data are there") as first:
        data = _load_data(config) if first else None
    return data or _load_data(config)


def _load_data(config: Any) -> Data:
    label_map = labels.read(paths.classes(config))
    stats_path = paths.split_stats(config, config.region)
    stats = files.read_json(stats_path, made_by="split")
    manifest.check_label_map(
        stats["label_map"], label_map.fingerprint, where=stats_path, made_by="split"
    )
    images = open_images(config)
    whole, stream = _open_stream(config, images)
    train, val = (
        pipeline.read_examples(
            config,
            paths.split_file(config, split, config.region),
            images,
            smart_crop=smart_crop,
        )
        for split, smart_crop in (
            ("train", config.input.smart_crop and not config.dry_run),
            ("val", config.input.eval_smart_crop),
        )
    )
    soft_labels, teachers, ancestors = None, None, []
    if config.distill.mode == "precomputed":
        store = paths.soft_labels(config, config.distill.soft_labels, "train")
        soft_labels = SoftLabels(store, label_map=label_map, made_by="combine")
        soft_labels.require(train.image_id)
        ancestors = soft_labels.provenance
    if config.distill.mode == "online":
        teachers, ancestors = teacher_runs.load(config, label_map)
        teacher_runs.require(teachers, train.label)
    return Data(
        *(label_map, whole or images, train, val, soft_labels, stream),
        teachers=teachers,
        teacher_ancestors=ancestors,
    )


def _open_stream(
    config: Any, images: ImageSource
) -> tuple[whole_split.Whole | None, Stream | None]:
    """With `input.stream`, what validation needs, and what fetches the rest."""
    if not config.input.stream or config.dry_run:
        return None, None
    assert isinstance(images, Cache)
    val, train = (
        paths.split_file(config, split, config.region) for split in ("val", "train")
    )
    whole = whole_split.complete(config, val, images)
    return whole, Stream(config, train, images, spare=whole.image_ids)


def constants(config: Any, data: Data) -> step.Constants:
    """The class mask of the run's region; prior and weights of what is drawn."""
    mask = np.array(data.label_map.in_regions(regions.parse(config.region)))
    count = order.effective_counts(
        data.train.label, config.train.sampling, classes=len(data.label_map)
    )
    # Only a class without any image is given one, so that its prior is finite.
    drawn = np.maximum(count, 1)
    log_prior = np.log(drawn / drawn.sum()).astype(np.float32)
    weight = losses.class_weights(
        count, method=config.train.class_weights, beta=config.train.class_weights_beta
    )
    return step.Constants(
        class_mask=jnp.asarray(mask),
        log_prior=jnp.asarray(log_prior),
        class_weight=None if weight is None else jnp.asarray(weight),
        teachers=data.teachers,
        covers=jnp.asarray(data.soft_labels.covers) if data.soft_labels else None,
    )


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
        *data.teacher_ancestors,
    ]
    unique: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in chain:
        unique.setdefault((entry["kind"], entry["name"]), entry)
    return list(unique.values())


def about(
    config: Any, data: Data, fields: dict[str, Any], ancestors: Provenance
) -> dict[str, Any]:
    """What others need to know of a run's best checkpoint, to load and judge it."""
    return {
        "name": config.name,
        "model": fields,
        "input": config.input.to_dict(),
        "region": config.region,
        "label_map": data.label_map.fingerprint,
        "provenance": provenance(config, data, ancestors),
    }


def rendered_size(config: Any, data: Data) -> int:
    """Side in pixels that the host renders at: that of the largest network's images."""
    largest = data.teachers.image_size if data.teachers else 0
    return max(config.model.image_size, largest)


def use_compilation_cache(config: Any) -> None:
    """Keeps compiled programs, so that a second start reaches its first step sooner."""
    cache = Path(config.runs_dir).resolve() / "xla_cache"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    # The small programs too: a start compiles some thirty of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
