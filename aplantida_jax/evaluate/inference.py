"""A trained model's answers on a split: every image once, in file order."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from aplantida_jax import files
from aplantida_jax.data import labels, pipeline, regions
from aplantida_jax.data.image_source import open_images
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
    evaluation_step = step.make_evaluation_step(best.module, _trained(config, best))
    mask = jnp.asarray(label_map.in_regions(regions.parse(best.info["region"])))

    def answer(images: np.ndarray) -> jax.Array:
        return evaluation_step(best.variables, images, mask)

    size = best.info["model"]["image_size"]
    resize = best.info["input"]["resize"]
    yield from _batches(
        config, split_path, answer, image_size=size, resize=resize, skip=skip
    )


def make_features(config: Any, module: Any) -> Callable[[Any, np.ndarray], jax.Array]:
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
    pooled: Callable[[Any, np.ndarray], jax.Array],
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
    answer: Callable[[np.ndarray], jax.Array],
    *,
    image_size: int,
    resize: int,
    skip: int,
) -> Iterator[Predictions]:
    images = open_images(config)
    smart_crop = config.input.smart_crop and config.input.eval_smart_crop
    examples = pipeline.read_examples(config, split_path, images, smart_crop=smart_crop)
    examples = pipeline.Examples(
        examples.image_id[skip:], examples.label[skip:], examples.box[skip:]
    )
    batches = pipeline.evaluation_batches(
        config, examples, images, image_size=image_size, resize=resize
    )
    total = -(-len(examples) // config.eval.batch_size)
    for batch in track(batches, total=total, what=split_path.stem, unit="batches"):
        real = batch["mask"]
        yield Predictions(
            batch["image_id"][real],
            batch["label"][real],
            np.asarray(answer(batch["image"]))[real],
        )


def _trained(config: Any, best: Best) -> Any:
    """The configuration with the normalisation that the model was trained with."""
    config = ConfigDict(config.to_dict())
    config.input.mean = tuple(best.info["input"]["mean"])
    config.input.std = tuple(best.info["input"]["std"])
    return config
