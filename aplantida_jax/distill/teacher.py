"""A teacher at work: its probabilities for a batch, cut to the top k on the device."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aplantida_jax.data import regions
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.data.pipeline import Batch
from aplantida_jax.evaluate import all_devices
from aplantida_jax.train import device_augment, losses
from aplantida_jax.train.checkpoint import Best

Answer = dict[str, jax.Array]


class Teacher:
    """A trained model on all devices of this process.

    Attributes:
        class_mask: bool [c], the classes of its region: it answers with these.
        image_size: side of its images, in pixels.
        resize: short side before their crop, at evaluation.
    """

    def __init__(self, best: Best, label_map: LabelMap, *, top_k: int, augment: Any):
        """`augment` is that of recorded views, for batches with seeds."""
        self.class_mask = np.array(
            label_map.in_regions(regions.parse(best.info["region"]))
        )
        self.image_size: int = best.info["model"]["image_size"]
        self.resize: int = best.info["input"]["resize"]
        self._split_up, replicated = all_devices.shardings()
        self._variables, self._mask = jax.device_put(
            (best.variables, self.class_mask), replicated
        )
        self._step = make_step(
            best.module,
            mean=tuple(best.info["input"]["mean"]),
            std=tuple(best.info["input"]["std"]),
            top_k=top_k,
            augment=augment,
        )

    def ask(self, batch: Batch) -> Answer:
        """What `make_step` returns for a batch of the host, without waiting for it."""
        arrays = {name: batch[name] for name in ("image", "seed") if name in batch}
        arrays = jax.device_put(arrays, self._split_up)
        return self._step(self._variables, arrays, self._mask)


def make_step(
    module: Any, *, mean: tuple, std: tuple, top_k: int, augment: Any
) -> Callable[[Any, dict[str, jax.Array], jax.Array], Answer]:
    """(variables, batch, class_mask bool [c]) -> Answer, compiled.

    The batch has image uint8 [b, s, s, 3], and seed uint32 [b] where its colours are
    those of recorded views. The answer, all float32 but for the classes:

        logits       [b, c]
        top_class    int32 [b, k'], the most likely first; of equally likely ones those
                     that come first. k' = min(top_k, c)
        probability  [b, k'] of these
        tail         [b], the sum over all other classes
    """

    def answer(
        variables: Any, batch: dict[str, jax.Array], class_mask: jax.Array
    ) -> Answer:
        images = device_augment.to_unit(batch["image"])
        if "seed" in batch:
            images = device_augment.replay(batch["seed"], images, augment=augment)
        images = device_augment.normalise(images, mean=mean, std=std)
        logits = module.apply(variables, images, train=False)
        logits = losses.mask_classes(logits, class_mask)
        probability = jax.nn.softmax(logits)
        kept = min(top_k, probability.shape[1])
        top, top_class = jax.lax.top_k(probability, kept)
        others = jnp.put_along_axis(probability, top_class, 0.0, axis=1, inplace=False)
        return {
            "logits": logits,
            "top_class": top_class,
            "probability": top,
            # Summed, for 1 minus the top ones is noise where they are nearly all.
            "tail": others.sum(axis=1),
        }

    return jax.jit(answer)
