"""Stage train: the only training loop, for teachers, distillation and fine-tuning.

Reads the run's splits, label map, images and what it starts from; leaves in the working
directory checkpoints/, best.json, history.jsonl (a line an epoch), tensorboard/ and
manifest.json. A run that was stopped goes on at the step, with the order of the data
and the random numbers, where it was; its result is that of an undisturbed run.
"""

import contextlib
import copy
import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from clu import parameter_overview

from aplantida_jax import distributed, manifest
from aplantida_jax.train import (
    checkpoint,
    epoch,
    forecast,
    initial_model,
    inputs,
    optimizer,
    placement,
    replay,
    run_directory,
    setup,
    state,
    step,
)
from aplantida_jax.train.board import Board
from aplantida_jax.train.feed import Feed
from aplantida_jax.train.interrupt import Interrupt
from aplantida_jax.train.meter import Meter
from aplantida_jax.train.validation import Validation


def run(config: Any, workdir: Path) -> None:
    """Trains, or goes on training, or says that there's nothing to do."""
    with Interrupt() as interrupt:
        _run(config, workdir, interrupt)


def _run(config: Any, workdir: Path, interrupt: Interrupt) -> None:
    # First: what gives way is in no manifest, and changing it makes no other run.
    config = replay.follow(config)
    job = manifest.begin(
        config,
        stage="train",
        out_dir=workdir,
        inputs=setup.inputs(config),
        depends_on=setup.depends_on(config),
    )
    distributed.require_same(job.key if job else None)
    if job is None:
        return
    logging.info("computing on %s", placement.devices())
    data = setup.load_data(config)
    schedule = setup.Schedule.of(config, len(data.train))
    logging.info(
        "%s: %d training and %d validation images, %d classes, %d steps of %d images",
        config.name,
        len(data.train),
        len(data.val),
        len(data.label_map),
        schedule.total_steps,
        config.train.batch_size,
    )
    setup.warn(config)
    if config.dry_run:
        run_directory.foresee(workdir, job.key)
        forecast.say(config, workdir, data, schedule)
        return
    with contextlib.closing(data), run_directory.lock(workdir, job.key):
        with checkpoint.Checkpoints(workdir) as checkpoints:
            loop = Loop(config, workdir, data, schedule, checkpoints, job.key)
            loop.fit(interrupt)
        with distributed.first_then_all("the run is finished") as first:
            if first:
                fingerprint = data.label_map.fingerprint
                run_directory.finish(job, workdir, label_map=fingerprint)


