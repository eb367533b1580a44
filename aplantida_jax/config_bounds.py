"""What the numbers of the configuration may be: one table of intervals.

Each interval keeps out what would fail in the middle of a long run, or train on nothing
without a word; none judges whether a value is wise. The numbers of `config.download`
are in data/download_fields.py; `demo` and `split` are checked by their stages.
"""

from collections.abc import Iterator
from typing import Any

from aplantida_jax.bounds import Bounds, Several
from aplantida_jax.data import download_fields

_PROBABILITY = Bounds(0, 1)
_DROPPED = Bounds(0, 0.99)  # at 1 nothing is left
_COUNT = Bounds(1, 1_000_000)
_COUNT_OR_NONE = Bounds(0, 1_000_000)
_STRENGTH = Bounds(0, 1)  # of a colour jitter: beyond 1 its factor would be negative
_WEIGHT = Bounds(0, 1e6)
_SIDE = 65_500  # pixels, JPEG's largest

BOUNDS: dict[str, Bounds | Several] = {
    "seed": Bounds(0, 2**32 - 1),
    "source.batch_size": _COUNT,
    "dataset.min_images_per_species": _COUNT_OR_NONE,
    "dataset.min_image_side": Bounds(0, _SIDE),
    "dataset.hold_out_share": Bounds(0, 0.9),  # something is left to learn
    "audit.sample_urls": Bounds(0, 2**53, off=-1),
    "audit.thumbnails": Bounds(0, 10_000),
    "pack.shard_mb": Bounds(0.001, 1e6),
    "model.image_size": Bounds(8, 8192),
    "model.dropout": _DROPPED,
    "model.drop_path": _DROPPED,
    "model.head_rank": Bounds(0, 65_536),
    "input.pack_short_side": Bounds(16, _SIDE, off=0),
    "input.resize": Bounds(8, _SIDE),
    "input.threads": Bounds(1, 1024),
    "input.prefetch": _COUNT,
    "input.mean": Several(3, Bounds(-10, 10)),
    "input.std": Several(3, Bounds(0.001, 10)),
    "augment.scale": Several(2, Bounds(0.01, 1), rising=True),
    "augment.horizontal_flip": _PROBABILITY,
    "augment.vertical_flip": _PROBABILITY,
    "augment.rotation": Bounds(0, 180),
    "augment.brightness": _STRENGTH,
    "augment.contrast": _STRENGTH,
    "augment.saturation": _STRENGTH,
    "augment.hue": Bounds(0, 0.5),  # half a turn either way is all of them
    "augment.blur": _PROBABILITY,
    "augment.blur_sigma": Several(2, Bounds(0.01, 100), rising=True),
    "augment.blur_side": Bounds(8, 8192),
    "augment.erasing": _PROBABILITY,
    "augment.erasing_area": Several(2, Bounds(0, 1), rising=True),
    "augment.erasing_aspect": Bounds(0.01, 1),
    "augment.mixup_alpha": Bounds(0, 1000),
    "augment.cutmix_alpha": Bounds(0, 1000),
    "augment.mixup_probability": _PROBABILITY,
    "augment.cutmix_share": _PROBABILITY,
    "train.batch_size": _COUNT,
    "train.accumulate": _COUNT,
    "train.epochs": _COUNT,
    "train.learning_rate": Bounds(1e-12, 1e38),  # float32's largest: it is the loop's
    "train.warmup_epochs": Bounds(0, 1e6),  # to say that the loss is not finite
    "train.weight_decay": Bounds(0, 1e38),
    "train.clip_norm": Bounds(1e-12, 1e38),
    "train.label_smoothing": _DROPPED,
    "train.ema_decay": Bounds(0, 0.999999),
    "train.layer_decay": Bounds(0.01, 1),
    "train.class_weights_beta": Bounds(0, 0.999999999),
    "train.logit_adjustment": Bounds(0, 100),
    "train.patience": _COUNT,
    "train.log_every": _COUNT,
    "train.checkpoint_minutes": Bounds(0, 1e6),
    "train.keep_epochs": _COUNT,
    "distill.teacher_batch_size": _COUNT_OR_NONE,
    "distill.temperature": Bounds(0.01, 1000),
    "distill.kl_weight": _WEIGHT,
    "distill.ce_weight": _WEIGHT,
    "eval.batch_size": _COUNT,
    "eval.bootstrap": _COUNT_OR_NONE,
    "eval.confusions": _COUNT_OR_NONE,
    "eval.country_prior": Bounds(0, 100),
    "predict.top_k": _COUNT,
    "predict.views": Bounds(0, 255),  # a byte names one
    "calibrate.bins": Bounds(1, 10_000),
    "calibrate.accuracy_target": _PROBABILITY,
    "calibrate.threshold_range": Several(2, _PROBABILITY, rising=True),
    "calibrate.genus_threshold_range": Several(2, _PROBABILITY, rising=True),
    "calibrate.vector_folds": Bounds(2, 1000, off=-1),
    "calibrate.vector_penalty": Bounds(1e-6, 1e9),
    "calibrate.threshold_step": Bounds(0.0001, 1),
    "out_of_distribution.drawn": Bounds(0, 10_000),
    "out_of_distribution.examples": Bounds(1, 200),
    "export.validation_images": _COUNT,
}


def refused(config: Any) -> Iterator[tuple[str, str]]:
    """(field, what it must be) of each number that is not possible in `config`."""
    for field, bounds in BOUNDS.items():
        if not bounds.allow(value_of(config, field)):
            yield field, str(bounds)
    for name, allowed in download_fields.refused(config.download):
        yield f"download.{name}", allowed


def value_of(config: Any, field: str) -> Any:
    """The value of "section.field"."""
    value = config
    for part in field.split("."):
        value = value[part]
    return value
