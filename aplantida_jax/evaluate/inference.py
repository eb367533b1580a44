"""A trained model's answers on a split: every image once, in file order."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from aplantida_jax import files
from aplantida_jax.data import labels, pipeline, regions
from aplantida_jax.data.image_source import ImageSource, open_images
from aplantida_jax.data.load import Examples
from aplantida_jax.evaluate import all_devices
from aplantida_jax.progress import track
from aplantida_jax.train import device_augment, step
from aplantida_jax.train.checkpoint import Best


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of a split.

    Attributes:
        image_id: uint64 [n].
        label: int32 [n].
        logits: float32 [n, classes]; `losses.MASKED` where the model has no class.
    """

    image_id: np.ndarray
    label: np.ndarray
    logits: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """What a network without its head says of a split.

    Attributes:
        image_id: uint64 [n].
        label: int32 [n].
        features: float32 [n, d].
    """

    image_id: np.ndarray
    label: np.ndarray
    features: np.ndarray

    def write(self, path: Path) -> None:
        with files.atomic_open(path) as out:
            np.savez(out, **vars(self))

    @classmethod
    def read(cls, path: Path) -> "Features":
        """What `write` wrote, and whose hash was verified."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(**stored)


def run(
    config: Any, best: Best, split_path: Path, label_map: labels.LabelMap
) -> Predictions:
    """All logits of a split, in memory: 12,000 images x 8,587 classes are 412 MB.

    The plan's splits have that many; of all 741,533 photos a tenth would take 2.5 GB.
    """
    chunks = list(stream(config, best, split_path, label_map))
    return Predictions(
        *(
            np.concatenate([getattr(chunk, field) for chunk in chunks])
            for field in ("image_id", "label", "logits")
        )
    )


def stream(
    config: Any,
    best: Best,
    split_path: Path,
    label_map: labels.LabelMap,
    *,
    skip: int = 0,
) -> Iterator[Predictions]:
    """Logits batch by batch, after the first `skip` images.

    A regional teacher answers with the classes of its region only.
    """
    size = best.info["model"]["image_size"]
    resize = best.info["input"]["resize"]
    answer = _answering(config, best, label_map)
    yield from _batches(
        config, split_path, answer, image_size=size, resize=resize, skip=skip
    )


def of_pictures(
    config: Any,
    best: Best,
    image_id: np.ndarray,
    images: ImageSource,
    label_map: labels.LabelMap,
    *,
    what: str,
) -> Iterator[Predictions]:
    """Logits of pictures that are in no split, batch by batch; every label is 0.

    Args:
        config: of the input.
        best: the model.
        image_id: uint64 [n].
        images: knows each of them.
        label_map: the model's.
        what: is asked about, for the progress.

    Raises:
        UserError: a picture cannot be read.
    """
    yield from _ask(
        config,
        pipeline.centred(image_id, np.zeros(len(image_id), np.int32)),
        images,
        _answering(config, best, label_map),
        image_size=best.info["model"]["image_size"],
        resize=best.info["input"]["resize"],
        what=what,
    )


def _answering(
    config: Any, best: Best, label_map: labels.LabelMap
) -> Callable[[jax.Array], jax.Array]:
    """Compiles once: images uint8 [b, s, s, 3] -> logits float32 [b, classes]."""
    evaluation_step = step.make_evaluation_step(best.module, _trained(config, best))
    _, replicated = all_devices.shardings()
    covered = np.array(label_map.in_regions(regions.parse(best.info["region"])))
    variables, mask = jax.device_put((best.variables, covered), replicated)
    return lambda images: evaluation_step(variables, images, mask)


def make_features(config: Any, module: Any) -> Callable[[Any, ArrayLike], jax.Array]:
    """Compiles once: (variables, images uint8 [b, s, s, 3]) -> float32 [b, d]."""

    @jax.jit
    def pooled(variables: Any, images: jax.Array) -> jax.Array:
        images = device_augment.normalise(
            device_augment.to_unit(images), mean=config.input.mean, std=config.input.std
        )
        return module.apply(variables, images, train=False, method=module.features)

    return pooled


def features(
    config: Any,
    pooled: Callable[[Any, ArrayLike], jax.Array],
    variables: Any,
    split_path: Path,
) -> Features:
    """Pooled features of a network that need not have been trained by us.

    Args:
        config: of the input.
        pooled: what `make_features` returned.
        variables: of the network.
        split_path: the photos.
    """
    _, replicated = all_devices.shardings()
    variables = jax.device_put(variables, replicated)
    chunks = list(
        _batches(
            config,
            split_path,
            lambda images: pooled(variables, images),
            image_size=config.model.image_size,
            resize=config.input.resize,
            skip=0,
        )
    )
    return Features(
        np.concatenate([chunk.image_id for chunk in chunks]),
        np.concatenate([chunk.label for chunk in chunks]),
        np.concatenate([chunk.logits for chunk in chunks]),
    )


def _batches(
    config: Any,
    split_path: Path,
    answer: Callable[[jax.Array], jax.Array],
    *,
    image_size: int,
    resize: int,
    skip: int,
) -> Iterator[Predictions]:
    images = open_images(config)
    examples = pipeline.read_examples(
        config, split_path, images, smart_crop=config.input.eval_smart_crop
    )
    yield from _ask(
        config,
        examples.after(skip),
        images,
        answer,
        image_size=image_size,
        resize=resize,
        what=split_path.stem,
    )


def _ask(
    config: Any,
    examples: Examples,
    images: ImageSource,
    answer: Callable[[jax.Array], jax.Array],
    *,
    image_size: int,
    resize: int,
    what: str,
) -> Iterator[Predictions]:
    """What the model says of each example, batch by batch."""
    config = all_devices.share_out(config)
    batches = pipeline.evaluation_batches(
        config, examples, images, image_size=image_size, resize=resize
    )
    total = -(-len(examples) // config.eval.batch_size)
    tracked = track(batches, total=total, what=what, unit="batches")
    split_up, _ = all_devices.shardings()
    answered = all_devices.answers(
        tracked, lambda batch: answer(jax.device_put(batch["image"], split_up))
    )
    for batch, logits in answered:
        real = batch["mask"]
        yield Predictions(
            batch["image_id"][real], batch["label"][real], np.asarray(logits)[real]
        )


def _trained(config: Any, best: Best) -> Any:
    """The configuration with the normalisation that the model was trained with."""
    config = ConfigDict(config.to_dict())
    config.input.mean = tuple(best.info["input"]["mean"])
    config.input.std = tuple(best.info["input"]["std"])
    return config