class Loop:
    """One run: built, restored, stepped to its end."""

    def __init__(
        self,
        config: Any,
        workdir: Path,
        data: setup.Data,
        schedule: setup.Schedule,
        checkpoints: checkpoint.Checkpoints,
        key: str,
    ):
        setup.use_compilation_cache(config)
        self.config, self.workdir, self.data = config, Path(workdir), data
        self.schedule, self.checkpoints = schedule, checkpoints
        self.module, variables, fields, ancestors = initial_model.make(
            config, data.label_map
        )
        self.about = setup.about(config, data, fields, ancestors)
        self.tx = optimizer.make(config.train, variables["params"])
        self.sharding, replicated = placement.shardings(config)
        fresh = state.create(variables, self.tx, ema_decay=config.train.ema_decay)
        self.state = placement.replicate(fresh, replicated)
        self.constants = placement.replicate(setup.constants(config, data), replicated)
        self.feed = Feed(config, data)
        self.progress = state.Progress(key, data.train.fingerprint)
        self._saved, self._saved_at = copy.deepcopy(self.progress), time.monotonic()
        self.train_step = step.make_train_step(self.module, self.tx, config, replicated)
        self.validation = Validation(self.module, config, data, self.constants)
        self.view = inputs.make_view(config, replicated)
        self._restore()

    def fit(self, interrupt: Interrupt) -> None:
        """Steps to the end; saves and raises UserError when asked to stop."""
        config, is_alone = self.config, jax.process_count() == 1
        tensorboard = self.workdir / "tensorboard" if distributed.is_first() else None
        if self.progress.step == 0:
            parameter_overview.log_parameter_overview(self.state.params)
        # The others would wait for a batch that is given up, in the middle of a step.
        end_waiting = self.data.stop if is_alone else None
        board = Board(tensorboard, goes_on_from=self.progress.step)
        with interrupt.deferred(end_waiting), board:
            meter = Meter(config.train.batch_size)
            self._saved_at = time.monotonic()
            while not self.progress.finished:
                # A run that was stopped while it validated begins with that.
                stepped = not self._epoch_is_over() and self._step(board, meter)
                is_logged = self.progress.step % config.train.log_every == 0
                is_over = self._epoch_is_over()
                if is_logged and stepped:
                    self._log(board, meter)
                if is_over:
                    self._finish_epoch(interrupt, board, meter)
                # Several processes have to meet for it, which empties their queues.
                if is_logged or is_over or is_alone:
                    self._heed(interrupt, meter)
        self.checkpoints.commit()
        # What such a run finds has no checkpoint of its own: its arrays are saved.
        self._saved = copy.deepcopy(self.progress)
        self._publish_saved()

    def _epoch_is_over(self) -> bool:
        """Whether all batches of an epoch are done, and it is not validated."""
        epochs = len(self.progress.history) + 1
        return self.progress.step == epochs * self.schedule.steps_per_epoch

    def _heed(self, interrupt: Interrupt, meter: Meter) -> None:
        """Commits, saves or leaves: what one process has to, all of them do."""
        minutes = (time.monotonic() - self._saved_at) / 60
        signal_number, is_due, is_unwritten = distributed.highest(
            [
                interrupt.requested,
                minutes > self.config.train.checkpoint_minutes,
                not self.checkpoints.is_written(),
            ]
        )
        if not is_unwritten:
            self.checkpoints.commit()
            self._publish()
        if signal_number or is_due:
            self._save(meter)
        if signal_number and not self.progress.finished:
            self.checkpoints.commit()
            self._publish()
            interrupt.requested = signal_number
            raise interrupt.error(f"step {self.progress.step} is saved")

    def _rate(self, step: int) -> float:
        """The learning rate of the `step`-th batch, from 0."""
        return optimizer.learning_rate(
            step // self.schedule.accumulate,
            config=self.config.train,
            updates_per_epoch=self.schedule.steps_per_epoch / self.schedule.accumulate,
        )

    def _step(self, board: Board, meter: Meter) -> bool:
        """One batch; the device computes while the next one is fetched.

        False when there is none: the run was asked to stop, and would wait for images.
        """
        with meter.waiting():
            batch = self.feed.next()
        if batch is None:
            return False
        arrays = placement.shard_batch(batch, self.sharding)
        rate = self._rate(self.progress.step)
        self.state, metrics = self.train_step(
            self.state,
            arrays,
            np.float32(rate),
            self.constants,
        )
        if self.progress.step == 0:
            # A program of its own: compiled while the first step is under way.
            seen = self.view(np.int32(0), arrays, self.constants)
            board.images("train/augmented", np.asarray(seen[:16]))
        self.progress.step += 1
        meter.add(self.progress.step, rate, batch["image_id"], metrics)
        return True

    def _log(self, board: Board, meter: Meter) -> None:
        now = meter.flush()
        epoch.say_step(self.progress.step, self.schedule.total_steps, now)
        board.scalars(self.progress.step, {f"train/{k}": v for k, v in now.items()})

    def _finish_epoch(self, interrupt: Interrupt, board: Board, meter: Meter) -> None:
        """Validates, decides whether it is the best or the last, saves.

        When asked to stop it leaves everything as it is, to be begun anew.
        """
        meter.flush()
        variables = state.evaluation_variables(self.state)
        val = self.validation.metrics(variables, interrupt)
        if val is None:
            return
        record = epoch.record(
            len(self.progress.history) + 1,
            self.progress.step,
            jax.tree.map(float, self.state.sums),
            val,
            learning_rate=self._rate(self.progress.step - 1),
        )
        self.progress.add_epoch(record, val, by=self.config.train.best_by)
        self.progress.finished = (
            self.progress.step >= self.schedule.total_steps
            or self.progress.epochs_without_better >= self.config.train.patience
        )
        zeros = jax.tree.map(lambda s: s * 0, self.state.sums)
        self.state = self.state.replace(sums=zeros)
        self._save(meter)
        speed = meter.epoch_speed()
        epoch.say(record, speed)
        scalars = {**record, "images_per_second": speed}
        board.scalars(self.progress.step, {f"epoch/{k}": v for k, v in scalars.items()})

    def _save(self, meter: Meter) -> None:
        """Starts a checkpoint; a state that is not finite never becomes one.

        A step is saved once: the epoch that a stopped run validates anew is remembered
        by the next checkpoint.
        """
        meter.flush()
        self._saved_at = time.monotonic()
        if self._saved.step == self.progress.step:
            return
        self.checkpoints.commit()
        self._publish()
        self.progress.iterator = distributed.gather(self.feed.position)
        self._saved = copy.deepcopy(self.progress)
        remembered = dataclasses.asdict(self._saved)
        self.checkpoints.save(self.progress.step, self.state, remembered)

    def _publish(self) -> None:
        """Writes history and best.json once their checkpoint is committed."""
        if self.checkpoints.take_committed():
            self._publish_saved()

    def _publish_saved(self) -> None:
        saved, options = self._saved, self.config.train
        if distributed.is_first():
            run_directory.publish(self.workdir, saved, self.about, self.checkpoints)
        steps = [record["step"] for record in saved.history][-options.keep_epochs :]
        if saved.best:
            steps.append(saved.best["step"])
        self.checkpoints.keep_only({saved.step, *steps})

    def _restore(self) -> None:
        restored = self.checkpoints.restore(self.state)
        if restored is None:
            return
        self.state, found = restored
        remembered = state.Progress.from_json(found, where=self.workdir)
        run_directory.check(self.workdir, remembered, self.progress)
        self.progress = remembered
        self.feed.go_on_from(self.progress.iterator[jax.process_index()])
        logging.info("going on at step %d", self.progress.step)
        by = self.config.train.best_by
        run_directory.mend_best(self.progress, self.checkpoints, by=by)
        # The process may have died between the checkpoint and what describes it.
        self._saved = copy.deepcopy(self.progress)
        self._publish_saved()
