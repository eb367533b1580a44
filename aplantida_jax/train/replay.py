"""Training on recorded views: the augmentation that the soft labels were drawn with.

A store of `predict.views` tells crop, flips, rotation and blur of each of its rows, and
the seed of its colours; `follow` makes the rest of a run agree with it. Mixup and
CutMix come after, and stay the run's own.
"""

from collections.abc import Callable
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from aplantida_jax import paths
from aplantida_jax.data import pipeline
from aplantida_jax.data.views import Recorded
from aplantida_jax.distill import store_file
from aplantida_jax.distill.store import SoftLabels


def follow(config: Any) -> Any:
    """The configuration with what the views of its soft labels were drawn with.

    The same configuration where none are replayed, or where the store is missing, which
    its reader says. Says which values give way.

    Raises:
        UserError: the store is damaged, or of another version.
    """
    if config.distill.mode != "precomputed":
        return config
    directory = paths.soft_labels(config, config.distill.soft_labels, "train")
    if not (directory / "store.json").exists():
        return config
    views = store_file.read(directory, "combine")["views"]
    if views is None:
        return config
    followed = ConfigDict(config.to_dict())
    followed.augment.update(
        {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in views["augment"].items()
        }
    )
    followed.input.smart_crop = views["smart_crop"]
    logging.info(
        "augment follows the soft labels, %d recorded views of an image: %s",
        views["count"],
        _differences(config, followed) or "as configured",
    )
    return followed


def _differences(configured: Any, followed: Any) -> str:
    """E.g. "augment.rotation 20.0 instead of 30.0"."""
    return ", ".join(
        f"{section}.{name} {followed[section][name]} instead of {value}"
        for section in ("augment", "input")
        for name, value in configured[section].items()
        if followed[section][name] != value
    )


def recorded(soft_labels: SoftLabels | None) -> Recorded | None:
    """Whose views a run replays, if any."""
    has_views = soft_labels is not None and soft_labels.views is not None
    return soft_labels if has_views else None


def look_up(
    soft_labels: SoftLabels | None,
) -> Callable[[pipeline.Batch], pipeline.Batch] | None:
    """What adds the teachers' rows to a batch; None when there are no soft labels.

    With recorded views they are the rows of the very views that the batch shows.
    """
    if soft_labels is None:
        return None
    store = soft_labels

    def add(batch: pipeline.Batch) -> pipeline.Batch:
        rest = dict(batch)
        view = rest.pop("view", None)
        return {**rest, **store.look_up(batch["image_id"], view)}

    return add
