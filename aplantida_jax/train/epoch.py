"""What is kept and said of an epoch, and said of its steps."""

import math
from collections.abc import Mapping
from typing import Any

from absl import logging

from aplantida_jax.train.meter import not_finite


def record(
    number: int,
    step: int,
    sums: Mapping[str, float],
    val: Mapping[str, float],
    *,
    learning_rate: float,
) -> dict[str, Any]:
    """The epoch's line of history.jsonl.

    Args:
        number: of the epoch, from 1.
        step: batches done since the start.
        sums: of the training step: loss, top1, count.
        val: metrics of the validation.
        learning_rate: of the last step.

    Raises:
        UserError: the validation's loss is not finite.
    """
    if not math.isfinite(val["loss"]):
        raise not_finite("the validation loss", step, f"{learning_rate:.3g}")
    return {
        "epoch": number,
        "step": step,
        "train_loss": sums["loss"] / sums["count"],
        "train_top1_accuracy": sums["top1"] / sums["count"],
        **{f"val_{name}": value for name, value in val.items()},
        "learning_rate": learning_rate,
    }


def say_step(step: int, total_steps: int, found: Mapping[str, float]) -> None:
    """Logs what `Meter.flush` found."""
    logging.info(
        "step %d/%d: loss %.4f, %.1f images/s, %.0f %% waiting for data",
        step,
        total_steps,
        found["loss"],
        found["images_per_second"],
        100 * found["data_wait"],
    )


def say(line: Mapping[str, Any], images_per_second: float) -> None:
    """Logs a `record`."""
    logging.info(
        "epoch %d: train loss %.4f, top-1 %.1f %%; val loss %.4f, top-1 %.1f %%, "
        "top-5 %.1f %%; %.1f images/s",
        line["epoch"],
        line["train_loss"],
        100 * line["train_top1_accuracy"],
        line["val_loss"],
        100 * line["val_top1_accuracy"],
        100 * line["val_top5_accuracy"],
        images_per_second,
    )
