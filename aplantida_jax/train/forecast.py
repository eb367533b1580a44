"""What a training run will take, for --dry_run, after all that could refuse it.

The network, its weights and the optimiser are made as training makes them, but as
shapes; nothing is computed, and nothing is written.
"""

import functools
import math
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from aplantida_jax.train import (
    initial_model,
    optimizer,
    placement,
    run_directory,
    setup,
    state,
)
from aplantida_jax.train.teachers import Teachers

# Beside the epochs': the best, the last two, and the one that is being written.
_OTHER_CHECKPOINTS = 4


def say(config: Any, workdir: Path, data: setup.Data, schedule: setup.Schedule) -> None:
    """Logs sizes, disk and time of a run.

    Raises:
        UserError: the run would be refused: the model, its weights or their licence,
            an expression that matches no parameter, a batch that the devices can't
            share.
    """
    placement.shardings(config)
    _, variables, fields, ancestors = initial_model.make(
        config, data.label_map, only_shapes=True
    )
    setup.about(config, data, fields, ancestors)
    tx = optimizer.make(config.train, variables["params"])
    shapes = jax.eval_shape(
        lambda found: state.create(found, tx, ema_decay=config.train.ema_decay),
        variables,
    )
    trained, _ = tx.split(shapes.params)
    logging.info(
        "dry run: %.2f million parameters, of which %.2f million train; %d updates of "
        "%d images",
        _count(shapes.params) / 1e6,
        _count(trained) / 1e6,
        math.ceil(schedule.total_steps / schedule.accumulate),
        config.train.batch_size * schedule.accumulate,
    )
    if data.teachers:
        _say_teachers(config, data.teachers)
    kept = config.train.keep_epochs + _OTHER_CHECKPOINTS
    _say_disk(workdir, _bytes(shapes), kept)
    _say_time(workdir, schedule)


def _say_teachers(config: Any, teachers: Teachers) -> None:
    """What an online distillation adds; its teachers train nothing and are not kept."""
    images = config.train.batch_size // jax.device_count()
    at_a_time = min(config.distill.teacher_batch_size or images, images)
    logging.info(
        "dry run: %d teachers, %.2f million parameters, answer in every step for %d "
        "images at a time: on each device %.1f MB of weights, and %s while they do; "
        "the student sees images of %d pixels, they of %s; if memory is short: "
        "--config.distill.teacher_batch_size=%d",
        len(teachers.networks),
        _count(teachers.variables) / 1e6,
        at_a_time,
        _bytes(teachers.variables) / 1e6,
        _working_memory(config, teachers, images),
        config.model.image_size,
        ", ".join(str(network.image_size) for network in teachers.networks),
        max(1, at_a_time // 4),
    )


def _working_memory(config: Any, teachers: Teachers, images: int) -> str:
    """What teachers take on a device to answer for its images, by XLA's own count.

    Their part of the step is compiled for it, for some seconds, but never run.
    """
    side = max(config.model.image_size, teachers.image_size)
    asked = jax.ShapeDtypeStruct((images, side, side, 3), np.float32)
    applies = jax.ShapeDtypeStruct((images, len(teachers.networks)), np.float32)
    answer = functools.partial(
        Teachers.answer, at_a_time=config.distill.teacher_batch_size
    )
    program = jax.jit(answer).lower(teachers, asked, applies).compile()
    found = program.memory_analysis()  # not every backend has one
    return f"{found.temp_size_in_bytes / 1e6:.1f} MB" if found else "what is not known"


def _say_disk(workdir: Path, size: int, count: int) -> None:
    there = next(p for p in [workdir, *workdir.absolute().parents] if p.exists())
    free = shutil.disk_usage(there).free
    logging.info(
        "dry run: a checkpoint has %.1f MB; up to %d at a time, %.2f GB, go into %s, "
        "where %.1f GB are free",
        size / 1e6,
        count,
        count * size / 1e9,
        workdir,
        free / 1e9,
    )
    if count * size > free:
        logging.warning("dry run: the disk of %s is too small for them", workdir)


def _say_time(workdir: Path, schedule: setup.Schedule) -> None:
    rate = run_directory.seconds_per_step(workdir)
    if rate is None:
        logging.info(
            "dry run: how long it takes is not known before the second checkpoint in "
            "%s; scripts/benchmark_train_step.py measures a step of this device",
            workdir,
        )
        return
    logging.info(
        "dry run: %.1f hours for all %d steps, by the pace of the checkpoints in %s",
        rate * schedule.total_steps / 3600,
        schedule.total_steps,
        workdir,
    )


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _count(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
