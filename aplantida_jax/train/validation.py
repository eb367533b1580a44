"""The validation of an epoch: sums made on the device, metrics made of them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aplantida_jax import distributed
from aplantida_jax.data import pipeline
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.data.regions import REGIONS
from aplantida_jax.train import placement, setup, step
from aplantida_jax.train.inputs import Batch, Constants
from aplantida_jax.train.interrupt import Interrupt

Sums = dict[str, jax.Array]

_MEET_EVERY = 16


class Validation:
    """Of one run: over its validation split."""

    def __init__(
        self, module: Any, config: Any, data: setup.Data, constants: Constants
    ):
        """`constants` as `placement.replicate` leaves them."""
        self._config, self._data, self._constants = config, data, constants
        self._sharding, replicated = placement.shardings(config)
        self._step = make_step(module, config, replicated)

    def metrics(self, variables: Any, interrupt: Interrupt) -> dict[str, float] | None:
        """What `summary` makes of the split; None when it was asked to stop.

        Args:
            variables: of the module.
            interrupt: looked at after every batch; several processes have to meet for
                it, which they do every `_MEET_EVERY` batches.
        """
        totals: Any = None
        for done, batch in enumerate(self._batches(), start=1):
            arrays = placement.shard_batch(batch, self._sharding)
            sums = self._step(variables, arrays, self._constants)
            totals = jax.tree.map(np.add, totals, sums) if totals else sums
            meets = jax.process_count() == 1 or done % _MEET_EVERY == 0
            if meets and distributed.highest([interrupt.requested]) != [0]:
                return None
        return summary(totals, self._data.label_map)

    def _batches(self) -> Iterator[pipeline.Batch]:
        return pipeline.evaluation_batches(
            self._config,
            self._data.val,
            self._data.images,
            image_size=self._config.model.image_size,
            resize=self._config.input.resize,
            shard=distributed.shard(),
        )


def make_step(
    module: Any, config: Any, sharding: jax.sharding.Sharding | None = None
) -> Callable[[Any, Batch, Constants], Sums]:
    """(variables, batch with mask, constants) -> sums over the images of the mask.

    loss, top1, top5 and count are scalars; class_top1 and class_count [c] go by the
    true class. All are float32, placed as `sharding` says. An image whose logits are
    not finite is answered wrongly, and makes the loss not finite.
    """
    evaluation_step = step.make_evaluation_step(module, config)

    def validation_step(variables: Any, batch: Batch, constants: Constants) -> Sums:
        logits = evaluation_step(variables, batch["image"], constants.class_mask)
        label, mask = batch["label"], batch["mask"].astype(jnp.float32)
        log_p = jax.nn.log_softmax(logits)
        loss = -jnp.take_along_axis(log_p, label[:, None], axis=1)[:, 0]
        own = jnp.take_along_axis(logits, label[:, None], axis=1)
        # Classes before the true one; equal logits in the order of argmax, so that a
        # head that is still all zeros is not right every time.
        earlier = jnp.arange(logits.shape[1])[None] < label[:, None]
        rank = jnp.sum((logits > own) | ((logits == own) & earlier), axis=1)
        # Nothing is above a NaN, which would have made it the first.
        rank = jnp.where(jnp.isfinite(loss), rank, logits.shape[1])
        hits = mask * (rank < 1)
        none = jnp.zeros(logits.shape[1])
        return {
            "loss": jnp.sum(mask * loss),
            "top1": jnp.sum(hits),
            "top5": jnp.sum(mask * (rank < min(5, logits.shape[1]))),
            "count": jnp.sum(mask),
            "class_top1": none.at[label].add(hits),
            "class_count": none.at[label].add(mask),
        }

    return jax.jit(validation_step, out_shardings=sharding)


def summary(sums: Mapping[str, np.ndarray], label_map: LabelMap) -> dict[str, float]:
    """Metrics of the sums of all batches.

    Args:
        sums: of `make_step`.
        label_map: tells which regions a class belongs to, and with it its images.

    Returns:
        loss in nats, top1_accuracy, top5_accuracy, macro_recall (the mean over the
        classes that occur), and "top1_accuracy/REGION" for each region with images.
    """
    hits, count = np.asarray(sums["class_top1"]), np.asarray(sums["class_count"])
    found = {
        "loss": float(sums["loss"] / sums["count"]),
        "top1_accuracy": float(sums["top1"] / sums["count"]),
        "top5_accuracy": float(sums["top5"] / sums["count"]),
        "macro_recall": float(np.mean(hits[count > 0] / count[count > 0])),
    }
    for region in REGIONS:
        inside = np.array(label_map.in_regions((region,)))
        if images := count[inside].sum():
            found[f"top1_accuracy/{region}"] = float(hits[inside].sum() / images)
    return found
